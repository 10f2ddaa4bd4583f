//! A sealed node holds no key (P5): it answers nothing about any key, and no disk or trail holds a byte of root or
//! keyring, a share, a token, a plaintext or a key's name. What its process holds in memory, `live_memory` searches.
//!
//! A node is sealed from the start of its process until it sees itself unsealed, and again from when it sees itself
//! sealed. Judged are answers to what was asked of one node while it was sealed and had been answered well before it
//! was unsealed: it looks at itself every few milliseconds only.

use super::Verdict;
use super::linearizable::answers;
use crate::history::{Act, Answer, Event, Recorded};

/// How long before it sees itself unsealed a node may be so.
const UNSEEN_MS_MAX: u64 = 20;

/// Judges every answer of a sealed node, and every disk that was searched.
pub fn check(history: &[Recorded]) -> Verdict {
    let answers = answers(history);
    let (mut judged, mut breaches) = (0, Vec::new());
    for (moment, recorded) in history.iter().enumerate() {
        match &recorded.event {
            Event::Searched { node, bytes, hits } => {
                judged += usize::try_from(*bytes).unwrap_or(usize::MAX);
                if *hits > 0 {
                    breaches.push(format!("what node {node} keeps holds something secret in {hits} places"));
                }
            }
            Event::Invoked { operation, node, act: Act::Key { key, .. } } => {
                let Some((answered, answer)) = answers.get(operation) else { continue };
                if !is_sealed_until(history, *node, moment, *answered) {
                    continue;
                }
                judged += 1;
                if matches!(answer, Answer::Key(_)) {
                    breaches.push(format!("node {node} was sealed and said of key {key}: {answer:?}"));
                }
            }
            _ => {}
        }
    }
    Verdict::of(judged, breaches)
}

/// Whether the node was sealed at one moment and is until another.
fn is_sealed_until(history: &[Recorded], node: u64, from: usize, to: usize) -> bool {
    let (before, rest) = history.split_at(from.min(history.len()));
    let sealed = |recorded: &Recorded| match recorded.event {
        Event::Started { node: of } | Event::Sealed { node: of } if of == node => Some(true),
        Event::Unsealed { node: of } if of == node => Some(false),
        _ => None,
    };
    let was_sealed = before.iter().rev().find_map(sealed).unwrap_or(false);
    let Some(answered) = history.get(to) else { return false };
    let near = |recorded: &&Recorded| recorded.at_ms <= answered.at_ms.saturating_add(UNSEEN_MS_MAX);
    was_sealed && rest.iter().take_while(near).all(|recorded| sealed(recorded) != Some(false))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{KeyAct, KeyAnswer};

    fn violated(events: &[(u64, Event)]) -> bool {
        let recorded = |(at_ms, event): &(u64, Event)| Recorded { at_ms: *at_ms, event: event.clone() };
        let history: Vec<_> = events.iter().map(recorded).collect();
        match check(&history) {
            Verdict::Violated(_) => true,
            Verdict::Held => false,
            Verdict::Unknown(why) => panic!("{why}"),
        }
    }

    const SEARCHED: Event = Event::Searched { node: 1, bytes: 9, hits: 0 };
    const ASKED: Event =
        Event::Invoked { operation: 1, node: 1, act: Act::Key { key: 1, act: KeyAct::Describe } };
    const ABSENT: Event = Event::Answered { operation: 1, answer: Answer::Key(KeyAnswer::Absent) };
    const REFUSED: Event = Event::Answered { operation: 1, answer: Answer::Refused };

    #[test]
    fn an_answer_of_a_sealed_node_is_found() {
        let then = |before: Event, answer: Event, after: Event, after_ms: u64| {
            violated(&[(0, SEARCHED), (1, before), (2, ASKED), (3, answer), (after_ms, after)])
        };
        let (started, sealed) = (Event::Started { node: 1 }, Event::Sealed { node: 1 });
        let unsealed = || Event::Unsealed { node: 1 };
        assert!(then(started.clone(), ABSENT, unsealed(), 90));
        assert!(then(sealed, ABSENT, unsealed(), 90));
        assert!(!then(started.clone(), REFUSED, unsealed(), 90));
        assert!(!then(started, ABSENT, unsealed(), 10), "it may have been unsealed by then");
        assert!(!then(unsealed(), ABSENT, Event::Sealed { node: 1 }, 90));
        assert!(!then(Event::Started { node: 2 }, ABSENT, unsealed(), 90), "another node");
    }

    #[test]
    fn a_secret_on_a_disk_is_found() {
        assert!(!violated(&[(0, SEARCHED)]));
        assert!(violated(&[(0, Event::Searched { node: 1, bytes: 9, hits: 1 })]));
    }
}
