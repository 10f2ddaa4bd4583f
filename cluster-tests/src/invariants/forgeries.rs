//! No member without the keyring wrote anything or was believed (P15): nothing that it sent was taken for true, no log
//! holds an entry that it made, and it never led.

use std::collections::{BTreeMap, BTreeSet};

use super::Verdict;
use crate::history::{Event, Recorded};

/// Judges everything that a liar sent, and every log at the end.
pub fn check(history: &[Recorded]) -> Verdict {
    let mut forged: BTreeSet<&str> = BTreeSet::new();
    let (mut judged, mut breaches) = (0, Vec::new());
    // Liars, and whether they lie at this moment.
    let mut lying: BTreeMap<u64, bool> = BTreeMap::new();
    for recorded in history {
        match &recorded.event {
            Event::Forged { node, to, what, believed, hash } => {
                judged += 1;
                lying.insert(*node, true);
                forged.extend(hash.as_deref());
                if *believed {
                    breaches.push(format!("{what} from node {node} was believed by {to}"));
                }
            }
            Event::CastOut { node } => {
                lying.insert(*node, false);
            }
            Event::Leading { node, term } if lying.get(node) == Some(&true) => {
                breaches.push(format!("node {node} led in term {term} without the keyring"));
            }
            Event::Log { node, entries } => {
                let found = entries.iter().filter(|line| forged.contains(line.hash.as_str()));
                breaches
                    .extend(found.map(|line| format!("node {node} holds a forged entry at {}", line.index)));
            }
            _ => {}
        }
    }
    // Most runs have no liar, and then there is nothing that could be wrong.
    Verdict::of(judged.max(usize::from(!history.is_empty())), breaches)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::LogLine;
    use crate::invariants::is_violated;

    fn forged(believed: bool) -> Event {
        Event::Forged { node: 3, to: 1, what: "x".to_owned(), believed, hash: Some("bad".to_owned()) }
    }

    fn log(hash: &str) -> Event {
        let line = LogLine { index: 7, term: 1, leader: 3, hash: hash.to_owned() };
        Event::Log { node: 1, entries: vec![line] }
    }

    fn violated(events: &[Event]) -> bool {
        is_violated(check, events.iter().cloned())
    }

    #[test]
    fn a_lie_that_is_believed_is_found() {
        assert!(!violated(&[forged(false), log("good")]));
        assert!(violated(&[forged(true)]));
    }

    #[test]
    fn a_forged_entry_in_a_log_is_found() {
        assert!(violated(&[forged(false), log("bad")]));
        assert!(!violated(&[log("bad")]), "which nobody forged");
    }

    #[test]
    fn a_liar_that_leads_is_found() {
        let led = Event::Leading { node: 3, term: 9 };
        assert!(violated(&[forged(false), led.clone()]));
        assert!(!violated(&[led.clone(), forged(false)]), "before it lied");
        assert!(!violated(&[forged(false), Event::CastOut { node: 3 }, led]));
    }
}
