//! Nodes that applied the same index have the same state.

use std::collections::BTreeMap;

use super::Verdict;
use crate::history::{Event, Recorded};

/// Judges every index at which at least two nodes were seen.
pub fn check(history: &[Recorded]) -> Verdict {
    let mut seen: BTreeMap<u64, BTreeMap<u64, &str>> = BTreeMap::new();
    let mut breaches = Vec::new();
    for recorded in history {
        let Event::Applied { node, index, digest } = &recorded.event else { continue };
        let at = seen.entry(*index).or_default();
        if let Some((other, found)) = at.iter().find(|(_, found)| **found != digest) {
            breaches.push(format!("at index {index} node {other} has {found}, node {node} has {digest}"));
        }
        at.insert(*node, digest);
    }
    Verdict::of(seen.values().filter(|nodes| nodes.len() > 1).count(), breaches)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(rows: &[(u64, u64, &str)]) -> Vec<Recorded> {
        let event = |(node, index, digest): &(u64, u64, &str)| Event::Applied {
            node: *node,
            index: *index,
            digest: (*digest).to_owned(),
        };
        rows.iter().map(|row| Recorded { at_ms: 0, event: event(row) }).collect()
    }

    #[test]
    fn different_states_at_one_index_are_found() {
        assert_eq!(check(&applied(&[(1, 5, "a"), (2, 5, "a"), (2, 6, "b")])), Verdict::Held);
        assert!(matches!(check(&applied(&[(1, 5, "a"), (2, 5, "b")])), Verdict::Violated(_)));
    }

    #[test]
    fn one_node_that_comes_to_another_state_at_its_index_is_found() {
        assert!(matches!(check(&applied(&[(1, 5, "a"), (1, 5, "b")])), Verdict::Violated(_)));
    }

    #[test]
    fn a_run_without_common_indexes_is_unknown() {
        assert!(matches!(check(&applied(&[(1, 5, "a"), (2, 6, "b")])), Verdict::Unknown(_)));
    }
}
