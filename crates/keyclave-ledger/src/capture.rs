//! The records as they stood at one index, readable while applying goes on: apply keeps what it overwrites
//! (pre-images) for every capture that is alive. Scanning the store alone would tear batches.
//!
//! Taken when a checkpoint is applied; a snapshot is built from it, as often as one is asked for.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};

use keyclave_types::envelope::{self, EnvelopeError, Stored};
use keyclave_types::ids::RecordId;
use keyclave_types::transaction::Record;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::disk::{Disk, DiskError};
use crate::ledger::{Applied, Before, Ledger, OpenLedgerError, key_after, record_of};

/// Bytes of one chunk; only a single record that is larger by itself may exceed it.
const CHUNK_BYTES: usize = 256 * 1024;
/// Bytes that a chunk takes before its records, at most: format and their number.
const CHUNK_EXTRA_BYTES: usize = 1 + 9;
/// Bytes that a record takes in a chunk beside its blob, at most: id, revision, length.
const RECORD_EXTRA_BYTES: usize = 16 + 9 + 9;
/// Records read from disk at a time, while applying waits.
const READ_RECORDS: usize = 64;
/// Bytes of pre-images that one capture may keep before it is given up.
const PRE_IMAGE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Bytes that a pre-image takes beside its blob, that of an absent record too.
const PRE_IMAGE_EXTRA_BYTES: usize = 96;

/// What was overwritten since the capture, as it was.
#[derive(Default)]
pub(crate) struct PreImages {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    records: BTreeMap<RecordId, Option<Record>>,
    bytes: usize,
    given_up: bool,
}

impl PreImages {
    /// Keeps what stood before an entry; what is kept already is older and stays.
    pub(crate) fn keep(&self, before: &Before) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.given_up {
            return;
        }
        for (id, record) in before {
            if !kept.records.contains_key(id) {
                let blob_bytes = record.as_ref().map_or(0, |record| record.blob.len());
                kept.bytes += blob_bytes + PRE_IMAGE_EXTRA_BYTES;
                kept.records.insert(*id, record.clone());
            }
        }
        if kept.bytes > PRE_IMAGE_BYTES_MAX {
            *kept = Kept { given_up: true, ..Kept::default() };
        }
    }
}

/// Records in ascending order of ids: a part of a snapshot.
#[derive(Serialize, Deserialize)]
pub(crate) struct Chunk {
    pub(crate) records: Vec<(RecordId, Record)>,
}

impl Stored for Chunk {
    const FORMAT: u8 = 1;
}

/// Why a capture gives no more records.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A stored record cannot be read.
    #[error("a record cannot be read")]
    Record(#[source] EnvelopeError),
    /// More was overwritten since than may be kept; take another one.
    #[error("more than {PRE_IMAGE_BYTES_MAX} bytes were overwritten since the capture")]
    Outgrown,
    /// A snapshot was installed since: those records are gone.
    #[error("the records were replaced by a snapshot since the capture")]
    Replaced,
}

/// Records in ascending order of ids, and the id through which they are complete: it may be of one that is gone.
pub type Part = (Vec<(RecordId, Record)>, RecordId);

/// All records at one index. Cheap clones share the pre-images; the last one to go ends their keeping.
pub struct Capture<D> {
    ledger: Ledger<D>,
    pre_images: Arc<PreImages>,
    at: Applied,
    replaced: u64,
}

impl<D> Clone for Capture<D> {
    fn clone(&self) -> Self {
        Self {
            ledger: self.ledger.clone(),
            pre_images: Arc::clone(&self.pre_images),
            at: self.at.clone(),
            replaced: self.replaced,
        }
    }
}

impl<D: Disk> Ledger<D> {
    /// The records as they stand at this moment.
    pub fn capture(&self) -> Capture<D> {
        let pre_images = Arc::new(PreImages::default());
        let mut state = self.shared().write();
        state.captures.push(Arc::downgrade(&pre_images));
        let (at, replaced) = (state.applied(), state.replaced);
        drop(state);
        Capture { ledger: self.clone(), pre_images, at, replaced }
    }
}

impl<D: Disk> Capture<D> {
    /// Index, mark and digest of the captured moment.
    pub fn at(&self) -> &Applied {
        &self.at
    }

    /// The first chunk after `after` and the last id in it; `None` when there are no more records.
    pub fn chunk(&self, after: Option<RecordId>) -> Result<Option<(Vec<u8>, RecordId)>, CaptureError> {
        let (mut records, mut bytes, mut after) = (Vec::new(), CHUNK_EXTRA_BYTES, after);
        'full: while let Some((part, through)) = self.records(after)? {
            for (id, record) in part {
                bytes += record.blob.len() + RECORD_EXTRA_BYTES;
                if bytes > CHUNK_BYTES && !records.is_empty() {
                    break 'full;
                }
                records.push((id, record));
            }
            after = Some(through);
        }
        let last = records.last().map(|(id, _)| *id);
        Ok(last.map(|last| (envelope::encode(&Chunk { records }), last)))
    }

    /// The next few records after `after`; `None` when there are no more.
    pub fn records(&self, after: Option<RecordId>) -> Result<Option<Part>, CaptureError> {
        // Applying waits, so that records and pre-images are of one moment.
        let state = self.ledger.shared().read();
        if state.replaced != self.replaced {
            return Err(CaptureError::Replaced);
        }
        let kept = self.pre_images.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.given_up {
            return Err(CaptureError::Outgrown);
        }
        let pairs = self.ledger.shared().disk.range(state.area(), &key_after(after), READ_RECORDS)?;
        let complete = pairs.len() < READ_RECORDS;
        let mut merged = BTreeMap::new();
        for (key, bytes) in pairs {
            let (id, record) = record_of(key, bytes).map_err(unreadable)?;
            merged.insert(id, Some(record));
        }
        let lower = after.map_or(Bound::Unbounded, Bound::Excluded);
        let upper = match merged.last_key_value() {
            Some((last, _)) if !complete => Bound::Included(*last),
            Some(_) | None => Bound::Unbounded,
        };
        let older: Vec<_> = kept.records.range((lower, upper)).take(READ_RECORDS).collect();
        if let Some((last, _)) = older.last().filter(|_| older.len() == READ_RECORDS) {
            merged.retain(|id, _| id <= last);
        }
        merged.extend(older.into_iter().map(|(id, record)| (*id, record.clone())));
        let Some(through) = merged.last_key_value().map(|(id, _)| *id) else { return Ok(None) };
        let part = merged.into_iter().filter_map(|(id, record)| Some((id, record?))).collect();
        Ok(Some((part, through)))
    }
}

fn unreadable(error: OpenLedgerError) -> CaptureError {
    match error {
        OpenLedgerError::Disk(error) => CaptureError::Disk(error),
        OpenLedgerError::Record { source, .. } | OpenLedgerError::Mark(source) => {
            CaptureError::Record(source)
        }
        OpenLedgerError::Key { .. } | OpenLedgerError::Digest { .. } => {
            CaptureError::Disk(DiskError::Damaged { what: "a record's key" })
        }
    }
}

/// The digest that a checkpoint signs: over the captured records and `membership`.
pub fn checkpoint_digest(at: &Applied, membership: &[u8]) -> Digest {
    at.digest.with_membership(membership)
}

#[cfg(test)]
mod tests;
