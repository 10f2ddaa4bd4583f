//! What one run says at its end, as one line of JSON that `cargo xtask sim` reads.

use std::collections::BTreeMap;

use serde::Serialize;

use super::schedule::Fault;
use super::world::Setup;
use crate::history::{self, Answer, Event, KeyAnswer, Recorded};
use crate::invariants::{self, Verdict};

/// The line.
#[derive(Serialize, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// How many nodes.
    pub nodes: u64,
    /// Hash of the history.
    pub hash: String,
    /// Simulated milliseconds.
    pub simulated_ms: u64,
    /// Acknowledged transactions.
    pub acknowledged: usize,
    /// Acts that were answered.
    pub answered: usize,
    /// Acts that were not.
    pub unanswered: usize,
    /// How often each class of faults happened.
    pub faults: BTreeMap<String, u64>,
    /// What each invariant says.
    pub verdicts: BTreeMap<&'static str, String>,
}

/// A class that is not drawn but comes about.
const THREE_FIVE_THREE: &str = "three-five-three";
/// Breaches that are printed per invariant.
const BREACHES_MAX: usize = 5;

impl Report {
    /// Judges a history.
    pub fn of(setup: Setup, history: &[Recorded]) -> Result<Self, serde_json::Error> {
        let count = |matches: fn(&Event) -> bool| history.iter().filter(|r| matches(&r.event)).count();
        let acknowledged = count(|event| {
            matches!(
                event,
                Event::Answered { answer: Answer::Committed { .. } | Answer::Key(KeyAnswer::Is { .. }), .. }
            )
        });
        let answered = count(|event| matches!(event, Event::Answered { .. }));
        let invoked = count(|event| matches!(event, Event::Invoked { .. }));
        let verdicts = if setup.whole { invariants::WHOLE } else { invariants::ALL };
        let verdicts = verdicts.iter().map(|(name, check)| (*name, told(check(history)))).collect();
        Ok(Self {
            seed: setup.seed,
            nodes: setup.nodes,
            hash: history::hash(history)?,
            simulated_ms: history.last().map_or(0, |last| last.at_ms),
            acknowledged,
            answered,
            unanswered: invoked.saturating_sub(answered),
            faults: faults(setup, history),
            verdicts,
        })
    }

    /// Whether every invariant held.
    pub fn is_good(&self) -> bool {
        self.verdicts.values().all(|verdict| verdict == "held")
    }
}

fn told(verdict: Verdict) -> String {
    match verdict {
        Verdict::Held => "held".to_owned(),
        Verdict::Unknown(why) => format!("unknown: {why}"),
        Verdict::Violated(breaches) => {
            let shown: Vec<&str> = breaches.iter().take(BREACHES_MAX).map(String::as_str).collect();
            format!("violated ({} times): {}", breaches.len(), shown.join("; "))
        }
    }
}

fn faults(setup: Setup, history: &[Recorded]) -> BTreeMap<String, u64> {
    let derived = setup.rough.then_some(THREE_FIVE_THREE);
    let classes = Fault::classes(setup.whole, setup.rough).into_iter().chain(derived);
    let mut faults: BTreeMap<String, u64> = classes.map(|class| (class.to_owned(), 0)).collect();
    for recorded in history {
        if let Event::Fault { class, .. } = &recorded.event {
            *faults.entry(class.clone()).or_default() += 1;
        }
    }
    faults.entry(THREE_FIVE_THREE.to_owned()).and_modify(|times| *times = there_and_back(history));
    faults
}

/// How often the voters were three, then five or more, and then three again, as some node applied it.
fn there_and_back(history: &[Recorded]) -> u64 {
    let (mut times, mut were_five) = (0, false);
    for recorded in history {
        match recorded.event {
            Event::Voters { count: 5.., .. } => were_five = true,
            Event::Voters { count: ..=3, .. } if were_five => (times, were_five) = (times + 1, false),
            _ => {}
        }
    }
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_faults_that_never_happened_too() {
        let fault = Event::Fault { class: "crash".to_owned(), node: 1 };
        let history = [Recorded { at_ms: 5, event: fault }];
        let report =
            Report::of(Setup { seed: 1, nodes: 3, planted: None, whole: false, rough: false }, &history)
                .unwrap();
        assert_eq!(report.faults.get("crash"), Some(&1));
        assert_eq!(report.faults.get("power-loss"), Some(&0));
        assert!(!report.is_good(), "a run in which nothing could be judged is not good");
    }
}
