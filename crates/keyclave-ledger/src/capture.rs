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
use crate::ledger::{Applied, Ledger};

/// A chunk closes once its blobs have this many bytes. The last read may exceed it by [`READ_RECORDS`] of the
/// largest blobs, which stays below a mebibyte.
const CHUNK_BYTES: usize = 256 * 1024;
/// Records read from disk at a time.
const READ_RECORDS: usize = 16;
/// Bytes of pre-images that one capture may keep before it is given up.
const PRE_IMAGE_BYTES_MAX: usize = 256 * 1024 * 1024;

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
    pub(crate) fn keep(&self, before: &[(RecordId, Option<Record>)]) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, record) in before.iter().filter(|_| !kept.given_up).collect::<Vec<_>>() {
            if !kept.records.contains_key(id) {
                kept.bytes += record.as_ref().map_or(0, |record| record.blob.len());
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

/// All records at one index. Cheap clones share the pre-images; the last one to go ends their keeping.
pub struct Capture<D> {
    ledger: Ledger<D>,
    pre_images: Arc<PreImages>,
    at: Applied,
    odd: bool,
}

impl<D> Clone for Capture<D> {
    fn clone(&self) -> Self {
        Self {
            ledger: self.ledger.clone(),
            pre_images: Arc::clone(&self.pre_images),
            at: self.at.clone(),
            odd: self.odd,
        }
    }
}

impl<D: Disk> Ledger<D> {
    /// The records as they stand at this moment.
    pub fn capture(&self) -> Capture<D> {
        let pre_images = Arc::new(PreImages::default());
        let mut state = self.shared().write();
        state.captures.push(Arc::downgrade(&pre_images));
        let odd = state.mark.as_ref().is_some_and(|mark| mark.odd);
        let at = Applied {
            index: state.mark.as_ref().map_or(0, |mark| mark.index),
            mark: state.mark.as_ref().map(|mark| mark.mark.clone()),
            digest: state.sum.digest(),
        };
        drop(state);
        Capture { ledger: self.clone(), pre_images, at, odd }
    }
}

impl<D: Disk> Capture<D> {
    /// Index, mark and digest of the captured moment.
    pub fn at(&self) -> &Applied {
        &self.at
    }

    /// The first chunk after `after` and the last id in it; `None` when there are no more records.
    pub fn chunk(&self, after: Option<RecordId>) -> Result<Option<(Vec<u8>, RecordId)>, CaptureError> {
        let (mut records, mut bytes, mut after) = (Vec::new(), 0, after);
        while bytes < CHUNK_BYTES {
            let Some((part, through)) = self.part(after)? else { break };
            after = Some(through);
            for (id, record) in part {
                bytes += record.blob.len();
                records.push((id, record));
            }
        }
        match (records.is_empty(), after) {
            (false, Some(last)) => Ok(Some((envelope::encode(&Chunk { records }), last))),
            _ => Ok(None),
        }
    }

    /// The records of the next few ids, and the id through which they are complete.
    #[allow(clippy::type_complexity, reason = "a name for this pair would say less than the sentence above")]
    fn part(
        &self,
        after: Option<RecordId>,
    ) -> Result<Option<(Vec<(RecordId, Record)>, RecordId)>, CaptureError> {
        // Applying waits, so that records and pre-images are of one moment.
        let state = self.ledger.shared().read();
        if state.mark.as_ref().is_some_and(|mark| mark.odd) != self.odd {
            return Err(CaptureError::Replaced);
        }
        let kept = self.pre_images.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.given_up {
            return Err(CaptureError::Outgrown);
        }
        let from = after.map_or_else(Vec::new, |id| [id.as_bytes().as_slice(), &[0]].concat());
        let pairs = self.ledger.shared().disk.range(state.area(), &from, READ_RECORDS)?;
        let mut merged = BTreeMap::new();
        for (key, bytes) in &pairs {
            let key = key.as_slice().try_into().map_err(|_| DiskError::Damaged { what: "a record's key" })?;
            let record = envelope::decode::<Record>(bytes).map_err(CaptureError::Record)?;
            merged.insert(RecordId::from_bytes(key), Some(record));
        }
        let complete = pairs.len() < READ_RECORDS;
        let last_read = merged.last_key_value().map(|(id, _)| *id);
        let lower = after.map_or(Bound::Unbounded, Bound::Excluded);
        let upper = match last_read {
            Some(last) if !complete => Bound::Included(last),
            Some(_) | None => Bound::Unbounded,
        };
        merged.extend(kept.records.range((lower, upper)).map(|(id, record)| (*id, record.clone())));
        let Some(through) = merged.last_key_value().map(|(id, _)| *id) else { return Ok(None) };
        let part = merged.into_iter().filter_map(|(id, record)| Some((id, record?))).collect();
        Ok(Some((part, through)))
    }
}

/// The digest that a checkpoint signs: over the captured records and `membership`.
pub fn checkpoint_digest(at: &Applied, membership: &[u8]) -> Digest {
    at.digest.with_membership(membership)
}
