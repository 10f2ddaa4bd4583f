//! Where a member is reached.

use keyclave_types::ids::{NodeId, PlainKind};
use keyclave_types::member::Addresses;
use keyclave_types::request::WriteAnswer;

use crate::draft::Draft;
use crate::records::RecordName;
use crate::records::cluster::NodeRecord;
use crate::refusal::Refusal;

pub(super) fn change_address(
    draft: &mut Draft<'_>,
    node: NodeId,
    addresses: &Addresses,
) -> Result<WriteAnswer, Refusal> {
    draft.reader.get::<NodeRecord>(&RecordName::Node(node)).ok_or(Refusal::NodeUnknown { node })?;
    if draft.reader.plain::<Addresses>(PlainKind::Address, node.get()).as_ref() != Some(addresses) {
        draft.put_plain(PlainKind::Address, node.get(), addresses);
    }
    Ok(WriteAnswer::Done)
}
