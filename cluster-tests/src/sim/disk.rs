//! A disk in memory that forgets: what was written and not synced is lost when the node crashes, all of it or but
//! for a part, as on a real one. It can fail a sync, be full, and be rolled back or swapped.
//!
//! One belongs to each node for a whole run and outlives the node's processes. It may lie about having synced,
//! which is a bug to plant ([`super::planted`]).

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keyclave_ledger::disk::{Area, Batch, Disk, DiskError, RewriteError};

use super::dice::Dice;
use crate::windows::Windows;

type Contents = BTreeMap<Area, BTreeMap<Vec<u8>, Vec<u8>>>;
type Pair = (Vec<u8>, Vec<u8>);

/// One node's disk. Clones share it.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    shared: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// What survives a crash for certain.
    synced: Contents,
    /// What a reader sees.
    written: Contents,
    /// Batches between the two, in order.
    unsynced: Vec<Batch>,
    /// Values that were replaced or removed and lie somewhere on a real disk until it is rewritten.
    remains: Vec<Vec<u8>>,
    lies: bool,
    full: bool,
    fails_next_sync: bool,
    /// A sync has failed: nobody knows what is there, and nothing more is taken from this process.
    broken: bool,
}

/// A disk's durable contents at some moment, to be put back later.
#[derive(Clone)]
pub struct Image(Contents);

impl MemoryDisk {
    /// An empty disk; one that `lies` acknowledges syncs that it does not make.
    pub fn new(lies: bool) -> Self {
        let disk = Self::default();
        disk.lock().lies = lies;
        disk
    }

    /// The node has crashed: of the unsynced batches only some first ones survive, possibly none. A batch is
    /// atomic, so none survives in part.
    pub fn crash(&self, dice: &mut Dice) {
        let mut state = self.lock();
        let unsynced = std::mem::take(&mut state.unsynced);
        let kept = dice.between(0, u64::try_from(unsynced.len()).unwrap_or(u64::MAX).saturating_add(1));
        for (batch, _) in unsynced.into_iter().zip(0..kept) {
            apply(&mut state.synced, batch);
        }
        state.written = state.synced.clone();
        (state.fails_next_sync, state.broken) = (false, false);
    }

    /// The next sync fails.
    pub fn fail_next_sync(&self) {
        self.lock().fails_next_sync = true;
    }

    /// From here on no write is taken, or writes are taken again.
    pub fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    /// Its durable contents.
    pub fn image(&self) -> Image {
        Image(self.lock().synced.clone())
    }

    /// Puts an image in the place of everything: this disk's own earlier one rolls it back, another's swaps it. To
    /// be done while the node has no process.
    pub fn restore(&self, image: Image) {
        let mut state = self.lock();
        state.unsynced.clear();
        state.synced.clone_from(&image.0);
        state.written = image.0;
    }

    /// Whether `needle` lies anywhere on it, in what is there or in what was.
    pub fn holds(&self, needle: &[u8]) -> bool {
        let state = self.lock();
        let there = [&state.synced, &state.written].into_iter().flat_map(|contents| contents.values());
        let values = there.flat_map(BTreeMap::values).chain(&state.remains);
        !needle.is_empty()
            && values.into_iter().any(|value| value.windows(needle.len()).any(|at| at == needle))
    }

    /// Searches everything that is there or was; how many bytes that are, and in how many places something was found.
    pub fn search(&self, windows: &Windows) -> (usize, usize) {
        let state = self.lock();
        let there = [&state.synced, &state.written].into_iter().flat_map(|contents| contents.values());
        let pairs = there.flatten().flat_map(|(key, value)| [key, value]);
        pairs
            .chain(&state.remains)
            .fold((0, 0), |(bytes, hits), found| (bytes + found.len(), hits + windows.found_in(found)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is whole before anything can panic.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for MemoryDisk {
    fn read(&self, area: Area, key: &[u8]) -> Result<Option<Vec<u8>>, DiskError> {
        Ok(self.lock().written.get(&area).and_then(|pairs| pairs.get(key)).cloned())
    }

    fn range(&self, area: Area, from: &[u8], limit: usize) -> Result<Vec<Pair>, DiskError> {
        let state = self.lock();
        let Some(pairs) = state.written.get(&area) else { return Ok(Vec::new()) };
        let inside = pairs.range(from.to_vec()..).take(limit);
        Ok(inside.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn last(&self, area: Area) -> Result<Option<Pair>, DiskError> {
        let state = self.lock();
        let last = state.written.get(&area).and_then(BTreeMap::last_key_value);
        Ok(last.map(|(key, value)| (key.clone(), value.clone())))
    }

    fn write(&self, batch: Batch) -> Result<(), DiskError> {
        let mut state = self.lock();
        if state.broken {
            return Err(DiskError::Sync { source: None });
        }
        if state.full {
            let source = io::Error::from(io::ErrorKind::StorageFull);
            return Err(DiskError::Failed { what: "write", source });
        }
        let replaced = apply(&mut state.written, batch.clone());
        state.remains.extend(replaced);
        state.unsynced.push(batch);
        Ok(())
    }

    fn sync(&self) -> Result<(), DiskError> {
        let mut state = self.lock();
        if state.broken {
            return Err(DiskError::Sync { source: None });
        }
        if state.fails_next_sync {
            state.broken = true;
            return Err(DiskError::Sync { source: Some(io::Error::other("injected")) });
        }
        if !state.lies {
            for batch in std::mem::take(&mut state.unsynced) {
                apply(&mut state.synced, batch);
            }
        }
        Ok(())
    }

    fn rewrite(&self) -> Result<(), RewriteError> {
        if self.lock().full {
            return Err(RewriteError::Room { available_bytes: 0, reserve_bytes: 1 });
        }
        self.sync()?;
        self.lock().remains.clear();
        Ok(())
    }
}

/// Makes the changes of `batch`; the values that it replaces or removes, but for the small named ones.
fn apply(contents: &mut Contents, batch: Batch) -> Vec<Vec<u8>> {
    let mut replaced = Vec::new();
    for (area, key, value) in batch.into_changes() {
        let pairs = contents.entry(area).or_default();
        let before = match value {
            Some(value) => pairs.insert(key, value),
            None => pairs.remove(&key),
        };
        replaced.extend(before.filter(|_| area != Area::Meta));
    }
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(disk: &MemoryDisk, key: u8) -> Result<(), DiskError> {
        let mut batch = Batch::default();
        batch.put(Area::Log, &[key], vec![key]);
        disk.write(batch)
    }

    fn keys(disk: &MemoryDisk) -> Vec<u8> {
        disk.range(Area::Log, &[], 100).unwrap().iter().map(|(key, _)| key[0]).collect()
    }

    #[test]
    fn a_crash_keeps_what_was_synced_and_at_most_a_first_part_of_the_rest() {
        let mut lengths = std::collections::BTreeSet::new();
        for seed in 0..50 {
            let disk = MemoryDisk::new(false);
            put(&disk, 1).unwrap();
            disk.sync().unwrap();
            for key in 2..6 {
                put(&disk, key).unwrap();
            }
            assert_eq!(keys(&disk), [1, 2, 3, 4, 5], "a reader sees what was written");
            disk.crash(&mut Dice::new(seed, "crash"));
            let kept = keys(&disk);
            assert_eq!(kept, [1, 2, 3, 4, 5][..kept.len()]);
            lengths.insert(kept.len());
        }
        assert_eq!(lengths, (1..=5).collect(), "everything from nothing to all of it may survive");
    }

    #[test]
    fn a_disk_that_lies_loses_what_it_said_it_had() {
        let lost = (0..50).any(|seed| {
            let disk = MemoryDisk::new(true);
            put(&disk, 1).unwrap();
            disk.sync().unwrap();
            disk.crash(&mut Dice::new(seed, "crash"));
            keys(&disk).is_empty()
        });
        assert!(lost);
    }

    #[test]
    fn after_a_failed_sync_nothing_is_taken_until_the_process_has_ended() {
        let disk = MemoryDisk::new(false);
        disk.fail_next_sync();
        put(&disk, 1).unwrap();
        assert!(matches!(disk.sync(), Err(DiskError::Sync { source: Some(_) })));
        assert!(matches!(disk.sync(), Err(DiskError::Sync { source: None })));
        assert!(put(&disk, 2).is_err());
        disk.crash(&mut Dice::new(1, "crash"));
        put(&disk, 3).unwrap();
        disk.sync().unwrap();
    }

    #[test]
    fn what_was_removed_lies_there_until_a_rewriting() {
        let disk = MemoryDisk::new(false);
        let mut batch = Batch::default();
        batch.put(Area::RecordsOdd, &[1], b"sealed".to_vec());
        disk.write(batch).unwrap();
        let mut batch = Batch::default();
        batch.delete(Area::RecordsOdd, &[1]);
        disk.write(batch).unwrap();
        disk.sync().unwrap();
        assert!(disk.holds(b"seal"));
        disk.set_full(true);
        assert!(disk.rewrite().is_err() && disk.holds(b"seal"));
        disk.set_full(false);
        disk.rewrite().unwrap();
        assert!(!disk.holds(b"seal"));
    }

    #[test]
    fn a_full_disk_takes_nothing_and_keeps_what_it_has() {
        let disk = MemoryDisk::new(false);
        put(&disk, 1).unwrap();
        disk.set_full(true);
        assert!(put(&disk, 2).is_err());
        disk.set_full(false);
        put(&disk, 3).unwrap();
        assert_eq!(keys(&disk), [1, 3]);
    }

    #[test]
    fn a_disk_can_be_rolled_back_and_swapped() {
        let (one, other) = (MemoryDisk::new(false), MemoryDisk::new(false));
        put(&one, 1).unwrap();
        one.sync().unwrap();
        let earlier = one.image();
        put(&one, 2).unwrap();
        one.sync().unwrap();
        other.restore(one.image());
        one.restore(earlier);
        assert_eq!((keys(&one), keys(&other)), (vec![1], vec![1, 2]));
    }

    #[test]
    fn areas_are_apart_and_the_last_pair_is_the_area_s_own() {
        let disk = MemoryDisk::new(false);
        put(&disk, 1).unwrap();
        put(&disk, 9).unwrap();
        assert_eq!(disk.last(Area::Log).unwrap(), Some((vec![9], vec![9])));
        assert_eq!(disk.last(Area::Meta).unwrap(), None);
        assert_eq!(disk.read(Area::Meta, &[1]).unwrap(), None);
    }
}
