//! Joining a cluster: the call itself is a value, made by whoever has a client.

use std::sync::Arc;

use futures::future::BoxFuture;
use keyclave_node::joining::JoinAsk;
use keyclave_types::ids::{ClusterId, NodeId};
use keyclave_types::member::{Addresses, HostPort, Member};
use keyclave_types::position::Position;
use zeroize::Zeroizing;

/// What a joining node is told.
#[derive(Clone, Debug)]
pub struct JoinReply {
    /// Where the ledger stands with it.
    pub position: Position,
    /// The cluster.
    pub cluster: ClusterId,
    /// Its number.
    pub node: NodeId,
    /// Everyone whose addresses are known.
    pub members: Vec<(NodeId, Member, Addresses)>,
    /// The writer key's public half.
    pub writer: [u8; 32],
    /// How the log began.
    pub first_entry: Vec<u8>,
}

/// Why a node has not joined.
#[derive(Debug, thiserror::Error)]
pub enum JoinFailure {
    /// It may work later.
    #[error("not yet")]
    Later(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It will not: the token is wrong, spent or too old.
    #[error("refused")]
    Refused(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Makes the call.
pub trait Joiner: Send + Sync + 'static {
    /// One attempt: asks the member at `address`, with the token's whole text, its pin included.
    fn join(
        &self,
        address: HostPort,
        token: Zeroizing<String>,
        ask: JoinAsk,
    ) -> BoxFuture<'static, Result<JoinReply, JoinFailure>>;
}

/// A joiner made of a function, for callers that may not name the node's own types.
pub fn joiner_of<F>(call: F) -> Arc<dyn Joiner>
where
    F: Fn(HostPort, Zeroizing<String>, JoinAsk) -> BoxFuture<'static, Result<JoinReply, JoinFailure>>
        + Send
        + Sync
        + 'static,
{
    Arc::new(Called(call))
}

struct Called<F>(F);

impl<F> Joiner for Called<F>
where
    F: Fn(HostPort, Zeroizing<String>, JoinAsk) -> BoxFuture<'static, Result<JoinReply, JoinFailure>>
        + Send
        + Sync
        + 'static,
{
    fn join(
        &self,
        address: HostPort,
        token: Zeroizing<String>,
        ask: JoinAsk,
    ) -> BoxFuture<'static, Result<JoinReply, JoinFailure>> {
        (self.0)(address, token, ask)
    }
}
