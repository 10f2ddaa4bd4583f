//! Every acknowledged write is in every node's records at the end, or was overwritten or deleted by a later one.

use std::collections::BTreeMap;

use super::Verdict;
use crate::history::{Act, Answer, Event, Held, Key, Recorded};

/// Judges every acknowledged put against every node's records.
pub fn check(history: &[Recorded]) -> Verdict {
    let writes = Writes::of(history);
    let (mut judged, mut breaches) = (0, Vec::new());
    for recorded in history {
        let Event::Records { node, records } = &recorded.event else { continue };
        for (key, written) in &writes.acknowledged {
            judged += 1;
            let found = records.get(key).copied();
            let kept = match found {
                Some(held) if held.revision == written.revision => held == *written,
                Some(held) => held.revision > written.revision,
                None => false,
            };
            // A delete names the revision that it deletes; one without an answer may have happened.
            let deleted = writes.deleted.get(key).is_some_and(|revision| *revision >= written.revision);
            if !kept && !deleted {
                breaches.push(format!("node {node} has {found:?} under {key}, acknowledged was {written:?}"));
            }
        }
    }
    Verdict::of(judged, breaches)
}

/// What was written, the highest revision per record.
#[derive(Default)]
struct Writes {
    acknowledged: BTreeMap<Key, Held>,
    deleted: BTreeMap<Key, u64>,
}

impl Writes {
    fn of(history: &[Recorded]) -> Self {
        let answers: BTreeMap<u64, &Answer> = history
            .iter()
            .filter_map(|recorded| match &recorded.event {
                Event::Answered { operation, answer } => Some((*operation, answer)),
                _ => None,
            })
            .collect();
        let mut writes = Self::default();
        for recorded in history {
            let Event::Invoked { operation, act: Act::Transact { expects, changes }, .. } = &recorded.event
            else {
                continue;
            };
            let answer = answers.get(operation).copied();
            for (key, change) in changes {
                match (change, answer) {
                    (Some(held), Some(Answer::Committed { .. })) => writes.put(*key, *held),
                    (None, Some(Answer::Committed { .. }) | None) => {
                        writes.delete(*key, expects.get(key).copied().flatten());
                    }
                    _ => {}
                }
            }
        }
        writes
    }

    fn put(&mut self, key: Key, held: Held) {
        let highest = self.acknowledged.entry(key).or_insert(held);
        if held.revision > highest.revision {
            *highest = held;
        }
    }

    fn delete(&mut self, key: Key, revision: Option<u64>) {
        let highest = self.deleted.entry(key).or_default();
        *highest = (*highest).max(revision.unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(operation: u64, revision: u64, committed: bool) -> Vec<Recorded> {
        let changes = BTreeMap::from([(7, Some(Held { revision, value: operation }))]);
        let act = Act::Transact { expects: BTreeMap::new(), changes };
        let mut events = vec![Event::Invoked { operation, node: 1, act }];
        if committed {
            events.push(Event::Answered { operation, answer: Answer::Committed { index: revision } });
        }
        events.into_iter().map(|event| Recorded { at_ms: 0, event }).collect()
    }

    fn delete(operation: u64, revision: u64) -> Recorded {
        let expects = BTreeMap::from([(7, Some(revision))]);
        let act = Act::Transact { expects, changes: BTreeMap::from([(7, None)]) };
        Recorded { at_ms: 0, event: Event::Invoked { operation, node: 1, act } }
    }

    fn records(held: Option<(u64, u64)>) -> Recorded {
        let records = held.map(|(revision, value)| (7, Held { revision, value })).into_iter().collect();
        Recorded { at_ms: 9, event: Event::Records { node: 3, records } }
    }

    fn verdict(mut history: Vec<Recorded>, end: Option<(u64, u64)>) -> Verdict {
        history.push(records(end));
        check(&history)
    }

    #[test]
    fn a_lost_or_altered_write_is_found() {
        assert_eq!(verdict(write(1, 5, true), Some((5, 1))), Verdict::Held);
        assert!(matches!(verdict(write(1, 5, true), None), Verdict::Violated(_)));
        assert!(matches!(verdict(write(1, 5, true), Some((4, 0))), Verdict::Violated(_)));
        assert!(matches!(verdict(write(1, 5, true), Some((5, 2))), Verdict::Violated(_)));
    }

    #[test]
    fn a_write_may_be_overwritten_or_deleted_afterwards() {
        assert_eq!(verdict(write(1, 5, true), Some((6, 2))), Verdict::Held);
        let mut deleted = write(1, 5, true);
        deleted.push(delete(2, 5));
        assert_eq!(verdict(deleted, None), Verdict::Held);
        let mut earlier = write(1, 5, true);
        earlier.push(delete(2, 4));
        assert!(matches!(verdict(earlier, None), Verdict::Violated(_)));
    }

    #[test]
    fn a_write_without_an_answer_is_not_demanded() {
        assert!(matches!(verdict(write(1, 5, false), None), Verdict::Unknown(_)));
    }
}
