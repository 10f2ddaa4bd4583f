//! The command line as a value: every command, every flag, with the text of `--help`.
//!
//! Parsed once in `main`. Deliberately absent: a flag or argument that takes a secret; shares and tokens come from
//! files, the environment, a prompt or standard input.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use keyclave_client::receipts::Receipts;
use keyclave_types::time::Span;

pub(crate) mod serving;

pub(crate) mod bench;

pub(crate) mod operator;

pub(crate) mod keys;

pub(crate) mod access;
pub(crate) mod identities;

use access::{AccessCommand, AuditCommand};
use bench::BenchArguments;
use keys::{DecryptArguments, EncryptArguments, KeyCommand};
use operator::OperatorCommand;
use serving::{DemoArguments, DevArguments, ServerArguments};

/// Keep encryption keys on three or five machines of your own: stored once, sealed, rotated on time, used only by
/// whoever may, every use on record, reachable from any node.
#[derive(Debug, Parser)]
#[command(name = "keyclave", version, propagate_version = true, arg_required_else_help = true)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Where and how to connect.
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// How results are printed.
    #[arg(long, value_enum, global = true, default_value_t = Output::Text, help_heading = "Output")]
    pub(crate) output: Output,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// Where and how to connect.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connection {
    /// Nodes to connect to, `https://host:port`, separated by commas; the first that answers serves.
    #[arg(long, global = true, env = "KEYCLAVE_ENDPOINTS", value_delimiter = ',', hide_env_values = true)]
    pub(crate) endpoints: Vec<String>,
    /// The cluster's CA certificate, PEM.
    #[arg(long, global = true, env = "KEYCLAVE_CACERT", value_name = "FILE", hide_env_values = true)]
    pub(crate) cacert: Option<PathBuf>,
    /// The certificate that this client shows, PEM, its own first.
    #[arg(long, global = true, env = "KEYCLAVE_CLIENT_CERT", value_name = "FILE", hide_env_values = true)]
    pub(crate) client_cert: Option<PathBuf>,
    /// The certificate's private key, PEM.
    #[arg(long, global = true, env = "KEYCLAVE_CLIENT_KEY", value_name = "FILE", hide_env_values = true)]
    pub(crate) client_key: Option<PathBuf>,
    /// A file that holds the token; without it the environment variable KEYCLAVE_TOKEN does.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// The operator's socket of a node on this machine, instead of endpoints; for `server`, where to make it.
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// How long one call may take.
    #[arg(long, global = true, value_name = "SPAN", default_value = "10s")]
    pub(crate) timeout: Span,
    /// Say on standard error where each answer is on record: NODE.SEQUENCE.HASH, for `audit verify --holds`.
    #[arg(long, global = true)]
    pub(crate) receipt: bool,
    /// What `--receipt` has collected.
    #[arg(skip)]
    pub(crate) receipts: Receipts,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a node.
    Server(Box<ServerArguments>),
    /// Run one unsealed node for development, and print its endpoint and token.
    Dev(DevArguments),
    /// Run a real three-node cluster on this machine and show what it does.
    Demo(DemoArguments),
    /// Measure a cluster: one of its own on this machine, or the one that `--endpoints` names.
    Bench(BenchArguments),
    /// Initialise, unseal, seal and look after a cluster.
    #[command(subcommand)]
    Operator(OperatorCommand),
    /// Create and look after keys.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Encrypt a file or standard input.
    Encrypt(EncryptArguments),
    /// Decrypt a file or standard input.
    Decrypt(DecryptArguments),
    /// Give and withdraw access.
    #[command(subcommand)]
    Access(AccessCommand),
    /// Search and verify the trail.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Print completions for a shell.
    Completions {
        /// Which shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print the manual page.
    Manual,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_says_what_it_does() {
        fn walk(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
                assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
            }
            command.get_subcommands().for_each(walk);
        }
        walk(&Arguments::command());
    }

    #[test]
    fn no_argument_takes_a_secret() {
        fn walk(command: &clap::Command) {
            for argument in command.get_arguments() {
                let id = argument.get_id().as_str();
                let secret = ["share", "token", "secret", "password"].contains(&id);
                assert!(!secret, "{} {id}", command.get_name());
            }
            command.get_subcommands().for_each(walk);
        }
        walk(&Arguments::command());
    }
}
