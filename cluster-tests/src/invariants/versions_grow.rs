//! Versions of a key strictly grow: what is answered later never tells of an earlier version, and no two rotations make
//! the same one. It follows from the keys' linearizability; here it is judged by itself, without a search.

use std::collections::{BTreeMap, BTreeSet};

use super::Verdict;
use super::linearizable::answers;
use crate::history::{Act, Answer, Event, Key, KeyAct, KeyAnswer, Recorded};

/// Judges every version that an answer tells of.
pub fn check(history: &[Recorded]) -> Verdict {
    let answers = answers(history);
    let mut asked: BTreeMap<u64, Asked> = BTreeMap::new();
    let mut newest: BTreeMap<Key, u32> = BTreeMap::new();
    let mut made: BTreeSet<(Key, u32)> = BTreeSet::new();
    let (mut judged, mut breaches) = (0, Vec::new());
    for (moment, recorded) in history.iter().enumerate() {
        match &recorded.event {
            Event::Invoked { operation, act: Act::Key { key, act }, .. } => {
                let floor = newest.get(key).copied().unwrap_or(0);
                asked.insert(*operation, Asked { key: *key, act: *act, floor });
            }
            Event::Answered { operation, .. } => {
                let Some(Asked { key, act, floor }) = asked.remove(operation) else { continue };
                let answer =
                    answers.get(operation).filter(|(at, _)| *at == moment).map(|(_, answer)| *answer);
                let Some(version) = answer.and_then(|answer| tells_of(act, answer)) else { continue };
                judged += 1;
                let grows = matches!(act, KeyAct::Rotate | KeyAct::Create);
                if version < floor || (grows && version == floor) {
                    breaches.push(format!("key {key}: {act:?} told of version {version} after {floor}"));
                }
                if grows && !made.insert((key, version)) {
                    breaches.push(format!("key {key}: version {version} was made twice"));
                }
                let newest = newest.entry(key).or_default();
                *newest = version.max(*newest);
            }
            _ => {}
        }
    }
    Verdict::of(judged, breaches)
}

/// An act that was not answered yet, and the newest version that any answer had told of before it began.
struct Asked {
    key: Key,
    act: KeyAct,
    floor: u32,
}

/// The key's newest version, if the answer tells of it.
fn tells_of(act: KeyAct, answer: &Answer) -> Option<u32> {
    match (act, answer) {
        (_, Answer::Key(KeyAnswer::Is { primary, .. })) => Some(*primary),
        (KeyAct::Encrypt, Answer::Key(KeyAnswer::Used(version))) => Some(*version),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::is_violated;

    fn asked(operation: u64, act: KeyAct) -> Event {
        Event::Invoked { operation, node: 1, act: Act::Key { key: 1, act } }
    }

    fn is(operation: u64, primary: u32) -> Event {
        Event::Answered { operation, answer: Answer::Key(KeyAnswer::Is { primary, enabled: true }) }
    }

    fn used(operation: u64, version: u32) -> Event {
        Event::Answered { operation, answer: Answer::Key(KeyAnswer::Used(version)) }
    }

    fn violated(events: &[Event]) -> bool {
        is_violated(check, events.iter().cloned())
    }

    #[test]
    fn a_version_that_is_made_twice_is_found() {
        let one = |other| [asked(1, KeyAct::Rotate), asked(2, KeyAct::Rotate), is(1, 2), is(2, other)];
        assert!(!violated(&one(3)));
        assert!(violated(&one(2)), "also when both were under way at a time");
    }

    #[test]
    fn an_answer_that_tells_of_an_earlier_version_is_found() {
        let then = |act, answer| [asked(1, KeyAct::Rotate), is(1, 5), asked(2, act), answer];
        assert!(!violated(&then(KeyAct::Describe, is(2, 5))));
        assert!(violated(&then(KeyAct::Describe, is(2, 4))));
        assert!(!violated(&then(KeyAct::Encrypt, used(2, 5))));
        assert!(violated(&then(KeyAct::Encrypt, used(2, 4))));
        assert!(!violated(&then(KeyAct::Decrypt(4), used(2, 4))), "old versions still decrypt");
        assert!(violated(&then(KeyAct::Rotate, is(2, 5))));
    }

    #[test]
    fn what_was_asked_before_may_tell_of_what_was_then() {
        assert!(!violated(&[asked(1, KeyAct::Describe), asked(2, KeyAct::Rotate), is(2, 2), is(1, 1)]));
    }
}
