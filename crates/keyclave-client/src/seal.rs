//! Sealing, unsealing, and giving a share: first the code of the process that is to get it is compared with what its
//! machine shows, then the share is encrypted to that process alone.

mod share;
mod status;

pub use share::{
    BootKey, CodeDiffers, ComparedKey, GivenShare, ShareAnswer, ShareError, ShareOutcome, ShareTerms,
};
pub use status::{Ceremony, NodeSeal, RestartKey, SealState, SealStatus};

use keyclave_proto::v1;
use keyclave_types::ids::{CeremonyId, NodeId};
use keyclave_types::request::NodeCode;

use crate::client::{Answer, Client, answer};
use crate::error::{OnceError, ReadError, WriteError};
use crate::wire;

/// What to seal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SealTarget {
    /// One node.
    Node(NodeId),
    /// All of them.
    Cluster,
}

impl Client {
    /// Whether nodes are sealed, and how a ceremony stands. Needs no token.
    pub async fn seal_status(&self) -> Result<SealStatus, ReadError> {
        let send = |channel, request| async move { wire::seal(channel).get_seal_status(request).await };
        Ok(self.read(v1::GetSealStatusRequest {}, send).await?.try_into()?)
    }

    /// Seals a node, or all of them, by a transaction. Only a ceremony or an admission lifts that.
    pub async fn seal(&self, target: SealTarget) -> Result<Answer<()>, WriteError> {
        use v1::seal_node_request::Target;
        let target = match target {
            SealTarget::Node(node) => Target::Node(node.get()),
            SealTarget::Cluster => Target::Cluster(true),
        };
        let make = |request_id, _| v1::SealNodeRequest { target: Some(target), request_id };
        let send = |channel, request| async move { wire::seal(channel).seal_node(request).await };
        Ok(answer(self.write(make, send).await?, |_| Ok(()))?)
    }

    /// Vouches, once, for the process of `node` that shows `code`.
    pub async fn admit(&self, node: NodeId, code: &NodeCode) -> Result<Answer<()>, WriteError> {
        let make = |request_id, _| v1::AdmitRequest { node: node.get(), code: code.to_string(), request_id };
        let send = |channel, request| async move { wire::seal(channel).admit(request).await };
        Ok(answer(self.write(make, send).await?, |_| Ok(()))?)
    }

    /// This machine's own code, and its boot key as compared: whoever can open the socket is on the machine. Only
    /// over the operator's socket.
    pub async fn local_code(&self) -> Result<(NodeCode, ComparedKey), ReadError> {
        let send = |channel, request| async move { wire::seal(channel).get_code(request).await };
        let response = self.read(v1::GetCodeRequest {}, send).await?;
        let ceremony = wire::optional_bytes(&response.ceremony_id, "ceremony_id")?;
        let key = BootKey::new(
            NodeId::new(response.node),
            wire::bytes(&response.boot_public_key, "boot_public_key")?,
            ceremony.map(CeremonyId::from_bytes),
        );
        Ok((key.code(), key.confirmed()))
    }

    /// Seals the node on this machine, also when it is cut off from the others. Only over the operator's socket.
    pub async fn seal_this_node(&self) -> Result<(), OnceError> {
        let send = |channel, request| async move { wire::seal(channel).seal_this_node(request).await };
        self.once(v1::SealThisNodeRequest {}, send).await.map(|_| ())
    }
}
