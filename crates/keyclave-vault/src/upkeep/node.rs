//! What a node records about itself.

use keyclave_types::ids::{Incarnation, NodeId};

use crate::draft::Draft;
use crate::records::RecordName;
use crate::records::cluster::{AnchoredTree, AuditAnchor, NodeRecord, RestartKey};
use crate::refusal::Refusal;
use crate::upkeep::{UpkeepAnswer, marks};

/// The node, if it has joined and was not removed.
pub(super) fn known<'a>(draft: &mut Draft<'a>, node: NodeId) -> Result<&'a NodeRecord, Refusal> {
    draft.reader.get::<NodeRecord>(&RecordName::Node(node)).ok_or(Refusal::NodeUnknown { node })
}

pub(super) fn known_as(draft: &mut Draft<'_>, node: NodeId, incarnation: Incarnation) -> Result<(), Refusal> {
    if known(draft, node)?.incarnation == incarnation { Ok(()) } else { Err(Refusal::Incarnation { node }) }
}

pub(super) fn put_restart_key(
    draft: &mut Draft<'_>,
    node: NodeId,
    incarnation: Incarnation,
    public: [u8; 32],
) -> Result<UpkeepAnswer, Refusal> {
    known_as(draft, node, incarnation)?;
    marks::unmarked(draft, node)?;
    draft.put(&RestartKey { node, incarnation, public, since: draft.now() });
    Ok(UpkeepAnswer::Done)
}

/// Where a chain stands, as its node says.
pub(super) struct Head {
    pub(super) sequence: u64,
    pub(super) hash: [u8; 32],
    pub(super) tree: Option<AnchoredTree>,
}

/// A head that went back, or that says something else of the same record, is refused: the node's trail was cut or
/// rewritten.
pub(super) fn put_anchor(
    draft: &mut Draft<'_>,
    node: NodeId,
    incarnation: Incarnation,
    head: Head,
) -> Result<UpkeepAnswer, Refusal> {
    known_as(draft, node, incarnation)?;
    let Head { sequence, hash, tree } = head;
    let found = draft.reader.get::<AuditAnchor>(&RecordName::AuditAnchor(node));
    if let Some(found) = found.filter(|found| found.incarnation == incarnation) {
        if (sequence, hash) == (found.sequence, found.hash) {
            return Ok(UpkeepAnswer::Done);
        }
        if sequence <= found.sequence {
            return Err(Refusal::AnchorBackwards { node, recorded: found.sequence, found: sequence });
        }
    }
    draft.put(&AuditAnchor { node, incarnation, sequence, hash, tree, at: draft.now() });
    Ok(UpkeepAnswer::Done)
}
