//! `audit verify`: one node's segments, by themselves or against what is known of them from elsewhere: signed anchors
//! and receipts.

use std::path::Path;

use keyclave_audit::checkpoint::Checkpoint;
use keyclave_audit::directory::Directory;
use keyclave_audit::finding::Report;
use keyclave_audit::note::{self, NoteKey};
use keyclave_audit::proof::checkpoint;
use keyclave_audit::record::{Head, Receipt};
use keyclave_audit::segment_key::NoKeys;
use keyclave_audit::segments::outlines;
use keyclave_audit::verify::{Expectation, verify};
use serde_json::json;

use crate::failure::Failure;
use crate::output::Shown;

/// What is known of trails from elsewhere.
#[derive(Default)]
pub(crate) struct Known {
    anchors: Option<Vec<Checkpoint>>,
    receipts: Vec<Receipt>,
}

/// What was found, and how much of what is known it was compared with.
pub(crate) struct Verified {
    report: Report,
    anchors: usize,
    receipts: usize,
}

impl Known {
    /// What the files and arguments say. A note that the key has not signed is no anchor.
    pub(super) fn read(
        anchors: Option<&Path>,
        key: Option<&NoteKey>,
        receipts: Vec<Receipt>,
    ) -> Result<Self, Failure> {
        let Some((path, key)) = anchors.zip(key) else { return Ok(Self { anchors: None, receipts }) };
        let file = read_text(path)?;
        let notes = note::split(&file).into_iter().map(|note| checkpoint(note, key));
        let checkpoints = notes.collect::<Result<Vec<_>, _>>().map_err(|error| {
            Failure::from_error("AUDIT_ANCHOR", &error)
                .next(format!("{} holds something else than notes signed by that key", path.display()))
        })?;
        Ok(Self { anchors: Some(checkpoints), receipts })
    }
}

/// Reads a whole trail and checks it.
pub(crate) fn verified(directory: &Path, known: &Known) -> Result<Report, Failure> {
    compared(directory, known).map(|verified| verified.report)
}

/// The same, and what it was compared with.
pub(super) fn compared(directory: &Path, known: &Known) -> Result<Verified, Failure> {
    let files = Directory::at(directory);
    let unreadable =
        || format!("name a node's audit directory, DATA-DIR/audit; this was {}", directory.display());
    let outlines = outlines(&files)
        .map_err(|error| Failure::from_error("AUDIT_UNREADABLE", &error).next(unreadable()))?;
    let mut expectation = Expectation::default();
    let (mut anchors, mut receipts) = (0, 0);
    if let Some(first) = outlines.first() {
        if let Some(checkpoints) = &known.anchors {
            let own: Vec<_> = checkpoints
                .iter()
                .filter(|checkpoint| (checkpoint.cluster, checkpoint.node) == (first.cluster, first.node))
                .collect();
            if own.is_empty() {
                return Err(Failure::failed(
                    "AUDIT_ANCHOR",
                    format!("no anchor is of node {}'s trail", first.node),
                )
                .next("fetch them anew with `keyclave audit anchors`"));
            }
            anchors = own.len();
            for checkpoint in own {
                expect(&mut expectation, checkpoint);
            }
        }
        for receipt in &known.receipts {
            if receipt.node != first.node {
                let text = format!(
                    "the receipt {receipt} is of node {}, this trail is node {}'s",
                    receipt.node, first.node
                );
                return Err(Failure::failed("AUDIT_RECEIPT", text).next("name that node's audit directory"));
            }
            expectation.anchors.push(Head { sequence: receipt.sequence, hash: receipt.hash });
        }
        receipts = known.receipts.len();
    }
    let report = verify(&files, &NoKeys, &expectation)
        .map_err(|error| Failure::from_error("AUDIT_UNREADABLE", &error).next(unreadable()))?;
    Ok(Verified { report, anchors, receipts })
}

fn expect(expectation: &mut Expectation, checkpoint: &Checkpoint) {
    expectation.cluster = Some(checkpoint.cluster);
    expectation.node = Some(checkpoint.node);
    expectation.anchors.push(checkpoint.head);
    expectation.tree_heads.push(checkpoint.tree);
    if let Some(begins) = checkpoint.begins.filter(|begins| begins.segment > expectation.begins) {
        expectation.begins = begins.segment;
        expectation.continues = Some(begins.after);
    }
}

/// Anything found makes the command fail; the findings are the failure.
pub(super) fn shown(verified: &Verified) -> Result<Shown, Failure> {
    let Verified { report, anchors, receipts } = verified;
    let notes: Vec<_> = report.notes.iter().map(ToString::to_string).collect();
    let findings: Vec<_> = report.findings.iter().map(ToString::to_string).collect();
    if report.is_untouched() {
        let mut text = format!(
            "untouched: {} records in {} segments, the last has sequence {}\n",
            report.records, report.segments, report.head.sequence
        );
        if anchors + receipts > 0 {
            text.push_str(&format!("compared with {anchors} signed anchors and {receipts} receipts\n"));
        }
        notes.iter().for_each(|note| text.push_str(&format!("note: {note}\n")));
        let object = json!({
            "ok": true, "records": report.records, "segments": report.segments,
            "sequence": report.head.sequence, "anchors": anchors, "receipts": receipts,
            "notes": notes, "findings": findings,
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

/// A file of a person's.
pub(super) fn read_text(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("{} cannot be read: {error}", path.display())))
}
