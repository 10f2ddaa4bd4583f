//! Each due rotation happens exactly once, when it is due: no moment at which a key fell due has two versions, none is
//! made early, all lie on the beat that began with the key, and none is missing but for those that a cluster which was
//! down caught up on with one. What was told once is told ever after.
//!
//! A clock that leaps further than is believed moves nothing. One that jumps by less is believed (docs/time.md), so a
//! run with such jumps may rotate as early as that.

use super::Verdict;
use crate::history::{Event, Recorded};

/// How far a clock may be ahead and still be believed, so that what it says is due is due.
const BELIEVED_MS_MAX: u64 = 600_000;
/// The class of faults that are such clocks.
const BELIEVED_CLASS: &str = "clock-jump";
/// How late a rotation may be when the key is described at the end.
const LATE_MS_MAX: u64 = 10_000;

/// Judges every key that rotates by itself.
pub fn check(history: &[Recorded]) -> Verdict {
    let (mut judged, mut breaches) = (0, Vec::new());
    let (mut believed_ms, mut told): (u64, &[u64]) = (0, &[]);
    for recorded in history {
        match &recorded.event {
            Event::Fault { class, .. } if class == BELIEVED_CLASS => believed_ms = BELIEVED_MS_MAX,
            Event::Scheduled { key, every_ms, due_ms, made_ms, now_ms, at_rest } => {
                judged += usize::from(*at_rest);
                let rhythm = Rhythm { every_ms: *every_ms, due_ms, made_ms: *made_ms };
                let until_ms = now_ms.saturating_add(believed_ms);
                let found = rhythm.breaches(until_ms).into_iter().chain(rhythm.missing(*now_ms, *at_rest));
                breaches.extend(found.map(|what| format!("key {key} {what}: {due_ms:?} at {now_ms}")));
                if !due_ms.starts_with(told) && !told.starts_with(due_ms) {
                    breaches.push(format!("key {key} was told of with {told:?}, then with {due_ms:?}"));
                }
                told = if due_ms.len() > told.len() { due_ms } else { told };
            }
            _ => {}
        }
    }
    Verdict::of(judged, breaches)
}

/// A key's rotations as they were told.
struct Rhythm<'a> {
    every_ms: u64,
    due_ms: &'a [u64],
    made_ms: u64,
}

impl Rhythm<'_> {
    fn breaches(&self, until_ms: u64) -> Vec<&'static str> {
        let pairs = || self.due_ms.windows(2).filter_map(|pair| pair.first().zip(pair.last()));
        let off_beat = |due: &u64| {
            due.checked_sub(self.made_ms)
                .is_none_or(|since| since == 0 || !since.is_multiple_of(self.every_ms))
        };
        let found = [
            (pairs().any(|(one, next)| one == next), "was rotated twice for one moment"),
            (pairs().any(|(one, next)| next < one), "has rotations out of order"),
            (self.due_ms.iter().any(|due| *due > until_ms), "was rotated before it was due"),
            (self.due_ms.iter().any(off_beat), "was rotated off its beat"),
        ];
        found.into_iter().filter_map(|(is, what)| is.then_some(what)).collect()
    }

    fn missing(&self, now_ms: u64, at_rest: bool) -> Option<&'static str> {
        let last = self.due_ms.last().unwrap_or(&self.made_ms);
        let late = now_ms.saturating_sub(*last) > self.every_ms + LATE_MS_MAX;
        (at_rest && late).then_some("lacks a rotation")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::is_violated;

    fn told(due_ms: &[u64], now_ms: u64, at_rest: bool) -> Event {
        Event::Scheduled {
            key: 1,
            every_ms: 60_000,
            due_ms: due_ms.to_vec(),
            made_ms: 1_000,
            now_ms,
            at_rest,
        }
    }

    fn violated(events: &[Event]) -> bool {
        is_violated(check, events.iter().cloned())
    }

    fn wrong(due_ms: &[u64], now_ms: u64) -> bool {
        violated(&[told(due_ms, now_ms, true)])
    }

    #[test]
    fn a_rotation_that_is_doubled_early_off_beat_or_missing_is_found() {
        assert!(!wrong(&[], 60_000));
        assert!(!wrong(&[61_000, 121_000], 130_000));
        assert!(wrong(&[61_000, 61_000], 70_000));
        assert!(wrong(&[121_000, 61_000], 130_000));
        assert!(wrong(&[61_000], 60_999), "a second ahead is early");
        assert!(wrong(&[62_000], 70_000), "off the beat");
        assert!(wrong(&[1_000], 70_000), "at its making");
        assert!(wrong(&[], 80_000));
        assert!(wrong(&[61_000], 140_000));
    }

    #[test]
    fn a_cluster_that_was_down_catches_up_with_one() {
        assert!(!wrong(&[61_000, 301_000], 310_000));
    }

    #[test]
    fn a_clock_that_jumps_within_what_is_believed_may_be_early_and_one_that_leaps_may_not() {
        let clock = |class: &str| Event::Fault { class: class.to_owned(), node: 1 };
        for (early, due_ms) in [(false, 61_000), (true, 3_661_000)] {
            let then = |class| violated(&[clock(class), told(&[due_ms], 60_000, true)]);
            assert_eq!(then("clock-jump"), early);
            assert!(then("clock-leap"));
        }
    }

    #[test]
    fn before_the_cluster_has_healed_a_rotation_may_be_late_but_not_early_and_stays() {
        let caught_up = told(&[181_000], 200_000, true);
        assert!(!violated(&[told(&[], 200_000, false), caught_up]));
        assert!(violated(&[told(&[61_000], 60_000, false)]));
        assert!(
            !violated(&[
                told(&[61_000], 70_000, false),
                told(&[], 70_000, false),
                told(&[61_000], 70_000, true)
            ]),
            "told in another order"
        );
        assert!(violated(&[told(&[61_000], 200_000, false), told(&[121_000], 200_000, false)]));
    }
}
