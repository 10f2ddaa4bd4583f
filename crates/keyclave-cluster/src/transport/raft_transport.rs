//! [`Peers`] as the Raft half wants it: its own trait, without our reasons.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use keyclave_types::ids::NodeId;

use crate::peer::{Answer, Campaign, LeaderSeen, RaftTransport, Unreached};

use super::call::CallError;
use super::peers::Peers;
use super::raft_calls::Heard;
use super::wire::Wire;

impl<W: Wire> RaftTransport for Peers<W> {
    fn append(
        &self,
        target: NodeId,
        payload: Vec<u8>,
        limit: Duration,
    ) -> BoxFuture<'static, Result<Answer, Unreached>> {
        let peers = self.clone();
        async move { answered(target, peers.append(target, payload, limit).await) }.boxed()
    }

    fn vote(
        &self,
        target: NodeId,
        payload: Vec<u8>,
        limit: Duration,
    ) -> BoxFuture<'static, Result<Answer, Unreached>> {
        let peers = self.clone();
        async move { answered(target, peers.vote(target, payload, limit).await) }.boxed()
    }

    fn snapshot(
        &self,
        target: NodeId,
        head: Vec<u8>,
        chunks: BoxStream<'static, Vec<u8>>,
        limit: Duration,
    ) -> BoxFuture<'static, Result<Answer, Unreached>> {
        let peers = self.clone();
        async move { answered(target, peers.install_snapshot(target, head, chunks, limit).await) }.boxed()
    }

    fn leader_seen(
        &self,
        target: NodeId,
        limit: Duration,
    ) -> BoxFuture<'static, Result<LeaderSeen, Unreached>> {
        let peers = self.clone();
        async move {
            let seen = peers.leader_seen(target, limit).await;
            seen.map(|heard| heard.answer).map_err(|error| unreached(target, &error))
        }
        .boxed()
    }

    fn campaign(
        &self,
        target: NodeId,
        campaign: Campaign,
        limit: Duration,
    ) -> BoxFuture<'static, Result<(), Unreached>> {
        let peers = self.clone();
        async move {
            peers.campaign(target, campaign, limit).await.map_err(|error| unreached(target, &error))
        }
        .boxed()
    }

    fn keyed(&self) -> BTreeSet<NodeId> {
        self.keyed_members()
    }
}

fn answered(target: NodeId, heard: Result<Heard<Vec<u8>>, CallError>) -> Result<Answer, Unreached> {
    heard
        .map(|Heard { answer, keyed }| Answer { payload: answer, keyed })
        .map_err(|error| unreached(target, &error))
}

fn unreached(target: NodeId, error: &CallError) -> Unreached {
    let error_source = std::error::Error::source(error).map(tracing::field::display);
    tracing::debug!(node = target.get(), %error, source = error_source, "a peer gave no answer to Raft");
    match error {
        CallError::Answered(_) | CallError::Gate(_) => Unreached::Refused,
        CallError::Refused(_) | CallError::Lost(_) | CallError::Deadline { .. } => Unreached::Silent,
    }
}
