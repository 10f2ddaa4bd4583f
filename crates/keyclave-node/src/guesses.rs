//! Wrong shares given to this node, and the rest that each of them earns: kept on the disk, so that a restart does not
//! begin anew.
//!
//! Only a share that is wrong is ever kept waiting: one that matches a commitment is not looked at here. Deliberately
//! absent: what was wrong about a share, and who gave it; that stands in the trail.

use keyclave_types::envelope::Stored;
use keyclave_types::time::UnixMillis;
use serde::{Deserialize, Serialize};

/// Wrong shares that are answered at once: people mistake one share for another.
const FREE: u32 = 3;
/// Rest after the first wrong share that is not free; it doubles with each.
const REST_MS_MIN: u64 = 1_000;
/// The longest rest.
const REST_MS_MAX: u64 = 60_000;

/// How often somebody was wrong since a ceremony was last completed here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Guesses {
    /// How many wrong shares were looked at.
    pub wrong: u32,
    /// When the last of them came.
    pub last_at: UnixMillis,
}

impl Stored for Guesses {
    const FORMAT: u8 = 1;
}

impl Guesses {
    /// The count with one more wrong share; nothing while the rest after the last one is not over, when a wrong share is
    /// not even named.
    pub(crate) fn with_another(self, now: UnixMillis) -> Option<Self> {
        // A clock that jumps, in either direction, ends the rest at most early.
        let rested = self.last_at.0.abs_diff(now.0) >= self.rest_ms();
        rested.then(|| Self { wrong: self.wrong.saturating_add(1), last_at: now })
    }

    fn rest_ms(self) -> u64 {
        match self.wrong.checked_sub(FREE) {
            None => 0,
            Some(doublings) => {
                let factor = 1_u64.checked_shl(doublings).unwrap_or(u64::MAX);
                REST_MS_MIN.saturating_mul(factor).min(REST_MS_MAX)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_shares_rest_longer_and_longer_and_never_more_than_a_minute() {
        let mut guesses = Guesses::default();
        let mut now = UnixMillis(1_000_000);
        for _ in 0..FREE {
            guesses = guesses.with_another(now).unwrap();
        }
        for rest in [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000] {
            assert_eq!(guesses.with_another(UnixMillis(now.0 + rest - 1)), None);
            now = UnixMillis(now.0 + rest);
            guesses = guesses.with_another(now).unwrap();
        }
        let most = Guesses { wrong: u32::MAX, last_at: now };
        assert_eq!(most.with_another(UnixMillis(now.0 + 60_000)).map(|more| more.wrong), Some(u32::MAX));
    }

    #[test]
    fn a_clock_that_went_back_keeps_nobody_waiting_for_ever() {
        let guesses = Guesses { wrong: 10, last_at: UnixMillis(1 << 40) };
        assert!(guesses.with_another(UnixMillis(1 << 39)).is_some());
        assert!(guesses.with_another(UnixMillis((1 << 40) - 10)).is_none());
    }

    #[test]
    fn golden_guesses_stay() {
        let stored = keyclave_types::envelope::encode(&Guesses { wrong: 3, last_at: UnixMillis(7) });
        assert_eq!(stored, [1, 3, 7]);
    }
}
