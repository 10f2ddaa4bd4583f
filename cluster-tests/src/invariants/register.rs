//! Every answer about a record is linearizable: transactions as compare-and-set, confirmed reads, and conflicts,
//! which are answers about the record too. Checked record by record, which linearizability allows.

use std::collections::BTreeMap;

use super::Verdict;
use super::linearizable::{self, Model, Operation, answers};
use crate::history::{Act, Answer, Event, Held, Key, Recorded};

/// Judges every record that at least one answer speaks of.
pub fn check(history: &[Recorded]) -> Verdict {
    linearizable::judge(&Register, &by_key(history), "record")
}

/// One record.
struct Register;

/// What an act asks of one record.
#[derive(Clone, Copy, Debug)]
enum Ask {
    /// What must stand (if anything must), and what shall stand afterwards (if it is changed).
    Set {
        expect: Option<Option<u64>>,
        change: Option<Option<Held>>,
    },
    Read,
}

/// What an answer says about one record.
#[derive(Clone, Copy, Debug)]
enum Say {
    Made,
    NotAsExpected,
    Found(Option<Held>),
}

impl Model for Register {
    type State = Option<Held>;
    type Input = Ask;
    type Output = Say;

    fn initial(&self) -> Option<Held> {
        None
    }

    fn step(&self, state: &Option<Held>, ask: &Ask, say: Option<&Say>) -> Option<Option<Held>> {
        match (*ask, say.copied()) {
            (Ask::Set { expect, change }, Some(Say::Made) | None) => made(*state, expect, change),
            (Ask::Set { expect, change }, Some(Say::NotAsExpected)) => {
                made(*state, expect, change).is_none().then_some(*state)
            }
            (Ask::Read, Some(Say::Found(found))) => (found == *state).then_some(*state),
            (Ask::Read, None) => Some(*state),
            (Ask::Set { .. }, Some(Say::Found(_))) | (Ask::Read, Some(Say::Made | Say::NotAsExpected)) => {
                None
            }
        }
    }
}

/// The state after the act, if it could be made.
fn made(
    state: Option<Held>,
    expect: Option<Option<u64>>,
    change: Option<Option<Held>>,
) -> Option<Option<Held>> {
    let revision = state.map(|held| held.revision);
    if expect.is_some_and(|expected| expected != revision) {
        return None;
    }
    match change {
        Some(Some(held)) if revision.is_some_and(|revision| held.revision <= revision) => None,
        Some(change) => Some(change),
        None => Some(state),
    }
}

/// The acts on each record with what was said about it; acts that surely did nothing are left out.
fn by_key(history: &[Recorded]) -> BTreeMap<Key, Vec<Operation<Ask, Say>>> {
    let answers = answers(history);
    let mut keys: BTreeMap<Key, Vec<Operation<Ask, Say>>> = BTreeMap::new();
    for (called, recorded) in history.iter().enumerate() {
        let Event::Invoked { operation, act, .. } = &recorded.event else { continue };
        let answer = answers.get(operation).copied();
        for (key, ask) in asks(act) {
            let returned = match answer {
                None => None,
                Some((_, Answer::Refused)) => continue,
                Some((moment, Answer::Committed { .. })) => Some((moment, Say::Made)),
                Some((moment, Answer::Conflict { key: at })) if *at == key => {
                    Some((moment, Say::NotAsExpected))
                }
                // The conflict was about another record and says nothing about this one.
                Some((_, Answer::Conflict { .. })) => continue,
                Some((moment, Answer::Found(found))) => Some((moment, Say::Found(*found))),
                // Answers about keys of the product are judged beside this.
                Some((_, Answer::Key(_))) => continue,
            };
            keys.entry(key).or_default().push(Operation { called, returned, input: ask });
        }
    }
    keys
}

fn asks(act: &Act) -> BTreeMap<Key, Ask> {
    match act {
        Act::Key { .. } => BTreeMap::new(),
        Act::Read { key } => BTreeMap::from([(*key, Ask::Read)]),
        Act::Transact { expects, changes } => expects
            .keys()
            .chain(changes.keys())
            .map(|key| {
                (*key, Ask::Set { expect: expects.get(key).copied(), change: changes.get(key).copied() })
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Held = Held { revision: 1, value: 10 };
    const TWO: Held = Held { revision: 2, value: 20 };

    fn set(operation: u64, expect: Option<u64>, change: Option<Held>) -> Event {
        let act =
            Act::Transact { expects: BTreeMap::from([(1, expect)]), changes: BTreeMap::from([(1, change)]) };
        Event::Invoked { operation, node: 1, act }
    }

    fn read(operation: u64) -> Event {
        Event::Invoked { operation, node: 1, act: Act::Read { key: 1 } }
    }

    fn says(operation: u64, answer: Answer) -> Event {
        Event::Answered { operation, answer }
    }

    fn verdict(events: &[Event]) -> Verdict {
        let history: Vec<_> = events.iter().cloned().map(|event| Recorded { at_ms: 0, event }).collect();
        check(&history)
    }

    fn violated(events: &[Event]) -> bool {
        matches!(verdict(events), Verdict::Violated(_))
    }

    #[test]
    fn a_read_that_misses_an_acknowledged_write_is_found() {
        let made = [set(1, None, Some(ONE)), says(1, Answer::Committed { index: 1 }), read(2)];
        let with = |found| [&made[..], &[says(2, Answer::Found(found))]].concat();
        assert_eq!(verdict(&with(Some(ONE))), Verdict::Held);
        assert!(violated(&with(None)));
        assert!(violated(&with(Some(TWO))));
    }

    #[test]
    fn a_conflict_is_an_answer_and_may_be_false() {
        let made = [set(1, None, Some(ONE)), says(1, Answer::Committed { index: 1 })];
        let second =
            |expect| [&made[..], &[set(2, expect, Some(TWO)), says(2, Answer::Conflict { key: 1 })]].concat();
        assert_eq!(verdict(&second(None)), Verdict::Held);
        assert!(violated(&second(Some(1))));
    }

    #[test]
    fn two_writers_cannot_both_follow_the_same_revision() {
        assert!(violated(&[
            set(1, None, Some(ONE)),
            set(2, None, Some(TWO)),
            says(1, Answer::Committed { index: 1 }),
            says(2, Answer::Committed { index: 2 }),
        ]));
    }

    #[test]
    fn a_write_without_an_answer_may_have_happened_or_not() {
        let begun = [set(1, None, Some(ONE)), read(2)];
        for found in [None, Some(ONE)] {
            assert_eq!(verdict(&[&begun[..], &[says(2, Answer::Found(found))]].concat()), Verdict::Held);
        }
    }

    #[test]
    fn a_refused_act_has_no_effect() {
        assert!(violated(&[
            set(1, None, Some(ONE)),
            says(1, Answer::Refused),
            read(2),
            says(2, Answer::Found(Some(ONE))),
        ]));
    }

    #[test]
    fn a_deleted_record_is_absent() {
        let events = [
            set(1, None, Some(ONE)),
            says(1, Answer::Committed { index: 1 }),
            set(2, Some(1), None),
            says(2, Answer::Committed { index: 2 }),
            read(3),
        ];
        assert_eq!(verdict(&[&events[..], &[says(3, Answer::Found(None))]].concat()), Verdict::Held);
        assert!(violated(&[&events[..], &[says(3, Answer::Found(Some(ONE)))]].concat()));
    }
}
