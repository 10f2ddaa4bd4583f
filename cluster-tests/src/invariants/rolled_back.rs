//! A disk that was put back to what it held earlier is noticed where a peer that saw the later position can be reached
//! (P14): the node gets nowhere until it is taken out. It does not lead, and it does not come to be level again.
//!
//! Judged only where one node led from the moment that the disk went back to until the disk was put back, and leads
//! on: it has seen the later position. That nothing of it spreads otherwise, the other invariants judge.

use std::collections::BTreeMap;

use super::Verdict;
use crate::history::{Event, Recorded};

/// Judges every disk that was put back.
pub fn check(history: &[Recorded]) -> Verdict {
    let (mut judged, mut breaches) = (0, Vec::new());
    // Per node whose disk was put back: what it had, and who saw that and still leads.
    let mut back: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for recorded in history {
        match &recorded.event {
            Event::RolledBack { node, from, seen_by: Some(leader), .. } => {
                judged += 1;
                back.insert(*node, (*from, *leader));
            }
            Event::CastOut { node } => {
                back.remove(node);
            }
            Event::Leading { node, term } => {
                if back.contains_key(node) {
                    breaches.push(format!("node {node} led in term {term} with a disk that was put back"));
                }
                back.retain(|_, (_, leader)| leader == node);
            }
            Event::Started { node } => back.retain(|_, (_, leader)| leader != node),
            Event::Applied { node, index, .. } if back.get(node).is_some_and(|(from, _)| index > from) => {
                breaches.push(format!("node {node} came to {index} with a disk that was put back"));
                back.remove(node);
            }
            _ => {}
        }
    }
    // Most runs put no disk back, and then there is nothing that could be wrong.
    Verdict::of(judged.max(usize::from(!history.is_empty())), breaches)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::is_violated;

    const BACK: Event = Event::RolledBack { node: 2, from: 50, to: 30, seen_by: Some(1) };

    fn at(index: u64) -> Event {
        Event::Applied { node: 2, index, digest: String::new() }
    }

    fn violated(events: &[Event]) -> bool {
        is_violated(check, events.iter().cloned())
    }

    #[test]
    fn a_node_with_an_old_disk_that_catches_up_or_leads_is_found() {
        assert!(!violated(&[BACK, at(30), at(50)]));
        assert!(violated(&[BACK, at(30), at(51)]));
        assert!(violated(&[BACK, Event::Leading { node: 2, term: 4 }]));
        assert!(!violated(&[BACK, Event::CastOut { node: 2 }, at(51)]));
    }

    #[test]
    fn who_has_seen_nothing_cannot_notice() {
        let unseen = Event::RolledBack { node: 2, from: 50, to: 30, seen_by: None };
        assert!(!violated(&[unseen, at(51)]));
        let other = Event::Leading { node: 3, term: 4 };
        assert!(!violated(&[BACK, other, at(51)]), "another one leads");
        assert!(!violated(&[BACK, Event::Started { node: 1 }, at(51)]), "who led has crashed");
    }
}
