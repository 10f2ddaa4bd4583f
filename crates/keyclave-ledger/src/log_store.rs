//! The log and the vote, as bytes: entries by index, what was purged, and a few named values. What the bytes mean
//! and who signed them is known elsewhere.
//!
//! Appending and saving a vote return once they are durable. Purging first makes what was applied durable: the
//! records are all that is left of purged entries.

use std::sync::Arc;

use keyclave_types::envelope::{self, Stored};
use serde::{Deserialize, Serialize};

use crate::disk::{self, Area, Batch, Disk, DiskError};

/// Entries removed at a time: one batch, for which everything else waits.
const ENTRIES_PER_STEP: usize = 64;
const VOTE_KEY: &[u8] = b"log/vote";
const PURGED_KEY: &[u8] = b"log/purged";
const COMMITTED_KEY: &[u8] = b"log/committed";
const SLOT_PREFIX: &[u8] = b"slot/";

/// Through which entry the log was purged. Entries up to it may still stand on disk after a crash; they count as gone.
#[derive(Serialize, Deserialize)]
struct Purged {
    index: u64,
    id: Vec<u8>,
}

impl Stored for Purged {
    const FORMAT: u8 = 1;
}

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
        let begins = self.begins()?;
        let mut batch = Batch::default();
        for (index, bytes) in entries {
            if index < begins {
                return Err(DiskError::Damaged { what: "the order of log entries" });
            }
            batch.put(Area::Log, &index.to_be_bytes(), bytes);
        }
        self.disk.write(batch)?;
        self.disk.sync()
    }

    /// At most `limit` entries from index `from` on.
    pub fn read(&self, from: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, DiskError> {
        self.stored(from.max(self.begins()?), limit)
    }

    /// The first index that is not purged.
    fn begins(&self) -> Result<u64, DiskError> {
        Ok(self.purged_through()?.map_or(0, |purged| purged.index.saturating_add(1)))
    }

    fn stored(&self, from: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, DiskError> {
        let pairs = self.disk.range(Area::Log, &from.to_be_bytes(), limit)?;
        pairs.into_iter().map(|(key, bytes)| Ok((index_of(&key)?, bytes))).collect()
    }

    /// The last entry.
    pub fn last(&self) -> Result<Option<(u64, Vec<u8>)>, DiskError> {
        let last = self.disk.last(Area::Log)?;
        let last = last.map(|(key, bytes)| Ok::<_, DiskError>((index_of(&key)?, bytes))).transpose()?;
        let begins = self.begins()?;
        Ok(last.filter(|(index, _)| *index >= begins))
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
        if self.begins()? > index {
            return Ok(());
        }
        self.put_durably(PURGED_KEY, envelope::encode(&Purged { index, id }))?;
        while let Some((first, _)) = self.stored(0, 1)?.first().filter(|(first, _)| *first <= index) {
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
        Ok(self.purged_through()?.map(|purged| purged.id))
    }

    fn purged_through(&self) -> Result<Option<Purged>, DiskError> {
        let bytes = self.disk.read(Area::Meta, PURGED_KEY)?;
        let purged = bytes.map(|bytes| envelope::decode(&bytes)).transpose();
        purged.map_err(|_| DiskError::Damaged { what: "the mark of the log's beginning" })
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

    /// Removes what an initialisation or a join that did not finish left behind: everything but these named values. To
    /// be called before the ledger is opened.
    pub fn clear_unfinished(&self, keep: &[&str]) -> Result<(), DiskError> {
        for area in [Area::Log, Area::RecordsEven, Area::RecordsOdd] {
            disk::clear(&*self.disk, area)?;
        }
        let mut batch = Batch::default();
        for key in [VOTE_KEY, PURGED_KEY, COMMITTED_KEY, crate::ledger::MARK_KEY] {
            batch.delete(Area::Meta, key);
        }
        for (key, _) in self.disk.range(Area::Meta, SLOT_PREFIX, usize::MAX)? {
            let Some(name) = key.strip_prefix(SLOT_PREFIX) else { break };
            if !keep.iter().any(|kept| kept.as_bytes() == name) {
                batch.delete(Area::Meta, &key);
            }
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
    fn entries_that_a_crash_brings_back_from_before_a_purge_count_as_gone() {
        let (disk, log) = filled(5);
        // Purged beyond the end, as after a snapshot; the power goes before the entries' removal is durable.
        log.purge_to(9, b"id".to_vec()).unwrap();
        disk.cut_power();
        assert_eq!(disk.range(Area::Log, &[], 9).unwrap().len(), 5, "or the cut proves nothing");
        assert_eq!((log.last().unwrap(), indices(&log)), (None, vec![]));
        assert_eq!(log.purged().unwrap(), Some(b"id".to_vec()));
        assert!(log.append([(9, vec![])]).is_err());
        log.append([(10, vec![])]).unwrap();
        assert_eq!(indices(&log), [10]);
        log.purge_to(3, b"older".to_vec()).unwrap();
        assert_eq!(log.purged().unwrap(), Some(b"id".to_vec()), "a purge never goes back");
        log.purge_to(10, b"ten".to_vec()).unwrap();
        assert!(disk.range(Area::Log, &[], 9).unwrap().is_empty(), "what came back goes with the next purge");
    }

    #[test]
    fn golden_keys_and_values_stay() {
        let (disk, log) = filled(1);
        log.append([(258, b"entry".to_vec())]).unwrap();
        log.save_vote(b"vote".to_vec()).unwrap();
        log.save_committed(Some(b"committed".to_vec())).unwrap();
        log.save_slot("name", b"value".to_vec()).unwrap();
        log.purge_to(7, b"id".to_vec()).unwrap();
        let entries = disk.range(Area::Log, &[], 9).unwrap();
        assert_eq!(entries, [(vec![0, 0, 0, 0, 0, 0, 1, 2], b"entry".to_vec())]);
        let named = disk.range(Area::Meta, &[], 9).unwrap();
        let named: Vec<(&[u8], &[u8])> = named.iter().map(|(key, value)| (&key[..], &value[..])).collect();
        let expected: [(&[u8], &[u8]); 4] = [
            (b"log/committed", b"committed"),
            (b"log/purged", &[1, 7, 2, b'i', b'd']),
            (b"log/vote", b"vote"),
            (b"slot/name", b"value"),
        ];
        assert_eq!(named, expected);
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
    fn of_an_unfinished_beginning_only_the_values_named_stay() {
        let (_, log) = filled(3);
        for slot in ["identity", "identity2", "a", "pins", "z"] {
            log.save_slot(slot, b"key".to_vec()).unwrap();
        }
        log.save_vote(b"vote".to_vec()).unwrap();
        log.clear_unfinished(&["identity"]).unwrap();
        assert!(indices(&log).is_empty());
        assert_eq!(log.vote().unwrap(), None);
        for slot in ["identity2", "a", "pins", "z"] {
            assert_eq!(log.slot(slot).unwrap(), None, "{slot}");
        }
        assert_eq!(log.slot("identity").unwrap(), Some(b"key".to_vec()));
    }
}
