//! One node's Raft, as the rest of the node sees it.
//!
//! Made by [`StartCluster::start`]. A handle; clones are cheap and share everything. What it does stands in the
//! modules beside it: proposing, confirming, membership, handing over, and what peers ask.

use std::sync::Arc;
use std::time::Duration;

use keyclave_ledger::disk::Disk;
use keyclave_ledger::ledger::Ledger;
use keyclave_types::ids::RecordId;
use keyclave_types::transaction::{Change, Transaction};
use tokio::sync::{Mutex, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::confirm::{ConfirmError, Confirmation, Confirmer};
use crate::entry::Payload;
use crate::ground::Ground;
use crate::guard::Guard;
use crate::leadership::Leadership;
use crate::log_store::{Log, read_error};
use crate::network::Network;
use crate::peer::RaftTransport;
use crate::presence::Presence;
use crate::propose::{CheckpointError, ProposeError, Proposed, Proposer};
use crate::raft::{Raft, StorageError};
use crate::start::StartCluster;

/// See the module's page.
pub struct Cluster<D: Disk> {
    pub(crate) inner: Arc<Inner<D>>,
}

pub(crate) struct Inner<D: Disk> {
    pub(crate) guard: Guard,
    pub(crate) raft: Raft,
    pub(crate) ledger: Ledger<D>,
    pub(crate) log: Log<D>,
    pub(crate) ground: Ground,
    pub(crate) presence: Presence,
    pub(crate) transport: Arc<dyn RaftTransport>,
    pub(crate) network: Network,
    pub(crate) proposer: Proposer,
    pub(crate) confirmer: Confirmer,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) applied: watch::Receiver<u64>,
    pub(crate) alarm: watch::Receiver<Option<Alarm>>,
    pub(crate) fatal: watch::Receiver<Option<Fatal>>,
    /// Held while a message is checked and given to openraft.
    pub(crate) gate: Mutex<()>,
    /// Held while a snapshot comes in; only one may.
    pub(crate) incoming: Mutex<()>,
    pub(crate) tasks: Vec<AbortHandle>,
}

impl<D: Disk> Clone for Cluster<D> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<D: Disk> Drop for Inner<D> {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Why this node must answer nothing any more, although its disk works.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Alarm {
    /// Its records differ from what a leader signed. It must be joined anew.
    #[error("this node's records differ from the checkpoint at index {index}")]
    Diverged {
        /// The checkpoint.
        index: u64,
    },
}

/// Why this node's log has stopped. The process must end; the disk's state is unknown, nothing may be retried.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fatal {
    /// The disk refused, or holds what is not readable, or a sealed leader was asked to write.
    #[error("the log's store failed")]
    Storage(#[source] StorageFailure),
    /// A programming error.
    #[error("the log's task panicked")]
    Panicked,
    /// It was told to.
    #[error("the log was stopped")]
    Stopped,
}

/// openraft's account of a failed store.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(transparent)]
pub struct StorageFailure(Box<StorageError>);

impl From<StorageError> for StorageFailure {
    fn from(error: StorageError) -> Self {
        Self(Box::new(error))
    }
}

/// Waiting for an index took too long, or the log has stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("index {index} was not applied in time")]
pub struct NotApplied {
    /// The index waited for.
    pub index: u64,
}

impl<D: Disk> Cluster<D> {
    /// Starts this node's Raft.
    pub async fn start(start: StartCluster<D>) -> Result<Self, crate::start::StartError> {
        start.start().await
    }

    /// Proposes one transaction and waits for its outcome. In one term, transactions are proposed in the order in
    /// which this is called.
    pub async fn propose(
        &self,
        transaction: Transaction,
        deadline: Instant,
    ) -> Result<Proposed, ProposeError> {
        self.inner.proposer.propose(transaction, deadline).await
    }

    /// As leader, vouches for an index that covers every write acknowledged before this call.
    pub async fn confirm_as_leader(&self) -> Result<Confirmation, ConfirmError> {
        self.inner.confirmer.confirm().await
    }

    /// Who leads, as far as this node knows.
    pub fn leadership(&self) -> Leadership {
        *self.inner.leadership.borrow()
    }

    /// Follows [`Self::leadership`].
    pub fn watch_leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership.clone()
    }

    /// Follows the index of the last entry that was applied here.
    pub fn watch_applied(&self) -> watch::Receiver<u64> {
        self.inner.applied.clone()
    }

    /// Follows what this node must seal for.
    pub fn watch_alarm(&self) -> watch::Receiver<Option<Alarm>> {
        self.inner.alarm.clone()
    }

    /// Follows what this process must end for.
    pub fn watch_fatal(&self) -> watch::Receiver<Option<Fatal>> {
        self.inner.fatal.clone()
    }

    /// Waits until `index` is applied here.
    pub async fn wait_applied(&self, index: u64, deadline: Instant) -> Result<(), NotApplied> {
        let mut applied = self.inner.applied.clone();
        let waiting = applied.wait_for(|applied| *applied >= index);
        match tokio::time::timeout_at(deadline, waiting).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(NotApplied { index }),
        }
    }

    /// Whether this node holds the keyring. A sealed one waits longer before it stands, and as leader only ferries.
    pub fn set_sealed(&self, sealed: bool) {
        self.inner.presence.set_sealed(sealed);
    }

    /// Whether this node may stand for election at all.
    pub fn set_may_lead(&self, may_lead: bool) {
        self.inner.presence.set_may_lead(may_lead);
    }

    /// Appends a signed digest of everything before it; every node compares its own, captures the state, and may
    /// then purge its log up to there. Returns its index.
    pub async fn checkpoint(&self) -> Result<u64, CheckpointError> {
        self.inner.proposer.checkpoint().await
    }

    /// Purges this node's log up to its last snapshot, keeping nothing below. To be called after a checkpoint, so
    /// that what was destroyed is in no log.
    pub async fn purge(&self) {
        if let Some(upto) = self.snapshot_index()
            && let Err(error) = self.inner.raft.trigger().purge_log(upto).await
        {
            tracing::debug!(%error, "the log has stopped; nothing was purged");
        }
    }

    /// The checkpoint that this node has a snapshot of, if any: up to there its log may go.
    pub fn snapshot_index(&self) -> Option<u64> {
        self.inner.raft.metrics().borrow().snapshot.map(|id| id.index)
    }

    /// As leader, whether every member is known to have the log up to `index`.
    pub fn everyone_has(&self, index: u64) -> bool {
        let (last, me) = (self.last_index(), self.inner.guard.me);
        let others = self.members().into_keys().filter(|node| *node != me);
        others.into_iter().all(|node| self.lag(node).is_some_and(|lag| last.saturating_sub(lag) >= index))
    }

    /// The first index that this node's log still holds.
    pub fn log_begins(&self) -> u64 {
        self.inner.ground.standing().purged.map_or(0, |purged| purged.index.saturating_add(1))
    }

    /// The last index of this node's log, committed or not.
    pub fn last_index(&self) -> u64 {
        self.inner.ground.last().map_or(0, |last| last.index)
    }

    /// Whether an entry that this node holds and has not applied changes `record`. With a confirmed index this says
    /// whether a sealed node's copy of a plain record is current although nobody may tell it what is committed.
    pub fn changes_unapplied(&self, record: RecordId) -> Result<bool, StorageFailure> {
        let from = self.inner.ground.applied().map_or(0, |applied| applied.index.saturating_add(1));
        let entries = self.inner.log.entries(from, u64::MAX).map_err(|error| read_error(&error))?;
        let changes = |transaction: &Transaction| match transaction.changes.get(&record) {
            Some(Change::Put { .. } | Change::Delete) => true,
            None => false,
        };
        Ok(entries.iter().any(|entry| match entry.payload() {
            Payload::Batch(transactions) => transactions.iter().any(changes),
            Payload::Blank | Payload::Checkpoint(_) | Payload::Membership(_) => false,
        }))
    }

    /// How many messages contradicted what was applied here, and how many were refused for any reason.
    pub fn refusals(&self) -> (u64, u64) {
        (self.inner.presence.contradictions(), self.inner.presence.refusals())
    }

    /// How often this node's disk took longer to sync than an append may take. An alarm when it grows.
    pub fn slow_syncs(&self) -> u64 {
        self.inner.ground.slow_syncs()
    }

    /// Stops Raft; the log is whole on disk afterwards. To be called before the last handle goes: openraft does not
    /// end by itself. Returns when openraft has ended or `limit` has passed.
    pub async fn stop(&self, limit: Duration) {
        self.inner.presence.set_may_lead(false);
        if tokio::time::timeout(limit, self.inner.raft.shutdown()).await.is_err() {
            tracing::warn!("the log did not stop in time");
        }
    }
}
