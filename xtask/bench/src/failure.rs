//! Why nothing could be measured.

use std::path::PathBuf;

/// What kept the comparison from finishing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// A file could not be written or a directory made.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A program could not be started.
    #[error("{program} cannot be started: {source}")]
    Start {
        /// Which.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A program ended badly.
    #[error("{program} ended with {status}: {stderr}")]
    Ended {
        /// Which.
        program: PathBuf,
        /// Its exit code or signal.
        status: std::process::ExitStatus,
        /// What it said last.
        stderr: String,
    },
    /// A program's JSON lacks something.
    #[error("{program} printed no JSON with `{expected}`")]
    Json {
        /// Which.
        program: PathBuf,
        /// What should be there.
        expected: &'static str,
    },
    /// No free port.
    #[error("no port on 127.0.0.1: {0}")]
    Port(#[source] std::io::Error),
    /// A certificate could not be made.
    #[error("the certificates for etcd cannot be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// TLS could not be set up.
    #[error("TLS towards etcd cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// etcd has no leader, or does not answer.
    #[error("etcd has no leader after {waited_s} s; its logs are in {logs}")]
    NoLeader {
        /// How long it had.
        waited_s: u64,
        /// Where it may say why.
        logs: PathBuf,
    },
    /// The first put of a client failed.
    #[error("etcd refused a client's first put: {0}")]
    FirstPut(#[source] Box<tonic::Status>),
    /// A client's task died.
    #[error("a client died: {0}")]
    Client(#[source] tokio::task::JoinError),
}
