//! The disk of the product: one sled tree, one byte of area before each key, so that a batch is atomic over all areas.
//!
//! Two things that sled 0.34.7 does not do by itself stand here, both shown by power cuts:
//! - `flush` alone loses acknowledged writes; a sync is `flush` and then `sync_all` on sled's own file.
//! - A page larger than a quarter of a segment goes to a file of its own, which sled never syncs: entries of 3 kB
//!   and more were lost although `flush` and `sync_all` had succeeded. A leaf splits by the number of its values,
//!   not by their bytes, so values are kept in parts ([`PART_BYTES`]) that no leaf can outgrow. Should a page be
//!   larger all the same, its file is synced too.
//!
//! After a failed sync the state on disk is unknown: this disk stays failed until the process is started again.
//! Deliberately absent: file modes, which are the umask's, and retries.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

use crate::disk::{Area, Batch, Disk, DiskError, Pair};

/// Bytes per segment of sled's file: large ones waste space, small ones force small parts. A quarter of it is what
/// a page may measure.
const SEGMENT_BYTES: usize = 128 * 1024;
/// Bytes of a value that are kept in one piece: a leaf has 17 of them, a few more after merges, and 33 fit.
const PART_BYTES: usize = 960;
/// Parts of one value; with their bytes, the largest value.
const PARTS_MAX: usize = 255;
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
    /// One of its files cannot be made, opened or synced.
    #[error("{path} cannot be opened")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A directory with sled in it. Fields go in this order: the lock last, when sled has let go of its file.
pub struct SledDisk {
    tree: sled::Tree,
    database: sled::Db,
    file: File,
    pages: LargePages,
    /// Held for writing by a batch, so that no reader meets the parts of two values.
    whole: RwLock<()>,
    failed: AtomicBool,
    _lock: File,
}

impl SledDisk {
    /// Opens or makes the store in `directory`.
    pub fn open(directory: &Path) -> Result<Self, OpenDiskError> {
        let lock = lock(directory)?;
        let wrong = |source| OpenDiskError::Open { path: directory.to_owned(), source };
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
        let pages = LargePages { directory: directory.join("blobs"), synced: Mutex::default() };
        let disk = Self {
            tree,
            database,
            file,
            pages,
            whole: RwLock::default(),
            failed: AtomicBool::new(false),
            _lock: lock,
        };
        // The names of the files must outlive a power cut as well, and the directory's own in its parent.
        let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
        disk.flush()
            .and_then(|()| sync_directory(directory))
            .and_then(|()| parent.map_or(Ok(()), sync_directory))
            .map_err(|source| OpenDiskError::File { path: directory.to_owned(), source })?;
        Ok(disk)
    }

    fn flush(&self) -> io::Result<()> {
        self.database.flush().map_err(io_error)?;
        self.pages.sync()?;
        self.file.sync_all()
    }

    fn refuse_after_failure(&self) -> Result<(), DiskError> {
        if self.failed.load(Ordering::Acquire) { Err(DiskError::Sync { source: None }) } else { Ok(()) }
    }

    /// How many parts the value has that stands at `key`; 0 if there is none.
    fn parts(&self, area: Area, key: &[u8]) -> Result<usize, DiskError> {
        let first = self.tree.get(part_key(area, key, 0)).map_err(failed("read"))?;
        first.map_or(Ok(0), |first| Ok(split_first(&first)?.0))
    }

    fn assemble(&self, area: Area, key: &[u8]) -> Result<Option<Vec<u8>>, DiskError> {
        let Some(first) = self.tree.get(part_key(area, key, 0)).map_err(failed("read"))? else {
            return Ok(None);
        };
        let (parts, bytes) = split_first(&first)?;
        let mut value = bytes.to_vec();
        for part in 1..parts {
            let next = self.tree.get(part_key(area, key, part)).map_err(failed("read"))?;
            value.extend_from_slice(&next.ok_or(DAMAGED)?);
        }
        Ok(Some(value))
    }
}

impl Disk for SledDisk {
    fn read(&self, area: Area, key: &[u8]) -> Result<Option<Vec<u8>>, DiskError> {
        let _whole = self.whole.read().unwrap_or_else(PoisonError::into_inner);
        self.assemble(area, key)
    }

    fn range(&self, area: Area, from: &[u8], limit: usize) -> Result<Vec<Pair>, DiskError> {
        let _whole = self.whole.read().unwrap_or_else(PoisonError::into_inner);
        let mut parts = self.tree.range(area_key(area, from)..vec![area as u8 + 1]);
        let mut pairs = Vec::new();
        while pairs.len() < limit {
            let Some(found) = parts.next() else { break };
            let (stored, first) = found.map_err(failed("read"))?;
            let key = key_of(&stored, 0)?;
            let (count, bytes) = split_first(&first)?;
            let mut value = bytes.to_vec();
            for part in 1..count {
                let (stored, bytes) = parts.next().ok_or(DAMAGED)?.map_err(failed("read"))?;
                if key_of(&stored, part)? != key {
                    return Err(DAMAGED);
                }
                value.extend_from_slice(&bytes);
            }
            // `from` may be a key and a zero more, which lies before that key's own parts.
            if key >= from {
                pairs.push((key.to_vec(), value));
            }
        }
        Ok(pairs)
    }

    fn last(&self, area: Area) -> Result<Option<Pair>, DiskError> {
        let _whole = self.whole.read().unwrap_or_else(PoisonError::into_inner);
        let Some(found) = self.tree.range(vec![area as u8]..vec![area as u8 + 1]).next_back() else {
            return Ok(None);
        };
        let (stored, _) = found.map_err(failed("read"))?;
        let (key, _) = stored.split_last_chunk::<2>().ok_or(DAMAGED)?;
        let key = key.get(1..).ok_or(DAMAGED)?;
        let value = self.assemble(area, key)?.ok_or(DAMAGED)?;
        Ok(Some((key.to_vec(), value)))
    }

    fn write(&self, batch: Batch) -> Result<(), DiskError> {
        let _whole = self.whole.write().unwrap_or_else(PoisonError::into_inner);
        self.refuse_after_failure()?;
        // Sled's batch has one change per key: of several the last one counts.
        let changes: BTreeMap<_, _> =
            batch.into_changes().map(|(area, key, value)| ((area, key), value)).collect();
        let mut together = sled::Batch::default();
        for ((area, key), value) in changes {
            let stands = self.parts(area, &key)?;
            let put = value.map_or(Ok(0), |value| put_parts(&mut together, area, &key, &value))?;
            for part in put..stands {
                together.remove(part_key(area, &key, part));
            }
        }
        self.tree.apply_batch(together).map_err(|error| {
            self.failed.store(true, Ordering::Release);
            failed("write")(error)
        })
    }

    fn sync(&self) -> Result<(), DiskError> {
        self.refuse_after_failure()?;
        self.flush().map_err(|source| {
            self.failed.store(true, Ordering::Release);
            DiskError::Sync { source: Some(source) }
        })
    }
}

/// The files of pages that sled has put outside its own, and which of them are durable.
struct LargePages {
    directory: PathBuf,
    synced: Mutex<BTreeSet<OsString>>,
}

impl LargePages {
    fn sync(&self) -> io::Result<()> {
        let mut synced = self.synced.lock().unwrap_or_else(PoisonError::into_inner);
        let mut present = BTreeSet::new();
        for file in fs::read_dir(&self.directory)? {
            present.insert(file?.file_name());
        }
        let mut fresh = present.difference(&synced).peekable();
        if fresh.peek().is_some() {
            for name in fresh {
                match File::open(self.directory.join(name)) {
                    Ok(file) => file.sync_all()?,
                    // Sled has replaced the page since.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            sync_directory(&self.directory)?;
        }
        *synced = present;
        Ok(())
    }
}

/// Sled locks its file too, but says so in words only.
fn lock(directory: &Path) -> Result<File, OpenDiskError> {
    let path = directory.join("lock");
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

const DAMAGED: DiskError = DiskError::Damaged { what: "a value" };

/// `area ‖ key`: what all parts of all values at and after `key` follow.
fn area_key(area: Area, key: &[u8]) -> Vec<u8> {
    let mut whole = Vec::with_capacity(key.len() + 3);
    whole.push(area as u8);
    whole.extend_from_slice(key);
    whole
}

/// `area ‖ key ‖ 0 ‖ part`. The zero keeps a value's parts together: no key is another with a zero after it, since
/// indices and record ids have one length each and names are text.
fn part_key(area: Area, key: &[u8], part: usize) -> Vec<u8> {
    let mut whole = area_key(area, key);
    whole.extend_from_slice(&[0, u8::try_from(part).unwrap_or(u8::MAX)]);
    whole
}

fn key_of(stored: &[u8], part: usize) -> Result<&[u8], DiskError> {
    let (key, suffix) = stored.split_last_chunk::<2>().ok_or(DAMAGED)?;
    if usize::from(suffix[1]) != part || suffix[0] != 0 {
        return Err(DAMAGED);
    }
    key.get(1..).ok_or(DAMAGED)
}

/// The first part: the number of all of them, then bytes.
fn split_first(first: &[u8]) -> Result<(usize, &[u8]), DiskError> {
    match first.split_first() {
        Some((count, bytes)) if *count > 0 => Ok((usize::from(*count), bytes)),
        Some(_) | None => Err(DAMAGED),
    }
}

fn put_parts(together: &mut sled::Batch, area: Area, key: &[u8], value: &[u8]) -> Result<usize, DiskError> {
    let count = value.len().div_ceil(PART_BYTES).max(1);
    let Some(written) = u8::try_from(count).ok().filter(|_| count <= PARTS_MAX) else {
        let source = io::Error::from(io::ErrorKind::FileTooLarge);
        return Err(DiskError::Failed { what: "write", source });
    };
    let (first, rest) = value.split_at(value.len().min(PART_BYTES));
    together.insert(part_key(area, key, 0), [&[written], first].concat());
    for (part, bytes) in (1..).zip(rest.chunks(PART_BYTES)) {
        together.insert(part_key(area, key, part), bytes);
    }
    Ok(count)
}

fn failed(what: &'static str) -> impl Fn(sled::Error) -> DiskError {
    move |error| DiskError::Failed { what, source: io_error(error) }
}

fn io_error(error: sled::Error) -> io::Error {
    match error {
        sled::Error::Io(source) => source,
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests;
