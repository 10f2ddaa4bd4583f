//! Each due rotation happens exactly once: no moment at which a key fell due has two versions, and none is missing
//! but for those that a cluster which was down caught up on with one.

use std::collections::BTreeSet;

use super::Verdict;
use crate::history::{Event, Recorded};

/// How far a clock may be ahead and still be believed, so that what it says is due is due.
const BELIEVED_MS_MAX: u64 = 600_000;
/// How late a rotation may be when the key is described at the end.
const LATE_MS_MAX: u64 = 10_000;

/// Judges every key that rotates by itself.
pub fn check(history: &[Recorded]) -> Verdict {
    let (mut judged, mut breaches) = (0, Vec::new());
    for recorded in history {
        let Event::Scheduled { key, every_ms, due_ms, made_ms, now_ms } = &recorded.event else { continue };
        judged += 1;
        let distinct: BTreeSet<u64> = due_ms.iter().copied().collect();
        if distinct.len() != due_ms.len() {
            breaches.push(format!("key {key} was rotated twice for one moment: {due_ms:?}"));
        }
        if due_ms.windows(2).any(|pair| matches!(pair, [one, next] if next < one)) {
            breaches.push(format!("key {key}'s rotations are out of order: {due_ms:?}"));
        }
        if due_ms.iter().any(|due| *due < *made_ms || *due > now_ms.saturating_add(BELIEVED_MS_MAX)) {
            breaches.push(format!("key {key} was rotated before it was due: {due_ms:?} at {now_ms}"));
        }
        let last = due_ms.last().unwrap_or(made_ms);
        if now_ms.saturating_sub(*last) > every_ms + LATE_MS_MAX {
            breaches.push(format!("key {key}'s last rotation was due {last}, and it is {now_ms}"));
        }
    }
    Verdict::of(judged, breaches)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violated(due_ms: &[u64], now_ms: u64) -> bool {
        let event =
            Event::Scheduled { key: 1, every_ms: 60_000, due_ms: due_ms.to_vec(), made_ms: 1_000, now_ms };
        matches!(check(&[Recorded { at_ms: 0, event }]), Verdict::Violated(_))
    }

    #[test]
    fn a_rotation_that_is_doubled_early_or_missing_is_found() {
        assert!(!violated(&[], 60_000));
        assert!(!violated(&[61_000, 121_000], 130_000));
        assert!(violated(&[61_000, 61_000], 70_000));
        assert!(violated(&[121_000, 61_000], 130_000));
        assert!(!violated(&[61_000], 60_000), "a clock that was a second ahead is believed");
        assert!(violated(&[3_661_000], 60_000), "one that was an hour ahead is not");
        assert!(violated(&[], 80_000));
        assert!(violated(&[61_000], 140_000));
    }

    #[test]
    fn a_cluster_that_was_down_catches_up_with_one() {
        assert!(!violated(&[61_000, 301_000], 310_000));
    }
}
