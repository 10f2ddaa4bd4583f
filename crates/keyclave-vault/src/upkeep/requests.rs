//! The end of kept outcomes: first the horizon rises, then what lies below it is forgotten.

use keyclave_types::ids::RecordId;

use crate::draft::Draft;
use crate::records::RecordName;
use crate::records::request::Horizon;
use crate::refusal::Refusal;
use crate::upkeep::UpkeepAnswer;

/// Outcomes forgotten by one transaction.
const FORGET_MAX: usize = 256;

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

pub(super) fn forget(draft: &mut Draft<'_>) -> Result<UpkeepAnswer, Refusal> {
    let horizon = draft.reader.get::<Horizon>(&RecordName::Horizon).map_or(0, |horizon| horizon.index);
    let view = draft.reader.view();
    let old: Vec<RecordId> = view.indexes().outcomes_below(horizon).take(FORGET_MAX).collect();
    for id in &old {
        draft.delete_at(*id);
    }
    Ok(UpkeepAnswer::Forgotten { requests: old.len() })
}
