//! `keyclave audit …`: searching asks the cluster, verifying reads files and needs neither cluster nor key.

use std::path::Path;

use keyclave_audit::directory::Directory;
use keyclave_audit::finding::Report;
use keyclave_audit::segment_key::NoKeys;
use keyclave_audit::verify::{Expectation, verify};
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
        AuditCommand::Verify { directory } => shown(&verify_directory(&directory)?),
    }
}

/// Reads a whole trail and checks it.
pub(crate) fn verify_directory(directory: &Path) -> Result<Report, Failure> {
    verify(&Directory::at(directory), &NoKeys, &Expectation::default()).map_err(|error| {
        Failure::from_error("AUDIT_UNREADABLE", &error)
            .next(format!("name a node's audit directory, DATA-DIR/audit; this was {}", directory.display()))
    })
}

/// Anything found makes the command fail; the findings are the failure.
fn shown(report: &Report) -> Result<Shown, Failure> {
    let notes: Vec<_> = report.notes.iter().map(ToString::to_string).collect();
    let findings: Vec<_> = report.findings.iter().map(ToString::to_string).collect();
    if report.is_untouched() {
        let mut text = format!(
            "untouched: {} records in {} segments, the last has sequence {}\n",
            report.records, report.segments, report.head.sequence
        );
        notes.iter().for_each(|note| text.push_str(&format!("note: {note}\n")));
        let object = json!({
            "ok": true, "records": report.records, "segments": report.segments,
            "sequence": report.head.sequence, "notes": notes, "findings": findings,
        });
        return Ok(Shown::new(text, &object));
    }
    let more = match report.findings_more {
        0 => String::new(),
        more => format!("\n  and {more} more"),
    };
    let listed = findings.join("\n  ");
    Err(Failure::failed(
        "AUDIT_NOT_VERIFIED",
        format!("the trail is not as it was written:\n  {listed}{more}"),
    )
    .next("keep these files as they are, and compare them with copies and with the other nodes' trails")
    .detail("records", json!(report.records))
    .detail("segments", json!(report.segments))
    .detail("notes", json!(notes))
    .detail("findings", json!(findings))
    .detail("findings_more", json!(report.findings_more)))
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
