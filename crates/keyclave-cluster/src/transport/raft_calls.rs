//! The dialler's side of Raft: calls to a member, over the keyed channel where there is one.
//!
//! The Raft half calls it. Sealed nodes need Raft too, so where no keyed connection stands, a plain one serves;
//! every answer says over which it came, because less is believed of a plain one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, Stream, StreamExt};
use keyclave_proto::peer::v1 as wire;
use keyclave_proto::peer::v1::install_snapshot_request::Part;
use keyclave_proto::peer::v1::leadership_service_client::LeadershipServiceClient;
use keyclave_proto::peer::v1::raft_service_client::RaftServiceClient;
use keyclave_types::ids::NodeId;
use keyclave_types::position::{Generation, Position};
use keyclave_types::time::UnixMillis;
use tonic::Status;

use crate::peer::{Campaign, LeaderSeen};

use super::call::CallError;
use super::gate::GateReason;
use super::peers::{PeerChannel, Peers};
use super::raft_service::{LEADER, RAFT_MESSAGE_BYTES_MAX};
use super::wire::Wire;

/// How often members without a keyed connection are tried again.
pub const KEYED_TRIED_EVERY_MS: u64 = 500;

/// The time limit of such a trial, connecting included.
const KEYED_TRIAL_MS_MAX: u64 = 2_500;

/// The time limit of a whole snapshot; what usually ends one that hangs is the limit of a step.
const SNAPSHOT_LIMIT: Duration = Duration::from_secs(24 * 3600);

/// An answer and how it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Heard<T> {
    /// The answer.
    pub answer: T,
    /// Whether it came over a keyed connection.
    pub keyed: bool,
}

/// Whom an answer names as leader, if it is the refusal of one that does not lead.
pub fn leader_named_by(status: &Status) -> Option<NodeId> {
    let named = status.metadata().get(LEADER)?.to_str().ok()?;
    named.parse().ok()
}

impl<W: Wire> Peers<W> {
    /// Sends an append and returns its answer's payload.
    pub async fn append(
        &self,
        node: NodeId,
        payload: Vec<u8>,
        limit: Duration,
    ) -> Result<Heard<Vec<u8>>, CallError> {
        let request = wire::AppendRequest { payload };
        let heard = self.unary(node, limit, move |channel, limit| {
            let request = request.clone();
            let call = |channel| async move { raft(channel).append(request).await };
            async move { channel.call(limit, call).await }.boxed()
        });
        heard.await.map(|heard| heard.map(|response| response.payload))
    }

    /// Asks for a vote and returns the answer's payload.
    pub async fn vote(
        &self,
        node: NodeId,
        payload: Vec<u8>,
        limit: Duration,
    ) -> Result<Heard<Vec<u8>>, CallError> {
        let request = wire::VoteRequest { payload };
        let heard = self.unary(node, limit, move |channel, limit| {
            let request = request.clone();
            let call = |channel| async move { raft(channel).vote(request).await };
            async move { channel.call(limit, call).await }.boxed()
        });
        heard.await.map(|heard| heard.map(|response| response.payload))
    }

    /// Streams a snapshot and returns the answer's payload. `limit` is for each step, not for the whole: between
    /// two chunks that leave, and from the last one to the answer.
    pub async fn install_snapshot(
        &self,
        node: NodeId,
        head: Vec<u8>,
        chunks: impl Stream<Item = Vec<u8>> + Send + 'static,
        limit: Duration,
    ) -> Result<Heard<Vec<u8>>, CallError> {
        let (channel, keyed) = self.lane(node)?;
        let left = Arc::new(AtomicU64::new(0));
        let leaving = Arc::clone(&left);
        let parts =
            futures::stream::once(std::future::ready(Part::Head(head))).chain(chunks.map(Part::Chunk));
        let requests = parts.map(move |part| {
            leaving.fetch_add(1, Ordering::Relaxed);
            wire::InstallSnapshotRequest { part: Some(part) }
        });
        let send = |channel| async move { raft(channel).install_snapshot(requests).await };
        let sending = async move { channel.call(SNAPSHOT_LIMIT, send).await }.boxed();
        let response = while_it_moves(sending, left, limit).await?;
        Ok(Heard { answer: response.payload, keyed })
    }

    /// Asks whether `node` sees a live leader.
    pub async fn leader_seen(&self, node: NodeId, limit: Duration) -> Result<Heard<LeaderSeen>, CallError> {
        let heard = self
            .unary(node, limit, |channel, limit| async move { leader_seen(&channel, limit).await }.boxed());
        heard.await
    }

    /// Asks `node`, if it leads, for the index up to which the seal record must have been applied.
    pub async fn seal_record_index(
        &self,
        node: NodeId,
        limit: Duration,
    ) -> Result<Heard<Position>, CallError> {
        let request = wire::SealRecordIndexRequest {};
        let heard = self.unary(node, limit, move |channel, limit| {
            let call = move |channel| async move { raft(channel).seal_record_index(request).await };
            async move { channel.call(limit, call).await }.boxed()
        });
        let position = |response: wire::SealRecordIndexResponse| Position {
            generation: Generation(response.generation),
            index: response.index,
        };
        heard.await.map(|heard| heard.map(position))
    }

    /// Asks `node`, over a keyed connection, to stand for election.
    pub async fn campaign(&self, node: NodeId, campaign: Campaign, limit: Duration) -> Result<(), CallError> {
        let Campaign { term, last_index } = campaign;
        let channel = self.keyed(node).map_err(CallError::Refused)?;
        let request = wire::CampaignRequest { term, last_index };
        let asked = channel.call(limit, |channel| async move {
            LeadershipServiceClient::new(channel).campaign(request).await
        });
        asked.await.map(|_| ())
    }

    /// Reads `node`'s wall clock, over a keyed connection.
    pub async fn read_clock(&self, node: NodeId, limit: Duration) -> Result<UnixMillis, CallError> {
        let channel = self.keyed(node).map_err(CallError::Refused)?;
        let request = wire::ReadClockRequest {};
        let asked = channel.call(limit, |channel| async move {
            LeadershipServiceClient::new(channel).read_clock(request).await
        });
        asked.await.map(|response| UnixMillis(response.clock_unix_ms))
    }

    /// Keeps a keyed connection to every member that takes one, so that the keyed quorum rule has something to
    /// count and a first request need not wait. Runs until it is dropped; does nothing while this node is sealed.
    pub async fn keep_keyed(&self) {
        let limit = Duration::from_millis(KEYED_TRIAL_MS_MAX);
        let (mut trying, mut trials) = (BTreeSet::new(), FuturesUnordered::new());
        loop {
            for node in self.without_keyed() {
                if let Ok(channel) = self.keyed(node)
                    && trying.insert(node)
                {
                    // Any call connects; what is answered does not matter here, and a refusal is tried again.
                    trials.push(async move { (node, leader_seen(&channel, limit).await.is_ok()) });
                }
            }
            // One that hangs must not keep the others waiting.
            let mut next_round =
                std::pin::pin!(tokio::time::sleep(Duration::from_millis(KEYED_TRIED_EVERY_MS)));
            loop {
                tokio::select! {
                    biased;
                    () = &mut next_round => break,
                    Some((node, _)) = trials.next() => trying.remove(&node),
                };
            }
        }
    }

    /// One call over the better lane; over the other where that one turns out not to stand.
    async fn unary<T>(
        &self,
        node: NodeId,
        limit: Duration,
        call: impl Fn(PeerChannel, Duration) -> BoxFuture<'static, Result<T, CallError>>,
    ) -> Result<Heard<T>, CallError> {
        let begun = tokio::time::Instant::now();
        let (channel, keyed) = self.lane(node)?;
        let first = call(channel, limit).await;
        let other = match &first {
            Err(error) if keyed && error.lacks_only_proof() => self.plain(node),
            Err(CallError::Gate(GateReason::NeedsKeyed)) if !keyed => self.keyed(node),
            _ => return first.map(|answer| Heard { answer, keyed }),
        };
        let left = limit.saturating_sub(begun.elapsed());
        let answer = call(other.map_err(CallError::Refused)?, left).await?;
        Ok(Heard { answer, keyed: !keyed })
    }

    /// Keyed where a keyed connection stands, in either direction: dialling one only now would make a heartbeat
    /// wait for a handshake that a sealed peer refuses.
    fn lane(&self, node: NodeId) -> Result<(PeerChannel, bool), CallError> {
        let keyed = self.has_keyed(node);
        let channel = if keyed { self.keyed(node) } else { self.plain(node) };
        channel.map(|channel| (channel, keyed)).map_err(CallError::Refused)
    }
}

impl<T> Heard<T> {
    fn map<U>(self, change: impl FnOnce(T) -> U) -> Heard<U> {
        Heard { answer: change(self.answer), keyed: self.keyed }
    }
}

/// Waits for `sending` as long as `left` grows within every `limit`.
async fn while_it_moves<T>(
    sending: impl Future<Output = Result<T, CallError>>,
    left: Arc<AtomicU64>,
    limit: Duration,
) -> Result<T, CallError> {
    let mut sending = std::pin::pin!(sending);
    let mut seen = left.load(Ordering::Relaxed);
    loop {
        if let Ok(outcome) = tokio::time::timeout(limit, &mut sending).await {
            return outcome;
        }
        let moved = left.load(Ordering::Relaxed);
        if moved == seen {
            return Err(CallError::Deadline { limit });
        }
        seen = moved;
    }
}

async fn leader_seen(channel: &PeerChannel, limit: Duration) -> Result<LeaderSeen, CallError> {
    let request = wire::LeaderSeenRequest {};
    let asked = channel.call(limit, |channel| async move { raft(channel).leader_seen(request).await });
    let wire::LeaderSeenResponse { live, leader, term } = asked.await?;
    Ok(LeaderSeen { live, leader: NodeId::new(leader), term })
}

fn raft(channel: PeerChannel) -> RaftServiceClient<PeerChannel> {
    RaftServiceClient::new(channel)
        .max_decoding_message_size(RAFT_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(RAFT_MESSAGE_BYTES_MAX)
}
