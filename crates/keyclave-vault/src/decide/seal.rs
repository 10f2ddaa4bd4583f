//! An operator's seal: a plain mark that every node sees, and the end of whatever would let the node back by itself.

use keyclave_types::ids::{NodeId, PlainKind};
use keyclave_types::request::WriteAnswer;

use crate::draft::Draft;
use crate::records::RecordName;
use crate::records::cluster::{NodeCounter, NodeRecord};
use crate::records::plain::SealMark;
use crate::refusal::Refusal;

pub(super) fn seal_node(draft: &mut Draft<'_>, node: NodeId) -> Result<WriteAnswer, Refusal> {
    draft.reader.get::<NodeRecord>(&RecordName::Node(node)).ok_or(Refusal::NodeUnknown { node })?;
    take_rejoin(draft, node);
    mark(draft, node.get());
    Ok(WriteAnswer::Done)
}

/// Reads the counter of nodes and, of each node, also that it has nothing to come back by: so a node that joins or
/// records a key meanwhile makes this a conflict.
pub(super) fn seal_cluster(draft: &mut Draft<'_>) -> Result<WriteAnswer, Refusal> {
    draft.reader.get::<NodeCounter>(&RecordName::NodeCounter).ok_or(Refusal::RecordLost)?;
    let nodes: Vec<NodeId> = draft.reader.view().indexes().nodes().map(|(node, _)| node).collect();
    for node in nodes {
        take_rejoin(draft, node);
    }
    mark(draft, 0);
    Ok(WriteAnswer::Done)
}

/// Ends what lets a node come back by itself.
pub(super) fn take_rejoin(draft: &mut Draft<'_>, node: NodeId) {
    draft.delete(&RecordName::RestartKey(node));
    draft.delete(&RecordName::Admission(node));
}

fn mark(draft: &mut Draft<'_>, number: u64) {
    let since = draft.now();
    draft.put_plain(PlainKind::SealMark, number, &SealMark { since });
}
