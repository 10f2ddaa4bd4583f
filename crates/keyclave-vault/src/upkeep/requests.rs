//! The end of kept outcomes: first the horizon rises, then what lies below it is forgotten. Tokens that have ended by
//! themselves go with them.

use keyclave_types::ids::RecordId;

use crate::draft::Draft;
use crate::records::RecordName;
use crate::records::request::{Horizon, RequestOutcome};
use crate::refusal::Refusal;
use crate::upkeep::UpkeepAnswer;
use crate::view::{HeldBody, View};

/// Outcomes, and tokens, forgotten by one transaction.
const FORGET_MAX: usize = 256;
/// How long after a decision its outcome is in the trail of the node where it arrived, in milliseconds.
const RECORDED_MS_MAX: u64 = 60_000;

pub(super) fn raise_horizon(draft: &mut Draft<'_>, index: u64) -> Result<UpkeepAnswer, Refusal> {
    let recorded = draft.reader.get::<Horizon>(&RecordName::Horizon).map_or(0, |horizon| horizon.index);
    if index == recorded {
        return Ok(UpkeepAnswer::Done);
    }
    if index < recorded || index > draft.reader.view().index() {
        return Err(Refusal::Horizon { recorded, found: index });
    }
    draft.put(&Horizon { index });
    Ok(UpkeepAnswer::Done)
}

/// Whether the trail of the node where the request arrived is known to hold its outcome, or that node is gone.
fn is_in_the_trail(view: &View, id: RecordId) -> bool {
    let outcome = view.held(id).and_then(|held| RequestOutcome::held(&held.body));
    let Some(outcome) = outcome.filter(|outcome| view.node(outcome.arrived_at).is_some()) else {
        return true;
    };
    let anchor = view.anchor(outcome.arrived_at);
    anchor.is_some_and(|anchor| anchor.at >= outcome.at.after(RECORDED_MS_MAX))
}

pub(super) fn forget(draft: &mut Draft<'_>) -> Result<UpkeepAnswer, Refusal> {
    let horizon = draft.reader.get::<Horizon>(&RecordName::Horizon).map_or(0, |horizon| horizon.index);
    let view = draft.reader.view();
    let below = view.indexes().outcomes_below(horizon);
    let old: Vec<RecordId> = below.filter(|id| is_in_the_trail(view, *id)).take(FORGET_MAX).collect();
    // While it is not known what time it is, none has ended.
    let now = draft.occasion.now.relied();
    let ended = now.into_iter().flat_map(|now| view.indexes().ended(now));
    let ended: Vec<RecordId> = ended.take(FORGET_MAX).collect();
    for id in old.iter().chain(&ended) {
        draft.delete_at(*id);
    }
    Ok(UpkeepAnswer::Forgotten { requests: old.len() + ended.len() })
}
