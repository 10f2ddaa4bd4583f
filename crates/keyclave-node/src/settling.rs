//! Since when this process has known a state that may be acknowledged only after a while: lowering a key's staleness
//! counts once no node answers from a confirmation older than that.
//!
//! Measured by this process alone, from the moment at which it first saw the state. So no clock is trusted, a new leader
//! waits in full, and a repetition waits for what is left. Used by [`crate::deciding`].

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use keyclave_types::ids::RecordId;
use keyclave_types::position::Revision;
use keyclave_vault::decide::Settling;
use tokio::time::Instant;

use crate::world::CLOCKS_APART_MS_MAX;

/// States that are remembered; the one known longest goes first, and is waited for in full if it is asked for again.
const REMEMBERED_MAX: usize = 1_024;

/// See the module's page.
#[derive(Default)]
pub(crate) struct Settlings {
    known: Mutex<BTreeMap<RecordId, (Revision, Instant)>>,
}

impl Settlings {
    /// How long it is from `now` until the state may be acknowledged. By so much as two clocks of a node may be apart
    /// longer than it says, since other nodes measure by theirs.
    pub(crate) fn left(&self, settling: &Settling, now: Instant) -> Duration {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let since = match known.get(&settling.record) {
            Some((revision, since)) if *revision == settling.revision => *since,
            Some(_) | None => {
                known.insert(settling.record, (settling.revision, now));
                now
            }
        };
        if known.len() > REMEMBERED_MAX
            && let Some(oldest) = known.iter().min_by_key(|(_, (_, since))| *since).map(|(record, _)| *record)
        {
            known.remove(&oldest);
        }
        let whole = Duration::from_millis(settling.ms.saturating_add(CLOCKS_APART_MS_MAX));
        whole.saturating_sub(now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settling(record: u16, revision: u64) -> Settling {
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&record.to_be_bytes());
        Settling { record: RecordId::from_bytes(bytes), revision: Revision(revision), ms: 5_000 }
    }

    #[test]
    fn a_repetition_waits_for_what_is_left_and_another_state_in_full() {
        let (settlings, start) = (Settlings::default(), Instant::now());
        let left =
            |state: &Settling, after_ms| settlings.left(state, start + Duration::from_millis(after_ms));
        assert_eq!(left(&settling(1, 7), 0), Duration::from_millis(6_000));
        assert_eq!(left(&settling(1, 7), 4_000), Duration::from_millis(2_000));
        assert_eq!(left(&settling(2, 7), 4_000), Duration::from_millis(6_000));
        assert_eq!(left(&settling(1, 7), 9_000), Duration::ZERO);
        assert_eq!(left(&settling(1, 8), 9_000), Duration::from_millis(6_000));
        // What another process of this node, or another leader, has waited does not count.
        assert_eq!(Settlings::default().left(&settling(1, 8), start), Duration::from_millis(6_000));
    }

    #[test]
    fn no_more_than_so_many_are_remembered_and_what_was_forgotten_waits_in_full() {
        let (settlings, start) = (Settlings::default(), Instant::now());
        for record in 0..=u16::try_from(REMEMBERED_MAX).unwrap() {
            settlings.left(&settling(record, 1), start + Duration::from_millis(u64::from(record)));
        }
        assert_eq!(settlings.known.lock().unwrap().len(), REMEMBERED_MAX);
        let later = start + Duration::from_millis(60_000);
        assert_eq!(settlings.left(&settling(0, 1), later), Duration::from_millis(6_000));
    }
}
