//! How long trails are kept, and who says that a tampered one was looked at. For persons only: a program that could
//! release a hold could be made to.

use keyclave_policy::Principal;
use keyclave_types::access::{Subject, SubjectKind};
use keyclave_types::ids::NodeId;
use keyclave_types::request::WriteAnswer;

use crate::draft::Draft;
use crate::records::RecordName;
use crate::records::cluster::{NodeRecord, TrailHold, TrailRules};
use crate::refusal::Refusal;

pub(super) fn hold(
    draft: &mut Draft<'_>,
    principal: &Principal,
    reason: &str,
) -> Result<WriteAnswer, Refusal> {
    let by = person(principal)?.clone();
    let rules = rules(draft);
    let since = draft.now();
    draft.put(&TrailRules { hold: Some(TrailHold { by, reason: reason.to_owned(), since }), ..rules });
    Ok(WriteAnswer::Done)
}

pub(super) fn release(draft: &mut Draft<'_>, principal: &Principal) -> Result<WriteAnswer, Refusal> {
    person(principal)?;
    let rules = rules(draft);
    if rules.hold.is_some() {
        draft.put(&TrailRules { hold: None, ..rules });
    }
    Ok(WriteAnswer::Done)
}

pub(super) fn retain(
    draft: &mut Draft<'_>,
    principal: &Principal,
    keep_ms: Option<u64>,
) -> Result<WriteAnswer, Refusal> {
    person(principal)?;
    let rules = rules(draft);
    if rules.keep_ms != keep_ms {
        draft.put(&TrailRules { keep_ms, ..rules });
    }
    Ok(WriteAnswer::Done)
}

/// What was anchored of that node's trail holds no longer; its next head is taken as it comes.
pub(super) fn acknowledge(
    draft: &mut Draft<'_>,
    principal: &Principal,
    node: NodeId,
) -> Result<WriteAnswer, Refusal> {
    person(principal)?;
    draft.reader.get::<NodeRecord>(&RecordName::Node(node)).ok_or(Refusal::NodeUnknown { node })?;
    draft.delete(&RecordName::AuditAnchor(node));
    Ok(WriteAnswer::Done)
}

fn rules(draft: &mut Draft<'_>) -> TrailRules {
    draft.reader.get::<TrailRules>(&RecordName::TrailRules).cloned().unwrap_or_default()
}

fn person(principal: &Principal) -> Result<&Subject, Refusal> {
    match principal {
        Principal::Subject { subject, .. } if subject.kind == SubjectKind::User => Ok(subject),
        Principal::Subject { .. }
        | Principal::LocalSocket
        | Principal::Member(_)
        | Principal::Unauthenticated => Err(Refusal::PersonsOnly),
    }
}
