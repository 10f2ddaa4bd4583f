//! Vouching for one process of one node.

use keyclave_types::ids::{NodeId, PlainKind};
use keyclave_types::request::{NodeCode, WriteAnswer};

use crate::draft::Draft;
use crate::records::RecordName;
use crate::records::cluster::{Admission, NodeRecord};
use crate::refusal::Refusal;

/// Lifts the node's own seal mark: whoever may seal a node may let it back. The cluster's mark stays, since while
/// it stands no node is unsealed.
pub(super) fn admit(draft: &mut Draft<'_>, node: NodeId, code: &NodeCode) -> Result<WriteAnswer, Refusal> {
    draft.reader.get::<NodeRecord>(&RecordName::Node(node)).ok_or(Refusal::NodeUnknown { node })?;
    draft.delete_plain(PlainKind::SealMark, node.get());
    draft.put(&Admission { node, code: code.clone(), since: draft.now() });
    Ok(WriteAnswer::Done)
}
