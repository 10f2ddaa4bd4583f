//! What a run of the simulator says, and what many runs say together.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;

use super::batch::Run;

/// The last line that the simulator prints.
#[derive(Deserialize, Debug)]
pub(crate) struct Report {
    nodes: u64,
    hash: String,
    simulated_ms: u64,
    acknowledged: u64,
    answered: u64,
    unanswered: u64,
    /// Every class of faults, with how often it happened.
    faults: BTreeMap<String, u64>,
    /// Per invariant "held", or what is wrong.
    verdicts: BTreeMap<String, String>,
}

/// How one run ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Which.
    pub(crate) run: Run,
    /// What it said; nothing if it broke.
    pub(crate) report: Option<Report>,
    /// The end of what it wrote as errors.
    pub(crate) errors: String,
}

const HELD: &str = "held";
const VIOLATED: &str = "violated";

impl Outcome {
    /// Whether it reported and every invariant held.
    pub(crate) fn is_good(&self) -> bool {
        self.report.as_ref().is_some_and(|report| report.verdicts.values().all(|verdict| verdict == HELD))
    }

    /// The hash of its history.
    pub(crate) fn hash(&self) -> Option<&str> {
        self.report.as_ref().map(|report| report.hash.as_str())
    }

    /// The invariants that were violated; none for a run that is only unknown or broke.
    pub(crate) fn violated(&self) -> Option<String> {
        let verdicts = &self.report.as_ref()?.verdicts;
        let violated: Vec<&str> = verdicts
            .iter()
            .filter(|(_, verdict)| verdict.starts_with(VIOLATED))
            .map(|(name, _)| name.as_str())
            .collect();
        (!violated.is_empty()).then(|| violated.join(", "))
    }

    /// For people: what came out and how to see it again.
    pub(crate) fn told(&self) -> String {
        let again = format!("replay: cargo xtask sim {}", self.run.arguments("--seed"));
        let Some(report) = &self.report else {
            return format!("seed {} broke\n{}\n  {again}", self.run.seed, self.errors.trim_end());
        };
        let mut text = format!(
            "seed {} ({} nodes, {} simulated ms, {} answers, {} acknowledged writes): {}",
            self.run.seed,
            report.nodes,
            report.simulated_ms,
            report.answered,
            report.acknowledged,
            report.hash
        );
        for (name, verdict) in report.verdicts.iter().filter(|(_, verdict)| *verdict != HELD) {
            text += &format!("\n  {name}: {verdict}");
        }
        if !self.is_good() {
            text += &format!("\n  {again}");
        }
        text
    }
}

/// What many runs say together.
#[derive(Default)]
pub(crate) struct Tally {
    /// How many ran.
    pub(crate) runs: u32,
    /// How many were not good.
    pub(crate) failed: u32,
    failed_seeds: BTreeSet<u64>,
    acknowledged: u64,
    answered: u64,
    unanswered: u64,
    simulated_ms: u64,
    faults: BTreeMap<String, u64>,
}

impl Tally {
    /// Adds one.
    pub(crate) fn add(&mut self, outcome: &Outcome) {
        self.runs += 1;
        if !outcome.is_good() {
            self.failed += 1;
            self.failed_seeds.insert(outcome.run.seed);
        }
        let Some(report) = &outcome.report else { return };
        self.acknowledged += report.acknowledged;
        self.answered += report.answered;
        self.unanswered += report.unanswered;
        self.simulated_ms += report.simulated_ms;
        for (class, count) in &report.faults {
            *self.faults.entry(class.clone()).or_default() += count;
        }
    }
}

/// How often each class of faults happened in each kind of runs.
#[derive(Default)]
pub(crate) struct Classes {
    counts: BTreeMap<(&'static str, String), u64>,
}

impl Classes {
    /// Adds what happened in runs of this kind.
    pub(crate) fn add(&mut self, kind: &'static str, tally: &Tally) {
        for (class, count) in &tally.faults {
            *self.counts.entry((kind, class.clone())).or_default() += count;
        }
    }

    /// Classes that a kind of runs could have had, and never had.
    pub(crate) fn missing(&self) -> Vec<String> {
        let never = self.counts.iter().filter(|(_, count)| **count == 0);
        never.map(|((kind, class), _)| format!("{class} with {kind}")).collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seeds: {} run, {} failed {:?}; {} answers, {} acknowledged writes, {} without an answer, {} simulated s",
            self.runs,
            self.failed,
            self.failed_seeds,
            self.answered,
            self.acknowledged,
            self.unanswered,
            self.simulated_ms / 1000
        )?;
        let faults: Vec<String> =
            self.faults.iter().map(|(class, count)| format!("{class} {count}")).collect();
        writeln!(f, "faults: {}", faults.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(verdict: &str, crashes: u64) -> Outcome {
        let report = Report {
            nodes: 3,
            hash: "h".to_owned(),
            simulated_ms: 1000,
            acknowledged: 2,
            answered: 3,
            unanswered: 1,
            faults: BTreeMap::from([("crash".to_owned(), crashes)]),
            verdicts: BTreeMap::from([("healed".to_owned(), verdict.to_owned())]),
        };
        Outcome {
            run: Run { seed: 7, nodes: None, planted: None, whole: false, rough: false },
            report: Some(report),
            errors: String::new(),
        }
    }

    #[test]
    fn only_a_run_whose_every_invariant_held_is_good() {
        assert!(outcome("held", 0).is_good());
        assert!(!outcome("unknown: nothing to judge", 0).is_good());
        assert!(!outcome("violated: x", 0).is_good());
        let broken = Outcome { report: None, ..outcome("held", 0) };
        assert!(!broken.is_good());
    }

    #[test]
    fn an_unknown_run_does_not_count_as_finding_a_bug() {
        assert_eq!(outcome("violated: x", 0).violated().as_deref(), Some("healed"));
        assert_eq!(outcome("unknown: x", 0).violated(), None);
    }

    #[test]
    fn a_class_of_faults_that_never_happened_is_missing() {
        let (mut tally, mut classes) = (Tally::default(), Classes::default());
        tally.add(&outcome("held", 0));
        classes.add("whole nodes", &tally);
        assert_eq!(classes.missing(), ["crash with whole nodes"]);
        tally.add(&outcome("held", 2));
        classes.add("the cluster half", &tally);
        assert_eq!(classes.missing(), ["crash with whole nodes"], "each kind by itself");
        classes.add("whole nodes", &tally);
        assert_eq!(classes.missing(), Vec::<String>::new());
        assert_eq!((tally.runs, tally.failed), (2, 0));
    }

    #[test]
    fn a_failure_says_how_to_see_it_again() {
        assert!(outcome("violated: x", 0).told().contains("cargo xtask sim --seed 7"));
    }
}
