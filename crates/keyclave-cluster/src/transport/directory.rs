//! Who is a member, with which key, and where: questions that the transport asks again for every connection and
//! every request.
//!
//! The node answers them from Raft's membership and the plain address records; a node that is joining answers
//! from what its join told it. Answers must be quick and never wait.

use keyclave_types::ids::{ClusterId, Incarnation, NodeId};
use keyclave_types::member::{HostPort, Member, NodePublicKey};
use keyclave_types::position::Generation;

/// What membership and address records say at this moment.
pub trait Directory: Send + Sync + 'static {
    /// The member, voter or learner, whose key this is.
    fn node(&self, key: &NodePublicKey) -> Option<NodeId>;
    /// The node that was removed lately whose key this was; looked at only where [`Self::node`] names nobody.
    fn removed(&self, key: &NodePublicKey) -> Option<NodeId>;
    /// What membership says of a node; `None` once it is removed.
    fn member(&self, node: NodeId) -> Option<Member>;
    /// Every member, this node included, in ascending order.
    fn nodes(&self) -> Vec<NodeId>;
    /// Where a node's peers reach it. A name is kept as a name and resolved for each connection.
    fn address(&self, node: NodeId) -> Option<HostPort>;
}

/// This node, as its calls present it and as it expects calls to name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LocalNode {
    /// The cluster.
    pub cluster: ClusterId,
    /// The ledger's line; one process never serves two.
    pub generation: Generation,
    /// Its number.
    pub node: NodeId,
    /// Its data directory.
    pub incarnation: Incarnation,
    /// Its own key.
    pub key: NodePublicKey,
}
