//! What a node needs from outside, as values: wall clock, entropy, and the place that survives a restart of the
//! process but not of the machine. The binary gives the real ones, the simulator seeded ones.
//!
//! Deliberately absent: monotonic time and timers, which are `tokio::time` (the simulator pauses it).

use std::sync::Arc;

use keyclave_types::time::UnixMillis;

/// The wall clock. It may jump; nothing trusts it alone.
pub trait Clock: Send + Sync + 'static {
    /// What the clock shows.
    fn now(&self) -> UnixMillis;
    /// Milliseconds since some moment, the same for all of a process: they never go back, and go on while the machine is
    /// suspended. `None`: there is no such count, and nothing is answered from an older confirmation.
    fn counted_ms(&self) -> Option<u64> {
        None
    }
}

/// How far the count of milliseconds and the wall clock may drift apart before neither is believed about an age.
pub const CLOCKS_APART_MS_MAX: u64 = 1_000;

/// One moment by both of a machine's clocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    counted_ms: u64,
    wall: UnixMillis,
}

impl Moment {
    /// This one; none where there is no count.
    pub fn now(clock: &dyn Clock) -> Option<Self> {
        Some(Self { counted_ms: clock.counted_ms()?, wall: clock.now() })
    }

    /// How long before `later` this was, by whichever clock says more. None if the two disagree, so that neither a clock
    /// that was set nor a machine that was stopped makes an old confirmation young.
    pub fn age_ms(self, later: Self) -> Option<u64> {
        let counted = later.counted_ms.checked_sub(self.counted_ms)?;
        let (since, until) = (self.wall.0, later.wall.0);
        // A wall clock that was set back a little is not yet off.
        let apart = if until >= since {
            counted.abs_diff(until - since)
        } else {
            counted.saturating_add(since - until)
        };
        (apart <= CLOCKS_APART_MS_MAX).then(|| counted.max(until.saturating_sub(since)))
    }
}

/// Where seeds for entropy come from.
pub trait EntropySource: Send + Sync + 'static {
    /// 32 fresh unpredictable bytes.
    fn seed(&self) -> [u8; 32];
}

/// Memory that outlives the process and never reaches a disk: a tmpfs directory without swap.
///
/// Holds the private half of the restart key and nothing else.
pub trait RuntimeMemory: Send + Sync + 'static {
    /// Whether it may be used at all; if not, why, for the log and for `status`.
    fn usable(&self) -> Result<(), RuntimeUnusable>;
    /// What was stored by an earlier process of this boot, if anything.
    fn load(&self) -> Option<[u8; 32]>;
    /// Replaces what is stored. Answers whether it is there now.
    fn store(&self, seed: &[u8; 32]) -> bool;
    /// Overwrites and removes what is stored.
    fn wipe(&self);
}

/// Why a runtime directory cannot hold a restart key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RuntimeUnusable {
    /// None was given.
    #[error("no runtime directory is configured")]
    Absent,
    /// It is on something that reaches a disk.
    #[error("the runtime directory is not on tmpfs")]
    NotTmpfs,
    /// Its pages could be swapped out.
    #[error("swap is on and the tmpfs is not mounted noswap")]
    Swap,
    /// It cannot be written, or others can read it.
    #[error("the runtime directory is not writable by this user alone")]
    Access,
}

/// Everything a node needs from outside but disk and network.
#[derive(Clone)]
pub struct World {
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Seeds.
    pub entropy: Arc<dyn EntropySource>,
    /// The restart key's place.
    pub runtime: Arc<dyn RuntimeMemory>,
    /// Makes the certificates that clients see.
    pub authority: Arc<dyn crate::authority::Authority>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(counted_ms: u64, wall: u64) -> Moment {
        Moment { counted_ms, wall: UnixMillis(wall) }
    }

    #[test]
    fn an_age_is_believed_only_if_both_clocks_say_it() {
        let begun = moment(10_000, 500_000);
        assert_eq!(begun.age_ms(moment(12_000, 502_000)), Some(2_000));
        assert_eq!(begun.age_ms(moment(12_000, 502_900)), Some(2_900), "the greater one counts");
        assert_eq!(begun.age_ms(moment(12_900, 502_000)), Some(2_900));
        assert_eq!(begun.age_ms(moment(10_500, 499_600)), Some(500));
        for (counted, wall) in
            [(12_000, 503_001), (12_000, 500_999), (13_001, 502_000), (9_999, 500_000), (11_000, 499_999)]
        {
            assert_eq!(begun.age_ms(moment(counted, wall)), None, "{counted} {wall}");
        }
    }

    #[test]
    fn without_a_count_there_is_no_moment() {
        struct Wall;
        impl Clock for Wall {
            fn now(&self) -> UnixMillis {
                UnixMillis(1)
            }
        }
        assert_eq!(Moment::now(&Wall), None);
    }
}
