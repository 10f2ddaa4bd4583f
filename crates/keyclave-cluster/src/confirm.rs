//! Confirmation: the leader vouches for an index after a quorum has answered a round that began after the question.
//!
//! Questions that arrive while a round travels share the next one, so their number does not matter. The index is at
//! least that of this leader's own first entry, so it covers everything that was acknowledged in any earlier term.
//! Called through [`crate::cluster`]. Deliberately absent: clocks and leases.

use std::time::Duration;

use keyclave_ledger::digest::Digest;
use keyclave_ledger::disk::Disk;
use keyclave_ledger::ledger::Ledger;
use keyclave_types::ids::NodeId;
use keyclave_types::position::Generation;
use openraft::error::{CheckIsLeaderError, RaftError};
use openraft::metrics::WaitError;
use tokio::sync::{mpsc, oneshot, watch};

use crate::leadership::Leadership;
use crate::raft::{LogId, Raft};
use crate::timing::QUORUM_SILENT_MS;

/// Questions that may wait for one round; more are refused.
const WAITING_MAX: usize = 16_384;

/// What the leader vouches for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Confirmation {
    /// The ledger's line.
    pub generation: Generation,
    /// Every write acknowledged before the question lies at or below it.
    pub index: u64,
    /// The entry at which the digest was taken; at or above `index`.
    pub digest_index: u64,
    /// The digest of the leader's records there.
    pub digest: Digest,
}

/// Why nothing is vouched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConfirmError {
    /// This node does not lead.
    #[error("this node does not lead")]
    NotLeader {
        /// Who does, as far as this node knows.
        leader: Option<NodeId>,
    },
    /// It leads, as far as it knows, and no quorum answered.
    #[error("no quorum answered")]
    NoQuorum,
    /// More questions wait than may.
    #[error("{WAITING_MAX} questions wait already")]
    Overloaded,
    /// This node's log has stopped.
    #[error("this node's log has stopped")]
    Stopped,
}

type Reply = oneshot::Sender<Result<Confirmation, ConfirmError>>;

/// Where questions go. Clones share it.
#[derive(Clone)]
pub(crate) struct Confirmer {
    waiting: mpsc::Sender<Reply>,
}

impl Confirmer {
    /// The way in, and the task that runs the rounds; it ends when the last way in is gone.
    pub(crate) fn new<D: Disk>(
        raft: Raft,
        ledger: Ledger<D>,
        generation: Generation,
        leadership: watch::Receiver<Leadership>,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (waiting, queue) = mpsc::channel(WAITING_MAX);
        (Self { waiting }, Rounds { raft, ledger, generation, leadership }.run(queue))
    }

    pub(crate) async fn confirm(&self) -> Result<Confirmation, ConfirmError> {
        let (reply, answer) = oneshot::channel();
        match self.waiting.try_send(reply) {
            Ok(()) => answer.await.map_err(|_| ConfirmError::Stopped)?,
            Err(mpsc::error::TrySendError::Full(_)) => Err(ConfirmError::Overloaded),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(ConfirmError::Stopped),
        }
    }
}

struct Rounds<D: Disk> {
    raft: Raft,
    ledger: Ledger<D>,
    generation: Generation,
    leadership: watch::Receiver<Leadership>,
}

impl<D: Disk> Rounds<D> {
    async fn run(mut self, mut queue: mpsc::Receiver<Reply>) {
        let mut sharing = Vec::new();
        while queue.recv_many(&mut sharing, WAITING_MAX).await > 0 {
            self.wait_for_handover().await;
            let answer = self.round().await;
            for reply in sharing.drain(..) {
                // Whoever gave up meanwhile needs no answer.
                let _ = reply.send(answer.clone());
            }
        }
    }

    /// A round would renew the followers' lease, and the handover's target could not win.
    async fn wait_for_handover(&mut self) {
        // The sender lives as long as the node; if it is gone, the round says so.
        let _ = self.leadership.wait_for(|leadership| !leadership.handing_over).await;
    }

    async fn round(&self) -> Result<Confirmation, ConfirmError> {
        let (confirmed, _) = self.raft.get_read_log_id().await.map_err(|error| self.explain(error))?;
        let index = confirmed.map_or(0, |id: LogId| id.index);
        let limit = Some(Duration::from_millis(QUORUM_SILENT_MS));
        let applied = self.raft.wait(limit).applied_index_at_least(Some(index), "confirmation").await;
        applied.map_err(|error| match error {
            WaitError::Timeout(..) => ConfirmError::NoQuorum,
            WaitError::ShuttingDown => ConfirmError::Stopped,
        })?;
        let applied = self.ledger.applied();
        Ok(Confirmation {
            generation: self.generation,
            index,
            digest_index: applied.index,
            digest: applied.digest,
        })
    }

    fn explain<N: openraft::Node>(&self, error: RaftError<u64, CheckIsLeaderError<u64, N>>) -> ConfirmError {
        match error {
            RaftError::APIError(CheckIsLeaderError::ForwardToLeader(to)) => ConfirmError::NotLeader {
                leader: to.leader_id.and_then(NodeId::new).or(self.leadership.borrow().leader),
            },
            RaftError::APIError(CheckIsLeaderError::QuorumNotEnough(_)) => ConfirmError::NoQuorum,
            RaftError::Fatal(_) => ConfirmError::Stopped,
        }
    }
}
