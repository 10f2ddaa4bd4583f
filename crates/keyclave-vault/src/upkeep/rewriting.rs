//! The orders to rewrite the stores, and what nodes say of them.
//!
//! A destroyed version names the order that was the last one when it was destroyed, read in the same transaction: so
//! everything that names one is in the ledger before the next one is, and a node that has pushed its log past the next
//! one and then rewritten its store holds nothing of it.

use keyclave_types::ids::{Incarnation, NodeId};

use crate::draft::Draft;
use crate::records::RecordName;
use crate::records::cluster::{RewritingOrder, Rewritten};
use crate::refusal::Refusal;
use crate::upkeep::{UpkeepAnswer, node};

pub(super) fn order(draft: &mut Draft<'_>) -> Result<UpkeepAnswer, Refusal> {
    let last = draft.reader.rewriting_order();
    if draft.reader.view().indexes().destroyed_since(last).is_some() {
        draft.put(&RewritingOrder { number: last.saturating_add(1), at: draft.now() });
    }
    Ok(UpkeepAnswer::Done)
}

pub(super) fn report(
    draft: &mut Draft<'_>,
    node: NodeId,
    incarnation: Incarnation,
    number: u64,
    index: u64,
) -> Result<UpkeepAnswer, Refusal> {
    node::known_as(draft, node, incarnation)?;
    // Of an order that was not given yet, nothing can be said.
    let number = number.min(draft.reader.rewriting_order());
    let found = draft.reader.get::<Rewritten>(&RecordName::Rewritten(node));
    if found.is_none_or(|found| found.incarnation != incarnation || found.number < number) {
        draft.put(&Rewritten { node, incarnation, number, index, at: draft.now() });
    }
    Ok(UpkeepAnswer::Done)
}
