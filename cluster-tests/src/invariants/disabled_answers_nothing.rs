//! After an acknowledged disable nothing acts on the key (P3): nothing that is asked later, at any node, is encrypted or
//! decrypted, until somebody may have enabled the key again. It follows from the keys' linearizability; here it is
//! judged by itself, without a search.

use std::collections::BTreeMap;

use super::Verdict;
use super::linearizable::answers;
use crate::history::{Act, Answer, Event, Key, KeyAct, KeyAnswer, Recorded};

/// Judges every answer to an encryption or decryption that began after an acknowledged disable.
pub fn check(history: &[Recorded]) -> Verdict {
    let answers = answers(history);
    let mut keys: BTreeMap<Key, Acts> = BTreeMap::new();
    for (begun, recorded) in history.iter().enumerate() {
        let Event::Invoked { operation, act: Act::Key { key, act }, .. } = &recorded.event else { continue };
        let acts = keys.entry(*key).or_default();
        match (act, answers.get(operation)) {
            (KeyAct::SetEnabled(false), Some((ended, Answer::Key(KeyAnswer::Is { .. })))) => {
                acts.disabled.push(Span { begun, ended: *ended });
            }
            // One without an answer may happen at any later time; one that was refused did not.
            (KeyAct::SetEnabled(true), None) => acts.enabled.push(Span { begun, ended: usize::MAX }),
            (KeyAct::SetEnabled(true), Some((ended, Answer::Key(_)))) => {
                acts.enabled.push(Span { begun, ended: *ended });
            }
            (KeyAct::Encrypt | KeyAct::Decrypt(_), Some((ended, Answer::Key(said)))) => {
                acts.used.push((Span { begun, ended: *ended }, *said));
            }
            _ => {}
        }
    }
    let (mut judged, mut breaches) = (0, Vec::new());
    for (key, acts) in &keys {
        for (used, said) in &acts.used {
            let disabled = acts.disabled.iter().filter(|disabled| disabled.ended < used.begun);
            // The disable that began last leaves the least room for an enable in between.
            let Some(disabled) = disabled.max_by_key(|disabled| disabled.begun) else { continue };
            let may_be = |enabled: &Span| enabled.begun < used.ended && enabled.ended > disabled.begun;
            if acts.enabled.iter().any(may_be) {
                continue;
            }
            judged += 1;
            if let KeyAnswer::Used(version) = said {
                breaches.push(format!("version {version} of key {key} was used after it was disabled"));
            }
        }
    }
    // In a short run nobody may have disabled anything that was used later.
    Verdict::of(judged.max(keys.len()), breaches)
}

/// What was done about one key.
#[derive(Default)]
struct Acts {
    disabled: Vec<Span>,
    enabled: Vec<Span>,
    used: Vec<(Span, KeyAnswer)>,
}

/// From the moment of the call to that of the answer.
struct Span {
    begun: usize,
    ended: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::is_violated;

    fn asked(operation: u64, act: KeyAct) -> Event {
        Event::Invoked { operation, node: 1, act: Act::Key { key: 1, act } }
    }

    fn said(operation: u64, answer: KeyAnswer) -> Event {
        Event::Answered { operation, answer: Answer::Key(answer) }
    }

    const IS: KeyAnswer = KeyAnswer::Is { primary: 1, enabled: false };

    fn violated(more: &[Event]) -> bool {
        let disabled = [asked(1, KeyAct::SetEnabled(false)), said(1, IS)];
        is_violated(check, disabled.iter().chain(more).cloned())
    }

    #[test]
    fn a_use_after_an_acknowledged_disable_is_found() {
        for act in [KeyAct::Encrypt, KeyAct::Decrypt(1)] {
            assert!(violated(&[asked(2, act), said(2, KeyAnswer::Used(1))]));
            assert!(!violated(&[asked(2, act), said(2, KeyAnswer::Disabled)]));
        }
    }

    #[test]
    fn a_use_is_right_if_somebody_may_have_enabled_the_key() {
        let enable = asked(2, KeyAct::SetEnabled(true));
        let used = [asked(3, KeyAct::Encrypt), said(3, KeyAnswer::Used(1))];
        assert!(!violated(&[&[enable.clone()][..], &used].concat()));
        assert!(!violated(&[&[enable.clone(), said(2, IS)][..], &used].concat()));
        let refused = Event::Answered { operation: 2, answer: Answer::Refused };
        assert!(violated(&[&[enable.clone(), refused][..], &used].concat()));
        assert!(violated(&[&used[..], &[enable]].concat()), "but not after the answer");
    }

    #[test]
    fn a_use_that_began_before_the_disable_ended_is_not_judged() {
        let history = [
            asked(2, KeyAct::Encrypt),
            asked(1, KeyAct::SetEnabled(false)),
            said(1, IS),
            said(2, KeyAnswer::Used(1)),
        ];
        let history: Vec<_> = history.map(|event| Recorded { at_ms: 0, event }).into();
        assert!(!matches!(check(&history), Verdict::Violated(_)));
    }
}
