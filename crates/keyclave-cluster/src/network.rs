//! openraft's calls to other members, over [`RaftTransport`], and the rules for their answers.
//!
//! Deliberately absent: belief. A higher vote in an answer is tamed by the guard; while a quorum holds the keyring,
//! votes are asked of nobody else, and a higher vote from elsewhere counts once a minute.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use keyclave_types::envelope;
use keyclave_types::ids::NodeId;
use openraft::error::{Fatal, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption};
use openraft::raft::SnapshotResponse;
use openraft::{OptionalSend, RaftNetwork, RaftNetworkFactory};

use crate::ground::Ground;
use crate::guard::{Guard, Refused};
use crate::keys::Signature;
use crate::message::{
    Append, AppendAnswer, MessageError, SnapshotAnswer, SnapshotHead, StoredMembershipForm, VoteAnswer,
    VoteAsk,
};
use crate::peer::{Answer, RaftTransport, Unreached};
use crate::presence::Presence;
use crate::raft::{
    AppendRequest, AppendResponse, LogId, MemberNode, Snapshot, TypeConfig, Vote, VoteRequest, VoteResponse,
    is_quorum,
};
use crate::rollback::Rollback;
use crate::timing::{BACK_OFF_MS, SNAPSHOT_STEP_MS};

/// What every call to a peer needs. Clones share it.
#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) guard: Guard,
    pub(crate) ground: Ground,
    pub(crate) presence: Presence,
    pub(crate) transport: Arc<dyn RaftTransport>,
    pub(crate) rollback: Rollback,
    pub(crate) signed_commit: Arc<Mutex<Option<(LogId, Signature)>>>,
}

/// Why a call brought nothing that openraft may see.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("the peer is no node number")]
    NoNode,
    #[error(transparent)]
    Unreached(#[from] Unreached),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("the peer holds no keyring, and a quorum does")]
    NotKeyed,
    #[error("there is no checkpoint to send yet")]
    NoCheckpoint,
}

impl Network {
    /// Whether keyed connections reach members that make a quorum with this node, so that nobody else is heard.
    pub(crate) fn keyed_quorum(&self) -> bool {
        !self.presence.sealed() && is_quorum(self.ground.membership().membership(), &self.keyed_and_me())
    }

    fn keyed_and_me(&self) -> BTreeSet<u64> {
        let keyed = self.transport.keyed();
        keyed.into_iter().chain([self.guard.me]).map(NodeId::get).collect()
    }

    /// What of `committed` the receiver can believe: a writer's signature over it, our own or, while we are sealed,
    /// the newest that we were given.
    fn vouched(&self, committed: Option<LogId>) -> (Option<LogId>, Option<Signature>) {
        let Some(committed) = committed else { return (None, None) };
        let mut cache = self.signed_commit.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((signed, signature)) = *cache
            && signed == committed
        {
            return (Some(committed), Some(signature));
        }
        let message = self.guard.line.commit_message(&committed);
        match self.guard.keys.sign_as_writer(&message) {
            Some(signature) => {
                *cache = Some((committed, signature));
                (Some(committed), Some(signature))
            }
            None => match self.ground.vouched() {
                Some((known, signature)) if known <= committed => (Some(known), Some(signature)),
                Some(_) | None => (Some(committed), None),
            },
        }
    }

    fn tame(&self, vote: Vote, sent: &Vote, keyed: bool) -> Result<Vote, CallError> {
        let tamed = self.guard.tame(&self.ground.standing(), vote, sent)?;
        if tamed > *sent && !keyed && self.keyed_quorum() && !self.presence.may_disturb() {
            return Err(CallError::NotKeyed);
        }
        Ok(tamed)
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, _: &MemberNode) -> Peer {
        Peer { network: self.clone(), target: NodeId::new(target) }
    }
}

/// Calls to one member.
pub(crate) struct Peer {
    network: Network,
    target: Option<NodeId>,
}

impl Peer {
    fn target(&self) -> Result<NodeId, CallError> {
        self.target.ok_or(CallError::NoNode)
    }

    /// openraft takes any error for silence and tries again, so what an operator must know is said here.
    fn note(&self, error: CallError) -> CallError {
        if let CallError::Refused(Refused::RolledBack { node }) = &error {
            self.network.rollback.tell(*node);
        }
        error
    }

    async fn send_append(
        &self,
        request: AppendRequest,
        limit: Duration,
    ) -> Result<AppendResponse, CallError> {
        let (network, target) = (&self.network, self.target()?);
        let sent = request.vote;
        let (previous, matched) =
            (request.prev_log_id, request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id));
        let mut append = Append { request, commit_signature: None, sealed: network.presence.sealed() };
        if !network.transport.keyed().contains(&target) {
            (append.request.leader_commit, append.commit_signature) =
                network.vouched(append.request.leader_commit);
        }
        let Answer { payload, keyed } = network.transport.append(target, append.to_bytes(), limit).await?;
        let answer: AppendAnswer = read(&payload)?;
        match AppendResponse::from(answer) {
            AppendResponse::HigherVote(vote) => {
                Ok(AppendResponse::HigherVote(network.tame(vote, &sent, keyed)?))
            }
            AppendResponse::Conflict => {
                network.rollback.check_conflict(target, previous, &network.ground)?;
                Ok(AppendResponse::Conflict)
            }
            AppendResponse::Success => {
                network.rollback.acknowledged(target, matched, &network.ground)?;
                Ok(AppendResponse::Success)
            }
            AppendResponse::PartialSuccess(part) => {
                network.rollback.acknowledged(target, part, &network.ground)?;
                Ok(AppendResponse::PartialSuccess(part))
            }
        }
    }

    async fn send_vote(&self, request: VoteRequest, limit: Duration) -> Result<VoteResponse, CallError> {
        let (network, target) = (&self.network, self.target()?);
        if network.keyed_quorum() && !network.transport.keyed().contains(&target) {
            return Err(CallError::NotKeyed);
        }
        let sent = request.vote;
        let ask = envelope::encode(&VoteAsk::from(request));
        let Answer { payload, keyed } = network.transport.vote(target, ask, limit).await?;
        let answer: VoteAnswer = read(&payload)?;
        if answer.granted && !keyed && network.keyed_quorum() {
            return Err(CallError::NotKeyed);
        }
        let response = VoteResponse::from(answer);
        let vote = network.tame(response.vote, &sent, keyed)?;
        network.rollback.check_last(target, response.last_log_id, &network.ground)?;
        if response.last_log_id > network.ground.last() {
            network.presence.set_outdated();
        }
        Ok(VoteResponse { vote, ..response })
    }

    async fn send_snapshot(&self, vote: Vote, snapshot: Snapshot) -> Result<Vote, CallError> {
        let (network, target) = (&self.network, self.target()?);
        let membership = StoredMembershipForm::from(&snapshot.meta.last_membership);
        let (checkpoint, chunks) = snapshot.snapshot.into_parts().ok_or(CallError::NoCheckpoint)?;
        let head = envelope::encode(&SnapshotHead { vote: vote.into(), checkpoint, membership });
        let limit = Duration::from_millis(SNAPSHOT_STEP_MS);
        let Answer { payload, keyed } = network.transport.snapshot(target, head, chunks, limit).await?;
        let answer: SnapshotAnswer = read(&payload)?;
        network.tame(answer.vote.into(), &vote, keyed)
    }
}

fn read<T: envelope::Stored>(payload: &[u8]) -> Result<T, CallError> {
    envelope::decode(payload).map_err(|error| Refused::Message(MessageError::Form(error)).into())
}

impl From<CallError> for Unreachable {
    fn from(error: CallError) -> Self {
        Self::new(&error)
    }
}

type CallResult<T> = Result<T, RPCError<u64, MemberNode, RaftError<u64>>>;

impl RaftNetwork<TypeConfig> for Peer {
    async fn append_entries(
        &mut self,
        request: AppendRequest,
        option: RPCOption,
    ) -> CallResult<AppendResponse> {
        let answer = self.send_append(request, option.hard_ttl()).await;
        answer.map_err(|error| RPCError::Unreachable(self.note(error).into()))
    }

    async fn vote(&mut self, request: VoteRequest, option: RPCOption) -> CallResult<VoteResponse> {
        let answer = self.send_vote(request, option.hard_ttl()).await;
        answer.map_err(|error| RPCError::Unreachable(self.note(error).into()))
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<u64>, StreamingError<TypeConfig, Fatal<u64>>> {
        tokio::select! {
            biased;
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = self.send_snapshot(vote, snapshot) => match sent {
                Ok(vote) => Ok(SnapshotResponse::new(vote)),
                Err(error) => Err(StreamingError::Unreachable(error.into())),
            },
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(Duration::from_millis(BACK_OFF_MS)))
    }
}
