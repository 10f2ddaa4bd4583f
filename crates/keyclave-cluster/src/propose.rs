//! Proposals: transactions gathered into batches above openraft, a few batches under way at once.
//!
//! One task keeps the order: what was decided first is proposed first, within a term. A caller is told "committed"
//! only while this node's vote is still the entry's own, because a deposed leader's openraft says so too. What was
//! not yet given to openraft when leadership or a deadline ended is refused as not proposed; everything else that
//! has no answer is [`ProposeError::Unknown`].
//!
//! Called through [`crate::cluster`]. Deliberately absent: retries; the one who decided decides anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use keyclave_types::envelope;
use keyclave_types::ids::NodeId;
use keyclave_types::limits::{BATCH_BYTES_MAX, BATCH_TRANSACTIONS_MAX, TRANSACTION_BYTES_MAX};
use keyclave_types::position::{Generation, Position};
use keyclave_types::transaction::{Transaction, TransactionOutcome};
use openraft::raft::ClientWriteResult;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::entry::{Fate, Proposal};
use crate::ground::Ground;
use crate::leadership::Leadership;
use crate::raft::{CheckpointEffect, Effect, Raft, TypeConfig, leader_of};

/// Batches given to openraft and not yet answered.
const BATCHES_IN_FLIGHT_MAX: u32 = 4;
/// Transactions that wait; more are refused.
const QUEUED_MAX: usize = 8_192;
/// Stored bytes that wait or are under way; more are refused.
const ADMITTED_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How often a checkpoint that came out void is tried again.
const CHECKPOINT_RETRIES_MAX: usize = 8;

/// A transaction that was applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Proposed {
    /// Where it was applied.
    pub position: Position,
    /// What became of it.
    pub outcome: TransactionOutcome,
}

/// Why a transaction has no outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// This node does not lead, or not as whom the transaction was decided under. Nothing was proposed.
    #[error("this node does not lead")]
    NotLeader {
        /// Who does, as far as this node knows.
        leader: Option<NodeId>,
    },
    /// Too much waits already. Nothing was proposed.
    #[error("too many writes wait already")]
    Overloaded,
    /// The deadline passed while it waited. Nothing was proposed.
    #[error("the deadline passed before the write was proposed")]
    Deadline,
    /// Larger than a transaction may be. Nothing was proposed.
    #[error("a transaction of {bytes} bytes is larger than {TRANSACTION_BYTES_MAX}")]
    TooLarge {
        /// Its stored length.
        bytes: usize,
    },
    /// It was proposed, and whether it was or will be committed is not known.
    #[error("whether the write was committed is not known")]
    Unknown,
    /// This node's log has stopped. Nothing was proposed.
    #[error("this node's log has stopped")]
    Stopped,
}

/// Why there is no checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// This node does not lead, or is sealed.
    #[error("this node does not lead")]
    NotLeader,
    /// Something always came between.
    #[error("no checkpoint was valid after {CHECKPOINT_RETRIES_MAX} attempts")]
    Void,
    /// This node's own state differs from what it signed: its disk or memory is damaged.
    #[error("this node's state differs from its own checkpoint")]
    Differs,
    /// It may or may not have been taken.
    #[error("whether the checkpoint was taken is not known")]
    Unknown,
}

/// The way into the queue. Clones share it.
#[derive(Clone)]
pub(crate) struct Proposer {
    queue: mpsc::Sender<Request>,
    admission: Arc<Semaphore>,
    leadership: watch::Receiver<Leadership>,
}

enum Request {
    Write(Queued),
    Checkpoint(oneshot::Sender<Result<u64, CheckpointError>>),
    Pause(oneshot::Sender<OwnedSemaphorePermit>),
}

struct Queued {
    transaction: Transaction,
    bytes: usize,
    claim: Claim,
    reply: oneshot::Sender<Result<Proposed, ProposeError>>,
    _admitted: OwnedSemaphorePermit,
}

impl Proposer {
    /// The way in, and the task that proposes; it ends when the last way in is gone.
    pub(crate) fn new(
        raft: Raft,
        ground: Ground,
        generation: Generation,
        leadership: watch::Receiver<Leadership>,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (queue, requests) = mpsc::channel(QUEUED_MAX);
        let batcher = Batcher {
            requests,
            carried: None,
            flight: Arc::new(Semaphore::new(BATCHES_IN_FLIGHT_MAX as usize)),
            shared: Shared { raft, ground, generation, leadership: leadership.clone() },
        };
        let admission = Arc::new(Semaphore::new(ADMITTED_BYTES_MAX));
        (Self { queue, admission, leadership }, batcher.run())
    }

    pub(crate) async fn propose(
        &self,
        transaction: Transaction,
        deadline: Instant,
    ) -> Result<Proposed, ProposeError> {
        let bytes = envelope::encode(&transaction).len();
        if bytes > TRANSACTION_BYTES_MAX {
            return Err(ProposeError::TooLarge { bytes });
        }
        if self.leadership.borrow().mine != Some(transaction.decided_under) {
            return Err(not_leader(&self.leadership));
        }
        let weight = u32::try_from(bytes).expect("a transaction is at most 48 KiB");
        let admitted = Arc::clone(&self.admission).try_acquire_many_owned(weight);
        let admitted = admitted.map_err(|_| ProposeError::Overloaded)?;
        let (reply, answer) = oneshot::channel();
        let claim = Claim::default();
        let queued = Queued { transaction, bytes, claim: claim.clone(), reply, _admitted: admitted };
        match self.queue.try_send(Request::Write(queued)) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Err(ProposeError::Overloaded),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(ProposeError::Stopped),
        }
        match tokio::time::timeout_at(deadline, answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) if claim.abandon() => Err(ProposeError::Stopped),
            Err(_) if claim.abandon() => Err(ProposeError::Deadline),
            Ok(Err(_)) | Err(_) => Err(ProposeError::Unknown),
        }
    }

    /// Proposes a checkpoint while nothing else is under way. Returns its index.
    pub(crate) async fn checkpoint(&self) -> Result<u64, CheckpointError> {
        for _ in 0..CHECKPOINT_RETRIES_MAX {
            if self.leadership.borrow().mine.is_none() {
                return Err(CheckpointError::NotLeader);
            }
            let (reply, answer) = oneshot::channel();
            let sent = self.queue.send(Request::Checkpoint(reply)).await;
            sent.map_err(|_| CheckpointError::NotLeader)?;
            match answer.await.map_err(|_| CheckpointError::Unknown)? {
                Err(CheckpointError::Void) => {}
                done => return done,
            }
        }
        Err(CheckpointError::Void)
    }

    /// Waits until nothing is under way; nothing is proposed until what this returns is dropped. `None` if that
    /// takes longer than `limit`, or the task has ended.
    pub(crate) async fn pause(&self, limit: Duration) -> Option<OwnedSemaphorePermit> {
        let (reply, paused) = oneshot::channel();
        let ask = async {
            self.queue.send(Request::Pause(reply)).await.ok()?;
            paused.await.ok()
        };
        tokio::time::timeout(limit, ask).await.ok().flatten()
    }
}

/// Who has a queued write: its caller until the deadline, or the batch. Whoever claims it first.
#[derive(Clone, Default)]
struct Claim(Arc<AtomicU8>);

impl Claim {
    const TAKEN: u8 = 1;
    const ABANDONED: u8 = 2;

    fn take(&self) -> bool {
        self.claim(Self::TAKEN)
    }

    fn abandon(&self) -> bool {
        self.claim(Self::ABANDONED)
    }

    fn claim(&self, whose: u8) -> bool {
        self.0.compare_exchange(0, whose, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

#[derive(Clone)]
struct Shared {
    raft: Raft,
    ground: Ground,
    generation: Generation,
    leadership: watch::Receiver<Leadership>,
}

struct Batcher {
    requests: mpsc::Receiver<Request>,
    carried: Option<Request>,
    flight: Arc<Semaphore>,
    shared: Shared,
}

impl Batcher {
    async fn run(mut self) {
        while let Some(request) = self.next().await {
            let permits = match request {
                Request::Write(_) => 1,
                Request::Checkpoint(_) | Request::Pause(_) => BATCHES_IN_FLIGHT_MAX,
            };
            let Ok(permit) = Arc::clone(&self.flight).acquire_many_owned(permits).await else { return };
            match request {
                Request::Write(first) => {
                    let batch = self.gather(first);
                    self.shared.send(batch, permit).await;
                }
                Request::Checkpoint(reply) => self.shared.send_checkpoint(reply, permit).await,
                Request::Pause(reply) => {
                    // Whoever asked may have given up; then the permit comes back at once.
                    let _ = reply.send(permit);
                }
            }
        }
    }

    async fn next(&mut self) -> Option<Request> {
        match self.carried.take() {
            Some(request) => Some(request),
            None => self.requests.recv().await,
        }
    }

    /// What waits, in order, as far as one batch holds it; what does not fit is carried to the next.
    fn gather(&mut self, first: Queued) -> Vec<Queued> {
        let mut bytes = 0;
        let mut batch = Vec::new();
        let mut next = Some(Request::Write(first));
        while let Some(request) = next {
            match request {
                Request::Write(queued) if bytes + queued.bytes <= BATCH_BYTES_MAX => {
                    bytes += self.shared.admit(queued, &mut batch);
                }
                other => {
                    self.carried = Some(other);
                    break;
                }
            }
            if batch.len() >= BATCH_TRANSACTIONS_MAX {
                break;
            }
            next = self.requests.try_recv().ok();
        }
        batch
    }
}

impl Shared {
    /// Takes a queued write into the batch if its caller still waits and its leadership still stands.
    fn admit(&self, queued: Queued, batch: &mut Vec<Queued>) -> usize {
        if !self.ground.leads_as(queued.transaction.decided_under) {
            // A caller that is gone needs no answer.
            let _ = queued.reply.send(Err(not_leader(&self.leadership)));
            return 0;
        }
        if !queued.claim.take() {
            return 0;
        }
        let bytes = queued.bytes;
        batch.push(queued);
        bytes
    }

    async fn send(&self, batch: Vec<Queued>, permit: OwnedSemaphorePermit) {
        if batch.is_empty() {
            return;
        }
        let (transactions, waiting): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|queued| (queued.transaction, (queued.reply, queued._admitted))).unzip();
        let proposal = Proposal::batch(transactions);
        let fate = proposal.fate().clone();
        let sent = self.raft.client_write_ff(proposal).await;
        let shared = self.clone();
        tokio::spawn(async move {
            let result = match sent {
                Ok(answer) => answer.await.ok(),
                Err(_) => None,
            };
            let outcomes = shared.outcomes(result, &fate);
            drop(permit);
            shared.tell(waiting, outcomes);
        });
    }

    fn outcomes(
        &self,
        result: Option<ClientWriteResult<TypeConfig>>,
        fate: &Fate,
    ) -> Result<(u64, Vec<TransactionOutcome>), ProposeError> {
        match result {
            Some(Ok(response)) if self.ground.leads_as(leader_of(&response.log_id)) => match response.data {
                Effect::Batch(outcomes) => Ok((response.log_id.index, outcomes)),
                Effect::Nothing | Effect::Checkpoint(_) => Err(ProposeError::Unknown),
            },
            Some(Err(_)) if !fate.was_appended() => Err(not_leader(&self.leadership)),
            None if !fate.was_appended() => Err(ProposeError::Stopped),
            Some(_) | None => Err(ProposeError::Unknown),
        }
    }

    fn tell(
        &self,
        waiting: Vec<(oneshot::Sender<Result<Proposed, ProposeError>>, OwnedSemaphorePermit)>,
        outcomes: Result<(u64, Vec<TransactionOutcome>), ProposeError>,
    ) {
        let (index, outcomes) = match outcomes {
            Ok((index, outcomes)) => (index, outcomes.into_iter().map(Ok).collect()),
            Err(error) => (0, vec![Err(error); waiting.len()]),
        };
        let position = Position { generation: self.generation, index };
        for ((reply, _admitted), outcome) in waiting.into_iter().zip(outcomes) {
            // A caller that is gone needs no answer.
            let _ = reply.send(outcome.map(|outcome| Proposed { position, outcome }));
        }
    }

    async fn send_checkpoint(
        &self,
        reply: oneshot::Sender<Result<u64, CheckpointError>>,
        permit: OwnedSemaphorePermit,
    ) {
        let sent = self.raft.client_write_ff(Proposal::checkpoint()).await;
        tokio::spawn(async move {
            let outcome = match sent {
                Ok(answer) => checkpoint_outcome(answer.await.ok()),
                Err(_) => Err(CheckpointError::NotLeader),
            };
            drop(permit);
            // Whoever asked may have given up.
            let _ = reply.send(outcome);
        });
    }
}

fn checkpoint_outcome(result: Option<ClientWriteResult<TypeConfig>>) -> Result<u64, CheckpointError> {
    match result {
        Some(Ok(response)) => match response.data {
            Effect::Checkpoint(CheckpointEffect::Taken) => Ok(response.log_id.index),
            Effect::Checkpoint(CheckpointEffect::Void) => Err(CheckpointError::Void),
            Effect::Checkpoint(CheckpointEffect::Differs) => Err(CheckpointError::Differs),
            Effect::Nothing | Effect::Batch(_) => Err(CheckpointError::Unknown),
        },
        Some(Err(_)) => Err(CheckpointError::NotLeader),
        None => Err(CheckpointError::Unknown),
    }
}

fn not_leader(leadership: &watch::Receiver<Leadership>) -> ProposeError {
    ProposeError::NotLeader { leader: leadership.borrow().leader }
}
