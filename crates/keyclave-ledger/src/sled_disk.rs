//! The disk of the product: one sled tree, one byte of area before each key, so that a batch is atomic over all areas.
//!
//! Two things that sled 0.34.7 does not do by itself stand here, both shown by power cuts:
//! - `flush` alone loses acknowledged writes; a sync is `flush` and then `sync_all` on sled's own file.
//! - A page larger than a quarter of a segment goes to a file of its own, which sled never syncs: entries of 3 kB
//!   and more were lost although `flush` and `sync_all` had succeeded. A leaf splits by the number of its values,
//!   not by their bytes, so values are kept in parts ([`store::PART_BYTES`]) that no leaf can outgrow. Should a page
//!   be larger all the same, its file is synced too.
//!
//! A directory holds a `lock`, one store in a directory of its own, and the file `current` that names it. Rewriting
//! copies to a second one beside it and names that one ([`rewrite`]).
//!
//! After a failed sync the state on disk is unknown: this disk stays failed until the process is started again.
//! Deliberately absent: file modes, which are the umask's, and retries.

mod current;
mod rewrite;
mod store;

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::disk::{Area, Batch, Disk, DiskError, Pair, RewriteError};
use store::{Keys, Store};

/// The file that a process holds locked for as long as it uses the directory.
const LOCK: &str = "lock";

/// Why a directory does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenDiskError {
    /// Another process uses it.
    #[error("the store in {path} is in use by another process")]
    InUse {
        /// Which directory.
        path: PathBuf,
    },
    /// Sled cannot read it.
    #[error("the store in {path} cannot be opened")]
    Open {
        /// Which directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: sled::Error,
    },
    /// One of its files cannot be made, opened or synced.
    #[error("{path} cannot be opened")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Which store of the directory is the current one cannot be told.
    #[error(
        "{path} does not say which store is the current one: a file was lost, or it is not a store's directory"
    )]
    Current {
        /// Which directory.
        path: PathBuf,
    },
}

/// A directory with a store in it. Fields go in this order: the lock last, when sled has let go of its file.
pub struct SledDisk {
    /// Held for writing by a batch, so that no reader meets the parts of two values.
    store: RwLock<Arc<Store>>,
    directory: PathBuf,
    /// Held for reading by a sync, for writing while another store takes the place of this one.
    switching: RwLock<()>,
    /// Held by a rewriting: the number of the current store.
    rewriting: Mutex<u64>,
    /// What has changed since a rewriting began to copy; none while there is no rewriting.
    changed: Mutex<Option<Keys>>,
    failed: AtomicBool,
    _lock: File,
}

impl SledDisk {
    /// Opens or makes the store in `directory`, and removes what a rewriting that was cut short has left there.
    pub fn open(directory: &Path) -> Result<Self, OpenDiskError> {
        let lock = lock(directory)?;
        let wrong = |source| OpenDiskError::File { path: directory.to_owned(), source };
        let number = current::find_or_begin(directory)?;
        current::remove_others(directory, number).map_err(wrong)?;
        let store = Store::open(&current::path(directory, number))?;
        // The directory's own name must outlive a power cut as well.
        let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
        parent.map_or(Ok(()), sync_directory).map_err(wrong)?;
        Ok(Self {
            store: RwLock::new(Arc::new(store)),
            directory: directory.to_owned(),
            switching: RwLock::default(),
            rewriting: Mutex::new(number),
            changed: Mutex::default(),
            failed: AtomicBool::new(false),
            _lock: lock,
        })
    }

    fn refuse_after_failure(&self) -> Result<(), DiskError> {
        if self.is_failed() { Err(DiskError::Sync { source: None }) } else { Ok(()) }
    }

    fn is_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    fn fail(&self) {
        self.failed.store(true, Ordering::Release);
    }

    /// Does something with the store while no batch is half done.
    fn with_store<T>(&self, by: impl FnOnce(&Store) -> T) -> T {
        by(&self.store.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Disk for SledDisk {
    fn read(&self, area: Area, key: &[u8]) -> Result<Option<Vec<u8>>, DiskError> {
        self.with_store(|store| store.read(area, key))
    }

    fn range(&self, area: Area, from: &[u8], limit: usize) -> Result<Vec<Pair>, DiskError> {
        self.with_store(|store| store.range(area, from, limit))
    }

    fn last(&self, area: Area) -> Result<Option<Pair>, DiskError> {
        self.with_store(|store| store.last(area))
    }

    fn write(&self, batch: Batch) -> Result<(), DiskError> {
        let store = self.store.write().unwrap_or_else(PoisonError::into_inner);
        self.refuse_after_failure()?;
        let prepared = store.prepare(batch)?;
        if let Some(changed) = &mut *self.changed.lock().unwrap_or_else(PoisonError::into_inner) {
            changed.extend(prepared.keys);
        }
        store.make(prepared.together).inspect_err(|_| self.fail())
    }

    fn sync(&self) -> Result<(), DiskError> {
        let _stays = self.switching.read().unwrap_or_else(PoisonError::into_inner);
        self.refuse_after_failure()?;
        // Writing goes on meanwhile.
        let store = Arc::clone(&self.store.read().unwrap_or_else(PoisonError::into_inner));
        store.flush().map_err(|source| {
            self.fail();
            DiskError::Sync { source: Some(source) }
        })
    }

    fn rewrite(&self) -> Result<(), RewriteError> {
        self.rewrite_noting(rewrite::RESERVE_BYTES, &mut |_| ())
    }
}

/// Sled locks its file too, but says so in words only.
fn lock(directory: &Path) -> Result<File, OpenDiskError> {
    let path = directory.join(LOCK);
    let wrong = |source| OpenDiskError::File { path: path.clone(), source };
    fs::create_dir_all(directory).map_err(wrong)?;
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(wrong)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenDiskError::InUse { path: directory.to_owned() }),
        Err(TryLockError::Error(source)) => Err(wrong(source)),
    }
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests;
