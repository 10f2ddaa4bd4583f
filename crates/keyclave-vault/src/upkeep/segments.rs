//! The end of old records of the trail: whole segments, by a record that says where the trail begins from then on.

use keyclave_types::time::UnixMillis;

use crate::draft::Draft;
use crate::records::RecordName;
use crate::records::cluster::{AuditAnchor, KeptTrail, TrailRules};
use crate::refusal::Refusal;
use crate::upkeep::UpkeepAnswer;
use crate::upkeep::node::known_as;

/// Keys deleted by one transaction; more segments go with the next one.
const DROPPED_KEYS_MAX: usize = 128;

/// Refused while somebody holds the trail, before its time, and for records that are not anchored. The keys' owner is
/// the member's word: whoever holds the keyring could open them anyway.
pub(super) fn drop_before(
    draft: &mut Draft<'_>,
    kept: KeptTrail,
    ended: UnixMillis,
    keys: &[[u8; 16]],
) -> Result<UpkeepAnswer, Refusal> {
    known_as(draft, kept.node, kept.incarnation)?;
    let rules = draft.reader.get::<TrailRules>(&RecordName::TrailRules).cloned().unwrap_or_default();
    if rules.hold.is_some() {
        return Err(Refusal::TrailHeld);
    }
    let now = draft.relied_now().ok_or(Refusal::ClockDoubtful)?;
    let keep_ms = rules.keep_ms.ok_or(Refusal::NotDue)?;
    let anchor = draft.reader.get::<AuditAnchor>(&RecordName::AuditAnchor(kept.node));
    let anchored = anchor.filter(|anchor| anchor.incarnation == kept.incarnation);
    let is_anchored = anchored.is_some_and(|anchor| anchor.sequence >= kept.sequence);
    if now < ended.after(keep_ms) || !is_anchored || keys.len() > DROPPED_KEYS_MAX {
        return Err(Refusal::NotDue);
    }
    let before = draft.reader.get::<KeptTrail>(&RecordName::KeptTrail(kept.node));
    if before.is_some_and(|before| before.incarnation == kept.incarnation && before.segment >= kept.segment) {
        return Ok(UpkeepAnswer::Done);
    }
    for key in keys {
        draft.delete(&RecordName::AuditSegmentKey(*key));
    }
    draft.put(&kept);
    Ok(UpkeepAnswer::Done)
}
