//! One sled database in one directory: values in parts under `area ‖ key`, and what makes it durable.
//!
//! Deliberately absent: locks between callers, and whether a failed sync may be followed by anything; both are
//! [`super::SledDisk`]'s.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::{OpenDiskError, sync_directory};
use crate::disk::{Area, Batch, DiskError, Pair};

/// Bytes per segment of sled's file: large ones waste space, small ones force small parts. A quarter of it is what
/// a page may measure.
pub(super) const SEGMENT_BYTES: usize = 128 * 1024;
/// Bytes of a value that are kept in one piece: a leaf has 17 of them, a few more after merges, and 33 fit.
pub(super) const PART_BYTES: usize = 960;
/// Parts of one value; with their bytes, the largest value.
pub(super) const PARTS_MAX: usize = 255;
/// Bytes of sled's page cache.
const CACHE_BYTES: u64 = 128 * 1024 * 1024;

/// A directory with sled in it.
pub(super) struct Store {
    pub(super) tree: sled::Tree,
    pub(super) database: sled::Db,
    pub(super) file: File,
    pub(super) pages: LargePages,
}

impl Drop for Store {
    /// Sled syncs its file as it goes, and panics where that fails. On a disk that fails it is kept for the rest of the
    /// process, which ends for just that reason.
    fn drop(&mut self) {
        if self.database.flush().is_err() || self.file.sync_all().is_err() {
            std::mem::forget((self.database.clone(), self.tree.clone()));
        }
    }
}

impl Store {
    /// Opens or makes the database in `directory`.
    pub(super) fn open(directory: &Path) -> Result<Self, OpenDiskError> {
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
        let store = Self { tree, database, file, pages };
        // The names of the files must outlive a power cut as well.
        store
            .flush()
            .and_then(|()| sync_directory(directory))
            .map_err(|source| OpenDiskError::File { path: directory.to_owned(), source })?;
        Ok(store)
    }

    pub(super) fn flush(&self) -> io::Result<()> {
        self.database.flush().map_err(io_error)?;
        self.pages.sync()?;
        self.file.sync_all()
    }

    /// How many parts the value has that stands at `key`; 0 if there is none.
    fn parts(&self, area: Area, key: &[u8]) -> Result<usize, DiskError> {
        let first = self.tree.get(part_key(area, key, 0)).map_err(failed("read"))?;
        first.map_or(Ok(0), |first| Ok(split_first(&first)?.0))
    }

    pub(super) fn read(&self, area: Area, key: &[u8]) -> Result<Option<Vec<u8>>, DiskError> {
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

    pub(super) fn range(&self, area: Area, from: &[u8], limit: usize) -> Result<Vec<Pair>, DiskError> {
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

    pub(super) fn last(&self, area: Area) -> Result<Option<Pair>, DiskError> {
        let Some(found) = self.tree.range(vec![area as u8]..vec![area as u8 + 1]).next_back() else {
            return Ok(None);
        };
        let (stored, _) = found.map_err(failed("read"))?;
        let (key, _) = stored.split_last_chunk::<2>().ok_or(DAMAGED)?;
        let key = key.get(1..).ok_or(DAMAGED)?;
        let value = self.read(area, key)?.ok_or(DAMAGED)?;
        Ok(Some((key.to_vec(), value)))
    }

    /// The changes of `batch` in sled's terms.
    pub(super) fn prepare(&self, batch: Batch) -> Result<Prepared, DiskError> {
        // Sled's batch has one change per key: of several the last one counts.
        let changes: BTreeMap<_, _> =
            batch.into_changes().map(|(area, key, value)| ((area, key), value)).collect();
        let mut together = sled::Batch::default();
        for ((area, key), value) in &changes {
            let stands = self.parts(*area, key)?;
            let put = value.as_ref().map_or(Ok(0), |value| put_parts(&mut together, *area, key, value))?;
            for part in put..stands {
                together.remove(part_key(*area, key, part));
            }
        }
        Ok(Prepared { together, keys: changes.into_keys().collect() })
    }

    /// Makes prepared changes, all or none.
    pub(super) fn make(&self, together: sled::Batch) -> Result<(), DiskError> {
        self.tree.apply_batch(together).map_err(failed("write"))
    }
}

/// Which values a batch changes.
pub(super) type Keys = BTreeSet<(Area, Vec<u8>)>;

/// A batch as sled takes it, and the keys that it changes.
pub(super) struct Prepared {
    pub(super) together: sled::Batch,
    pub(super) keys: Keys,
}

/// The files of pages that sled has put outside its own, and which of them are durable.
pub(super) struct LargePages {
    directory: PathBuf,
    pub(super) synced: Mutex<BTreeSet<OsString>>,
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
pub(super) fn part_key(area: Area, key: &[u8], part: usize) -> Vec<u8> {
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

pub(super) fn io_error(error: sled::Error) -> io::Error {
    match error {
        sled::Error::Io(source) => source,
        other => io::Error::other(other),
    }
}
