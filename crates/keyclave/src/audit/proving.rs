//! `audit prove` and `audit check-proof`: for auditors who have a line or an older note, and not the trail.

use std::path::Path;

use keyclave_audit::directory::Directory;
use keyclave_audit::note::NoteKey;
use keyclave_audit::proof::{Claim, Proof, ProofError, checkpoint};
use serde_json::json;

use super::verifying::read_text;
use crate::failure::Failure;
use crate::output::Shown;

/// Prints a proof.
pub(super) fn prove(
    directory: &Path,
    anchor: &Path,
    key: &NoteKey,
    record: Option<u64>,
    older: Option<&Path>,
) -> Result<Shown, Failure> {
    let note = read_text(anchor)?;
    let stood = checkpoint(&note, key).map_err(|error| failed(&error))?;
    let claim = match (record, older) {
        (Some(sequence), _) => {
            // Records of one tree have no gaps: the last one is the last leaf.
            let behind = stood.head.sequence.checked_sub(sequence);
            let index = behind.and_then(|behind| stood.tree.leaves.checked_sub(behind.checked_add(1)?));
            Claim::Leaf(index.ok_or_else(|| failed(&ProofError::Missing))?)
        }
        (None, Some(older)) => {
            let older = checkpoint(&read_text(older)?, key).map_err(|error| failed(&error))?;
            Claim::Continues(older.tree.leaves)
        }
        (None, None) => return Err(Failure::usage("neither a record nor an older note is named")),
    };
    let proof = Proof::make(&Directory::at(directory), claim, &note, key).map_err(|error| failed(&error))?;
    let text = proof.to_string();
    let object = json!({ "proof": text });
    Ok(Shown::new(text, &object))
}

/// Checks a proof.
pub(super) fn check(
    proof: &Path,
    key: &NoteKey,
    record: Option<&Path>,
    older: Option<&Path>,
) -> Result<Shown, Failure> {
    let proof = Proof::parse(&read_text(proof)?).ok_or_else(|| failed(&ProofError::Shape))?;
    let (proven, claim) = match (record, older) {
        (Some(record), _) => {
            let line = read_text(record)?;
            let line = line.strip_suffix('\n').unwrap_or(&line);
            (proof.includes(line.as_bytes(), key), "the record is in the trail")
        }
        (None, Some(older)) => {
            (proof.continues(&read_text(older)?, key), "the trail continues the older one unchanged")
        }
        (None, None) => return Err(Failure::usage("neither a record nor an older note is named")),
    };
    let stood = proven.map_err(|error| failed(&error))?;
    let text =
        format!("{claim}, as node {} stood with {} records in its tree\n", stood.node, stood.tree.leaves);
    let object = json!({ "ok": true, "node": stood.node.get(), "leaves": stood.tree.leaves, "sequence": stood.head.sequence });
    Ok(Shown::new(text, &object))
}

fn failed(error: &ProofError) -> Failure {
    Failure::from_error("AUDIT_NOT_PROVEN", error).next(
        "compare the key, the note and the files; `keyclave audit verify` says what is wrong with a trail",
    )
}
