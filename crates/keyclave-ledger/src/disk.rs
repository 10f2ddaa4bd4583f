//! One node's disk, as this room sees it: ordered keys in areas, atomic batches, and a sync after which they stay.
//!
//! [`crate::sled_disk::SledDisk`] in the product; the simulator's loses what was not synced.

use std::io;

/// A part of the disk. Numbers are stored: never reuse one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Area {
    /// Small named values.
    Meta = 1,
    /// The log, by index.
    Log = 2,
    /// Records, while the even side is current.
    RecordsEven = 3,
    /// Records, while the odd side is current.
    RecordsOdd = 4,
}

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Changes that happen together or not at all.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    changes: Vec<(Area, Vec<u8>, Option<Vec<u8>>)>,
}

impl Batch {
    /// Sets `key` to `value`.
    pub fn put(&mut self, area: Area, key: &[u8], value: Vec<u8>) {
        self.changes.push((area, key.to_vec(), Some(value)));
    }

    /// Removes `key`, if it is there.
    pub fn delete(&mut self, area: Area, key: &[u8]) {
        self.changes.push((area, key.to_vec(), None));
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The changes in order; a later one of the same key wins.
    pub fn into_changes(self) -> impl Iterator<Item = (Area, Vec<u8>, Option<Vec<u8>>)> {
        self.changes.into_iter()
    }
}

/// Why the disk did not do it. After any of them the state on disk is unknown: the process must stop.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// Reading or writing failed.
    #[error("the disk failed to {what}")]
    Failed {
        /// What it was to do.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Syncing failed, now or earlier: what was written since the last sync may or may not be there.
    #[error("the disk could not be synced: what was written last may be lost; the process must stop")]
    Sync {
        /// Why; absent if it failed earlier.
        #[source]
        source: Option<io::Error>,
    },
    /// What is there is not what was written.
    #[error("{what} on disk is damaged")]
    Damaged {
        /// What is.
        what: &'static str,
    },
}

/// Why a rewriting did not finish. But for [`RewriteError::Disk`] the disk goes on as it was, and it may be tried again.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// The disk itself failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// There is not enough room for a second copy beside what is needed to go on.
    #[error(
        "{available_bytes} bytes are free, and {reserve_bytes} must stay so while the store is rewritten"
    )]
    Room {
        /// Free, in bytes.
        available_bytes: u64,
        /// What must stay free.
        reserve_bytes: u64,
    },
    /// The copy could not be made.
    #[error("the store's copy could not be written")]
    Copy(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The copy has taken the store's place, but what was there before could not be removed.
    #[error("the store was rewritten, but its old files could not be removed")]
    Remains(#[source] io::Error),
}

/// One node's disk. Every method is quick enough to call where it stands, but [`Disk::sync`] and [`Disk::rewrite`].
///
/// Of what was written and not synced, a crash leaves the first so many batches: a batch is never there without
/// those before it. No key may be another key of its area with a zero byte and more after it.
pub trait Disk: Send + Sync + 'static {
    /// The value of `key`.
    fn read(&self, area: Area, key: &[u8]) -> Result<Option<Vec<u8>>, DiskError>;
    /// At most `limit` pairs in ascending order of keys, the first at or after `from`.
    fn range(&self, area: Area, from: &[u8], limit: usize) -> Result<Vec<Pair>, DiskError>;
    /// The pair with the greatest key.
    fn last(&self, area: Area) -> Result<Option<Pair>, DiskError>;
    /// Makes all changes of `batch`, or none; not yet durable.
    fn write(&self, batch: Batch) -> Result<(), DiskError>;
    /// Returns once everything written before is durable.
    fn sync(&self) -> Result<(), DiskError>;
    /// Copies everything that is there to a fresh place and leaves the old one, while reading and writing go on.
    /// Returns once no file of this disk holds anything any more that was replaced or removed before the call.
    fn rewrite(&self) -> Result<(), RewriteError>;
}

/// Removes every key of `area`, in batches.
pub(crate) fn clear(disk: &impl Disk, area: Area) -> Result<(), DiskError> {
    const KEYS_PER_BATCH: usize = 1024;
    loop {
        let pairs = disk.range(area, &[], KEYS_PER_BATCH)?;
        if pairs.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::default();
        for (key, _) in &pairs {
            batch.delete(area, key);
        }
        disk.write(batch)?;
    }
}
