//! `cargo xtask sim`: builds the simulator once and runs seeds, each in a process of its own, because a seed run
//! twice in one process was seen to differ. Prints what happened and, for each failure, how to replay it.
//!
//! With `--seeds N` alone four things must come out well: every seed's invariants, in the cluster half and with whole
//! nodes; the same history for a seed that is run twice; every class of faults, each of which must have happened; and
//! the planted bugs, each of which must be found. Rough faults run with `--rough` alone.

mod batch;
mod report;

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::failure::TaskError;
use crate::tree;
use batch::Run;
use report::{Classes, Tally};

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    seeds: u64,
    first: u64,
    nodes: Option<u64>,
    planted: Option<String>,
    whole: bool,
    rough: bool,
    single: bool,
}

/// Bugs that the simulator can plant, and whether they need whole nodes; each must be found within so many seeds.
const PLANTED: &[(&str, bool)] = &[
    ("disk-without-sync", false),
    ("read-without-confirmation", false),
    ("read-without-confirmation", true),
    ("refusal-without-confirmation", true),
    ("rotation-without-precondition", true),
];
const PLANTED_SEEDS_MAX: u64 = 20;
/// One seed in so many runs with whole nodes too, each of which costs as much as several of the cluster half.
const WHOLE_ONE_IN: u64 = 5;
/// One in so many seeds is run twice.
const TWICE_ONE_IN: u64 = 20;
/// Asked for so many seeds, a class of faults that never happened means that nothing was shown about it.
const CLASSES_FROM_SEEDS: u64 = 50;

/// Builds, runs and judges.
pub(crate) fn run(root: &Path, arguments: &[&str]) -> Result<bool, TaskError> {
    let ask = parse(arguments).ok_or(TaskError::Usage)?;
    let program = build(root)?;
    if ask.single {
        let run = ask.run(ask.first);
        let outcome = batch::replay(&program, &run)?;
        println!("{}", outcome.told());
        return Ok(outcome.is_good());
    }
    if let Some(name) = &ask.planted {
        return planted(&program, name, &ask, ask.seeds);
    }
    let (mut good, mut classes) = (true, Classes::default());
    for part in ask.parts() {
        good &= seeds(&program, &part, &mut classes)?;
        good &= twice(&program, &part)?;
    }
    if ask.seeds >= CLASSES_FROM_SEEDS {
        for class in classes.missing() {
            println!("unknown: no seed ever had the fault `{class}`");
            good = false;
        }
    }
    if !ask.whole && !ask.rough {
        for (name, whole) in PLANTED {
            good &= planted(&program, name, &Ask { whole: *whole, ..ask.clone() }, PLANTED_SEEDS_MAX)?;
        }
    }
    Ok(good)
}

/// All seeds, each of which must hold every invariant.
fn seeds(program: &Path, ask: &Ask, classes: &mut Classes) -> Result<bool, TaskError> {
    let begun = Instant::now();
    let mut tally = Tally::default();
    let runs: Vec<Run> = (ask.first..ask.first.saturating_add(ask.seeds)).map(|seed| ask.run(seed)).collect();
    batch::all(program, &runs, |outcome| {
        if !outcome.is_good() {
            println!("{}", outcome.told());
        }
        tally.add(&outcome);
        true
    })?;
    let minutes = begun.elapsed().as_secs_f64() / 60.0;
    print!("{tally}");
    let kind = kind(ask.whole);
    let rough = if ask.rough { " and rough faults" } else { "" };
    println!("seeds: {:.0} a minute with {kind}{rough}", f64::from(tally.runs) / minutes);
    classes.add(kind, &tally);
    Ok(tally.failed == 0)
}

fn kind(whole: bool) -> &'static str {
    if whole { "whole nodes" } else { "the cluster half" }
}

/// Some seeds again: the same seed must give the same history.
fn twice(program: &Path, ask: &Ask) -> Result<bool, TaskError> {
    let count = (ask.seeds / TWICE_ONE_IN).max(2);
    let runs: Vec<Run> = (0..count).flat_map(|n| [ask.run(ask.first + n), ask.run(ask.first + n)]).collect();
    let mut hashes = std::collections::BTreeMap::new();
    let mut same = true;
    batch::all(program, &runs, |outcome| {
        let seed = outcome.run.seed;
        let hash = outcome.hash().map(str::to_owned);
        let before = hashes.insert(seed, hash.clone());
        if before.is_some_and(|before| before != hash || hash.is_none()) {
            println!("seed {seed} gave two histories: this run cannot be replayed");
            same = false;
        }
        true
    })?;
    println!(
        "twice: {count} seeds run twice, {}",
        if same { "each with one history" } else { "not all with one history" }
    );
    Ok(same)
}

/// Runs with a planted bug until a seed finds it.
fn planted(program: &Path, name: &str, ask: &Ask, seeds_max: u64) -> Result<bool, TaskError> {
    let run = |seed| Run { planted: Some(name.to_owned()), ..ask.run(seed) };
    let runs: Vec<Run> = (ask.first..ask.first.saturating_add(seeds_max)).map(run).collect();
    let (mut found, mut tried) = (None, 0_u64);
    batch::all(program, &runs, |outcome| {
        tried += 1;
        if found.is_none() {
            found = outcome.violated().map(|violated| (outcome.run.seed, violated));
        }
        found.is_none()
    })?;
    match &found {
        Some((seed, violated)) => println!("planted {name}: found at seed {seed} by {violated}"),
        None => println!("planted {name}: NOT found in {tried} seeds; the simulator is blind to it"),
    }
    Ok(found.is_some())
}

/// Builds the simulator and says where it is.
fn build(root: &Path) -> Result<PathBuf, TaskError> {
    // Flags from outside would replace `--cfg tokio_unstable`, without which a seed gives many histories; the
    // simulator refuses to compile then.
    tree::cargo(root, &["build", "--release", "--locked", "--quiet", "-p", "cluster-tests", "--bin", "sim"])?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(root.join(target).join("release/sim"))
}

impl Ask {
    /// What is run one after the other: each kind of nodes that was not excluded.
    fn parts(&self) -> Vec<Self> {
        let mut parts = vec![self.clone()];
        if !self.whole {
            parts.push(self.one_in(WHOLE_ONE_IN, |part| part.whole = true));
        }
        parts
    }

    /// So many fewer of its seeds, in another way.
    fn one_in(&self, times: u64, otherwise: fn(&mut Self)) -> Self {
        let mut part = Self { seeds: (self.seeds / times).max(1), ..self.clone() };
        otherwise(&mut part);
        part
    }

    fn run(&self, seed: u64) -> Run {
        Run { seed, nodes: self.nodes, planted: self.planted.clone(), whole: self.whole, rough: self.rough }
    }
}

fn parse(arguments: &[&str]) -> Option<Ask> {
    let mut ask =
        Ask { seeds: 0, first: 1, nodes: None, planted: None, whole: false, rough: false, single: false };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match *word {
            "--whole" => ask.whole = true,
            "--rough" => ask.rough = true,
            _ => {}
        }
        if matches!(*word, "--whole" | "--rough") {
            continue;
        }
        let value = words.next()?;
        match *word {
            "--seeds" => ask.seeds = value.parse().ok()?,
            "--first" => ask.first = value.parse().ok()?,
            "--seed" => (ask.first, ask.seeds, ask.single) = (value.parse().ok()?, 1, true),
            "--nodes" => ask.nodes = Some(value.parse().ok().filter(|nodes| matches!(nodes, 3 | 5))?),
            "--planted" => ask.planted = Some((*value).to_owned()),
            _ => return None,
        }
    }
    if ask.planted.is_some() && ask.seeds == 0 {
        ask.seeds = PLANTED_SEEDS_MAX;
    }
    (ask.seeds > 0).then_some(ask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_alone_run_every_kind_calm_and_rough() {
        let parts = |words: &[&str]| -> Vec<(u64, bool, bool)> {
            let parts = parse(words).unwrap().parts();
            parts.iter().map(|part| (part.seeds, part.whole, part.rough)).collect()
        };
        assert_eq!(parts(&["--seeds", "200"]), [(200, false, false), (40, true, false)]);
        assert_eq!(parts(&["--seeds", "40", "--rough"]), [(40, false, true), (8, true, true)]);
        assert_eq!(parts(&["--seeds", "40", "--whole"]), [(40, true, false)]);
    }

    #[test]
    fn the_arguments_say_what_runs() {
        let ask = |seeds, first, nodes, planted: Option<&str>, single| {
            Some(Ask {
                seeds,
                first,
                nodes,
                planted: planted.map(str::to_owned),
                whole: false,
                rough: false,
                single,
            })
        };
        assert_eq!(parse(&["--seeds", "200"]), ask(200, 1, None, None, false));
        assert_eq!(parse(&["--seed", "7", "--nodes", "5"]), ask(1, 7, Some(5), None, true));
        assert_eq!(parse(&["--planted", "x"]), ask(PLANTED_SEEDS_MAX, 1, None, Some("x"), false));
        for wrong in
            [&[][..], &["--seeds"], &["--seeds", "x"], &["--seeds", "0"], &["--nodes", "4"], &["--what", "1"]]
        {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }
}
