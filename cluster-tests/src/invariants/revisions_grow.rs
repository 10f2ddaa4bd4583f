//! A record's revisions strictly grow in the order of the log, also across delete and recreate.

use std::collections::BTreeMap;

use super::Verdict;
use crate::history::{Act, Answer, Event, Key, Recorded};

/// Judges every record that was put at two indexes.
pub fn check(history: &[Recorded]) -> Verdict {
    let mut puts: BTreeMap<u64, Vec<(Key, u64)>> = BTreeMap::new();
    let mut revisions: BTreeMap<Key, Vec<(u64, u64)>> = BTreeMap::new();
    for recorded in history {
        match &recorded.event {
            Event::Invoked { operation, act: Act::Transact { changes, .. }, .. } => {
                let held =
                    changes.iter().filter_map(|(key, change)| change.map(|held| (*key, held.revision)));
                puts.insert(*operation, held.collect());
            }
            Event::Answered { operation, answer: Answer::Committed { index } } => {
                for (key, revision) in puts.get(operation).into_iter().flatten() {
                    revisions.entry(*key).or_default().push((*index, *revision));
                }
            }
            _ => {}
        }
    }
    let (mut judged, mut breaches) = (0, Vec::new());
    for (key, mut steps) in revisions {
        steps.sort_unstable();
        for pair in steps.windows(2) {
            let [(index, revision), (next_index, next)] = pair else { continue };
            judged += 1;
            // Within one entry the order is not known, but no revision is given twice.
            let grows = if index == next_index { next != revision } else { next > revision };
            if !grows {
                breaches
                    .push(format!("record {key}: revision {revision} at {index}, {next} at {next_index}"));
            }
        }
    }
    Verdict::of(judged, breaches)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Held;

    fn puts(rows: &[(u64, u64)]) -> Vec<Recorded> {
        let mut events = Vec::new();
        for ((index, revision), operation) in rows.iter().zip(0..) {
            let changes = BTreeMap::from([(1, Some(Held { revision: *revision, value: operation }))]);
            let act = Act::Transact { expects: BTreeMap::new(), changes };
            events.push(Event::Invoked { operation, node: 1, act });
            events.push(Event::Answered { operation, answer: Answer::Committed { index: *index } });
        }
        events.into_iter().map(|event| Recorded { at_ms: 0, event }).collect()
    }

    #[test]
    fn a_revision_that_repeats_or_falls_is_found() {
        assert_eq!(check(&puts(&[(1, 1), (2, 2), (5, 9)])), Verdict::Held);
        assert!(matches!(check(&puts(&[(1, 2), (2, 2)])), Verdict::Violated(_)));
        assert!(matches!(check(&puts(&[(1, 3), (2, 2)])), Verdict::Violated(_)));
        assert!(matches!(check(&puts(&[(1, 3), (1, 3)])), Verdict::Violated(_)));
    }

    #[test]
    fn acknowledgements_may_arrive_in_another_order_than_the_log_s() {
        assert_eq!(check(&puts(&[(5, 9), (2, 2), (1, 1)])), Verdict::Held);
    }
}
