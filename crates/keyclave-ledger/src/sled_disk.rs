//! The disk of the product: one sled tree, one byte of area before each key, so that a batch is atomic over all areas.
//!
//! `flush` alone loses acknowledged writes at a power cut, so a sync is `flush` and then `sync_all` on sled's own
//! file. After a failed one the state on disk is unknown: it stays failed until the process is started again.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::disk::{Area, Batch, Disk, DiskError, Pair};

/// Bytes per segment of sled's file: small segments waste less space with records of a few hundred bytes.
const SEGMENT_BYTES: usize = 64 * 1024;
/// Bytes of sled's page cache.
const CACHE_BYTES: u64 = 128 * 1024 * 1024;

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
    /// Its file cannot be opened for syncing.
    #[error("the store's file {path} cannot be opened")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A directory with sled in it.
pub struct SledDisk {
    tree: sled::Tree,
    database: sled::Db,
    file: File,
    failed: AtomicBool,
}

impl SledDisk {
    /// Opens or makes the store in `directory`.
    pub fn open(directory: &Path) -> Result<Self, OpenDiskError> {
        let wrong = |source: sled::Error| match source {
            sled::Error::Io(error) if error.kind() == io::ErrorKind::WouldBlock => {
                OpenDiskError::InUse { path: directory.to_owned() }
            }
            source => OpenDiskError::Open { path: directory.to_owned(), source },
        };
        let database = sled::Config::new()
            .path(directory)
            .segment_size(SEGMENT_BYTES)
            .cache_capacity(CACHE_BYTES)
            // Durability is asked for, never left to a timer.
            .flush_every_ms(None)
            .open()
            .map_err(wrong)?;
        let tree = database.open_tree("keyclave").map_err(wrong)?;
        let path = directory.join("db");
        let file = File::open(&path).map_err(|source| OpenDiskError::File { path, source })?;
        let disk = Self { tree, database, file, failed: AtomicBool::new(false) };
        // The names of the files must outlive a power cut as well.
        match disk.sync().and_then(|()| sync_directory(directory)) {
            Ok(()) => Ok(disk),
            Err(error) => {
                let source = io::Error::other(error);
                Err(OpenDiskError::File { path: directory.to_owned(), source })
            }
        }
    }

    fn refuse_after_failure(&self) -> Result<(), DiskError> {
        if self.failed.load(Ordering::Acquire) { Err(DiskError::Sync { source: None }) } else { Ok(()) }
    }
}

fn sync_directory(directory: &Path) -> Result<(), DiskError> {
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(|source| DiskError::Sync { source: Some(source) })
}

fn prefixed(area: Area, key: &[u8]) -> Vec<u8> {
    let mut whole = Vec::with_capacity(1 + key.len());
    whole.push(area as u8);
    whole.extend_from_slice(key);
    whole
}

fn stripped(key: &sled::IVec, value: &sled::IVec) -> Pair {
    (key.iter().skip(1).copied().collect(), value.to_vec())
}

fn failed(what: &'static str) -> impl Fn(sled::Error) -> DiskError {
    move |error| match error {
        sled::Error::Io(source) => DiskError::Failed { what, source },
        other => DiskError::Failed { what, source: io::Error::other(other) },
    }
}

impl Disk for SledDisk {
    fn read(&self, area: Area, key: &[u8]) -> Result<Option<Vec<u8>>, DiskError> {
        let value = self.tree.get(prefixed(area, key)).map_err(failed("read"))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn range(&self, area: Area, from: &[u8], limit: usize) -> Result<Vec<Pair>, DiskError> {
        let end = vec![area as u8 + 1];
        self.tree
            .range(prefixed(area, from)..end)
            .take(limit)
            .map(|pair| pair.map(|(key, value)| stripped(&key, &value)).map_err(failed("read")))
            .collect()
    }

    fn last(&self, area: Area) -> Result<Option<Pair>, DiskError> {
        let all = vec![area as u8]..vec![area as u8 + 1];
        match self.tree.range(all).next_back() {
            None => Ok(None),
            Some(pair) => pair.map(|(key, value)| Some(stripped(&key, &value))).map_err(failed("read")),
        }
    }

    fn write(&self, batch: Batch) -> Result<(), DiskError> {
        self.refuse_after_failure()?;
        let mut together = sled::Batch::default();
        for (area, key, value) in batch.into_changes() {
            match value {
                Some(value) => together.insert(prefixed(area, &key), value),
                None => together.remove(prefixed(area, &key)),
            }
        }
        self.tree.apply_batch(together).map_err(|error| {
            self.failed.store(true, Ordering::Release);
            failed("write")(error)
        })
    }

    fn sync(&self) -> Result<(), DiskError> {
        self.refuse_after_failure()?;
        let flushed = self.database.flush().map_err(io::Error::other);
        flushed.and_then(|_| self.file.sync_all()).map_err(|source| {
            self.failed.store(true, Ordering::Release);
            DiskError::Sync { source: Some(source) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_do_not_see_each_other_and_keep_their_order() {
        let directory = tempfile::tempdir().unwrap();
        let disk = SledDisk::open(directory.path()).unwrap();
        let mut batch = Batch::default();
        for key in [3_u8, 1, 2, 255] {
            batch.put(Area::Log, &[key], vec![key]);
            batch.put(Area::Meta, &[key], vec![0]);
        }
        batch.delete(Area::Log, &[2]);
        disk.write(batch).unwrap();
        let keys = |pairs: Vec<Pair>| pairs.into_iter().map(|(k, _)| k[0]).collect::<Vec<_>>();
        assert_eq!(keys(disk.range(Area::Log, &[], 9).unwrap()), [1, 3, 255]);
        assert_eq!(keys(disk.range(Area::Log, &[2], 1).unwrap()), [3]);
        assert_eq!(disk.last(Area::Log).unwrap().unwrap().0, [255]);
        assert!(disk.last(Area::RecordsOdd).unwrap().is_none());
        assert_eq!(disk.read(Area::Meta, &[2]).unwrap(), Some(vec![0]));
    }

    #[test]
    fn what_was_synced_is_there_after_opening_again_and_one_process_holds_it() {
        let directory = tempfile::tempdir().unwrap();
        let disk = SledDisk::open(directory.path()).unwrap();
        let mut batch = Batch::default();
        batch.put(Area::Meta, b"k", b"v".to_vec());
        disk.write(batch).unwrap();
        disk.sync().unwrap();
        assert!(SledDisk::open(directory.path()).is_err());
        drop(disk);
        let disk = SledDisk::open(directory.path()).unwrap();
        assert_eq!(disk.read(Area::Meta, b"k").unwrap(), Some(b"v".to_vec()));
    }
}
