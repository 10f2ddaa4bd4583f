//! Files in memory that can lose what was not synced and fail on demand: the simulator's disk and the tests'.
//!
//! Deliberately absent from the product's paths: nothing there makes one.

use std::collections::BTreeMap;
use std::io::{self, Cursor};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::files::{FileMark, SegmentNumber, TrailFile, TrailFiles};

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// A trail's files in memory. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct MemoryFiles {
    shared: Arc<Mutex<Disk>>,
}

#[derive(Debug, Default)]
struct Disk {
    segments: BTreeMap<SegmentNumber, Contents>,
    torn: Vec<Torn>,
    alarm: bool,
    free_bytes: Option<u64>,
    fault: Option<Fault>,
    files_made: u64,
    syncs: u64,
}

#[derive(Clone, Debug, Default)]
struct Contents {
    /// Tells a replaced file from the one it replaces.
    identity: u64,
    durable: Vec<u8>,
    volatile: Vec<u8>,
    /// Writes since the last sync.
    unsynced: Vec<(usize, Vec<u8>)>,
}

/// Bytes that were kept from a torn write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Torn {
    /// In which segment they stood.
    pub segment: SegmentNumber,
    /// At which byte.
    pub offset: u64,
    /// What they were.
    pub bytes: Vec<u8>,
}

/// What goes wrong from now on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Every write of `bytes_left` bytes or more fails for want of room after that many.
    Full {
        /// How many bytes there is room for.
        bytes_left: usize,
    },
    /// Every write fails.
    Write,
    /// Every sync fails.
    Sync,
}

/// One segment in memory, open for appending.
#[derive(Debug)]
pub struct MemoryFile {
    files: MemoryFiles,
    segment: SegmentNumber,
    identity: u64,
}

impl MemoryFiles {
    /// What goes wrong from now on, if anything.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.disk().fault = fault;
    }

    /// How much is free from now on; as much as there can be, if nothing is said.
    pub fn set_free(&self, bytes: Option<u64>) {
        self.disk().free_bytes = bytes;
    }

    /// Changes contents with another disk, while nothing is open on either.
    pub fn swap(&self, other: &Self) {
        let mine = std::mem::take(&mut *self.disk());
        let theirs = std::mem::replace(&mut *other.disk(), mine);
        *self.disk() = theirs;
    }

    /// A power cut: what was not synced is lost.
    pub fn cut_power(&self) {
        self.cut_power_keeping(|_, _| false);
    }

    /// A power cut in the middle of a write: of what was not synced, `keep` says for each sector, by segment and
    /// offset of the sector, whether it reached the disk.
    pub fn cut_power_keeping(&self, mut keep: impl FnMut(SegmentNumber, usize) -> bool) {
        for (segment, contents) in &mut self.disk().segments {
            let mut kept = contents.durable.clone();
            for (offset, bytes) in std::mem::take(&mut contents.unsynced) {
                let mut at = offset;
                let mut rest = bytes.as_slice();
                while !rest.is_empty() {
                    let sector = at - at % SECTOR_BYTES;
                    let here = (sector + SECTOR_BYTES - at).min(rest.len());
                    let (part, behind) = rest.split_at(here);
                    if keep(*segment, sector) {
                        put(&mut kept, at, part);
                    }
                    (at, rest) = (at + here, behind);
                }
            }
            contents.durable.clone_from(&kept);
            contents.volatile = kept;
        }
    }

    /// What a reader sees of a segment; nothing if it does not exist.
    pub fn contents(&self, segment: SegmentNumber) -> Vec<u8> {
        self.disk().segments.get(&segment).map(|contents| contents.volatile.clone()).unwrap_or_default()
    }

    /// Puts another file in a segment's place, durably.
    pub fn replace(&self, segment: SegmentNumber, bytes: Vec<u8>) {
        let mut disk = self.disk();
        disk.files_made += 1;
        let identity = disk.files_made;
        let contents = Contents { identity, durable: bytes.clone(), volatile: bytes, unsynced: Vec::new() };
        disk.segments.insert(segment, contents);
    }

    /// What was kept of torn writes.
    pub fn torn(&self) -> Vec<Torn> {
        self.disk().torn.clone()
    }

    /// Successful syncs so far.
    pub fn syncs(&self) -> u64 {
        self.disk().syncs
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        // No code panics while it holds the lock with the disk half changed.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TrailFiles for MemoryFiles {
    type File = MemoryFile;
    type Reader = Cursor<Vec<u8>>;

    fn segments(&self) -> io::Result<Vec<SegmentNumber>> {
        Ok(self.disk().segments.keys().copied().collect())
    }

    fn read(&self, segment: SegmentNumber) -> io::Result<Cursor<Vec<u8>>> {
        let disk = self.disk();
        let contents = disk.segments.get(&segment).ok_or(io::ErrorKind::NotFound)?;
        Ok(Cursor::new(contents.volatile.clone()))
    }

    fn create(&self, segment: SegmentNumber, header: &[u8], _room_bytes: u64) -> io::Result<MemoryFile> {
        let fault = self.disk().fault;
        match fault {
            Some(Fault::Full { .. }) => return Err(io::ErrorKind::StorageFull.into()),
            Some(Fault::Write | Fault::Sync) => return Err(io::Error::other("injected fault")),
            None => {}
        }
        if self.disk().segments.contains_key(&segment) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.replace(segment, header.to_vec());
        self.open(segment)
    }

    fn open(&self, segment: SegmentNumber) -> io::Result<MemoryFile> {
        let identity = self.disk().segments.get(&segment).ok_or(io::ErrorKind::NotFound)?.identity;
        Ok(MemoryFile { files: self.clone(), segment, identity })
    }

    fn keep_torn(&self, segment: SegmentNumber, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk().torn.push(Torn { segment, offset, bytes: bytes.to_vec() });
        Ok(())
    }

    fn marks(&self) -> io::Result<Vec<(SegmentNumber, FileMark)>> {
        let mark = |contents: &Contents| FileMark {
            identity: contents.identity,
            length: contents.volatile.len() as u64,
            written: 0,
        };
        Ok(self.disk().segments.iter().map(|(segment, contents)| (*segment, mark(contents))).collect())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.disk().free_bytes.unwrap_or(u64::MAX))
    }

    fn remove(&self, segment: SegmentNumber) -> io::Result<()> {
        self.disk().segments.remove(&segment);
        Ok(())
    }

    fn raise_alarm(&self, _how: &str) -> io::Result<()> {
        self.disk().alarm = true;
        Ok(())
    }

    fn has_alarm(&self) -> io::Result<bool> {
        Ok(self.disk().alarm)
    }

    fn clear_alarm(&self) -> io::Result<()> {
        self.disk().alarm = false;
        Ok(())
    }
}

impl MemoryFile {
    /// Changes the file; a file that was replaced is changed where nobody sees it.
    fn change(&self, disk: &mut Disk, with: impl FnOnce(&mut Contents)) {
        if let Some(contents) = disk.segments.get_mut(&self.segment)
            && contents.identity == self.identity
        {
            with(contents);
        }
    }
}

impl TrailFile for MemoryFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.files.disk();
        let (written, result) = match disk.fault {
            Some(Fault::Full { bytes_left }) if bytes.len() >= bytes_left => {
                (bytes.get(..bytes_left).unwrap_or(bytes), Err(io::ErrorKind::StorageFull.into()))
            }
            Some(Fault::Write) => (&[][..], Err(io::Error::other("injected fault"))),
            Some(Fault::Full { .. } | Fault::Sync) | None => (bytes, Ok(())),
        };
        let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.change(&mut disk, |contents| {
            put(&mut contents.volatile, offset, written);
            contents.unsynced.push((offset, written.to_vec()));
        });
        result
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut disk = self.files.disk();
        if disk.fault == Some(Fault::Sync) {
            return Err(io::Error::other("injected fault"));
        }
        disk.syncs += 1;
        self.change(&mut disk, |contents| {
            for (offset, bytes) in std::mem::take(&mut contents.unsynced) {
                put(&mut contents.durable, offset, &bytes);
            }
            contents.durable.truncate(contents.volatile.len());
        });
        Ok(())
    }

    fn reserve(&mut self, _length: u64) -> io::Result<()> {
        Ok(())
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        let length = usize::try_from(length).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.change(&mut self.files.disk(), |contents| {
            contents.volatile.truncate(length);
            contents.unsynced.retain(|(offset, _)| *offset < length);
        });
        Ok(())
    }

    fn in_place(&self, length: u64) -> io::Result<bool> {
        let disk = self.files.disk();
        let contents = disk.segments.get(&self.segment).filter(|contents| contents.identity == self.identity);
        Ok(contents.is_some_and(|contents| contents.volatile.len() as u64 >= length))
    }
}

fn put(bytes: &mut Vec<u8>, offset: usize, written: &[u8]) {
    let end = offset + written.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    if let Some(room) = bytes.get_mut(offset..end) {
        room.copy_from_slice(written);
    }
}
