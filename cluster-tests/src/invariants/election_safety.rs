//! At most one node leads in a term (Raft, figure 3).

use std::collections::{BTreeMap, BTreeSet};

use super::Verdict;
use crate::history::{Event, Recorded};

/// Judges every term in which somebody led.
pub fn check(history: &[Recorded]) -> Verdict {
    let mut leaders: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    for recorded in history {
        if let Event::Leading { node, term } = recorded.event {
            leaders.entry(term).or_default().insert(node);
        }
    }
    let twice = leaders.iter().filter(|(_, nodes)| nodes.len() > 1);
    let breaches = twice.map(|(term, nodes)| format!("nodes {nodes:?} led in term {term}")).collect();
    Verdict::of(leaders.len(), breaches)
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

    #[test]
    fn two_leaders_in_one_term_are_found() {
        assert_eq!(check(&led(&[(1, 1), (2, 2), (1, 3), (1, 3)])), Verdict::Held);
        assert!(matches!(check(&led(&[(1, 1), (2, 1)])), Verdict::Violated(_)));
        assert!(matches!(check(&[]), Verdict::Unknown(_)));
    }
}
