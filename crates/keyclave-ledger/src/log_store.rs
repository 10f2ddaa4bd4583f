//! The log and the vote, as bytes: entries by index, what was purged, and a few named values. What the bytes mean
//! and who signed them is known elsewhere.
//!
//! Appending and saving a vote return once they are durable. Purging first makes what was applied durable: the
//! records are all that is left of purged entries.

use std::sync::Arc;

use crate::disk::{self, Area, Batch, Disk, DiskError};

/// Entries read or removed at a time.
const ENTRIES_PER_STEP: usize = 512;
const VOTE_KEY: &[u8] = b"log/vote";
const PURGED_KEY: &[u8] = b"log/purged";
const COMMITTED_KEY: &[u8] = b"log/committed";
const SLOT_PREFIX: &[u8] = b"slot/";

/// The log of one node. Cheap clones share it.
pub struct LogStore<D> {
    disk: Arc<D>,
}

impl<D> Clone for LogStore<D> {
    fn clone(&self) -> Self {
        Self { disk: Arc::clone(&self.disk) }
    }
}

impl<D: Disk> LogStore<D> {
    /// The log on `disk`.
    pub fn new(disk: Arc<D>) -> Self {
        Self { disk }
    }

    /// Writes entries at their indices and returns once they are durable.
    pub fn append(&self, entries: impl IntoIterator<Item = (u64, Vec<u8>)>) -> Result<(), DiskError> {
        let mut batch = Batch::default();
        for (index, bytes) in entries {
            batch.put(Area::Log, &index.to_be_bytes(), bytes);
        }
        self.disk.write(batch)?;
        self.disk.sync()
    }

    /// At most `limit` entries from index `from` on.
    pub fn read(&self, from: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, DiskError> {
        let pairs = self.disk.range(Area::Log, &from.to_be_bytes(), limit)?;
        pairs.into_iter().map(|(key, bytes)| Ok((index_of(&key)?, bytes))).collect()
    }

    /// The last entry.
    pub fn last(&self) -> Result<Option<(u64, Vec<u8>)>, DiskError> {
        self.disk.last(Area::Log)?.map(|(key, bytes)| Ok((index_of(&key)?, bytes))).transpose()
    }

    /// Removes every entry from `index` on, durably.
    pub fn truncate_from(&self, index: u64) -> Result<(), DiskError> {
        // From the end, so that a crash in the middle leaves a log without holes.
        while let Some((last, _)) = self.last()?.filter(|(last, _)| *last >= index) {
            let first = last.saturating_sub(ENTRIES_PER_STEP as u64 - 1).max(index);
            self.remove(first..=last)?;
        }
        self.disk.sync()
    }

    /// Removes every entry up to `index`, after making durable what they did, and remembers `id` as the last one.
    pub fn purge_to(&self, index: u64, id: Vec<u8>) -> Result<(), DiskError> {
        let mut batch = Batch::default();
        batch.put(Area::Meta, PURGED_KEY, id);
        self.disk.write(batch)?;
        self.disk.sync()?;
        while let Some((first, _)) = self.read(0, 1)?.first().filter(|(first, _)| *first <= index) {
            self.remove(*first..=first.saturating_add(ENTRIES_PER_STEP as u64 - 1).min(index))?;
        }
        Ok(())
    }

    fn remove(&self, indices: std::ops::RangeInclusive<u64>) -> Result<(), DiskError> {
        let mut batch = Batch::default();
        for index in indices {
            batch.delete(Area::Log, &index.to_be_bytes());
        }
        self.disk.write(batch)
    }

    /// What [`LogStore::purge_to`] was given last.
    pub fn purged(&self) -> Result<Option<Vec<u8>>, DiskError> {
        self.disk.read(Area::Meta, PURGED_KEY)
    }

    /// Saves the vote and returns once it is durable.
    pub fn save_vote(&self, vote: Vec<u8>) -> Result<(), DiskError> {
        self.put_durably(VOTE_KEY, vote)
    }

    /// The vote.
    pub fn vote(&self) -> Result<Option<Vec<u8>>, DiskError> {
        self.disk.read(Area::Meta, VOTE_KEY)
    }

    /// Notes how far is committed. Not durable by itself: losing it only means applying later.
    pub fn save_committed(&self, committed: Option<Vec<u8>>) -> Result<(), DiskError> {
        let mut batch = Batch::default();
        match committed {
            Some(bytes) => batch.put(Area::Meta, COMMITTED_KEY, bytes),
            None => batch.delete(Area::Meta, COMMITTED_KEY),
        }
        self.disk.write(batch)
    }

    /// What was noted as committed.
    pub fn committed(&self) -> Result<Option<Vec<u8>>, DiskError> {
        self.disk.read(Area::Meta, COMMITTED_KEY)
    }

    /// Keeps a small named value and returns once it is durable.
    pub fn save_slot(&self, name: &str, value: Vec<u8>) -> Result<(), DiskError> {
        self.put_durably(&[SLOT_PREFIX, name.as_bytes()].concat(), value)
    }

    /// A small named value.
    pub fn slot(&self, name: &str) -> Result<Option<Vec<u8>>, DiskError> {
        self.disk.read(Area::Meta, &[SLOT_PREFIX, name.as_bytes()].concat())
    }

    /// Removes everything but the named values: what an initialisation or a join that did not finish left behind.
    pub fn clear_unfinished(&self) -> Result<(), DiskError> {
        for area in [Area::Log, Area::RecordsEven, Area::RecordsOdd] {
            disk::clear(&*self.disk, area)?;
        }
        let mut batch = Batch::default();
        for key in [VOTE_KEY, PURGED_KEY, COMMITTED_KEY, crate::ledger::MARK_KEY] {
            batch.delete(Area::Meta, key);
        }
        self.disk.write(batch)?;
        self.disk.sync()
    }

    fn put_durably(&self, key: &[u8], value: Vec<u8>) -> Result<(), DiskError> {
        let mut batch = Batch::default();
        batch.put(Area::Meta, key, value);
        self.disk.write(batch)?;
        self.disk.sync()
    }
}

fn index_of(key: &[u8]) -> Result<u64, DiskError> {
    key.try_into().map(u64::from_be_bytes).map_err(|_| DiskError::Damaged { what: "a log entry's key" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory_disk::MemoryDisk;

    fn indices(log: &LogStore<MemoryDisk>) -> Vec<u64> {
        log.read(0, usize::MAX).unwrap().into_iter().map(|(index, _)| index).collect()
    }

    fn filled(upto: u64) -> (Arc<MemoryDisk>, LogStore<MemoryDisk>) {
        let disk = Arc::new(MemoryDisk::default());
        let log = LogStore::new(disk.clone());
        log.append((0..upto).map(|index| (index, vec![index as u8]))).unwrap();
        (disk, log)
    }

    #[test]
    fn truncating_and_purging_leave_the_middle() {
        let (_, log) = filled(2000);
        log.truncate_from(1500).unwrap();
        log.purge_to(99, b"id".to_vec()).unwrap();
        assert_eq!(indices(&log), (100..1500).collect::<Vec<_>>());
        assert_eq!(log.purged().unwrap(), Some(b"id".to_vec()));
        assert_eq!(log.last().unwrap().map(|(index, _)| index), Some(1499));
        assert_eq!(log.read(200, 2).unwrap().len(), 2);
    }

    #[test]
    fn what_was_appended_or_voted_survives_a_power_cut() {
        let (disk, log) = filled(3);
        log.save_vote(b"vote".to_vec()).unwrap();
        log.save_slot("writer", b"key".to_vec()).unwrap();
        log.save_committed(Some(b"2".to_vec())).unwrap();
        disk.cut_power();
        assert_eq!(indices(&log), [0, 1, 2]);
        assert_eq!(log.vote().unwrap(), Some(b"vote".to_vec()));
        assert_eq!(log.slot("writer").unwrap(), Some(b"key".to_vec()));
        assert_eq!(log.committed().unwrap(), None);
    }

    #[test]
    fn an_unfinished_beginning_is_cleared_but_named_values_stay() {
        let (_, log) = filled(3);
        log.save_slot("identity", b"key".to_vec()).unwrap();
        log.save_vote(b"vote".to_vec()).unwrap();
        log.clear_unfinished().unwrap();
        assert!(indices(&log).is_empty());
        assert_eq!(log.vote().unwrap(), None);
        assert_eq!(log.slot("identity").unwrap(), Some(b"key".to_vec()));
    }
}
