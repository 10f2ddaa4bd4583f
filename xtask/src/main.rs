//! Cargo tasks: `cargo xtask walls | audit | advisories DIR | sim … | bench …`.
//!
//! Called by people and by `.ci/run`. Deliberately absent: anything that a plain cargo command does already
//! (format, lints, tests), and any network access.

#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool whose output is its purpose"
)]

mod audit;
mod bench;
mod failure;
mod sim;
mod tree;
mod walls;

use std::process::ExitCode;

use failure::TaskError;

const USAGE: &str = "usage: cargo xtask walls | audit | advisories DIR | sim --seeds N | sim --seed S | bench\n  walls       hold the arrows between the rooms and what may stand in them\n  audit       advisories, licences, sources and yanked versions of what Cargo.lock names\n  advisories  rewrite xtask/advisories/known.tsv from a checkout of the RustSec advisory database\n  sim         [--first S] [--nodes 3|5] [--whole] [--planted NAME]: clusters from seeds; --seed replays one\n  bench       [--clients N,N,…] [--rounds N] [--seconds N]: writes side by side with etcd's";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(TaskError::Usage) => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether the task's verdict is good; an error means that there is no verdict.
fn run(arguments: &[String]) -> Result<bool, TaskError> {
    let root = tree::root()?;
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["walls"] => walls::run(&root),
        ["audit"] => audit::run(&root),
        ["advisories", directory] => audit::refresh(&root, directory.as_ref()),
        ["sim", rest @ ..] => sim::run(&root, rest),
        ["bench", rest @ ..] => bench::run(&root, rest),
        _ => Err(TaskError::Usage),
    }
}
