//! Who belongs to the cluster and where they are reached.
//!
//! Identity (number, incarnation, public key) stands in Raft's membership; addresses are plain ledger records,
//! kept as names and resolved for each connection. Identity is the key, never the address.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::envelope::Stored;
use crate::ids::{Incarnation, NodeId};

/// The public half of a node's own Ed25519 key: its TLS raw public key towards peers, and what its blanks are
/// signed with while it is sealed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodePublicKey(pub [u8; 32]);

impl fmt::Debug for NodePublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodePublicKey({})", HEXLOWER.encode(&self.0))
    }
}

/// What membership says of one node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Member {
    /// Which data directory it runs on.
    pub incarnation: Incarnation,
    /// Its trust anchor.
    pub key: NodePublicKey,
}

/// `host:port`, the host a name, an IPv4 address or a bracketed IPv6 address.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPort {
    text: String,
    colon: usize,
}

/// Why a text is not `host:port`.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
#[error(
    "expected HOST:PORT with a port from 1 to 65535 and a host of letters, digits, dots, dashes, or [IPv6]"
)]
pub struct HostPortError;

impl HostPort {
    /// The host, an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        let host = self.text.get(..self.colon).unwrap_or_default();
        host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host)
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.text.get(self.colon + 1..).and_then(|p| p.parse().ok()).unwrap_or_default()
    }

    /// As given.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for HostPort {
    type Err = HostPortError;

    fn from_str(text: &str) -> Result<Self, HostPortError> {
        let (host, port) = text.rsplit_once(':').ok_or(HostPortError)?;
        let v6 = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let host_right = match v6 {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                (1..=253).contains(&host.len())
                    && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
            }
        };
        let port_right = port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|p| p > 0);
        if host_right && port_right {
            Ok(Self { text: text.to_owned(), colon: host.len() })
        } else {
            Err(HostPortError)
        }
    }
}

impl TryFrom<String> for HostPort {
    type Error = HostPortError;

    fn try_from(text: String) -> Result<Self, HostPortError> {
        text.parse()
    }
}

impl From<HostPort> for String {
    fn from(address: HostPort) -> Self {
        address.text
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A node that was removed, and the key that it may still come with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RemovedNode {
    /// Its number, which nobody gets again.
    pub node: NodeId,
    /// Its key.
    pub key: NodePublicKey,
}

/// Who was removed lately, the last one last; the plain record [`crate::ids::PlainKind::Removed`].
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Removed {
    /// At most [`crate::limits::REMOVED_NODES_MAX`].
    pub nodes: Vec<RemovedNode>,
}

impl Stored for Removed {
    const FORMAT: u8 = 1;
}

/// Where a node is reached; the plain record [`crate::ids::PlainKind::Address`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Addresses {
    /// By its peers.
    pub peer: HostPort,
    /// By clients.
    pub client: HostPort,
}

impl Stored for Addresses {
    const FORMAT: u8 = 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port_are_told_apart() {
        for (text, host, port) in [
            ("localhost:7420", "localhost", 7420),
            ("10.0.0.1:1", "10.0.0.1", 1),
            ("[::1]:65535", "::1", 65535),
        ] {
            let parsed: HostPort = text.parse().unwrap();
            assert_eq!((parsed.host(), parsed.port(), parsed.as_str()), (host, port, text));
        }
        for wrong in
            ["", ":1", "a", "a:", "a:0", "a:65536", "::1:80", "[::1]", "a b:1", "a:+1", "[x]:1", "a/b:1"]
        {
            assert_eq!(wrong.parse::<HostPort>(), Err(HostPortError), "{wrong:?}");
        }
    }
}
