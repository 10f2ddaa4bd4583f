//! The records: applied entry by entry, read one by one, followed by changes. Cheap clones share one ledger.
//!
//! Everything that one entry does is one batch on disk, the mark included: the mark is the Raft side's own bytes
//! (last log id and membership), so after a crash the log is applied again from exactly there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

use keyclave_types::envelope::{self, EnvelopeError, Stored};
use keyclave_types::ids::RecordId;
use keyclave_types::position::Revision;
use keyclave_types::transaction::{LeaderId, Record, Transaction, TransactionOutcome};
use serde::{Deserialize, Serialize};

use crate::apply::{self, Standing};
use crate::capture::PreImages;
use crate::changes::{Changes, Ring};
use crate::digest::{Digest, LatticeHash};
use crate::disk::{self, Area, Batch, Disk, DiskError};

/// Records read from disk at a time while walking over all of them.
const WALK_RECORDS: usize = 256;
/// Where the mark lies.
pub(crate) const MARK_KEY: &[u8] = b"ledger/mark";

/// One entry of the log, as far as the ledger is concerned.
#[derive(Debug)]
pub struct Entry<'a> {
    /// Its index: above every one applied before.
    pub index: u64,
    /// Under whom it was appended.
    pub leader: LeaderId,
    /// Its transactions; none for blanks, memberships and checkpoints.
    pub transactions: &'a [Transaction],
    /// What the Raft side must find again after a crash.
    pub mark: Vec<u8>,
}

/// How far the ledger is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Applied {
    /// The last applied index; 0 before the first.
    pub index: u64,
    /// The mark of the last applied entry; none before the first.
    pub mark: Option<Vec<u8>>,
    /// The digest over all records.
    pub digest: Digest,
}

/// What is stored with every entry.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) index: u64,
    pub(crate) digest: Digest,
    /// Whether the odd side holds the records.
    pub(crate) odd: bool,
    pub(crate) mark: Vec<u8>,
}

impl Stored for Mark {
    const FORMAT: u8 = 1;
}

/// Why the records do not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenLedgerError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The mark cannot be read: damaged, or of a newer version.
    #[error("the ledger's mark cannot be read")]
    Mark(#[source] EnvelopeError),
    /// A record cannot be read.
    #[error("record {id} cannot be read")]
    Record {
        /// Which.
        id: RecordId,
        /// Why.
        #[source]
        source: EnvelopeError,
    },
    /// A key that is no record id.
    #[error("a record's key is {length} bytes long, not 16")]
    Key {
        /// Its length.
        length: usize,
    },
    /// Records were changed, lost or added behind the ledger's back.
    #[error(
        "the records' digest is {found}, but {expected} was stored with entry {index}: the disk was changed"
    )]
    Digest {
        /// Where.
        index: u64,
        /// What was stored.
        expected: Digest,
        /// What the records give.
        found: Digest,
    },
}

/// The records of one node.
pub struct Ledger<D> {
    shared: Arc<Shared<D>>,
}

impl<D> Clone for Ledger<D> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

pub(crate) struct Shared<D> {
    pub(crate) disk: Arc<D>,
    state: RwLock<State>,
}

/// What stood at each changed record before an entry.
pub(crate) type Before = Vec<(RecordId, Option<Record>)>;

pub(crate) struct State {
    pub(crate) mark: Option<Mark>,
    pub(crate) sum: LatticeHash,
    /// Of every record, so that checking an entry reads no disk: about 40 bytes each, 40 MB for 10^6.
    pub(crate) revisions: BTreeMap<RecordId, Revision>,
    pub(crate) ring: Ring,
    pub(crate) captures: Vec<Weak<PreImages>>,
    /// Counts the snapshots that replaced the records: a capture is of one count.
    pub(crate) replaced: u64,
    /// Names the snapshot that has the other side to itself; any earlier one may not touch it.
    pub(crate) staging: u64,
}

impl Standing for State {
    fn revision(&self, id: &RecordId) -> Option<Revision> {
        self.revisions.get(id).copied()
    }
}

impl State {
    pub(crate) fn odd(&self) -> bool {
        self.mark.as_ref().is_some_and(|mark| mark.odd)
    }

    pub(crate) fn area(&self) -> Area {
        side(self.odd())
    }

    pub(crate) fn index(&self) -> u64 {
        self.mark.as_ref().map_or(0, |mark| mark.index)
    }

    pub(crate) fn applied(&self) -> Applied {
        let digest = self.mark.as_ref().map_or_else(|| self.sum.digest(), |mark| mark.digest);
        Applied { index: self.index(), mark: self.mark.as_ref().map(|mark| mark.mark.clone()), digest }
    }
}

pub(crate) fn side(odd: bool) -> Area {
    if odd { Area::RecordsOdd } else { Area::RecordsEven }
}

impl<D: Disk> Ledger<D> {
    /// Opens the records on `disk`, recomputes their digest and compares it with the stored one.
    pub fn open(disk: Arc<D>) -> Result<Self, OpenLedgerError> {
        let mark = match disk.read(Area::Meta, MARK_KEY)? {
            Some(bytes) => Some(envelope::decode::<Mark>(&bytes).map_err(OpenLedgerError::Mark)?),
            None => None,
        };
        let odd = mark.as_ref().is_some_and(|mark| mark.odd);
        let (sum, revisions) = read_all(&*disk, side(odd))?;
        let nothing = (0, LatticeHash::default().digest());
        let (index, expected) = mark.as_ref().map_or(nothing, |mark| (mark.index, mark.digest));
        let found = sum.digest();
        if found != expected {
            return Err(OpenLedgerError::Digest { index, expected, found });
        }
        // What a snapshot that was not finished has left, or the records that one has replaced.
        disk::clear(&*disk, side(!odd))?;
        let (ring, captures) = (Ring::default(), Vec::new());
        let state = State { mark, sum, revisions, ring, captures, replaced: 0, staging: 0 };
        Ok(Self { shared: Arc::new(Shared { disk, state: RwLock::new(state) }) })
    }

    /// How far it is.
    pub fn applied(&self) -> Applied {
        self.shared.read().applied()
    }

    /// The last applied index; 0 before the first.
    pub fn applied_index(&self) -> u64 {
        self.shared.read().index()
    }

    /// Applies one entry: all of it, on disk too (not yet durable: the log is), or, on an error, none.
    pub fn apply(&self, entry: Entry<'_>) -> Result<Vec<TransactionOutcome>, DiskError> {
        let mut state = self.shared.write();
        if state.mark.as_ref().is_some_and(|mark| entry.index <= mark.index) {
            return Err(DiskError::Damaged { what: "the order of applied entries" });
        }
        let applied = apply::apply(&*state, entry.leader, entry.transactions);
        let before = self.standing(&state, &applied.changed)?;
        let area = state.area();
        let mut sum = state.sum.clone();
        let mut batch = Batch::default();
        for ((id, becomes), (_, was)) in applied.changed.iter().zip(&before) {
            if let Some(record) = was {
                sum.remove(id, record);
            }
            match becomes {
                Some(record) => {
                    sum.add(id, record);
                    batch.put(area, id.as_bytes(), envelope::encode(record));
                }
                None => batch.delete(area, id.as_bytes()),
            }
        }
        let digest = sum.digest();
        let mark = Mark { index: entry.index, digest, odd: state.odd(), mark: entry.mark };
        batch.put(Area::Meta, MARK_KEY, envelope::encode(&mark));
        self.shared.disk.write(batch)?;
        state.note(mark, sum, applied.changed, before);
        Ok(applied.outcomes)
    }

    /// What stands at each record that is to change, in their order. The digest takes it away, so it must be what
    /// was once added.
    fn standing(
        &self,
        state: &State,
        changed: &BTreeMap<RecordId, Option<Record>>,
    ) -> Result<Before, DiskError> {
        let stands = changed.keys().map(|id| {
            let Some(revision) = state.revisions.get(id) else { return Ok((*id, None)) };
            match read_record(&*self.shared.disk, state.area(), id)? {
                Some(record) if record.revision == *revision => Ok((*id, Some(record))),
                Some(_) | None => Err(DiskError::Damaged { what: "a record" }),
            }
        });
        stands.collect()
    }

    /// One record.
    pub fn read(&self, id: &RecordId) -> Result<Option<Record>, DiskError> {
        let state = self.shared.read();
        read_record(&*self.shared.disk, state.area(), id)
    }

    /// At most `limit` records in ascending order of ids, the first after `after`, as they stand at this moment.
    pub fn scan(&self, after: Option<RecordId>, limit: usize) -> Result<Vec<(RecordId, Record)>, DiskError> {
        let state = self.shared.read();
        let pairs = self.shared.disk.range(state.area(), &key_after(after), limit)?;
        let record =
            |(key, bytes)| record_of(key, bytes).map_err(|_| DiskError::Damaged { what: "a record" });
        pairs.into_iter().map(record).collect()
    }

    /// Every record at one moment, with the index of that moment and the digest. Applying waits meanwhile; a
    /// [`Ledger::capture`] gives the same piece by piece without.
    pub fn read_everything(&self) -> Result<(Applied, Vec<(RecordId, Record)>), DiskError> {
        let state = self.shared.read();
        let mut records = Vec::with_capacity(state.revisions.len());
        walk(&*self.shared.disk, state.area(), |id, record| records.push((id, record))).map_err(|error| {
            match error {
                OpenLedgerError::Disk(error) => error,
                OpenLedgerError::Mark(_)
                | OpenLedgerError::Record { .. }
                | OpenLedgerError::Key { .. }
                | OpenLedgerError::Digest { .. } => DiskError::Damaged { what: "a record" },
            }
        })?;
        Ok((state.applied(), records))
    }

    /// What changed after `index`, as it stands at the last applied entry.
    pub fn changes_since(&self, index: u64) -> Result<Changes, DiskError> {
        let state = self.shared.read();
        let Some(ids) = state.ring.changed_since(index, state.index()) else { return Ok(Changes::Gap) };
        let area = state.area();
        let records = ids
            .into_iter()
            .map(|id| Ok((id, read_record(&*self.shared.disk, area, &id)?)))
            .collect::<Result<_, DiskError>>()?;
        let Applied { index: upto, digest, .. } = state.applied();
        Ok(Changes::Records { upto, digest, records })
    }

    /// Which records changed after `index`, and up to where this says so; `None` if it is too long ago.
    pub fn changed_ids_since(&self, index: u64) -> Option<(u64, BTreeSet<RecordId>)> {
        let state = self.shared.read();
        state.ring.changed_since(index, state.index()).map(|ids| (state.index(), ids))
    }

    /// The digest after the entry at `index`, while it is remembered.
    pub fn digest_at(&self, index: u64) -> Option<Digest> {
        let state = self.shared.read();
        match &state.mark {
            Some(mark) if mark.index == index => Some(mark.digest),
            None if index == 0 => Some(state.sum.digest()),
            Some(_) | None => state.ring.digest_at(index),
        }
    }

    /// Makes everything that was applied durable, as the log must be able to go.
    pub fn sync(&self) -> Result<(), DiskError> {
        self.shared.disk.sync()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared<D>> {
        &self.shared
    }
}

impl<D> Shared<D> {
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        // A panic while the lock is held leaves either the old state or the new one: it is assigned last.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn note(
        &mut self,
        mark: Mark,
        sum: LatticeHash,
        changed: BTreeMap<RecordId, Option<Record>>,
        before: Before,
    ) {
        self.captures.retain(|capture| capture.strong_count() > 0);
        for capture in self.captures.iter().filter_map(Weak::upgrade) {
            capture.keep(&before);
        }
        self.ring.push(mark.index, mark.digest, changed.keys().copied().collect());
        for (id, record) in changed {
            match record {
                Some(record) => self.revisions.insert(id, record.revision),
                None => self.revisions.remove(&id),
            };
        }
        self.sum = sum;
        self.mark = Some(mark);
    }
}

pub(crate) fn read_record(disk: &impl Disk, area: Area, id: &RecordId) -> Result<Option<Record>, DiskError> {
    let bytes = disk.read(area, id.as_bytes())?;
    bytes
        .map(|bytes| envelope::decode(&bytes).map_err(|_| DiskError::Damaged { what: "a record" }))
        .transpose()
}

pub(crate) fn read_all(
    disk: &impl Disk,
    area: Area,
) -> Result<(LatticeHash, BTreeMap<RecordId, Revision>), OpenLedgerError> {
    let (mut sum, mut revisions) = (LatticeHash::default(), BTreeMap::new());
    walk(disk, area, |id, record| {
        sum.add(&id, &record);
        revisions.insert(id, record.revision);
    })?;
    Ok((sum, revisions))
}

fn walk(
    disk: &impl Disk,
    area: Area,
    mut visit: impl FnMut(RecordId, Record),
) -> Result<(), OpenLedgerError> {
    let mut after = None;
    loop {
        let pairs = disk.range(area, &key_after(after), WALK_RECORDS)?;
        if pairs.is_empty() {
            return Ok(());
        }
        for (key, bytes) in pairs {
            let (id, record) = record_of(key, bytes)?;
            after = Some(id);
            visit(id, record);
        }
    }
}

/// The first key that lies after that of `id`; the first of all after none.
pub(crate) fn key_after(id: Option<RecordId>) -> Vec<u8> {
    id.map_or_else(Vec::new, |id| [id.as_bytes().as_slice(), &[0]].concat())
}

pub(crate) fn record_of(key: Vec<u8>, bytes: Vec<u8>) -> Result<(RecordId, Record), OpenLedgerError> {
    let key = key.try_into().map_err(|key: Vec<u8>| OpenLedgerError::Key { length: key.len() })?;
    let id = RecordId::from_bytes(key);
    let record = envelope::decode(&bytes).map_err(|source| OpenLedgerError::Record { id, source })?;
    Ok((id, record))
}

#[cfg(test)]
mod tests;
