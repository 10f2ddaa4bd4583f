//! Up to where request ids may be refused: which indexes were applied how long ago.
//!
//! Every unsealed node marks them as they pass, so that whoever leads knows. Called by the node, which brings what has
//! passed. Deliberately absent: raising the horizon, which is [`crate::upkeep::Upkeep::RaiseHorizon`].

use std::collections::VecDeque;

/// For how long after it was applied a request id is good for a retry at least, in milliseconds.
pub const RETRY_MS_MAX: u64 = 600_000;
/// Between two marks, in milliseconds.
pub const MARK_EVERY_MS: u64 = 60_000;

/// Indexes and when they were applied, the oldest first; at most one more than fit into [`RETRY_MS_MAX`].
#[derive(Clone, Default, Debug)]
pub struct Marks(VecDeque<Mark>);

#[derive(Clone, Copy, Debug)]
struct Mark {
    at_ms: u64,
    index: u64,
}

impl Marks {
    /// Marks that `index` is applied at `at_ms`, a measure that only grows, if it is time for another mark.
    pub fn pass(&mut self, at_ms: u64, index: u64) {
        if self.0.back().is_some_and(|last| at_ms < last.at_ms.saturating_add(MARK_EVERY_MS)) {
            return;
        }
        self.0.push_back(Mark { at_ms, index });
        while self.0.get(1).is_some_and(|second| is_old(*second, at_ms)) {
            self.0.pop_front();
        }
    }

    /// The index below which no request began within [`RETRY_MS_MAX`] before `at_ms`, as far as is known.
    pub fn horizon(&self, at_ms: u64) -> Option<u64> {
        self.0.front().filter(|first| is_old(**first, at_ms)).map(|first| first.index)
    }
}

fn is_old(mark: Mark, at_ms: u64) -> bool {
    at_ms >= mark.at_ms.saturating_add(RETRY_MS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_below_the_horizon_ten_minutes_after_it_was_applied_and_not_before() {
        let mut marks = Marks::default();
        for second in 0..7_200_u64 {
            let at_ms = second * 1_000;
            marks.pass(at_ms, second);
            match marks.horizon(at_ms) {
                None => assert!(second < 600),
                Some(index) => assert!((600..=660).contains(&(second - index)), "{second}: {index}"),
            }
            assert!(marks.0.len() <= 12, "marks do not pile up");
        }
    }

    #[test]
    fn after_a_long_silence_the_horizon_is_what_was_applied_before_it() {
        let mut marks = Marks::default();
        marks.pass(0, 5);
        assert_eq!(marks.horizon(RETRY_MS_MAX - 1), None);
        marks.pass(10 * RETRY_MS_MAX, 90);
        assert_eq!(marks.horizon(10 * RETRY_MS_MAX), Some(5), "what came meanwhile may be young");
    }
}
