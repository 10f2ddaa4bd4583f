//! Records that are plain by necessity, besides the seal record and addresses, which are shared with other rooms.

use keyclave_types::envelope::Stored;
use keyclave_types::ids::ClusterId;
use keyclave_types::position::Generation;
use keyclave_types::time::UnixMillis;
use serde::{Deserialize, Serialize};

/// The writer key's public half, Ed25519.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WriterKey {
    /// The key.
    pub public: [u8; 32],
}

impl Stored for WriterKey {
    const FORMAT: u8 = 1;
}

/// Which cluster this is, and what its nodes must understand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Formats {
    /// The cluster.
    pub cluster: ClusterId,
    /// The ledger's line.
    pub generation: Generation,
    /// A node that understands less stops.
    pub version_min: u32,
}

impl Formats {
    /// The version that this code understands.
    pub const VERSION: u32 = 1;
}

impl Stored for Formats {
    const FORMAT: u8 = 1;
}

/// An operator has sealed this node, or the cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SealMark {
    /// When.
    pub since: UnixMillis,
}

impl Stored for SealMark {
    const FORMAT: u8 = 1;
}

/// A node's certificate for clients: DER, the leaf first.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Certificate {
    /// The chain.
    pub chain: Vec<Vec<u8>>,
}

impl Stored for Certificate {
    const FORMAT: u8 = 1;
}
