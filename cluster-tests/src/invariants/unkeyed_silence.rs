//! What whole nodes say to each other on connections that are not keyed holds nothing secret (P6): no key name, token,
//! plaintext or share, and no byte of root or keyring, raw, in hexadecimal or in base64.
//!
//! The same search must find something on keyed connections, where requests are forwarded; otherwise it may be blind
//! and the run is unknown.

use super::Verdict;
use crate::history::{Event, Recorded};

/// Judges everything that was overheard.
pub fn check(history: &[Recorded]) -> Verdict {
    let (mut judged, mut found, mut breaches) = (0, 0, Vec::new());
    for recorded in history {
        let Event::Overheard { plain_heard, speakers, keyed_hits } = &recorded.event else { continue };
        judged += u64::from(*plain_heard);
        found += keyed_hits;
        breaches.extend(speakers.iter().map(|node| format!("node {node} said something secret in the open")));
    }
    if breaches.is_empty() && found == 0 {
        return Verdict::Unknown("the search found nothing on keyed connections either");
    }
    Verdict::of(usize::try_from(judged).unwrap_or(usize::MAX), breaches)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(plain_heard: bool, speakers: &[u64], keyed_hits: u64) -> Verdict {
        let event =
            Event::Overheard { plain_heard, speakers: speakers.iter().copied().collect(), keyed_hits };
        check(&[Recorded { at_ms: 0, event }])
    }

    #[test]
    fn a_secret_in_the_open_is_found() {
        assert_eq!(verdict(true, &[], 1), Verdict::Held);
        assert!(matches!(verdict(true, &[2], 1), Verdict::Violated(_)));
        assert!(matches!(verdict(true, &[2], 0), Verdict::Violated(_)));
    }

    #[test]
    fn a_search_that_finds_nothing_anywhere_may_be_blind() {
        assert!(matches!(verdict(true, &[], 0), Verdict::Unknown(_)));
        assert!(matches!(verdict(false, &[], 1), Verdict::Unknown(_)));
        assert!(matches!(check(&[]), Verdict::Unknown(_)));
    }
}
