//! `bench` as a value.

use clap::{Args, ValueEnum};
use keyclave_types::time::Span;

/// Clients that may be asked for at once: each holds a connection of its own.
const CLIENTS_MAX: u64 = 1_024;
/// The most seconds or repetitions that anybody waits for.
const REPEATS_MAX: u64 = 1_000;

/// Measure a cluster: its own of three servers on this machine, or the one that `--endpoints` names.
#[derive(Debug, Args)]
pub(crate) struct BenchArguments {
    /// What to measure.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Measure::ALL)]
    pub(crate) measure: Vec<Measure>,
    /// Concurrent clients, each with a connection of its own and one call under way; a row for each number.
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1, 16, 64, 256],
          value_parser = clap::value_parser!(u64).range(1..=CLIENTS_MAX))]
    pub(crate) clients: Vec<u64>,
    /// Where calls are sent.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [At::Leader, At::Follower])]
    pub(crate) at: Vec<At>,
    /// How long each row is measured.
    #[arg(long, value_name = "SPAN", default_value = "5s")]
    pub(crate) span: Span,
    /// How often everything is measured; each time gives rows of its own.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=REPEATS_MAX))]
    pub(crate) rounds: u64,
    /// How often the leader is killed; only in a cluster of its own.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=REPEATS_MAX))]
    pub(crate) kills: u64,
}

/// One kind of figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Measure {
    /// Acknowledged creations of keys with different names.
    Writes,
    /// Encryption of 1 KiB.
    Encrypt,
    /// Decryption of 1 KiB.
    Decrypt,
    /// The time from killing the leader to the next acknowledged write.
    Failover,
}

/// Where the calls of a row are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum At {
    /// The node that leads.
    Leader,
    /// One that does not.
    Follower,
    /// All nodes, clients spread evenly.
    All,
}

impl Measure {
    const ALL: [Self; 4] = [Self::Writes, Self::Encrypt, Self::Decrypt, Self::Failover];

    /// As it is written on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Writes => "writes",
            Self::Encrypt => "encrypt",
            Self::Decrypt => "decrypt",
            Self::Failover => "failover",
        }
    }
}

impl At {
    /// As it is written on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::All => "all",
        }
    }
}
