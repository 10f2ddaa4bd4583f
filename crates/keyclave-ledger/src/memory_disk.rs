//! A disk for tests: loses at a power cut what was not synced, and fails on demand.

use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::disk::{Area, Batch, Disk, DiskError, Pair};

type Pairs = BTreeMap<(Area, Vec<u8>), Vec<u8>>;

#[derive(Default)]
pub(crate) struct MemoryDisk {
    /// What is there, and what is durable.
    pairs: Mutex<(Pairs, Pairs)>,
    pub(crate) failing: AtomicBool,
}

impl MemoryDisk {
    pub(crate) fn cut_power(&self) {
        let mut pairs = self.pairs.lock().unwrap();
        pairs.0 = pairs.1.clone();
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
        if self.failing.load(Ordering::SeqCst) {
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
        if self.failing.load(Ordering::SeqCst) {
            return Err(DiskError::Sync { source: None });
        }
        let mut pairs = self.pairs.lock().unwrap();
        pairs.1 = pairs.0.clone();
        Ok(())
    }
}

#[test]
fn it_is_a_disk() {
    crate::conformance::holds(256, MemoryDisk::default);
}
