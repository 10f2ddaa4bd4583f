//! `keyclave audit …`: searching asks the cluster, verifying reads files and needs neither cluster nor key.

mod proving;
mod trails;
mod verifying;

use std::path::Path;

use keyclave_audit::finding::Report;
use keyclave_client::Client;
use keyclave_client::audit::{AuditQuery, AuditRecord};
use keyclave_types::ids::NodeId;
use serde_json::{Value, json};

use crate::arguments::Connection;
use crate::arguments::access::AuditCommand;
use crate::connection::client;
use crate::failure::Failure;
use crate::output::Shown;
use crate::progress::watched;
use crate::table::Table;

/// Runs one of the commands.
pub(crate) async fn run(command: AuditCommand, connection: &Connection) -> Result<Shown, Failure> {
    match command {
        AuditCommand::Search { key, principal, since, until, limit } => {
            let query = AuditQuery { since, until, key, principal, ..AuditQuery::default() };
            search(&client(connection)?, query, limit).await
        }
        AuditCommand::Verify { directory, anchors, key, holds } => {
            let known = verifying::Known::read(anchors.as_deref(), key.as_ref(), holds)?;
            verifying::shown(&verifying::compared(&directory, &known)?)
        }
        AuditCommand::Prove { directory, anchor, key, record, older } => {
            proving::prove(&directory, &anchor, &key, record, older.as_deref())
        }
        AuditCommand::CheckProof { proof, key, record, older } => {
            proving::check(&proof, &key, record.as_deref(), older.as_deref())
        }
        AuditCommand::Trails => trails::show(&client(connection)?).await,
        AuditCommand::Anchors { node } => trails::anchors(&client(connection)?, node).await,
        AuditCommand::Key => trails::key(&client(connection)?).await,
        AuditCommand::Hold { reason } => trails::hold(&client(connection)?, &reason).await,
        AuditCommand::Release => trails::release(&client(connection)?).await,
        AuditCommand::Retention { keep } => trails::retain(&client(connection)?, keep.0).await,
        AuditCommand::Acknowledge { node } => trails::acknowledge(&client(connection)?, node).await,
    }
}

/// Reads a whole trail and checks it by itself.
pub(crate) fn verify_directory(directory: &Path) -> Result<Report, Failure> {
    verifying::verified(directory, &verifying::Known::default())
}

async fn search(client: &Client, query: AuditQuery, limit: usize) -> Result<Shown, Failure> {
    let (mut records, mut missing, mut after) = (Vec::new(), Vec::<NodeId>::new(), None);
    while records.len() < limit {
        let query = AuditQuery { after, ..query.clone() };
        let page = watched("searching the trail", client.search_audit(query)).await?.value;
        records.extend(page.records);
        missing.extend(page.missing_nodes);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let more = after.is_some() || records.len() > limit;
    records.truncate(limit);
    missing.sort_unstable();
    missing.dedup();
    let mut text = records_text(&records);
    if more {
        text.push_str("there are more: narrow the search, or raise --limit\n");
    }
    for node in &missing {
        text.push_str(&format!("node {node} could not be read: what it recorded is missing here\n"));
    }
    let object = json!({
        "records": records.iter().map(record_json).collect::<Vec<_>>(),
        "more": more,
        "missing_nodes": missing.iter().map(|node| node.get()).collect::<Vec<_>>(),
    });
    Ok(Shown::new(text, &object))
}

fn records_text(records: &[AuditRecord]) -> String {
    let mut table = Table::new(["TIME", "NODE", "NO", "WHO", "OPERATION", "KEY", "PHASE", "OUTCOME"]);
    for record in records {
        let body = body(record);
        let field = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
        table.row([
            record.time.to_string(),
            record.node.to_string(),
            record.sequence.to_string(),
            field("who"),
            field("operation"),
            field("key"),
            record.phase.clone(),
            record.outcome.clone(),
        ]);
    }
    if records.is_empty() { "no records\n".to_owned() } else { table.lines() }
}

fn record_json(record: &AuditRecord) -> Value {
    json!({
        "node": record.node.get(),
        "sequence": record.sequence,
        "time": record.time.to_string(),
        "request_id": record.request_id.to_string(),
        "class": record.class,
        "phase": record.phase,
        "outcome": record.outcome,
        "body": body(record),
    })
}

/// The body as an object; null if its key was dropped.
fn body(record: &AuditRecord) -> Value {
    serde_json::from_str(&record.body_json).unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use keyclave_types::ids::RequestId;
    use keyclave_types::time::UnixMillis;

    use super::*;
    use crate::arguments::Output;

    fn record(body_json: &str) -> AuditRecord {
        AuditRecord {
            node: NodeId::new(2).unwrap(),
            sequence: 7,
            time: UnixMillis(0),
            request_id: RequestId::from_bytes([1; 16]),
            class: "keys".to_owned(),
            phase: "done".to_owned(),
            outcome: "OK".to_owned(),
            body_json: body_json.to_owned(),
        }
    }

    #[test]
    fn a_record_is_one_line_and_one_object() {
        let whole = record(r#"{"operation":"CreateKey","who":"root","key":"app/a"}"#);
        let line = records_text(std::slice::from_ref(&whole)).lines().nth(1).unwrap().to_owned();
        for part in ["root", "CreateKey", "app/a", "done", "OK"] {
            assert!(line.contains(part), "{line}");
        }
        assert_eq!(record_json(&whole)["body"]["key"], "app/a");
        assert_eq!(record_json(&record(""))["body"], Value::Null);
    }

    #[test]
    fn a_directory_without_a_trail_is_not_verified() {
        let directory = tempfile::tempdir().unwrap();
        let failure = verify_directory(directory.path()).unwrap_err();
        assert_eq!(failure.status(), 1);
        assert!(failure.render(Output::Text).contains("audit directory"));
    }
}
