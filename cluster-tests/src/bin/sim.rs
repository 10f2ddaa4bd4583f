//! One run of the simulator: `sim --seed S [--nodes 3|5] [--whole] [--rough] [--planted NAME] [--narrate] [--trace FILTER]`. Called by `cargo xtask sim`,
//! which builds it once and gives every seed a process of its own. The last line it prints is the report.

#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool whose output is its purpose"
)]

use std::process::ExitCode;
use std::sync::Arc;

use cluster_tests::history::{Recorded, Recorder};
use cluster_tests::sim::planted::Planted;
use cluster_tests::sim::report::Report;
use cluster_tests::sim::run;
use cluster_tests::sim::world::Setup;

/// Every so many seeds have five nodes.
const FIVE_ONE_IN: u64 = 4;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((setup, narrate, trace)) = parse(&arguments) else {
        eprintln!(
            "usage: sim --seed S [--nodes 3|5] [--whole] [--rough] [--planted NAME] [--narrate] [--trace FILTER]"
        );
        return ExitCode::from(2);
    };
    if let Some(filter) = &trace {
        // Without the time of the real run, so that two traces can be compared.
        tracing_subscriber::fmt().without_time().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
    let recorder = if narrate { Recorder::heard_by(Arc::new(tell)) } else { Recorder::default() };
    let history = run::run(setup, recorder);
    let report = Report::of(setup, &history);
    match report.and_then(|report| Ok((serde_json::to_string(&report)?, report.is_good()))) {
        Ok((line, good)) => {
            println!("{line}");
            if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("the report cannot be written: {error}");
            ExitCode::FAILURE
        }
    }
}

fn tell(recorded: &Recorded) {
    eprintln!("{:>8} {:?}", recorded.at_ms, recorded.event);
}

fn parse(arguments: &[String]) -> Option<(Setup, bool, Option<String>)> {
    let (mut whole, mut rough) = (false, false);
    let (mut seed, mut nodes, mut planted, mut narrate, mut trace) = (None, None, None, false, None);
    let mut words = arguments.iter().map(String::as_str);
    while let Some(word) = words.next() {
        match word {
            "--seed" => seed = Some(words.next()?.parse().ok()?),
            "--nodes" => nodes = Some(words.next()?.parse().ok().filter(|nodes| matches!(nodes, 3 | 5))?),
            "--planted" => planted = Some(words.next()?.parse::<Planted>().ok()?),
            "--whole" => whole = true,
            "--rough" => rough = true,
            "--narrate" => narrate = true,
            "--trace" => trace = Some(words.next()?.to_owned()),
            _ => return None,
        }
    }
    let seed: u64 = seed?;
    let nodes = nodes.unwrap_or(if seed.is_multiple_of(FIVE_ONE_IN) { 5 } else { 3 });
    Some((Setup { seed, nodes, planted, whole, rough }, narrate, trace))
}
