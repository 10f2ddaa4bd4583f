//! Keyclave's one binary: the server, the command line, and a demo of a whole cluster.
//!
//! Invariants:
//! - Nothing but [`output`] prints.
//! - A secret comes in from a file, the environment, a prompt or standard input, never from an argument, and goes out
//!   once: as the command's result, or into a file of its owner's alone.
//! - Whatever fails says what to do next, and ends with 1; wrong usage and a sealed cluster with 2.

#![forbid(unsafe_code)]

mod arguments;

mod connection;
mod secret_input;

mod access;
mod audit;
mod crypto;
mod identities;
mod keys;
mod operator;
mod rights;
mod shell;

mod server;

mod bench;
mod demo;
mod dev;
mod local;

mod failure;
mod output;
mod progress;
mod secret_output;
mod table;

use std::ffi::OsString;
use std::future::Future;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use arguments::{Arguments, Command, Output};
use failure::Failure;
use output::Shown;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return misunderstood(&error),
    };
    let output = arguments.output;
    let receipts = arguments.connection.receipts.clone();
    let ended = run(arguments);
    output::receipts(&receipts.collected());
    let ended = ended.and_then(|shown| output::show(&shown, output).map(|()| shown.status()));
    ExitCode::from(ended.unwrap_or_else(|failure| {
        output::failure(&failure, output);
        failure.status()
    }))
}

/// Help and version are results; anything else is wrong usage, told in the form that was asked for.
fn misunderstood(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = error.print();
            ExitCode::SUCCESS
        }
        _ if asks_for_json(std::env::args_os()) => {
            let text = error.render().to_string();
            let failure = Failure::usage(text.trim_start_matches("error: ").trim_end());
            output::failure(&failure, Output::Json);
            ExitCode::from(failure.status())
        }
        _ => {
            let _ = error.print();
            ExitCode::from(2)
        }
    }
}

/// What the parser would have said, had it not failed before.
fn asks_for_json(arguments: impl Iterator<Item = OsString>) -> bool {
    let arguments: Vec<OsString> = arguments.collect();
    let apart =
        arguments.windows(2).any(|two| matches!(two, [flag, form] if flag == "--output" && form == "json"));
    apart || arguments.iter().any(|argument| argument == "--output=json")
}

fn run(arguments: Arguments) -> Result<Shown, Failure> {
    let Arguments { command, connection, output } = arguments;
    match command {
        Command::Server(arguments) => server::serve(*arguments, &connection),
        Command::Dev(arguments) => awaited(dev::run(arguments, output)),
        Command::Demo(arguments) => awaited(demo::run(arguments, output)),
        Command::Bench(arguments) => awaited(bench::run(arguments, &connection, output)),
        Command::Operator(command) => awaited(operator::run(command, &connection)),
        Command::Key(command) => awaited(keys::run(command, &connection)),
        Command::Encrypt(arguments) => awaited(crypto::encrypt(arguments, &connection, output)),
        Command::Decrypt(arguments) => awaited(crypto::decrypt(arguments, &connection, output)),
        Command::Access(command) => awaited(access::run(command, &connection)),
        Command::Audit(command) => awaited(audit::run(command, &connection)),
        Command::Completions { shell } => Ok(shell::completions(shell)),
        Command::Manual => shell::manual(),
    }
}

/// Runs one command on a runtime of its own.
fn awaited(command: impl Future<Output = Result<Shown, Failure>>) -> Result<Shown, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::from_error("RUNTIME", &error))?;
    let shown = runtime.block_on(command);
    // A prompt that nobody answers, or a connection that hangs, must not hold up the end.
    runtime.shutdown_background();
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_an_answer_is_known_even_if_the_rest_is_not() {
        let asks = |line: &str| asks_for_json(line.split(' ').map(OsString::from));
        assert!(asks("keyclave key --output json nonsense"));
        assert!(asks("keyclave --output=json"));
        assert!(!asks("keyclave key json"));
    }
}
