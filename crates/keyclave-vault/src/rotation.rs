//! What the leader does by itself: versions that fall due, and versions that a key no longer keeps.
//!
//! The leader asks [`due`] every second or so and decides what it names. Exactly once follows from the
//! precondition on the key's record: two leaders that rotate one key propose the same expectation, and one commits.

use keyclave_crypto::entropy::Entropy;
use keyclave_policy::{Action, Permit};
use keyclave_types::key::{Version, VersionOrigin};
use keyclave_types::name::KeyName;
use keyclave_types::time::UnixMillis;

use crate::decide::Decision;
use crate::draft::Draft;
use crate::occasion::Occasion;
use crate::records::RecordName;
use crate::records::key::{KeyMeta, VersionPage};
use crate::refusal::{Refusal, Refused};
use crate::view::{HeldBody, View};
use crate::{rules, versions};

/// Pages of destroyed versions that are kept to be shown; older ones go when versions are pruned.
const DESTROYED_PAGES_KEPT: u32 = 16;

/// Something that is due for one key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DueWork {
    /// Which key.
    pub name: KeyName,
    /// What.
    pub what: Due,
}

/// What is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    /// A version, since this moment.
    Rotation(UnixMillis),
    /// The end of versions that the key no longer keeps.
    Pruning,
}

/// What was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Worked {
    /// This version was made.
    Rotated(Version),
    /// All versions below this one are destroyed.
    Pruned(Version),
}

/// At most `items_max` things that are due by `now`, those due longest first.
pub fn due(view: &View, now: UnixMillis, items_max: usize) -> Vec<DueWork> {
    let name = |id| view.held(id).and_then(|held| KeyMeta::held(&held.body)).map(|meta| meta.name.clone());
    let rotations = view.indexes().due(now).filter_map(|(at, id)| Some((name(id)?, Due::Rotation(at))));
    let prunings = view.indexes().prunable().filter_map(|id| Some((name(id)?, Due::Pruning)));
    rotations.chain(prunings).take(items_max).map(|(name, what)| DueWork { name, what }).collect()
}

/// When the next version falls due, so that the leader need not ask before.
pub fn next_due(view: &View) -> Option<UnixMillis> {
    view.indexes().next_due()
}

/// Decides one thing that is due; refused with [`Refusal::NotDue`] when it was done meanwhile.
pub fn decide_due(
    view: &View,
    permit: &Permit,
    work: &DueWork,
    occasion: &Occasion,
    entropy: &mut Entropy,
) -> Result<Decision<Worked>, Refused> {
    Draft::decide(view, occasion, entropy, |draft| {
        if !permit.covers(Action::RotateDue, Some(&work.name)) {
            return Err(Refusal::PermitForeign);
        }
        draft.reader.standing(permit.principal(), occasion.now)?;
        let meta = draft.reader.get::<KeyMeta>(&RecordName::Key(&work.name)).ok_or(Refusal::NotFound)?;
        match work.what {
            Due::Rotation(due) => rotate(draft, meta, due).map(Worked::Rotated),
            Due::Pruning => prune(draft, meta).map(Worked::Pruned),
        }
    })
}

fn rotate(draft: &mut Draft<'_>, found: &KeyMeta, due: UnixMillis) -> Result<Version, Refusal> {
    let now = draft.occasion.now.relied().ok_or(Refusal::ClockDoubtful)?;
    if versions::due_at(found) != Some(due) || now < due {
        return Err(Refusal::NotDue);
    }
    let version = versions::room_for_another(found)?;
    let made = draft.put_version(found, version, VersionOrigin::Scheduled { due })?;
    draft.put(&KeyMeta {
        newest: version,
        newest_created_at: made.created_at,
        rotates_at: rules::due_after_beat(&found.rules, due, now),
        ..found.clone()
    });
    Ok(version)
}

/// One page at a time, so that a key with many versions is pruned by many small transactions.
fn prune(draft: &mut Draft<'_>, found: &KeyMeta) -> Result<Version, Refusal> {
    let end = versions::prune_below(found).ok_or(Refusal::NotDue)?;
    let oldest = draft.destroy_page_below(found, end)?;
    draft.put(&KeyMeta { oldest, ..found.clone() });
    if let Some(old) = versions::page_of(oldest).checked_sub(DESTROYED_PAGES_KEPT + 1) {
        let name = RecordName::VersionPage(found.id, old);
        if draft.reader.get::<VersionPage>(&name).is_some() {
            draft.delete(&name);
        }
    }
    Ok(oldest)
}
