//! A disk for tests: loses at a power cut what was not synced, and fails on demand.

use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::disk::{Area, Batch, Disk, DiskError, Pair, RewriteError};

type Pairs = BTreeMap<(Area, Vec<u8>), Vec<u8>>;

pub(crate) struct MemoryDisk {
    /// What is there, and what is durable.
    pairs: Mutex<(Pairs, Pairs)>,
    pub(crate) failing: AtomicBool,
    /// Writes and syncs that succeed before all fail.
    pub(crate) steps_left: AtomicU64,
}

impl Default for MemoryDisk {
    fn default() -> Self {
        Self { pairs: Mutex::default(), failing: false.into(), steps_left: u64::MAX.into() }
    }
}

impl MemoryDisk {
    /// What was not synced goes, and the process that comes next may write again.
    pub(crate) fn cut_power(&self) {
        let mut pairs = self.pairs.lock().unwrap();
        pairs.0 = pairs.1.clone();
        self.heal();
    }

    /// The process ends, but the machine goes on: everything that was written stays.
    pub(crate) fn heal(&self) {
        self.failing.store(false, Ordering::SeqCst);
        self.steps_left.store(u64::MAX, Ordering::SeqCst);
    }

    fn fails(&self) -> bool {
        let step = |left: u64| left.checked_sub(1);
        self.steps_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, step).is_err()
            || self.failing.load(Ordering::SeqCst)
    }
}

impl Disk for MemoryDisk {
    fn read(&self, area: Area, key: &[u8]) -> Result<Option<Vec<u8>>, DiskError> {
        Ok(self.pairs.lock().unwrap().0.get(&(area, key.to_vec())).cloned())
    }

    fn range(&self, area: Area, from: &[u8], limit: usize) -> Result<Vec<Pair>, DiskError> {
        let pairs = self.pairs.lock().unwrap();
        let from_here = pairs.0.range((area, from.to_vec())..);
        Ok(from_here
            .take_while(|((at, _), _)| *at == area)
            .take(limit)
            .map(|((_, k), v)| (k.clone(), v.clone()))
            .collect())
    }

    fn last(&self, area: Area) -> Result<Option<Pair>, DiskError> {
        let pairs = self.pairs.lock().unwrap();
        let last = pairs.0.iter().rev().find(|((at, _), _)| *at == area);
        Ok(last.map(|((_, k), v)| (k.clone(), v.clone())))
    }

    fn write(&self, batch: Batch) -> Result<(), DiskError> {
        if self.fails() {
            return Err(DiskError::Failed { what: "write", source: io::Error::other("injected") });
        }
        let mut pairs = self.pairs.lock().unwrap();
        for (area, key, value) in batch.into_changes() {
            match value {
                Some(value) => pairs.0.insert((area, key), value),
                None => pairs.0.remove(&(area, key)),
            };
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), DiskError> {
        if self.fails() {
            return Err(DiskError::Sync { source: None });
        }
        let mut pairs = self.pairs.lock().unwrap();
        pairs.1 = pairs.0.clone();
        Ok(())
    }

    fn rewrite(&self) -> Result<(), RewriteError> {
        Ok(self.sync()?)
    }
}

#[test]
fn it_is_a_disk() {
    crate::conformance::holds(64, MemoryDisk::default);
}
