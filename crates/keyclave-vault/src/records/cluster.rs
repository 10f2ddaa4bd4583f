//! What the cluster keeps about itself: nodes, what lets them come back, the time, its authority, audit anchors.

use keyclave_types::access::Subject;
use keyclave_types::envelope::Stored;
use keyclave_types::ids::{Incarnation, NodeId};
use keyclave_types::member::NodePublicKey;
use keyclave_types::request::NodeCode;
use keyclave_types::time::UnixMillis;
use serde::{Deserialize, Serialize};

use crate::records::{Body, RecordName};

/// First byte of an audit segment's secret.
pub const SEGMENT_KEY_FORMAT: u8 = 1;
/// The stored form of the key that signs how trails stand: this byte and the 32 bytes of an Ed25519 seed.
pub const TRAIL_KEY_FORMAT: u8 = 1;
/// First byte of the authority's private key; PKCS #8 follows.
pub const CA_KEY_FORMAT: u8 = 1;

/// The highest node number given out; a number is never given twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeCounter {
    /// The number.
    pub last: NodeId,
}

impl Stored for NodeCounter {
    const FORMAT: u8 = 1;
}

impl Body for NodeCounter {
    fn name(&self) -> RecordName<'_> {
        RecordName::NodeCounter
    }
}

/// A node that has joined and was not removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Its number.
    pub node: NodeId,
    /// Its data directory.
    pub incarnation: Incarnation,
    /// Its key.
    pub key: NodePublicKey,
    /// When it joined.
    pub joined_at: UnixMillis,
}

impl Stored for NodeRecord {
    const FORMAT: u8 = 1;
}

impl Body for NodeRecord {
    fn name(&self) -> RecordName<'_> {
        RecordName::Node(self.node)
    }
}

/// The public half of what lets a restarted process of this node have the root again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RestartKey {
    /// Whose it is.
    pub node: NodeId,
    /// On which data directory.
    pub incarnation: Incarnation,
    /// Ed25519.
    pub public: [u8; 32],
    /// When it was recorded.
    pub since: UnixMillis,
}

impl Stored for RestartKey {
    const FORMAT: u8 = 1;
}

impl Body for RestartKey {
    fn name(&self) -> RecordName<'_> {
        RecordName::RestartKey(self.node)
    }
}

/// One process of one node that somebody has vouched for; goes when it is used.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Admission {
    /// Whose process.
    pub node: NodeId,
    /// The code of its boot key.
    pub code: NodeCode,
    /// When it was vouched for.
    pub since: UnixMillis,
}

impl Stored for Admission {
    const FORMAT: u8 = 1;
}

impl Body for Admission {
    fn name(&self) -> RecordName<'_> {
        RecordName::Admission(self.node)
    }
}

/// What vouches for a process that wants the root from a peer; chosen at init.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RejoinPolicy {
    /// A restart key, a share given on the machine, an admission.
    Strict,
    /// These, and for a while after an operator said so, being a member.
    Members,
    /// Nothing: each node is unsealed by shares.
    Off,
}

/// How nodes come back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RejoinRules {
    /// What vouches.
    pub policy: RejoinPolicy,
    /// Until when being a member is enough, under [`RejoinPolicy::Members`].
    pub members_until: Option<UnixMillis>,
}

impl Stored for RejoinRules {
    const FORMAT: u8 = 1;
}

impl Body for RejoinRules {
    fn name(&self) -> RecordName<'_> {
        RecordName::RejoinRules
    }
}

/// The last time that the cluster agreed on; it never goes back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClusterTime {
    /// The time.
    pub at: UnixMillis,
}

impl Stored for ClusterTime {
    const FORMAT: u8 = 1;
}

impl Body for ClusterTime {
    fn name(&self) -> RecordName<'_> {
        RecordName::ClusterTime
    }
}

/// The certificate of the cluster's authority for what clients see. Its private key is a secret of its own.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CaRecord {
    /// DER.
    pub certificate: Vec<u8>,
}

impl Stored for CaRecord {
    const FORMAT: u8 = 1;
}

impl Body for CaRecord {
    fn name(&self) -> RecordName<'_> {
        RecordName::Ca
    }
}

/// How far a node's audit chain was durable, so that a cut below it is found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AuditAnchor {
    /// Whose chain.
    pub node: NodeId,
    /// The data directory that it lies in.
    pub incarnation: Incarnation,
    /// The sequence number of its last durable record.
    pub sequence: u64,
    /// That record's hash.
    pub hash: [u8; 32],
    /// The tree over the records up to it; none where its segment has none.
    pub tree: Option<AnchoredTree>,
    /// When it was reported.
    pub at: UnixMillis,
}

/// How the Merkle tree over a node's records stood.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AnchoredTree {
    /// The segment that it began with.
    pub begins: u64,
    /// How many records it held.
    pub leaves: u64,
    /// Its root (RFC 6962).
    pub root: [u8; 32],
}

/// How long the cluster keeps its trails.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TrailRules {
    /// So long at least; without end if none.
    pub keep_ms: Option<u64>,
    /// Somebody has asked that nothing be removed.
    pub hold: Option<TrailHold>,
}

/// A wish that nothing be removed from any trail.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TrailHold {
    /// Who asked.
    pub by: Subject,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: UnixMillis,
}

impl Stored for TrailRules {
    const FORMAT: u8 = 1;
}

impl Body for TrailRules {
    fn name(&self) -> RecordName<'_> {
        RecordName::TrailRules
    }
}

/// Where one node's trail begins whose older segments were removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeptTrail {
    /// Whose trail.
    pub node: NodeId,
    /// The data directory that it lies in.
    pub incarnation: Incarnation,
    /// The first segment that is kept.
    pub segment: u64,
    /// The last record before it.
    pub sequence: u64,
    /// The hash of the last line before it.
    pub hash: [u8; 32],
    /// When it was decided.
    pub at: UnixMillis,
}

impl Stored for KeptTrail {
    const FORMAT: u8 = 1;
}

impl Body for KeptTrail {
    fn name(&self) -> RecordName<'_> {
        RecordName::KeptTrail(self.node)
    }
}

impl Stored for AuditAnchor {
    const FORMAT: u8 = 2;
}

impl Body for AuditAnchor {
    fn name(&self) -> RecordName<'_> {
        RecordName::AuditAnchor(self.node)
    }
}

/// Every node is to rewrite its store: what was destroyed before this order was given must be on no disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RewritingOrder {
    /// The how manieth order it is, from 1.
    pub number: u64,
    /// When it was given.
    pub at: UnixMillis,
}

impl Stored for RewritingOrder {
    const FORMAT: u8 = 1;
}

impl Body for RewritingOrder {
    fn name(&self) -> RecordName<'_> {
        RecordName::RewritingOrder
    }
}

/// A node has carried out an order to rewrite its store, and so every earlier one. Nothing decides on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rewritten {
    /// Which node.
    pub node: NodeId,
    /// In which data directory.
    pub incarnation: Incarnation,
    /// Which order.
    pub number: u64,
    /// Up to which index its log was gone before.
    pub index: u64,
    /// When it said so.
    pub at: UnixMillis,
}

impl Stored for Rewritten {
    const FORMAT: u8 = 1;
}

impl Body for Rewritten {
    fn name(&self) -> RecordName<'_> {
        RecordName::Rewritten(self.node)
    }
}
