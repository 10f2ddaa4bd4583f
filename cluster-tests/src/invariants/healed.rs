//! When the faults end, the cluster heals: a write is acknowledged and every node comes to hold it.

use super::Verdict;
use crate::history::{Event, Recorded};

/// Judges the end of the history.
pub fn check(history: &[Recorded]) -> Verdict {
    let broken: Vec<String> = history
        .iter()
        .filter_map(|recorded| match &recorded.event {
            Event::Broken { why } => Some(why.clone()),
            _ => None,
        })
        .collect();
    if !broken.is_empty() {
        return Verdict::Violated(broken);
    }
    let ended = history.iter().position(|recorded| recorded.event == Event::FaultsEnded);
    let healed = history.iter().rposition(|recorded| recorded.event == Event::Healed);
    match (ended, healed) {
        (None, _) => Verdict::Unknown("the faults never ended"),
        (Some(ended), Some(healed)) if healed > ended => Verdict::Held,
        (Some(_), _) => Verdict::Violated(vec!["the cluster did not heal after the faults".to_owned()]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn healing_counts_only_after_the_faults() {
        let history = |events: &[Event]| -> Vec<Recorded> {
            events.iter().cloned().map(|event| Recorded { at_ms: 0, event }).collect()
        };
        assert_eq!(check(&history(&[Event::FaultsEnded, Event::Healed])), Verdict::Held);
        assert!(matches!(check(&history(&[Event::Healed, Event::FaultsEnded])), Verdict::Violated(_)));
        assert!(matches!(check(&history(&[Event::FaultsEnded])), Verdict::Violated(_)));
        assert!(matches!(check(&history(&[])), Verdict::Unknown(_)));
        let broken = Event::Broken { why: "x".to_owned() };
        assert!(matches!(
            check(&history(&[broken, Event::FaultsEnded, Event::Healed])),
            Verdict::Violated(_)
        ));
    }
}
