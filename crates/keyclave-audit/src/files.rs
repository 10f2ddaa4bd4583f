//! The disk as a value: the files of one trail.
//!
//! [`crate::directory::Directory`] is the real one, [`crate::memory::MemoryFiles`] the one that the simulator and
//! the tests use. All calls may block.

use std::fmt;
use std::io;

/// A segment's place in its trail, from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SegmentNumber(pub u64);

impl SegmentNumber {
    /// Where every trail begins.
    pub const FIRST: Self = Self(1);

    /// The one after.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for SegmentNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The files of one trail.
pub trait TrailFiles: Send + Sync + 'static {
    /// One segment, open for appending.
    type File: TrailFile;
    /// One segment, read from its start.
    type Reader: io::Read;

    /// The numbers of all segments, ascending.
    fn segments(&self) -> io::Result<Vec<SegmentNumber>>;
    /// Reads a segment from its start.
    fn read(&self, segment: SegmentNumber) -> io::Result<Self::Reader>;
    /// Makes a segment that begins with `header`, with room for so many bytes of it set aside where the file system
    /// can. On success name and header are durable; on failure, and after a crash at any moment, the segment exists
    /// whole or not at all. An existing segment is an error.
    fn create(&self, segment: SegmentNumber, header: &[u8], room_bytes: u64) -> io::Result<Self::File>;
    /// Opens a segment for appending.
    fn open(&self, segment: SegmentNumber) -> io::Result<Self::File>;
    /// Keeps the torn bytes that were found in a segment from `offset` on, durably, beside the segments.
    fn keep_torn(&self, segment: SegmentNumber, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// What tells each segment's file from one that was put in its place, ascending.
    fn marks(&self) -> io::Result<Vec<(SegmentNumber, FileMark)>>;
    /// Bytes that are free where the segments lie.
    fn free_bytes(&self) -> io::Result<u64>;
    /// Removes a segment, durably. One that is not there is none to remove.
    fn remove(&self, segment: SegmentNumber) -> io::Result<()>;
    /// Notes durably, beside the segments, that someone has tampered with them, and how that shows.
    fn raise_alarm(&self, how: &str) -> io::Result<()>;
    /// Whether that is noted.
    fn has_alarm(&self) -> io::Result<bool>;
    /// Takes the note away, durably: a person has seen it.
    fn clear_alarm(&self) -> io::Result<()>;
}

/// What tells a file from another one under its name, or from itself as it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileMark {
    /// Which file.
    pub identity: u64,
    /// How long it is.
    pub length: u64,
    /// When it was written to last, in nanoseconds of whichever clock; 0 where that is not known.
    pub written: i128,
}

/// One segment, open for appending.
pub trait TrailFile: Send + 'static {
    /// Writes all of `bytes` at `offset`. After an error any part of them may be there.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes everything written durable. After an error the state on disk is unknown.
    fn sync(&mut self) -> io::Result<()>;
    /// Sets room for `length` bytes aside where the file system can. The file may be so long afterwards.
    fn reserve(&mut self, length: u64) -> io::Result<()>;
    /// Cuts the file to `length` bytes.
    fn cut(&mut self, length: u64) -> io::Result<()>;
    /// Whether the segment's name still leads to this file and the file is at least `length` bytes long.
    fn in_place(&self, length: u64) -> io::Result<bool>;
}
