//! The end of a member: everything that the ledger holds for it goes in one transaction.

use keyclave_types::ids::{NodeId, PlainKind};
use keyclave_types::limits::REMOVED_NODES_MAX;
use keyclave_types::member::{Removed, RemovedNode};
use keyclave_types::request::WriteAnswer;

use crate::decide::seal::take_rejoin;
use crate::draft::Draft;
use crate::records::RecordName;
use crate::records::cluster::{NodeCounter, NodeRecord};
use crate::refusal::Refusal;

/// Writes the counter of nodes as it is, so that of two removals at once one is decided anew and the last node
/// stays. Its audit anchor stays too: the trail that it left can still be judged.
pub(super) fn remove_member(draft: &mut Draft<'_>, node: NodeId) -> Result<WriteAnswer, Refusal> {
    let name = RecordName::Node(node);
    let key = draft.reader.get::<NodeRecord>(&name).ok_or(Refusal::NodeUnknown { node })?.key;
    let counter = draft.reader.get::<NodeCounter>(&RecordName::NodeCounter).ok_or(Refusal::RecordLost)?;
    if draft.reader.view().indexes().nodes_count() < 2 {
        return Err(Refusal::LastMember);
    }
    draft.put(counter);
    draft.delete(&name);
    draft.delete(&RecordName::Rewritten(node));
    take_rejoin(draft, node);
    for kind in [PlainKind::Address, PlainKind::Certificate, PlainKind::SealMark] {
        draft.delete_plain(kind, node.get());
    }
    remember(draft, RemovedNode { node, key });
    Ok(WriteAnswer::Done)
}

/// The members refuse its key from then on, so they must know whom to tell that it was removed.
fn remember(draft: &mut Draft<'_>, gone: RemovedNode) {
    let mut removed = draft.reader.plain::<Removed>(PlainKind::Removed, 0).unwrap_or_default();
    removed.nodes.push(gone);
    let forgotten = removed.nodes.len().saturating_sub(REMOVED_NODES_MAX);
    removed.nodes.drain(..forgotten);
    draft.put_plain(PlainKind::Removed, 0, &removed);
}
