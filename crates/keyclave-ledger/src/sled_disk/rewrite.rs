//! Rewriting: everything that is there goes to a fresh store beside the old one, which then goes with all that it ever
//! held.
//!
//! 1. A fresh directory is made, and every value copied in the order of keys while others read and write.
//! 2. What has changed meanwhile is copied again, until little is left; the copy is made durable.
//! 3. With everybody waiting, the rest is copied and made durable, and `current` names the copy. Only here do both
//!    hold the same, and what a power cut leaves named is whole.
//! 4. The old directory is removed.
//!
//! An error before step 3 leaves the old store; one while naming leaves either, so the disk fails as after a sync.
//! What is left over is removed by the next rewriting or at the next start. It knows nothing of what the values mean:
//! vote, log, pins and marks go over exactly as they are.

use std::io;
use std::sync::{Arc, MutexGuard, PoisonError};

use super::store::{Keys, Store};
use super::{SledDisk, current};
use crate::disk::{Area, Batch, DiskError, RewriteError};

/// Values copied at a time: one batch, for which writers wait.
const VALUES_PER_STEP: usize = 64;
/// So few changed values are copied while everybody waits.
const VALUES_LAST_MAX: usize = 256;
/// Rounds of copying what has changed, after which everybody waits for the rest, however much it is.
const ROUNDS_MAX: usize = 16;
/// What must stay free for the log to go on: a full disk stops the node.
pub(super) const RESERVE_BYTES: u64 = 32 * 1024 * 1024;
pub(super) const AREAS: [Area; 4] = [Area::Meta, Area::Log, Area::RecordsEven, Area::RecordsOdd];

/// How far a rewriting is; tests look at the directory there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// The fresh store is made.
    Made,
    /// Everything that was there at the beginning is copied.
    Copied,
    /// What has changed is copied, and durable.
    CaughtUp,
    /// The copy is the current store.
    Named,
    /// The old one is gone.
    Removed,
}

/// The values that have changed since copying began are noted for as long as this lives.
struct Noting<'a>(&'a SledDisk);

impl SledDisk {
    /// Rewrites while at least `reserve_bytes` stay free.
    pub(super) fn rewrite_noting(
        &self,
        reserve_bytes: u64,
        note: &mut dyn FnMut(Step),
    ) -> Result<(), RewriteError> {
        let mut number = self.rewriting.lock().unwrap_or_else(PoisonError::into_inner);
        self.refuse_after_failure()?;
        current::remove_others(&self.directory, *number).map_err(RewriteError::Remains)?;
        let next = number.checked_add(1).ok_or(DiskError::Damaged { what: "the number of the store" })?;
        let copy = self.copy(next, reserve_bytes, note);
        match copy.and_then(|(copy, noting)| self.switch(copy, &noting, next)) {
            // Out of everybody's way: sled takes its time to let go of its files.
            Ok(old) => drop(old),
            Err(error) => {
                // Best effort: what stays is removed before the next attempt.
                if !self.is_failed()
                    && let Err(error) = current::remove_others(&self.directory, *number)
                {
                    tracing::warn!(%error, "an unfinished copy of the store was not removed");
                }
                return Err(error);
            }
        }
        *number = next;
        note(Step::Named);
        current::remove_others(&self.directory, next).map_err(RewriteError::Remains)?;
        note(Step::Removed);
        Ok(())
    }

    /// A copy of nearly everything, durable, and the note of what has changed since.
    fn copy(
        &self,
        next: u64,
        reserve_bytes: u64,
        note: &mut dyn FnMut(Step),
    ) -> Result<(Store, Noting<'_>), RewriteError> {
        let room = || self.room(reserve_bytes);
        room()?;
        let noting = Noting::begin(self);
        let fresh = Store::open(&current::path(&self.directory, next)).map_err(copying)?;
        note(Step::Made);
        for area in AREAS {
            let mut from = Vec::new();
            loop {
                let pairs = self.with_store(|store| store.range(area, &from, VALUES_PER_STEP))?;
                let Some((last, _)) = pairs.last() else { break };
                from = [last.as_slice(), &[0]].concat();
                let mut batch = Batch::default();
                for (key, value) in pairs {
                    batch.put(area, &key, value);
                }
                room()?;
                put(&fresh, batch)?;
            }
        }
        note(Step::Copied);
        for _ in 0..ROUNDS_MAX {
            let changed = noting.take();
            let few = changed.len() <= VALUES_LAST_MAX;
            let changed: Vec<_> = changed.into_iter().collect();
            for keys in changed.chunks(VALUES_PER_STEP) {
                let batch = self.with_store(|store| standing(store, keys))?;
                room()?;
                put(&fresh, batch)?;
            }
            if few {
                break;
            }
        }
        fresh.flush().map_err(copying)?;
        note(Step::CaughtUp);
        Ok((fresh, noting))
    }

    /// Puts `copy` in the place of the store, and gives that back. Nobody else holds it: syncs wait as well.
    fn switch(&self, copy: Store, noting: &Noting<'_>, next: u64) -> Result<Arc<Store>, RewriteError> {
        let _alone = self.switching.write().unwrap_or_else(PoisonError::into_inner);
        let mut store = self.store.write().unwrap_or_else(PoisonError::into_inner);
        self.refuse_after_failure()?;
        let changed: Vec<_> = noting.take().into_iter().collect();
        put(&copy, standing(&store, &changed)?)?;
        copy.flush().map_err(copying)?;
        if let Err(source) = current::name(&self.directory, next) {
            self.fail();
            return Err(DiskError::Sync { source: Some(source) }.into());
        }
        Ok(std::mem::replace(&mut *store, Arc::new(copy)))
    }

    fn room(&self, reserve_bytes: u64) -> Result<(), RewriteError> {
        let found = rustix::fs::statvfs(&self.directory).map_err(|error| copying(io::Error::from(error)))?;
        let available_bytes = found.f_bavail.saturating_mul(found.f_frsize);
        if available_bytes < reserve_bytes {
            return Err(RewriteError::Room { available_bytes, reserve_bytes });
        }
        Ok(())
    }
}

impl<'a> Noting<'a> {
    fn begin(disk: &'a SledDisk) -> Self {
        let noting = Self(disk);
        *noting.changed() = Some(Keys::new());
        noting
    }

    fn take(&self) -> Keys {
        self.changed().replace(Keys::new()).unwrap_or_default()
    }

    fn changed(&self) -> MutexGuard<'_, Option<Keys>> {
        self.0.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Noting<'_> {
    fn drop(&mut self) {
        *self.changed() = None;
    }
}

/// What stands at these keys, their absence included.
fn standing(store: &Store, keys: &[(Area, Vec<u8>)]) -> Result<Batch, DiskError> {
    let mut batch = Batch::default();
    for (area, key) in keys {
        match store.read(*area, key)? {
            Some(value) => batch.put(*area, key, value),
            None => batch.delete(*area, key),
        }
    }
    Ok(batch)
}

fn put(copy: &Store, batch: Batch) -> Result<(), RewriteError> {
    copy.prepare(batch).and_then(|prepared| copy.make(prepared.together)).map_err(copying)
}

fn copying(error: impl std::error::Error + Send + Sync + 'static) -> RewriteError {
    RewriteError::Copy(Box::new(error))
}
