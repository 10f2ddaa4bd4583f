//! Why a live test cannot go on.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use keyclave_client::BuildError;
use keyclave_client::error::{OnceError, ReadError, WriteError};
use keyclave_client::seal::ShareError;

/// The first thing that was not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// The binary has not been built.
    #[error("{0} is not there: run `cargo build -p keyclave` first, or name the binary in KEYCLAVE_BINARY")]
    Binary(PathBuf),
    /// A file or a process.
    #[error("{what}: {source}")]
    System {
        /// What was done.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A tool of the system failed.
    #[error("{command} failed: {said}")]
    Tool {
        /// Its command line.
        command: String,
        /// Its standard error.
        said: String,
    },
    /// A server ended by itself.
    #[error("node {number} ended by itself ({status}):\n{log}")]
    Ended {
        /// Which.
        number: usize,
        /// How.
        status: ExitStatus,
        /// The end of its log.
        log: String,
    },
    /// Something did not come about.
    #[error("{what} took longer than {} s: {missing}", .limit.as_secs())]
    TimedOut {
        /// What was waited for.
        what: &'static str,
        /// How long.
        limit: Duration,
        /// What was missing at the last look.
        missing: String,
    },
    /// There is no cluster yet.
    #[error("the cluster has not been founded")]
    Unfounded,
    /// No such node.
    #[error("there is no node {0}, or it does not run")]
    Node(usize),
    /// An invariant did not hold, or could not be judged.
    #[error("{invariant}: {what}")]
    Broken {
        /// Which.
        invariant: &'static str,
        /// How.
        what: String,
    },
    /// A client could not be made.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A read had no answer.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A write was not acknowledged.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Something that is asked once was not done.
    #[error(transparent)]
    Once(#[from] OnceError),
    /// A share was not taken.
    #[error(transparent)]
    Share(#[from] ShareError),
}

impl LiveError {
    /// For `map_err` where the system was asked for something.
    pub fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}
