//! If two logs hold an entry of the same index and leader, they are the same up to it (Raft, figure 3).

use std::collections::BTreeMap;

use super::Verdict;
use crate::history::{Event, LogLine, Recorded};

/// Judges every pair of nodes by the logs that they had when somebody looked: an entry is what it is at any moment.
pub fn check(history: &[Recorded]) -> Verdict {
    let logs: Vec<(u64, &[LogLine])> = history
        .iter()
        .filter_map(|recorded| match &recorded.event {
            Event::Log { node, entries } => Some((*node, entries.as_slice())),
            _ => None,
        })
        .collect();
    let (mut judged, mut breaches) = (0, Vec::new());
    for (at, (node, log)) in logs.iter().enumerate() {
        for (other, others) in logs.iter().skip(at + 1).filter(|(other, _)| other != node) {
            let Some(found) = compare(log, others) else { continue };
            judged += 1;
            breaches
                .extend(found.into_iter().map(|at| format!("nodes {node} and {other} differ at index {at}")));
        }
    }
    Verdict::of(judged, breaches)
}

/// The indexes at which the logs differ although a later entry is the same; none if they share no entry.
fn compare(one: &[LogLine], other: &[LogLine]) -> Option<Vec<u64>> {
    let other: BTreeMap<u64, &LogLine> = other.iter().map(|line| (line.index, line)).collect();
    let pairs = || one.iter().filter_map(|line| other.get(&line.index).map(|found| (line, *found)));
    let same = |(line, found): &(&LogLine, &LogLine)| (line.term, line.leader) == (found.term, found.leader);
    let last = pairs().filter(same).map(|(line, _)| line.index).max()?;
    let differ = pairs().filter(|(line, found)| line.index <= last && line != found);
    Some(differ.map(|(line, _)| line.index).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(node: u64, lines: &[(u64, u64, &str)]) -> Recorded {
        let line = |(index, term, hash): &(u64, u64, &str)| LogLine {
            index: *index,
            term: *term,
            leader: 1,
            hash: (*hash).to_owned(),
        };
        Recorded { at_ms: 0, event: Event::Log { node, entries: lines.iter().map(line).collect() } }
    }

    #[test]
    fn logs_may_differ_only_after_the_last_entry_that_they_share() {
        let tail = [log(1, &[(1, 1, "a"), (2, 1, "b")]), log(2, &[(1, 1, "a"), (2, 2, "c")])];
        assert_eq!(check(&tail), Verdict::Held);
        let middle = [log(1, &[(1, 1, "a"), (2, 2, "b")]), log(2, &[(1, 1, "x"), (2, 2, "b")])];
        assert!(matches!(check(&middle), Verdict::Violated(_)));
        let content = [log(1, &[(1, 1, "a")]), log(2, &[(1, 1, "b")])];
        assert!(matches!(check(&content), Verdict::Violated(_)));
    }

    #[test]
    fn logs_without_a_common_entry_are_not_judged() {
        assert!(matches!(check(&[log(1, &[(1, 1, "a")]), log(2, &[(2, 1, "b")])]), Verdict::Unknown(_)));
    }
}
