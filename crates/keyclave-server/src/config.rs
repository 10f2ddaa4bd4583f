//! The server's configuration: one TOML file, flags on top of it, parsed once into values that cannot be wrong.
//!
//! Called by the binary. Deliberately absent: any option that makes the service unsafe, and timing of Raft.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use keyclave_node::rewriting::PURGE_AFTER_MS_MAX;
use keyclave_types::ids::NodeId;
use keyclave_types::member::HostPort;
use keyclave_types::time::Span;
use serde::Deserialize;

/// Where clients connect unless told otherwise.
pub const CLIENTS_PORT: u16 = 7420;
/// Where peers connect unless told otherwise.
pub const PEERS_PORT: u16 = 7421;
/// Where health is asked unless told otherwise.
pub const HEALTH_PORT: u16 = 7422;
/// The kernel's limit on a socket's path, its closing zero included.
const SOCKET_PATH_BYTES_MAX: usize = 108;

/// What the file may say. Every field may be left out; flags of the same name win.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// Where everything durable lies.
    pub data_dir: Option<PathBuf>,
    /// A tmpfs directory for the restart key.
    pub runtime_dir: Option<PathBuf>,
    /// The operator's socket; `keyclave.sock` in the data directory by default.
    pub socket: Option<PathBuf>,
    /// Listening address for clients.
    pub listen: Option<SocketAddr>,
    /// Listening address for peers.
    pub peer_listen: Option<SocketAddr>,
    /// Listening address for health and metrics.
    pub health_listen: Option<SocketAddr>,
    /// `host:port` at which peers reach this node.
    pub advertise: Option<HostPort>,
    /// `host:port` at which clients reach this node.
    pub client_advertise: Option<HostPort>,
    /// `host:port` of a member's client port, to join its cluster.
    pub join: Option<HostPort>,
    /// The file that holds, or will hold, the join token.
    pub join_token_file: Option<PathBuf>,
    /// `NODE=host:port` pairs that override recorded peer addresses.
    pub peers: Vec<PeerOverride>,
    /// A certificate chain of your own for clients, PEM.
    pub tls_certificate: Option<PathBuf>,
    /// Its private key, PKCS#8 PEM.
    pub tls_key: Option<PathBuf>,
    /// How long a destroyed version waits until the stores are rewritten without it, as in `10m`; at most, and by
    /// default, `30m`.
    pub purge_after: Option<PurgeAfter>,
    /// `text` or `json`.
    pub log_format: Option<LogFormat>,
    /// `error`, `warn`, `info` or `debug`.
    pub log_level: Option<LogLevel>,
}

/// One peer's address, given at start because the recorded one is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PeerOverride {
    /// Which node.
    pub node: NodeId,
    /// Where it is.
    pub address: HostPort,
}

impl std::str::FromStr for PeerOverride {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let (node, address) = text.split_once('=').ok_or(ConfigError::Peer)?;
        Ok(Self {
            node: node.parse().map_err(|_| ConfigError::Peer)?,
            address: address.parse().map_err(|_| ConfigError::Peer)?,
        })
    }
}

impl TryFrom<String> for PeerOverride {
    type Error = ConfigError;

    fn try_from(text: String) -> Result<Self, ConfigError> {
        text.parse()
    }
}

/// How long a destroyed version waits until the stores are rewritten without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PurgeAfter(Span);

impl std::str::FromStr for PurgeAfter {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let span: Option<Span> = text.parse().ok();
        span.filter(|span| span.ms <= PURGE_AFTER_MS_MAX).map(Self).ok_or(ConfigError::PurgeAfter)
    }
}

impl TryFrom<String> for PurgeAfter {
    type Error = ConfigError;

    fn try_from(text: String) -> Result<Self, ConfigError> {
        text.parse()
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For collectors.
    Json,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Only what stops something.
    Error,
    /// And what will.
    Warn,
    /// And what happened.
    #[default]
    Info,
    /// And how.
    Debug,
}

/// Where to join and with what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// A member's client port.
    pub address: HostPort,
    /// The token's file.
    pub token_file: PathBuf,
}

/// A certificate of the operator's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnCertificate {
    /// PEM chain.
    pub certificate: PathBuf,
    /// PEM key.
    pub key: PathBuf,
}

/// The whole configuration, complete and consistent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where everything durable lies.
    pub data_dir: PathBuf,
    /// Where the restart key may lie.
    pub runtime_dir: Option<PathBuf>,
    /// The operator's socket.
    pub socket: PathBuf,
    /// Listening address for clients.
    pub listen: SocketAddr,
    /// Listening address for peers.
    pub peer_listen: SocketAddr,
    /// Listening address for health and metrics.
    pub health_listen: SocketAddr,
    /// How peers reach this node.
    pub advertise: HostPort,
    /// How clients reach this node.
    pub client_advertise: HostPort,
    /// A cluster to join.
    pub join: Option<Join>,
    /// Addresses that win over recorded ones.
    pub peers: Vec<PeerOverride>,
    /// A certificate of the operator's own.
    pub own_certificate: Option<OwnCertificate>,
    /// How long a destroyed version waits until the stores are rewritten without it.
    pub purge_after_ms: u64,
    /// How log lines look.
    pub log_format: LogFormat,
    /// How much is logged.
    pub log_level: LogLevel,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration file {path} cannot be read")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("the configuration file {path} is wrong")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// Nowhere to keep anything.
    #[error("no data directory: give --data-dir, or data_dir in the configuration file")]
    DataDir,
    /// Peers and clients cannot be told where this node is.
    #[error("{listen} is no address that others can reach: give --{flag} HOST:PORT")]
    Advertise {
        /// The flag that is missing.
        flag: &'static str,
        /// What was to be derived from.
        listen: SocketAddr,
    },
    /// One of two that belong together.
    #[error("{given} needs {missing} beside it")]
    Pair {
        /// What was given.
        given: &'static str,
        /// What was not.
        missing: &'static str,
    },
    /// The kernel would cut the path.
    #[error("the socket path {path} is {length} bytes long, at most {max} fit: name a shorter one with --socket", max = SOCKET_PATH_BYTES_MAX - 1)]
    SocketPath {
        /// Which path.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
    },
    /// Not a span, or too long.
    #[error("expected a time of at most 30m, as in 10m")]
    PurgeAfter,
    /// Not `NODE=HOST:PORT`.
    #[error("expected NODE=HOST:PORT")]
    Peer,
    /// One address for two things.
    #[error("{address} is given for {first} and for {second}")]
    SameAddress {
        /// Which.
        address: SocketAddr,
        /// What it is for.
        first: &'static str,
        /// What else.
        second: &'static str,
    },
}

impl File {
    /// Reads a configuration file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        toml::from_str(&text)
            .map_err(|source| ConfigError::Parse { path: path.to_owned(), source: Box::new(source) })
    }

    /// This file with every field of `flags` that is set put over its own.
    pub fn with(self, flags: Self) -> Self {
        Self {
            data_dir: flags.data_dir.or(self.data_dir),
            runtime_dir: flags.runtime_dir.or(self.runtime_dir),
            socket: flags.socket.or(self.socket),
            listen: flags.listen.or(self.listen),
            peer_listen: flags.peer_listen.or(self.peer_listen),
            health_listen: flags.health_listen.or(self.health_listen),
            advertise: flags.advertise.or(self.advertise),
            client_advertise: flags.client_advertise.or(self.client_advertise),
            join: flags.join.or(self.join),
            join_token_file: flags.join_token_file.or(self.join_token_file),
            peers: if flags.peers.is_empty() { self.peers } else { flags.peers },
            tls_certificate: flags.tls_certificate.or(self.tls_certificate),
            tls_key: flags.tls_key.or(self.tls_key),
            purge_after: flags.purge_after.or(self.purge_after),
            log_format: flags.log_format.or(self.log_format),
            log_level: flags.log_level.or(self.log_level),
        }
    }

    /// The complete configuration.
    pub fn complete(self) -> Result<Config, ConfigError> {
        let data_dir = self.data_dir.ok_or(ConfigError::DataDir)?;
        let any = |port| SocketAddr::from(([0, 0, 0, 0], port));
        let listen = self.listen.unwrap_or(any(CLIENTS_PORT));
        let peer_listen = self.peer_listen.unwrap_or(any(PEERS_PORT));
        let health_listen = self.health_listen.unwrap_or(any(HEALTH_PORT));
        refuse_same(&[("clients", listen), ("peers", peer_listen), ("health", health_listen)])?;
        Ok(Config {
            socket: short_enough(self.socket.unwrap_or_else(|| data_dir.join("keyclave.sock")))?,
            data_dir,
            runtime_dir: self.runtime_dir,
            listen,
            peer_listen,
            health_listen,
            advertise: reachable(self.advertise, peer_listen, "advertise")?,
            client_advertise: reachable(self.client_advertise, listen, "client-advertise")?,
            join: pair(self.join, self.join_token_file, ["join", "join-token-file"])?
                .map(|(address, token_file)| Join { address, token_file }),
            peers: self.peers,
            own_certificate: pair(self.tls_certificate, self.tls_key, ["tls-certificate", "tls-key"])?
                .map(|(certificate, key)| OwnCertificate { certificate, key }),
            purge_after_ms: self.purge_after.map_or(PURGE_AFTER_MS_MAX, |PurgeAfter(span)| span.ms),
            log_format: self.log_format.unwrap_or_default(),
            log_level: self.log_level.unwrap_or_default(),
        })
    }
}

fn refuse_same(listening: &[(&'static str, SocketAddr)]) -> Result<(), ConfigError> {
    for (at, (first, address)) in listening.iter().enumerate() {
        for (second, other) in listening.iter().skip(at + 1) {
            if address == other && address.port() != 0 {
                return Err(ConfigError::SameAddress { address: *address, first, second });
            }
        }
    }
    Ok(())
}

fn short_enough(path: PathBuf) -> Result<PathBuf, ConfigError> {
    let length = path.as_os_str().len();
    if length >= SOCKET_PATH_BYTES_MAX { Err(ConfigError::SocketPath { path, length }) } else { Ok(path) }
}

/// What others are told: as given, or the listening address where that is one that others can use.
fn reachable(
    given: Option<HostPort>,
    listen: SocketAddr,
    flag: &'static str,
) -> Result<HostPort, ConfigError> {
    let wrong = ConfigError::Advertise { flag, listen };
    match given {
        Some(address) => Ok(address),
        None if listen.ip().is_unspecified() => Err(wrong),
        None => listen.to_string().parse().map_err(|_| wrong),
    }
}

fn pair<A, B>(
    first: Option<A>,
    second: Option<B>,
    names: [&'static str; 2],
) -> Result<Option<(A, B)>, ConfigError> {
    match (first, second) {
        (Some(first), Some(second)) => Ok(Some((first, second))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(ConfigError::Pair { given: names[0], missing: names[1] }),
        (None, Some(_)) => Err(ConfigError::Pair { given: names[1], missing: names[0] }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        toml::from_str::<File>(text)
            .map_err(|source| ConfigError::Parse { path: PathBuf::new(), source: Box::new(source) })?
            .complete()
    }

    #[test]
    fn little_is_enough_and_the_rest_follows() {
        let config = parse("data_dir = '/d'\nadvertise = 'a:1'\nclient_advertise = 'a:2'").unwrap();
        assert_eq!(config.socket, Path::new("/d/keyclave.sock"));
        assert_eq!(config.listen.port(), CLIENTS_PORT);
        assert_eq!(config.join, None);
    }

    #[test]
    fn an_unknown_field_is_refused() {
        assert!(matches!(parse("data_dir = '/d'\ninsecure = true"), Err(ConfigError::Parse { .. })));
    }

    #[test]
    fn what_cannot_work_is_said_at_once() {
        assert!(matches!(parse(""), Err(ConfigError::DataDir)));
        assert!(matches!(parse("data_dir='/d'"), Err(ConfigError::Advertise { flag: "advertise", .. })));
        let near = "listen='127.0.0.1:1'\npeer_listen='127.0.0.1:2'\nhealth_listen='127.0.0.1:3'\n";
        assert!(parse(&format!("data_dir='/d'\n{near}")).is_ok());
        assert!(matches!(parse(&format!("data_dir='/d'\n{near}join='a:1'")), Err(ConfigError::Pair { .. })));
        assert!(matches!(parse(&format!("data_dir='/d'\n{near}tls_key='k'")), Err(ConfigError::Pair { .. })));
        let long = "x".repeat(120);
        assert!(matches!(parse(&format!("data_dir='/{long}'\n{near}")), Err(ConfigError::SocketPath { .. })));
        assert!(matches!(
            parse("data_dir='/d'\nlisten='127.0.0.1:1'\npeer_listen='127.0.0.1:1'"),
            Err(ConfigError::SameAddress { first: "clients", second: "peers", .. })
        ));
        assert!(matches!(parse("data_dir='/d'\npeers=['x=a:1']"), Err(ConfigError::Parse { .. })));
    }

    #[test]
    fn a_flag_wins_over_the_file() {
        let file = File { data_dir: Some("/file".into()), ..File::default() };
        let flags = File { data_dir: Some("/flag".into()), ..File::default() };
        assert_eq!(file.clone().with(flags).data_dir, Some("/flag".into()));
        assert_eq!(file.clone().with(File::default()), file);
    }

    #[test]
    fn a_purge_may_wait_thirty_minutes_at_most() {
        let after = |text: &str| text.parse::<PurgeAfter>().ok().map(|PurgeAfter(span)| span.ms);
        assert_eq!((after("1s"), after("30m")), (Some(1_000), Some(PURGE_AFTER_MS_MAX)));
        assert_eq!((after("31m"), after("1h"), after("x")), (None, None, None));
    }

    #[test]
    fn the_file_has_at_most_twenty_fields() {
        let names = [
            "data_dir",
            "runtime_dir",
            "socket",
            "listen",
            "peer_listen",
            "health_listen",
            "advertise",
            "client_advertise",
            "join",
            "join_token_file",
            "peers",
            "tls_certificate",
            "tls_key",
            "purge_after",
            "log_format",
            "log_level",
        ];
        let error = toml::from_str::<File>("nothing_of_that_name = 1").unwrap_err().to_string();
        for name in names {
            assert!(error.contains(name), "{name} is not in: {error}");
        }
        assert_eq!(error.matches('`').count() / 2 - 1, names.len(), "{error}");
        assert!(names.len() <= 20);
    }
}
