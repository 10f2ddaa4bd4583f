//! What the Raft half of this room needs of a transport, and nothing about how it is done.
//!
//! [`crate::transport`] implements [`RaftTransport`] over gRPC, tests and the simulator otherwise. Payloads are the
//! stored forms of this room (a format byte first). The transport authenticates the other end by its recorded key;
//! what is believed of it is decided in [`crate::guard`].

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use keyclave_types::ids::NodeId;

/// An answer from a peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The stored form of the answer.
    pub payload: Vec<u8>,
    /// Whether it came over a keyed connection.
    pub keyed: bool,
}

/// Why there is no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unreached {
    /// No connection, or it broke, or the limit passed. Whether the peer acted is not known.
    #[error("the peer did not answer")]
    Silent,
    /// The peer answered that it will not do it.
    #[error("the peer refused")]
    Refused,
}

/// What a node sees of a leader at this moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeaderSeen {
    /// Whether a live leader is seen. A leader that is handing over answers no.
    pub live: bool,
    /// The leader that was last seen, live or not.
    pub leader: Option<NodeId>,
    /// The term of the node's vote.
    pub term: u64,
}

/// A leader's request that its receiver stand for election now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Campaign {
    /// The term in which the sender leads.
    pub term: u64,
    /// The sender's last log index.
    pub last_index: u64,
}

/// Calls to other members. Every call ends within its limit, whatever the peer does.
pub trait RaftTransport: Send + Sync + 'static {
    /// One append, over a keyed connection where there is one, else over a plain one.
    fn append(
        &self,
        target: NodeId,
        payload: Vec<u8>,
        limit: Duration,
    ) -> BoxFuture<'static, Result<Answer, Unreached>>;

    /// One request for a vote, over a keyed connection where there is one, else over a plain one.
    fn vote(
        &self,
        target: NodeId,
        payload: Vec<u8>,
        limit: Duration,
    ) -> BoxFuture<'static, Result<Answer, Unreached>>;

    /// One whole snapshot: its head, then its chunks in order, each at most [`CHUNK_BYTES_MAX`]. The limit is for
    /// each step, not for the whole.
    fn snapshot(
        &self,
        target: NodeId,
        head: Vec<u8>,
        chunks: BoxStream<'static, Vec<u8>>,
        limit: Duration,
    ) -> BoxFuture<'static, Result<Answer, Unreached>>;

    /// Asks what leader the peer sees. A plain connection will do.
    fn leader_seen(
        &self,
        target: NodeId,
        limit: Duration,
    ) -> BoxFuture<'static, Result<LeaderSeen, Unreached>>;

    /// Asks the peer to campaign. Over a keyed connection only.
    fn campaign(
        &self,
        target: NodeId,
        campaign: Campaign,
        limit: Duration,
    ) -> BoxFuture<'static, Result<(), Unreached>>;

    /// The members that at least one keyed connection reaches at this moment, whoever dialled it.
    fn keyed(&self) -> BTreeSet<NodeId>;
}

/// Bytes of one snapshot chunk on its way.
pub const CHUNK_BYTES_MAX: usize = 1024 * 1024;
