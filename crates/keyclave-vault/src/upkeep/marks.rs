//! Admissions by members, their use, and seal marks that a ceremony lifts.

use keyclave_types::ids::{NodeId, PlainKind};
use keyclave_types::request::NodeCode;
use keyclave_types::time::UnixMillis;

use crate::draft::Draft;
use crate::records::RecordName;
use crate::records::cluster::{Admission, RejoinPolicy, RejoinRules};
use crate::records::plain::SealMark;
use crate::refusal::Refusal;
use crate::upkeep::{UpkeepAnswer, node};

/// Refuses where an operator has sealed the node or the cluster, or where nothing vouches.
pub(super) fn unmarked(draft: &mut Draft<'_>, node: NodeId) -> Result<(), Refusal> {
    if policy(draft)? == RejoinPolicy::Off {
        return Err(Refusal::RejoinOff);
    }
    for number in [0, node.get()] {
        if draft.reader.plain::<SealMark>(PlainKind::SealMark, number).is_some() {
            return Err(Refusal::SealMarked);
        }
    }
    Ok(())
}

fn policy(draft: &mut Draft<'_>) -> Result<RejoinPolicy, Refusal> {
    let rules = draft.reader.get::<RejoinRules>(&RecordName::RejoinRules);
    rules.map(|rules| rules.policy).ok_or(Refusal::RecordLost)
}

pub(super) fn open_to_members(draft: &mut Draft<'_>, until: UnixMillis) -> Result<UpkeepAnswer, Refusal> {
    let policy = policy(draft)?;
    if policy != RejoinPolicy::Members {
        return Err(Refusal::RejoinOff);
    }
    draft.put(&RejoinRules { policy, members_until: Some(until) });
    Ok(UpkeepAnswer::Done)
}

pub(super) fn vouch(draft: &mut Draft<'_>, node: NodeId, code: &NodeCode) -> Result<UpkeepAnswer, Refusal> {
    node::known(draft, node)?;
    unmarked(draft, node)?;
    draft.put(&Admission { node, code: code.clone(), since: draft.now() });
    Ok(UpkeepAnswer::Done)
}

pub(super) fn use_admission(
    draft: &mut Draft<'_>,
    node: NodeId,
    code: &NodeCode,
) -> Result<UpkeepAnswer, Refusal> {
    node::known(draft, node)?;
    unmarked(draft, node)?;
    let name = RecordName::Admission(node);
    match draft.reader.get::<Admission>(&name) {
        Some(admission) if admission.code == *code => {
            draft.delete(&name);
            Ok(UpkeepAnswer::Done)
        }
        Some(_) | None => Err(Refusal::NotAdmitted),
    }
}

pub(super) fn lift(draft: &mut Draft<'_>, nodes: &[NodeId], cluster: bool) -> Result<UpkeepAnswer, Refusal> {
    for node in nodes {
        draft.delete_plain(PlainKind::SealMark, node.get());
    }
    if cluster {
        draft.delete_plain(PlainKind::SealMark, 0);
    }
    Ok(UpkeepAnswer::Done)
}
