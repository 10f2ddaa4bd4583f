//! A disk in memory that loses what was not synced, and that can be told to fail.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use keyclave_ledger::disk::{Area, Batch, Disk, DiskError, RewriteError};

type Pairs = BTreeMap<(Area, Vec<u8>), Vec<u8>>;
type Change = (Area, Vec<u8>, Option<Vec<u8>>);

#[derive(Default)]
pub(crate) struct TestDisk {
    state: Mutex<State>,
    broken: AtomicBool,
    broken_key: Mutex<Option<Vec<u8>>>,
}

#[derive(Default)]
struct State {
    live: Pairs,
    durable: Pairs,
    pending: Vec<Change>,
}

impl TestDisk {
    /// Every sync fails from here on.
    pub(crate) fn break_syncs(&self) {
        self.broken.store(true, Ordering::SeqCst);
    }

    /// Every write of `key` fails from here on, and no other does.
    pub(crate) fn break_key(&self, key: &[u8]) {
        *self.broken_key.lock().unwrap() = Some(key.to_vec());
    }

    /// The disk after power was lost, or as a thief or a rollback has it: what was not synced is gone.
    pub(crate) fn durable(&self) -> Self {
        Self::holding(self.state.lock().unwrap().durable.clone())
    }

    /// The disk after its process died.
    pub(crate) fn written(&self) -> Self {
        Self::holding(self.state.lock().unwrap().live.clone())
    }

    fn holding(pairs: Pairs) -> Self {
        let state = State { live: pairs.clone(), durable: pairs, pending: vec![] };
        Self { state: Mutex::new(state), ..Self::default() }
    }

    /// Whether `needle` lies anywhere on it.
    pub(crate) fn holds(&self, needle: &[u8]) -> bool {
        let state = self.state.lock().unwrap();
        state.live.values().any(|value| value.windows(needle.len()).any(|window| window == needle))
    }
}

fn make(pairs: &mut Pairs, (area, key, value): Change) {
    match value {
        Some(value) => pairs.insert((area, key), value),
        None => pairs.remove(&(area, key)),
    };
}

impl Disk for TestDisk {
    fn read(&self, area: Area, key: &[u8]) -> Result<Option<Vec<u8>>, DiskError> {
        Ok(self.state.lock().unwrap().live.get(&(area, key.to_vec())).cloned())
    }

    fn range(&self, area: Area, from: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>, DiskError> {
        let state = self.state.lock().unwrap();
        let pairs = state.live.range((area, from.to_vec())..).take_while(|((at, _), _)| *at == area);
        Ok(pairs.take(limit).map(|((_, key), value)| (key.clone(), value.clone())).collect())
    }

    fn last(&self, area: Area) -> Result<Option<(Vec<u8>, Vec<u8>)>, DiskError> {
        let state = self.state.lock().unwrap();
        let mut pairs = state.live.iter().rev().filter(|((at, _), _)| *at == area);
        Ok(pairs.next().map(|((_, key), value)| (key.clone(), value.clone())))
    }

    fn write(&self, batch: Batch) -> Result<(), DiskError> {
        let mut state = self.state.lock().unwrap();
        let changes: Vec<Change> = batch.into_changes().collect();
        let broken = self.broken_key.lock().unwrap().clone();
        if broken.is_some_and(|broken| changes.iter().any(|(_, key, _)| *key == broken)) {
            return Err(DiskError::Sync { source: None });
        }
        for change in changes {
            make(&mut state.live, change.clone());
            state.pending.push(change);
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), DiskError> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(DiskError::Sync { source: None });
        }
        let mut state = self.state.lock().unwrap();
        for change in std::mem::take(&mut state.pending) {
            make(&mut state.durable, change);
        }
        Ok(())
    }

    fn rewrite(&self) -> Result<(), RewriteError> {
        Ok(self.sync()?)
    }
}
