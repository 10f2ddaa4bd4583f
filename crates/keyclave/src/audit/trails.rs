//! What the cluster says of its trails, and what a person says to it about them.

use keyclave_client::Client;
use keyclave_client::audit::Trails;
use keyclave_types::ids::NodeId;
use keyclave_types::time::Span;
use serde_json::json;

use crate::failure::Failure;
use crate::output::Shown;
use crate::progress::watched;
use crate::table::Table;

const DAY_MS: u64 = 24 * 3_600_000;

/// How the trails stand.
pub(super) async fn show(client: &Client) -> Result<Shown, Failure> {
    let trails = watched("asking how the trails stand", client.trails()).await?.value;
    let object = json!({
        "heads": trails.heads.iter().map(|head| json!({
            "node": head.node.get(), "sequence": head.sequence, "time": head.time.to_string(),
            "hash": data_encoding::HEXLOWER.encode(&head.hash), "note": head.note,
        })).collect::<Vec<_>>(),
        "note_key": trails.note_key,
        "keep_ms": trails.keep_ms,
        "hold": trails.hold.as_ref().map(|hold| json!({
            "by": hold.by, "reason": hold.reason, "since": hold.since.to_string(),
        })),
        "node": trails.node.get(),
        "tampered": trails.tampered,
        "low": trails.low,
    });
    Ok(Shown::new(text(&trails), &object))
}

fn text(trails: &Trails) -> String {
    let mut table = Table::new(["NODE", "ANCHORED UP TO", "AT"]);
    for head in &trails.heads {
        table.row([head.node.to_string(), head.sequence.to_string(), head.time.to_string()]);
    }
    let mut text =
        if trails.heads.is_empty() { "nothing is anchored yet\n".to_owned() } else { table.lines() };
    text.push_str(&match trails.keep_ms {
        None => "kept without end\n".to_owned(),
        Some(ms) => format!("kept for {} days at least\n", ms / DAY_MS),
    });
    if let Some(hold) = &trails.hold {
        text.push_str(&format!("held by {} since {}: {}\n", hold.by, hold.since, hold.reason));
    }
    if trails.tampered {
        text.push_str(&format!("node {}'s trail was tampered with: it serves nobody\n", trails.node));
    }
    if trails.low {
        text.push_str(&format!(
            "node {} has little room for its trail: it serves operators only\n",
            trails.node
        ));
    }
    text
}

/// Signed notes, one after the other.
pub(super) async fn anchors(client: &Client, node: Option<NodeId>) -> Result<Shown, Failure> {
    let trails = watched("fetching the anchors", client.trails()).await?.value;
    let heads = trails.heads.iter().filter(|head| node.is_none_or(|node| head.node == node));
    let notes: Vec<_> = heads.filter_map(|head| head.note.clone()).collect();
    if notes.is_empty() {
        return Err(Failure::failed("AUDIT_ANCHOR", "no such trail is anchored yet")
            .next("ask again in ten seconds: heads are put on record that often"));
    }
    let object = json!({ "notes": notes });
    Ok(Shown::new(notes.join("\n"), &object))
}

/// The key that signs them.
pub(super) async fn key(client: &Client) -> Result<Shown, Failure> {
    let trails = watched("fetching the key", client.trails()).await?.value;
    let key = trails.note_key.ok_or_else(|| {
        Failure::failed("AUDIT_ANCHOR", "there is no key yet").next("ask again in a few seconds")
    })?;
    let object = json!({ "key": key });
    Ok(Shown::new(key, &object))
}

/// Keeps everything.
pub(super) async fn hold(client: &Client, reason: &str) -> Result<Shown, Failure> {
    let answer = watched("holding the trail", client.hold_trail(reason)).await?;
    let object = json!({ "held": true, "position": answer.position.to_string() });
    Ok(Shown::new("nothing is removed from any trail until `keyclave audit release`", &object))
}

/// Lets old records go.
pub(super) async fn release(client: &Client) -> Result<Shown, Failure> {
    let answer = watched("releasing the trail", client.release_trail()).await?;
    let object = json!({ "held": false, "position": answer.position.to_string() });
    Ok(Shown::new("old records go again, as the retention says", &object))
}

/// Changes the retention.
pub(super) async fn retain(client: &Client, keep: Option<Span>) -> Result<Shown, Failure> {
    let keep_ms = keep.map(|span| span.ms);
    let answer = watched("changing the retention", client.retain_trail(keep_ms)).await?;
    let object = json!({ "keep_ms": keep_ms, "position": answer.position.to_string() });
    let text = keep_ms.map_or("records are kept without end".to_owned(), |ms| {
        format!("records are kept for {} days at least", ms / DAY_MS)
    });
    Ok(Shown::new(text, &object))
}

/// Lets a node serve again.
pub(super) async fn acknowledge(client: &Client, node: NodeId) -> Result<Shown, Failure> {
    let answer = watched("acknowledging", client.acknowledge_trail(node)).await?;
    let object = json!({ "node": node.get(), "position": answer.position.to_string() });
    Ok(Shown::new(format!("node {node} serves again; what was tampered with stays in its trail"), &object))
}
