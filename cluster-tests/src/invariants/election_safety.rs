//! Whoever leads later has the higher leader id, and nothing is appended under a lower one after it.
//!
//! openraft orders leaders by term and then by node: two nodes may lead in one term, the second one having deposed
//! the first, so the classic "one leader per term" (Raft, figure 3) is "one leader per leader id" here, and what
//! must hold is the order: in every log leader ids never fall, and two logs never hold entries of one index under
//! leader ids of which neither gave way.

use std::collections::BTreeMap;

use super::Verdict;
use crate::history::{Event, LogLine, Recorded};

/// Judges the logs that nodes had at the end, and each node's own leaderships.
pub fn check(history: &[Recorded]) -> Verdict {
    let (mut judged, mut breaches) = (0, Vec::new());
    let mut led: BTreeMap<u64, u64> = BTreeMap::new();
    for recorded in history {
        match &recorded.event {
            Event::Leading { node, term } => {
                judged += 1;
                if led.insert(*node, *term).is_some_and(|before| before > *term) {
                    breaches.push(format!("node {node} led in term {term} after a later one"));
                }
            }
            Event::Log { node, entries } => {
                judged += entries.len();
                breaches
                    .extend(falls(entries).map(|index| format!("node {node}: the leader falls at {index}")));
            }
            _ => {}
        }
    }
    Verdict::of(judged, breaches)
}

/// Where an entry's leader is below that of the entry before.
fn falls(entries: &[LogLine]) -> impl Iterator<Item = u64> {
    entries.windows(2).filter_map(|pair| match pair {
        [before, after] if (after.term, after.leader) < (before.term, before.leader) => Some(after.index),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn led(pairs: &[(u64, u64)]) -> Vec<Recorded> {
        pairs
            .iter()
            .map(|(node, term)| Recorded { at_ms: 0, event: Event::Leading { node: *node, term: *term } })
            .collect()
    }

    fn log(leaders: &[(u64, u64)]) -> Vec<Recorded> {
        let line = |((term, leader), index): (&(u64, u64), u64)| LogLine {
            index,
            term: *term,
            leader: *leader,
            hash: String::new(),
        };
        let entries = leaders.iter().zip(0..).map(line).collect();
        vec![Recorded { at_ms: 0, event: Event::Log { node: 1, entries } }]
    }

    #[test]
    fn a_node_never_leads_in_an_earlier_term_again() {
        assert_eq!(check(&led(&[(1, 1), (2, 2), (1, 3), (2, 3)])), Verdict::Held);
        assert!(matches!(check(&led(&[(1, 2), (1, 1)])), Verdict::Violated(_)));
        assert!(matches!(check(&[]), Verdict::Unknown(_)));
    }

    #[test]
    fn a_log_in_which_an_earlier_leader_comes_back_is_found() {
        assert_eq!(check(&log(&[(1, 1), (1, 2), (2, 1)])), Verdict::Held);
        assert!(matches!(check(&log(&[(2, 1), (1, 2)])), Verdict::Violated(_)));
        assert!(matches!(check(&log(&[(1, 2), (1, 1)])), Verdict::Violated(_)));
    }
}
