//! Why a task gave no verdict. A bad verdict is not an error: the task prints it and says `false`.

use std::path::PathBuf;

/// What kept a task from finishing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TaskError {
    /// The arguments name no task.
    #[error("wrong usage")]
    Usage,
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{path}: {source}")]
    Toml {
        /// Which.
        path: PathBuf,
        /// Where it goes wrong.
        source: Box<toml::de::Error>,
    },
    /// A command could not be started.
    #[error("cannot run {program}: {source}")]
    Start {
        /// Which.
        program: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// A command failed; its own words are on the terminal.
    #[error("`{command}` ended with {status}\n{stderr}")]
    Command {
        /// As it was called.
        command: String,
        /// Its exit code or signal.
        status: std::process::ExitStatus,
        /// The last words it wrote.
        stderr: String,
    },
    /// A command's JSON is not what it should be.
    #[error("the output of `{command}` is not the expected JSON: {source}")]
    Json {
        /// As it was called.
        command: String,
        /// Where it goes wrong.
        source: serde_json::Error,
    },
    /// A version or a version range that cannot be read.
    #[error("{path}: {found} is no version or range: {source}")]
    Version {
        /// Which file.
        path: PathBuf,
        /// What stands there.
        found: String,
        /// Why.
        source: semver::Error,
    },
    /// A line of a table that cannot be read.
    #[error("{path}:{line}: expected {expected}")]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line.
        line: usize,
        /// What should stand there.
        expected: &'static str,
    },
}
