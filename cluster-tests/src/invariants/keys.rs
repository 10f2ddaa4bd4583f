//! Every answer and refusal about a key of the product is linearizable: what it is, which version encrypted, and
//! that it is disabled, destroyed or not there. Versions grow by one and never come twice, since a key's state is
//! part of the model; no answer after an acknowledged disable follows from it.

use std::collections::{BTreeMap, BTreeSet};

use super::Verdict;
use super::linearizable::{self, Model, Operation, answers};
use crate::history::{Act, Answer, Event, Key, KeyAct, KeyAnswer, Recorded};

/// Judges every key that at least one answer speaks of.
pub fn check(history: &[Recorded]) -> Verdict {
    linearizable::judge(&Life, &by_key(history), "key")
}

/// One key.
struct Life;

/// What there is of it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Now {
    primary: u32,
    enabled: bool,
    destroyed: BTreeSet<u32>,
}

impl Now {
    fn is(&self) -> KeyAnswer {
        KeyAnswer::Is { primary: self.primary, enabled: self.enabled }
    }
}

impl Model for Life {
    type State = Option<Now>;
    type Input = KeyAct;
    type Output = KeyAnswer;

    fn initial(&self) -> Option<Now> {
        None
    }

    fn step(&self, state: &Option<Now>, act: &KeyAct, said: Option<&KeyAnswer>) -> Option<Option<Now>> {
        let (after, would_say) = ask(state.as_ref(), *act);
        let right = said.is_none_or(|said| would_say.contains(said));
        right.then_some(after)
    }
}

/// What the act does and what may truly be said of it.
fn ask(state: Option<&Now>, act: KeyAct) -> (Option<Now>, Vec<KeyAnswer>) {
    let Some(now) = state else {
        return match act {
            KeyAct::Create => {
                let made = Now { primary: 1, enabled: true, destroyed: BTreeSet::new() };
                let is = made.is();
                (Some(made), vec![is])
            }
            _ => (None, vec![KeyAnswer::Absent]),
        };
    };
    let same = || Some(now.clone());
    match act {
        KeyAct::Create => (same(), vec![KeyAnswer::Exists]),
        KeyAct::Rotate => {
            let after = Now { primary: now.primary + 1, ..now.clone() };
            let is = after.is();
            (Some(after), vec![is])
        }
        KeyAct::SetEnabled(enabled) => {
            let after = Now { enabled, ..now.clone() };
            let is = after.is();
            (Some(after), vec![is])
        }
        KeyAct::Destroy(version) => {
            let mut after = now.clone();
            after.destroyed.insert(version);
            let is = after.is();
            (Some(after), vec![is])
        }
        KeyAct::Encrypt if !now.enabled => (same(), vec![KeyAnswer::Disabled]),
        KeyAct::Encrypt if now.destroyed.contains(&now.primary) => (same(), vec![KeyAnswer::Destroyed]),
        KeyAct::Encrypt => (same(), vec![KeyAnswer::Used(now.primary)]),
        KeyAct::Decrypt(version) if now.destroyed.contains(&version) => (
            same(),
            if now.enabled {
                vec![KeyAnswer::Destroyed]
            } else {
                vec![KeyAnswer::Destroyed, KeyAnswer::Disabled]
            },
        ),
        KeyAct::Decrypt(_) if !now.enabled => (same(), vec![KeyAnswer::Disabled]),
        KeyAct::Decrypt(version) => (same(), vec![KeyAnswer::Used(version)]),
        KeyAct::Describe => (same(), vec![now.is()]),
    }
}

fn by_key(history: &[Recorded]) -> BTreeMap<Key, Vec<Operation<KeyAct, KeyAnswer>>> {
    let answers = answers(history);
    let mut keys: BTreeMap<Key, Vec<Operation<KeyAct, KeyAnswer>>> = BTreeMap::new();
    for (called, recorded) in history.iter().enumerate() {
        let Event::Invoked { operation, act: Act::Key { key, act }, .. } = &recorded.event else { continue };
        let returned = match answers.get(operation) {
            Some((moment, Answer::Key(said))) => Some((*moment, *said)),
            // A refusal that says nothing of the key did nothing; any other answer is not about keys.
            Some(_) => continue,
            None => None,
        };
        keys.entry(*key).or_default().push(Operation { called, returned, input: *act });
    }
    keys
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

    const FIRST: KeyAnswer = KeyAnswer::Is { primary: 1, enabled: true };

    fn violated(more: &[Event]) -> bool {
        let made = [asked(1, KeyAct::Create), said(1, FIRST)];
        is_violated(check, made.iter().chain(more).cloned())
    }

    #[test]
    fn an_answer_after_an_acknowledged_disable_is_found() {
        let disabled = [
            asked(2, KeyAct::SetEnabled(false)),
            said(2, KeyAnswer::Is { primary: 1, enabled: false }),
            asked(3, KeyAct::Encrypt),
        ];
        assert!(!violated(&[&disabled[..], &[said(3, KeyAnswer::Disabled)]].concat()));
        assert!(violated(&[&disabled[..], &[said(3, KeyAnswer::Used(1))]].concat()));
    }

    #[test]
    fn a_false_refusal_is_found() {
        for refusal in [KeyAnswer::Absent, KeyAnswer::Disabled, KeyAnswer::Destroyed] {
            assert!(violated(&[asked(2, KeyAct::Encrypt), said(2, refusal)]), "{refusal:?}");
        }
        assert!(violated(&[asked(2, KeyAct::Create), said(2, FIRST)]));
    }

    #[test]
    fn a_version_that_comes_twice_or_is_skipped_is_found() {
        let rotated = |primary| KeyAnswer::Is { primary, enabled: true };
        let one = [asked(2, KeyAct::Rotate), said(2, rotated(2)), asked(3, KeyAct::Rotate)];
        assert!(!violated(&[&one[..], &[said(3, rotated(3))]].concat()));
        assert!(violated(&[&one[..], &[said(3, rotated(2))]].concat()));
        assert!(violated(&[&one[..], &[said(3, rotated(4))]].concat()));
    }

    #[test]
    fn an_encryption_with_an_old_version_is_found() {
        let rotated = [asked(2, KeyAct::Rotate), said(2, KeyAnswer::Is { primary: 2, enabled: true })];
        let then = |version| {
            [&rotated[..], &[asked(3, KeyAct::Encrypt), said(3, KeyAnswer::Used(version))]].concat()
        };
        assert!(!violated(&then(2)));
        assert!(violated(&then(1)));
    }

    #[test]
    fn a_destroyed_version_opens_nothing() {
        let destroyed = [
            asked(2, KeyAct::Rotate),
            said(2, KeyAnswer::Is { primary: 2, enabled: true }),
            asked(3, KeyAct::Destroy(1)),
            said(3, KeyAnswer::Is { primary: 2, enabled: true }),
            asked(4, KeyAct::Decrypt(1)),
        ];
        assert!(!violated(&[&destroyed[..], &[said(4, KeyAnswer::Destroyed)]].concat()));
        assert!(violated(&[&destroyed[..], &[said(4, KeyAnswer::Used(1))]].concat()));
    }

    #[test]
    fn a_rotation_without_an_answer_may_have_happened_or_not() {
        for version in [1, 2] {
            assert!(!violated(&[
                asked(2, KeyAct::Rotate),
                asked(3, KeyAct::Encrypt),
                said(3, KeyAnswer::Used(version))
            ]));
        }
    }
}
