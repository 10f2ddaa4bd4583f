//! openraft's state machine over the ledger: applies entries, compares and captures at checkpoints, gives and takes
//! snapshots.
//!
//! A snapshot is of a checkpoint only: the state that was captured when it was applied, with the signed entry. A
//! node that restarts has none until the next checkpoint; a follower that needs one waits for it.
//!
//! Deliberately absent: judging a snapshot that arrives ([`crate::snapshot`]), and what a transaction means.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keyclave_ledger::capture::{self, Capture};
use keyclave_ledger::disk::{Disk, DiskError};
use keyclave_ledger::install::InstallError;
use keyclave_ledger::ledger::{self, Applied, Ledger};
use keyclave_types::envelope::{self, EnvelopeError, Stored};
use openraft::storage::RaftStateMachine;
use openraft::{ErrorSubject, ErrorVerb, OptionalSend, RaftSnapshotBuilder};
use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};

use crate::cluster::Alarm;
use crate::entry::{Entry, Payload};
use crate::ground::Ground;
use crate::message::StoredMembershipForm;
use crate::raft::{
    CheckpointEffect, Effect, LogId, LogIdForm, Snapshot, SnapshotMeta, StorageError, StoredMembership,
    TypeConfig, UnknownVoter, leader_of, storage_error,
};
use crate::snapshot::{SnapshotBody, chunks_of, meta_of};
use keyclave_types::threads::Threads;

/// What the ledger keeps for Raft with every entry.
#[derive(Serialize, Deserialize)]
pub(crate) struct Mark {
    applied: LogIdForm,
    membership: StoredMembershipForm,
}

impl Stored for Mark {
    const FORMAT: u8 = 1;
}

impl Mark {
    pub(crate) fn bytes(applied: LogId, membership: &StoredMembership) -> Vec<u8> {
        envelope::encode(&Self { applied: applied.into(), membership: membership.into() })
    }
}

/// The digest over records and membership that a checkpoint right after this state signs.
pub(crate) fn checkpoint_digest(applied: &Applied, membership: &StoredMembership) -> [u8; 32] {
    let membership = envelope::encode(&StoredMembershipForm::from(membership));
    capture::checkpoint_digest(applied, &membership).0
}

/// Why the records cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MachineError {
    #[error("the disk failed")]
    Disk(#[from] DiskError),
    #[error("the ledger's mark is not readable")]
    Mark(#[from] EnvelopeError),
    #[error("the stored membership is incomplete")]
    Membership(#[from] UnknownVoter),
    #[error("the snapshot could not be installed")]
    Install(#[from] InstallError),
    #[error("the thread that installs was lost")]
    Thread,
    #[error("openraft gave a snapshot that was not received")]
    NotReceived,
}

/// The records as openraft sees them. Clones share everything.
pub(crate) struct Machine<D: Disk> {
    shared: Arc<Shared<D>>,
}

struct Shared<D: Disk> {
    ledger: Ledger<D>,
    ground: Ground,
    threads: Arc<dyn Threads>,
    state: Mutex<State<D>>,
    wanted: AtomicBool,
    /// Only openraft's own suite captures without a checkpoint.
    captures_freely: bool,
    applied: watch::Sender<u64>,
    captured: watch::Sender<u64>,
    alarm: watch::Sender<Option<Alarm>>,
}

struct State<D: Disk> {
    applied: Option<LogId>,
    membership: StoredMembership,
    captured: Option<Captured<D>>,
    bytes_since: usize,
}

/// The state at a checkpoint, and the entry that signs it.
struct Captured<D: Disk> {
    checkpoint: Entry,
    membership: StoredMembership,
    capture: Capture<D>,
}

impl<D: Disk> Clone for Machine<D> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<D: Disk> Machine<D> {
    /// Takes up the records where they are and lays the ground.
    pub(crate) fn open(
        ledger: Ledger<D>,
        ground: Ground,
        threads: Arc<dyn Threads>,
        captures_freely: bool,
    ) -> Result<Self, MachineError> {
        let opened = ledger.applied();
        let mark: Option<Mark> = opened.mark.as_deref().map(envelope::decode).transpose()?;
        let (applied, membership) = match mark {
            Some(mark) => (Some(LogId::from(mark.applied)), mark.membership.try_into()?),
            None => (None, StoredMembership::default()),
        };
        ground.set_applied(applied, &membership);
        let index = applied.map_or(0, |id: LogId| id.index);
        Ok(Self {
            shared: Arc::new(Shared {
                ledger,
                ground,
                threads,
                state: Mutex::new(State { applied, membership, captured: None, bytes_since: 0 }),
                wanted: AtomicBool::new(false),
                captures_freely,
                applied: watch::Sender::new(index),
                captured: watch::Sender::new(0),
                alarm: watch::Sender::new(None),
            }),
        })
    }

    pub(crate) fn watch_applied(&self) -> watch::Receiver<u64> {
        self.shared.applied.subscribe()
    }

    pub(crate) fn watch_captured(&self) -> watch::Receiver<u64> {
        self.shared.captured.subscribe()
    }

    pub(crate) fn watch_alarm(&self) -> watch::Receiver<Option<Alarm>> {
        self.shared.alarm.subscribe()
    }

    /// Whether a follower needed a snapshot and there was none to give.
    pub(crate) fn snapshot_wanted(&self) -> bool {
        self.shared.wanted.load(Ordering::Acquire)
    }

    /// Entries applied since the last capture, and their bytes.
    pub(crate) fn since_checkpoint(&self) -> (u64, usize) {
        let state = self.state();
        let applied = state.applied.map_or(0, |id| id.index);
        let captured = state.captured.as_ref().map_or(0, |captured| captured.checkpoint.log_id.index);
        (applied.saturating_sub(captured), state.bytes_since)
    }

    fn state(&self) -> MutexGuard<'_, State<D>> {
        // Each field is assigned whole and the mark on disk is what counts, so a panic elsewhere does not spoil it.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply_entry(&self, entry: Entry) -> Result<Effect, MachineError> {
        let mut state = self.state();
        let agrees = match entry.payload() {
            Payload::Checkpoint(Some(digest)) => {
                Some(checkpoint_digest(&self.shared.ledger.applied(), &state.membership) == *digest)
            }
            Payload::Checkpoint(None) | Payload::Blank | Payload::Batch(_) | Payload::Membership(_) => None,
        };
        if let Payload::Membership(membership) = entry.payload() {
            state.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
        }
        let transactions = match entry.payload() {
            Payload::Batch(transactions) => transactions.as_slice(),
            Payload::Blank | Payload::Checkpoint(_) | Payload::Membership(_) => &[],
        };
        let outcomes = self.shared.ledger.apply(ledger::Entry {
            index: entry.log_id.index,
            leader: leader_of(&entry.log_id),
            transactions,
            mark: Mark::bytes(entry.log_id, &state.membership),
        })?;
        state.applied = Some(entry.log_id);
        state.bytes_since = state.bytes_since.saturating_add(entry.payload_bytes().len());
        self.shared.ground.set_applied(state.applied, &state.membership);
        let index = entry.log_id.index;
        let effect = match (entry.payload(), agrees) {
            (Payload::Batch(_), _) => Effect::Batch(outcomes),
            (Payload::Blank | Payload::Membership(_), _) => Effect::Nothing,
            (Payload::Checkpoint(_), None) => Effect::Checkpoint(CheckpointEffect::Void),
            (Payload::Checkpoint(_), Some(true)) => {
                self.capture(&mut state, entry);
                Effect::Checkpoint(CheckpointEffect::Taken)
            }
            (Payload::Checkpoint(_), Some(false)) => {
                tracing::error!(index, "this node's records differ from the checkpoint");
                self.shared.alarm.send_replace(Some(Alarm::Diverged { index }));
                Effect::Checkpoint(CheckpointEffect::Differs)
            }
        };
        self.shared.applied.send_replace(index);
        Ok(effect)
    }

    /// The state right after `checkpoint`, which changes no record.
    fn capture(&self, state: &mut State<D>, checkpoint: Entry) {
        let index = checkpoint.log_id.index;
        let (membership, capture) = (state.membership.clone(), self.shared.ledger.capture());
        state.captured = Some(Captured { checkpoint, membership, capture });
        state.bytes_since = 0;
        self.shared.wanted.store(false, Ordering::Release);
        self.shared.captured.send_replace(index);
    }

    fn current(&self) -> Option<Snapshot> {
        let state = self.state();
        let captured = state.captured.as_ref()?;
        let chunks = chunks_of(captured.capture.clone(), self.clone());
        Some(Snapshot {
            meta: captured.meta(),
            snapshot: Box::new(SnapshotBody::captured(captured.checkpoint.to_bytes(), chunks)),
        })
    }

    /// A capture that can give no more: another checkpoint is needed.
    pub(crate) fn want_snapshot(&self) {
        self.shared.wanted.store(true, Ordering::Release);
    }

    async fn install(&self, meta: &SnapshotMeta, body: SnapshotBody) -> Result<(), MachineError> {
        let (checkpoint, staged) = self.received(body).await?;
        let index = checkpoint.log_id.index;
        let mark = Mark::bytes(checkpoint.log_id, &meta.last_membership);
        let (done, finished) = oneshot::channel();
        // It reads every record back. Nothing is applied meanwhile: openraft's worker waits here.
        self.shared.threads.run(Box::new(move || {
            // The task that waits is openraft's; if it is gone, so is the node.
            let _ = done.send(staged.finish(index, mark));
        }));
        finished.await.map_err(|_| MachineError::Thread)??;
        let mut state = self.state();
        state.applied = Some(checkpoint.log_id);
        state.membership = meta.last_membership.clone();
        self.shared.ground.set_applied(state.applied, &state.membership);
        self.capture(&mut state, checkpoint);
        self.shared.applied.send_replace(index);
        Ok(())
    }

    #[cfg(not(test))]
    async fn received(
        &self,
        body: SnapshotBody,
    ) -> Result<(Entry, Box<dyn crate::snapshot::Staged>), MachineError> {
        body.into_staged().map_err(|_| MachineError::NotReceived)
    }

    /// openraft's own suite carries a snapshot from one machine to the next without a receiver between them.
    #[cfg(test)]
    async fn received(
        &self,
        body: SnapshotBody,
    ) -> Result<(Entry, Box<dyn crate::snapshot::Staged>), MachineError> {
        use futures::StreamExt;
        let body = match body.into_staged() {
            Ok(staged) => return Ok(staged),
            Err(body) => body,
        };
        let (checkpoint, mut chunks) = body.into_parts().ok_or(MachineError::NotReceived)?;
        let checkpoint = Entry::from_bytes(&checkpoint).map_err(|_| MachineError::NotReceived)?;
        let mut installing = self.shared.ledger.begin_install()?;
        while let Some(chunk) = chunks.next().await {
            installing.add(&chunk)?;
        }
        Ok((checkpoint, Box::new(installing)))
    }
}

impl<D: Disk> Captured<D> {
    fn meta(&self) -> SnapshotMeta {
        meta_of(self.checkpoint.log_id, self.membership.clone())
    }
}

impl<D: Disk> RaftSnapshotBuilder<TypeConfig> for Machine<D> {
    async fn build_snapshot(&mut self) -> Result<Snapshot, StorageError> {
        if self.shared.captures_freely {
            let mut state = self.state();
            if let Some(applied) = state.applied {
                let checkpoint = openraft::entry::RaftEntry::new_blank(applied);
                self.capture(&mut state, checkpoint);
            }
        }
        Ok(self.current().unwrap_or_else(nothing))
    }
}

/// Before the first checkpoint: openraft takes an empty meta for no snapshot.
fn nothing() -> Snapshot {
    Snapshot { meta: SnapshotMeta::default(), snapshot: Box::new(SnapshotBody::nothing()) }
}

impl<D: Disk> RaftStateMachine<TypeConfig> for Machine<D> {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        let state = self.state();
        Ok((state.applied, state.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Effect>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut effects = Vec::new();
        for entry in entries {
            let subject = ErrorSubject::Apply(entry.log_id);
            let effect = self.apply_entry(entry);
            effects.push(effect.map_err(|error| storage_error(subject, ErrorVerb::Write, &error))?);
        }
        Ok(effects)
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<SnapshotBody>, StorageError> {
        Ok(Box::new(SnapshotBody::nothing()))
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<SnapshotBody>,
    ) -> Result<(), StorageError> {
        let installed = self.install(meta, *snapshot).await;
        installed.map_err(|error| {
            storage_error(ErrorSubject::Snapshot(Some(meta.signature())), ErrorVerb::Write, &error)
        })
    }

    /// openraft stops if a follower needs a snapshot and there is none, so once the log was purged it gets one
    /// without contents; sending that fails and is tried again, and the next checkpoint fills it.
    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, StorageError> {
        let current = self.current();
        if current.is_none() && self.shared.ground.standing().purged.is_some() {
            self.want_snapshot();
            return Ok(Some(nothing()));
        }
        Ok(current)
    }
}
