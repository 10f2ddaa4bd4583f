//! How many refusals of callers without a valid credential go on record: a bounded budget over all sources, so that no
//! flood fills the trail. What is beyond it is counted, and the count is put on record.
//!
//! Called by [`crate::pipeline`]. Deliberately absent: refusing anything because of it; the caller is answered alike.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// Refusals on record one by one, all at once.
const BURST: u32 = 128;
/// Time after which one more may be.
const REFILL_MS: u128 = 125;
/// How long refusals are counted before their number is put on record.
pub(crate) const COUNTED_MS: u64 = 10_000;

/// What becomes of one refusal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// It goes on record.
    Recorded,
    /// It is counted; whoever counts the first sees to it that the number goes on record.
    Counted {
        /// Whether it is the first.
        first: bool,
    },
}

/// The budget.
pub(crate) struct Refusals {
    state: Mutex<State>,
}

struct State {
    left: u32,
    refilled: Instant,
    counted: u32,
}

impl Refusals {
    /// A full budget.
    pub(crate) fn new(now: Instant) -> Self {
        Self { state: Mutex::new(State { left: BURST, refilled: now, counted: 0 }) }
    }

    /// Takes a place for one refusal.
    pub(crate) fn take(&self, now: Instant) -> Place {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let gained = now.saturating_duration_since(state.refilled).as_millis() / REFILL_MS;
        if gained > 0 {
            state.left = u32::try_from(gained).unwrap_or(BURST).saturating_add(state.left).min(BURST);
            state.refilled = now;
        }
        if state.left > 0 {
            state.left -= 1;
            return Place::Recorded;
        }
        let first = state.counted == 0;
        state.counted = state.counted.saturating_add(1);
        Place::Counted { first }
    }

    /// How many were counted since this was last asked.
    pub(crate) fn counted(&self) -> u32 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut state.counted)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_counted_and_an_hour_of_it_records_little() {
        let begun = Instant::now();
        let refusals = Refusals::new(begun);
        let mut recorded = 0;
        for n in 0..3_600_u64 {
            for _ in 0..100 {
                let place = refusals.take(begun + Duration::from_secs(n));
                recorded += u64::from(place == Place::Recorded);
            }
        }
        assert_eq!(recorded, u64::from(BURST) + 3_599 * 8);
        assert_eq!(u64::from(refusals.counted()), 360_000 - recorded, "none is lost");
        assert_eq!(refusals.counted(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_beyond_it_is_told_so_once() {
        let now = Instant::now();
        let refusals = Refusals::new(now);
        for _ in 0..BURST {
            assert_eq!(refusals.take(now), Place::Recorded);
        }
        assert_eq!(refusals.take(now), Place::Counted { first: true });
        assert_eq!(refusals.take(now), Place::Counted { first: false });
        assert_eq!(refusals.counted(), 2);
        assert_eq!(refusals.take(now), Place::Counted { first: true });
    }
}
