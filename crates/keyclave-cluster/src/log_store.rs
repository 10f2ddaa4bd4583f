//! openraft's log over the ledger's: signs what this node appends as leader, and syncs before it says so.
//!
//! openraft hands the leader's own store each entry with its final log id; the store completes a checkpoint, signs,
//! and writes, and what is replicated and applied is what it gives back. An entry that arrives signed was checked
//! before ([`crate::guard`]). A sealed leader signs blanks only, with its node key; asked for more, its append
//! fails, which stops openraft and with it the process.
//!
//! Deliberately absent: judging signatures, and retrying anything that the disk refused.

use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::time::Duration;

use keyclave_ledger::disk::{Disk, DiskError};
use keyclave_ledger::ledger::Ledger;
use keyclave_ledger::log_store::LogStore;
use keyclave_types::envelope::{self, EnvelopeError};
use keyclave_types::ids::NodeId;
use openraft::storage::{LogFlushed, LogState, RaftLogStorage};
use openraft::{ErrorSubject, ErrorVerb, OptionalSend, RaftLogReader};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::cluster::StorageFailure;
use crate::entry::{self, Entry, EntryError, Line, Payload};
use crate::ground::Ground;
use crate::guard::LogView;
use crate::keys::EntryKeys;
use crate::machine::checkpoint_digest;
use crate::raft::{
    LogId, LogIdForm, StorageError, StoredMembership, TypeConfig, Vote, VoteForm, storage_error,
};
use crate::timing::SYNC_SLOW_MS;
use keyclave_types::threads::Threads;

/// Bytes of entries in one append to a follower.
const READ_BYTES_MAX: usize = 1024 * 1024;
/// Entries that one read of the store asks for.
const READ_ENTRIES_MAX: usize = 256;

/// Why the log cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    #[error("the disk failed")]
    Disk(#[from] DiskError),
    #[error("a stored entry is not readable")]
    Entry(#[from] EntryError),
    #[error("a stored vote or log id is not readable")]
    Form(#[from] EnvelopeError),
    #[error("this node is sealed and was asked to append more than a blank at {index}")]
    Sealed { index: u64 },
    #[error("an unsigned entry of node {leader} at {index} is not this node's own")]
    Foreign { leader: u64, index: u64 },
    #[error("the thread that syncs was lost")]
    Thread,
}

/// With what this node signs.
#[derive(Clone)]
pub(crate) struct Signer(Option<Arc<dyn EntryKeys>>);

impl Signer {
    pub(crate) fn new(keys: Arc<dyn EntryKeys>) -> Self {
        Self(Some(keys))
    }

    /// openraft's own suite appends entries of any leader, so nothing is signed for it.
    #[cfg(test)]
    pub(crate) fn nobody() -> Self {
        Self(None)
    }
}

/// The log. Clones share it.
pub(crate) struct Log<D: Disk> {
    shared: Arc<Shared<D>>,
}

struct Shared<D: Disk> {
    me: NodeId,
    line: Line,
    signer: Signer,
    store: LogStore<D>,
    ledger: Ledger<D>,
    ground: Ground,
    threads: Arc<dyn Threads>,
}

impl<D: Disk> Clone for Log<D> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

/// What a log is made of.
pub(crate) struct LogParts<D: Disk> {
    pub(crate) me: NodeId,
    pub(crate) line: Line,
    pub(crate) signer: Signer,
    pub(crate) store: LogStore<D>,
    pub(crate) ledger: Ledger<D>,
    pub(crate) ground: Ground,
    pub(crate) threads: Arc<dyn Threads>,
}

impl<D: Disk> Log<D> {
    /// Opens the log and lays the ground: vote, ends, and every membership that it holds.
    pub(crate) fn open(parts: LogParts<D>) -> Result<Self, LogError> {
        let LogParts { me, line, signer, store, ledger, ground, threads } = parts;
        let log = Self { shared: Arc::new(Shared { me, line, signer, store, ledger, ground, threads }) };
        let ground = &log.shared.ground;
        if let Some(vote) = log.stored_vote()? {
            ground.set_vote(vote);
        }
        let purged = log.purged()?;
        ground.set_purged(purged);
        ground.set_last(log.last()?.or(purged));
        let begins = purged.map_or(0, |purged| purged.index.saturating_add(1));
        log.visit(begins, u64::MAX, |entry| {
            if let Payload::Membership(membership) = entry.payload() {
                ground.logged(entry.log_id, membership);
            }
            true
        })?;
        Ok(log)
    }

    /// The entries from `from` up to, and without, `to`.
    pub(crate) fn entries(&self, from: u64, to: u64) -> Result<Vec<Entry>, LogError> {
        let mut entries = Vec::new();
        self.visit(from, to, |entry| {
            entries.push(entry);
            true
        })?;
        Ok(entries)
    }

    /// Gives `take` each entry in order until it says no or `to` is reached.
    fn visit(&self, from: u64, to: u64, mut take: impl FnMut(Entry) -> bool) -> Result<(), LogError> {
        let mut next = from;
        while next < to {
            let stored = self.shared.store.read(next, READ_ENTRIES_MAX)?;
            let Some((last, _)) = stored.last() else { return Ok(()) };
            next = last.saturating_add(1);
            for (index, bytes) in stored {
                if index >= to || !take(Entry::from_bytes(&bytes)?) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn last(&self) -> Result<Option<LogId>, LogError> {
        let last = self.shared.store.last()?;
        Ok(last.map(|(_, bytes)| entry::log_id_of(&bytes)).transpose()?)
    }

    fn purged(&self) -> Result<Option<LogId>, LogError> {
        let purged = self.shared.store.purged()?;
        let id = purged.map(|bytes| envelope::decode::<LogIdForm>(&bytes)).transpose()?;
        Ok(id.map(Into::into))
    }

    fn stored_vote(&self) -> Result<Option<Vote>, LogError> {
        let vote = self.shared.store.vote()?;
        let vote = vote.map(|bytes| envelope::decode::<VoteForm>(&bytes)).transpose()?;
        Ok(vote.map(Into::into))
    }

    /// Completes and signs what this node appends as leader.
    fn complete(&self, entry: &mut Entry) -> Result<(), LogError> {
        let index = entry.log_id.index;
        let Some(keys) = &self.shared.signer.0 else { return Ok(()) };
        if entry.signature.is_some() || index == 0 {
            return Ok(());
        }
        let leader = entry.log_id.leader_id.node_id;
        if leader != self.shared.me.get() {
            return Err(LogError::Foreign { leader, index });
        }
        if let Payload::Checkpoint(None) = entry.payload()
            && let Some(digest) = self.digest_before(index)
        {
            entry.complete_checkpoint(digest);
        }
        let message = self.shared.line.entry_message(entry);
        entry.signature = Some(match (keys.sign_as_writer(&message), entry.payload()) {
            (Some(signature), _) => signature,
            (None, Payload::Blank) => keys.sign_as_node(&message),
            (None, Payload::Batch(_) | Payload::Checkpoint(_) | Payload::Membership(_)) => {
                return Err(LogError::Sealed { index });
            }
        });
        Ok(())
    }

    /// The digest of everything before `index`, if all of that and nothing more is applied.
    fn digest_before(&self, index: u64) -> Option<[u8; 32]> {
        let applied = self.shared.ledger.applied();
        let all = self.shared.ground.applied().is_some_and(|id| id.index == applied.index);
        let membership = self.shared.ground.applied_membership();
        (all && applied.index.checked_add(1) == Some(index)).then(|| checkpoint_digest(&applied, &membership))
    }

    async fn write(&self, entries: Vec<Entry>) -> Result<(), LogError> {
        let mut stored = Vec::with_capacity(entries.len());
        let mut last = None;
        let suite = self.shared.signer.0.is_none();
        let purged = self.shared.ground.standing().purged.filter(|_| suite).map(|purged| purged.index);
        // openraft's own suite appends below what it purged, which the ledger takes for damage.
        for mut entry in entries.into_iter().filter(|entry| Some(entry.log_id.index) > purged) {
            entry.fate().appended();
            self.complete(&mut entry)?;
            stored.push((entry.log_id.index, entry.to_bytes()));
            if let Payload::Membership(membership) = entry.payload() {
                self.shared.ground.logged(entry.log_id, membership);
            }
            last = Some(entry.log_id);
        }
        self.blocking(move |store| store.append(stored)).await?;
        if last.is_some() {
            self.shared.ground.set_last(last);
        }
        Ok(())
    }

    /// Runs what waits for the disk where the threads say, and waits for it.
    async fn blocking(
        &self,
        work: impl FnOnce(&LogStore<D>) -> Result<(), DiskError> + Send + 'static,
    ) -> Result<(), LogError> {
        let begun = Instant::now();
        let (done, finished) = oneshot::channel();
        let store = self.shared.store.clone();
        self.shared.threads.run(Box::new(move || {
            // The task that waits is openraft's; if it is gone, so is the node.
            let _ = done.send(work(&store));
        }));
        let outcome = finished.await.map_err(|_| LogError::Thread)?;
        let took = begun.elapsed();
        if took > Duration::from_millis(SYNC_SLOW_MS) {
            self.shared.ground.slow_sync();
            tracing::warn!(took_ms = took.as_millis(), "the disk is slow: followers may miss heartbeats");
        }
        Ok(outcome?)
    }
}

impl<D: Disk> LogView for Log<D> {
    fn log_id(&self, index: u64) -> Result<Option<LogId>, StorageFailure> {
        let stored = self.shared.store.read(index, 1).map_err(LogError::Disk);
        let id = stored.and_then(|found| match found.first() {
            Some((at, bytes)) if *at == index => Ok(Some(entry::log_id_of(bytes)?)),
            Some(_) | None => Ok(None),
        });
        id.map_err(|error| read_error(&error).into())
    }

    fn membership_before(&self, index: u64) -> StoredMembership {
        self.shared.ground.membership_before(index)
    }
}

impl<D: Disk> RaftLogReader<TypeConfig> for Log<D> {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, StorageError> {
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(to) => *to,
            Bound::Unbounded => u64::MAX,
        };
        self.entries(from, to).map_err(|error| read_error(&error))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, StorageError> {
        let (mut entries, mut bytes) = (Vec::new(), 0);
        let read = self.visit(start, end, |entry| {
            bytes += entry.payload_bytes().len();
            entries.push(entry);
            bytes < READ_BYTES_MAX
        });
        read.map_err(|error| read_error(&error))?;
        Ok(entries)
    }
}

impl<D: Disk> RaftLogStorage<TypeConfig> for Log<D> {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, StorageError> {
        let last_purged_log_id = self.purged().map_err(|error| read_error(&error))?;
        let last_log_id = self.last().map_err(|error| read_error(&error))?.or(last_purged_log_id);
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let wrong = |error: &LogError| storage_error(ErrorSubject::Vote, ErrorVerb::Write, error);
        let bytes = envelope::encode(&VoteForm::from(*vote));
        let saved = self.blocking(move |store| store.save_vote(bytes)).await;
        saved.map_err(|error| wrong(&error))?;
        self.shared.ground.set_vote(*vote);
        Ok(())
    }

    /// This node's own leadership ended with its process, whatever the disk says: openraft would go on leading.
    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        let vote = self.stored_vote();
        let vote = vote.map_err(|error| storage_error(ErrorSubject::Vote, ErrorVerb::Read, &error))?;
        let own = |vote: &Vote| vote.leader_id.node_id == self.shared.me.get();
        Ok(vote.map(|vote| if own(&vote) { Vote { committed: false, ..vote } } else { vote }))
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        // Not synced by itself: it becomes durable with the next entry, and an older one is as right.
        let Some(committed) = committed else { return Ok(()) };
        let bytes = envelope::encode(&LogIdForm::from(committed));
        let saved = self.shared.store.save_committed(Some(bytes)).map_err(LogError::Disk);
        saved.map_err(|error| write_error(&error))
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        let committed = self.shared.store.committed().map_err(LogError::Disk);
        let id = committed.and_then(|bytes| {
            Ok(bytes.map(|bytes| envelope::decode::<LogIdForm>(&bytes)).transpose()?.map(LogId::from))
        });
        id.map_err(|error| read_error(&error))
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<TypeConfig>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let written = self.write(entries.into_iter().collect()).await;
        written.map_err(|error| write_error(&error))?;
        callback.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, from: LogId) -> Result<(), StorageError> {
        let cut = self.blocking(move |store| store.truncate_from(from.index)).await;
        let last = cut.and_then(|()| self.last()).map_err(|error| write_error(&error))?;
        self.shared.ground.truncated(from.index);
        self.shared.ground.set_last(last.or(self.shared.ground.standing().purged));
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), StorageError> {
        let bytes = envelope::encode(&LogIdForm::from(upto));
        let purged = self.blocking(move |store| store.purge_to(upto.index, bytes)).await;
        let last = purged.and_then(|()| self.last()).map_err(|error| write_error(&error))?;
        self.shared.ground.set_purged(Some(upto));
        self.shared.ground.set_last(last.or(Some(upto)));
        Ok(())
    }
}

pub(crate) fn read_error(error: &LogError) -> StorageError {
    storage_error(ErrorSubject::Logs, ErrorVerb::Read, error)
}

fn write_error(error: &LogError) -> StorageError {
    storage_error(ErrorSubject::Logs, ErrorVerb::Write, error)
}
