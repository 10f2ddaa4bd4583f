//! Disks that are full, fail, or do not answer, for the ledger and the trail of one node. They outlive its processes.

use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use keyclave_audit::files::{FileMark, SegmentNumber, TrailFile, TrailFiles};
use keyclave_audit::memory::{MemoryFile, MemoryFiles};
use keyclave_ledger::disk::{Area, Batch, Disk, DiskError, Pair, RewriteError};
use keyclave_ledger::sled_disk::{OpenDiskError, SledDisk};

/// ENOSPC and EIO.
const FULL: i32 = 28;
const FAILED: i32 = 5;

/// Both disks of one node.
#[derive(Clone, Default)]
pub(crate) struct Disks {
    pub(crate) ledger_does: Doing,
    pub(crate) trail: Trail,
}

/// What a disk does when it is written to or synced. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Doing {
    state: Arc<(Mutex<Does>, Condvar)>,
}

/// See [`Doing`].
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum Does {
    #[default]
    Work,
    /// It has no room.
    Full,
    /// Its syncs fail.
    FailSync,
    /// It answers once it does something else.
    Block,
}

impl Doing {
    pub(crate) fn turn_to(&self, does: Does) {
        *self.state.0.lock().unwrap() = does;
        self.state.1.notify_all();
    }

    /// What it does, once that is not to block.
    fn now(&self) -> Does {
        let does = self.state.0.lock().unwrap();
        *self.state.1.wait_while(does, |does| *does == Does::Block).unwrap()
    }

    fn write(&self) -> io::Result<()> {
        match self.now() {
            Does::Full => Err(io::Error::from_raw_os_error(FULL)),
            Does::Work | Does::FailSync | Does::Block => Ok(()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        match self.now() {
            Does::FailSync => Err(io::Error::from_raw_os_error(FAILED)),
            Does::Work | Does::Full | Does::Block => Ok(()),
        }
    }
}

impl Disks {
    /// Opens the ledger's disk.
    pub(crate) fn ledger(&self) -> impl FnOnce(&Path) -> Result<Ledger, OpenDiskError> + Send + use<> {
        let does = self.ledger_does.clone();
        move |path| Ok(Ledger { does, disk: SledDisk::open(path)? })
    }
}

/// The ledger's disk.
pub(crate) struct Ledger {
    does: Doing,
    disk: SledDisk,
}

impl Disk for Ledger {
    fn read(&self, area: Area, key: &[u8]) -> Result<Option<Vec<u8>>, DiskError> {
        self.disk.read(area, key)
    }

    fn range(&self, area: Area, from: &[u8], limit: usize) -> Result<Vec<Pair>, DiskError> {
        self.disk.range(area, from, limit)
    }

    fn last(&self, area: Area) -> Result<Option<Pair>, DiskError> {
        self.disk.last(area)
    }

    fn write(&self, batch: Batch) -> Result<(), DiskError> {
        // A real one takes writes into memory; only its syncs wait for the device.
        if *self.does.state.0.lock().unwrap() != Does::Block {
            self.does.write().map_err(|source| DiskError::Failed { what: "write", source })?;
        }
        self.disk.write(batch)
    }

    fn sync(&self) -> Result<(), DiskError> {
        self.does.sync().map_err(|source| DiskError::Sync { source: Some(source) })?;
        self.disk.sync()
    }

    fn rewrite(&self) -> Result<(), RewriteError> {
        self.disk.rewrite()
    }
}

/// The trail's files.
#[derive(Clone, Default)]
pub(crate) struct Trail {
    pub(crate) does: Doing,
    pub(crate) files: MemoryFiles,
}

impl TrailFiles for Trail {
    type File = Segment;
    type Reader = <MemoryFiles as TrailFiles>::Reader;

    fn segments(&self) -> io::Result<Vec<SegmentNumber>> {
        self.files.segments()
    }

    fn read(&self, segment: SegmentNumber) -> io::Result<Self::Reader> {
        self.files.read(segment)
    }

    fn create(&self, segment: SegmentNumber, header: &[u8], room_bytes: u64) -> io::Result<Segment> {
        self.does.write()?;
        self.does.sync()?;
        Ok(Segment { does: self.does.clone(), file: self.files.create(segment, header, room_bytes)? })
    }

    fn open(&self, segment: SegmentNumber) -> io::Result<Segment> {
        Ok(Segment { does: self.does.clone(), file: self.files.open(segment)? })
    }

    fn keep_torn(&self, segment: SegmentNumber, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.files.keep_torn(segment, offset, bytes)
    }

    fn marks(&self) -> io::Result<Vec<(SegmentNumber, FileMark)>> {
        self.files.marks()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.files.free_bytes()
    }

    fn remove(&self, segment: SegmentNumber) -> io::Result<()> {
        self.files.remove(segment)
    }

    fn raise_alarm(&self, how: &str) -> io::Result<()> {
        self.files.raise_alarm(how)
    }

    fn has_alarm(&self) -> io::Result<bool> {
        self.files.has_alarm()
    }

    fn clear_alarm(&self) -> io::Result<()> {
        self.files.clear_alarm()
    }
}

/// One of them.
pub(crate) struct Segment {
    does: Doing,
    file: MemoryFile,
}

impl TrailFile for Segment {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.does.write()?;
        self.file.write_at(offset, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.does.sync()?;
        self.file.sync()
    }

    fn reserve(&mut self, length: u64) -> io::Result<()> {
        self.does.write()?;
        self.file.reserve(length)
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.file.cut(length)
    }

    fn in_place(&self, length: u64) -> io::Result<bool> {
        self.file.in_place(length)
    }
}
