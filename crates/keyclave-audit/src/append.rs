//! Appends groups of records to the open segment: one write and one sync for all of them, then receipts.
//!
//! Run by [`crate::trail`] wherever blocking work runs. Knows neither queues nor deadlines.
//!
//! The room of a whole segment is set aside when it begins, so that a write can hardly fail for want of it. Within it,
//! zeros are written up to [`RESERVE_BYTES`] ahead of the lines, so that most syncs change nothing but bytes; a reader
//! takes zeros at the end for room that was not used.

use std::{fmt, io};

use keyclave_types::time::UnixMillis;

use crate::chain::Link;
use crate::files::{FileMark, SegmentNumber, TrailFile, TrailFiles};
use crate::header::Header;
use crate::line::LineMaker;
use crate::record::{Head, Receipt, RecordDraft};
use crate::segment_key::{BodyKey, SegmentKey, SegmentKeyId};
use crate::tree::{TrailTree, leaf};

/// Bytes of lines after which a group is closed.
pub(crate) const GROUP_BYTES_MAX: usize = 256 * 1024;
/// Zeros written ahead of the lines.
pub(crate) const RESERVE_BYTES: usize = 1024 * 1024;
/// Bytes after which a segment gives way to the next.
pub const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
/// Milliseconds after which a segment gives way to the next.
pub const SEGMENT_MS: u64 = 24 * 3_600_000;

/// Segments that there must be room for, beside the open one, or only operators are served.
pub const FREE_SEGMENTS_MIN: u64 = 2;

/// The open end of a trail.
pub(crate) struct Appender<F: TrailFiles> {
    pub(crate) files: F,
    pub(crate) maker: LineMaker,
    pub(crate) segment: OpenSegment<F::File>,
    pub(crate) link: Link,
    pub(crate) head: Head,
    /// The tree over its records; none in a segment that has none.
    pub(crate) tree: Option<TrailTree>,
    pub(crate) keys: Keys,
    /// Whether someone has tampered with the trail and nobody has acknowledged it.
    pub(crate) alarm: bool,
    /// Whether there is room for fewer than [`FREE_SEGMENTS_MIN`] segments more.
    pub(crate) low: bool,
    /// The segments before the open one, as they were found.
    closed: Vec<(SegmentNumber, FileMark)>,
    lines: Vec<u8>,
}

/// The segment that is written to.
pub(crate) struct OpenSegment<T> {
    pub(crate) file: T,
    pub(crate) header: Header,
    /// Where the next line goes, in bytes.
    pub(crate) end: u64,
    /// How long the file is, as far as this process has made it.
    pub(crate) length: u64,
}

/// The keys at hand.
#[derive(Default)]
pub(crate) struct Keys {
    /// Of the open segment.
    pub(crate) current: Option<BodyKey>,
    /// For the next one.
    pub(crate) spare: Option<SegmentKey>,
}

/// What becomes of the alarm.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum AlarmChange {
    /// It is raised; how the tampering shows.
    Raise(String),
    /// A person has acknowledged it.
    Clear,
}

/// What the system said of a disk that failed, small enough to be told to everyone who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskFault {
    kind: io::ErrorKind,
    /// The system's own number, which tells apart what the kinds do not, a failed device above all.
    code: Option<i32>,
}

impl From<&io::Error> for DiskFault {
    fn from(error: &io::Error) -> Self {
        Self { kind: error.kind(), code: error.raw_os_error() }
    }
}

impl fmt::Display for DiskFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => io::Error::from_raw_os_error(code).fmt(f),
            None => self.kind.fmt(f),
        }
    }
}

/// Why the trail can record nothing any more. The process should say so and end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StopCause {
    /// What is on disk is unknown after a failed sync.
    #[error("the audit trail could not be made durable: {0}")]
    Sync(DiskFault),
    /// A write failed for another reason than a full disk.
    #[error("the audit trail could not be written: {0}")]
    Write(DiskFault),
    /// A write failed and what it left could not be cut off.
    #[error("a failed write to the audit trail could not be undone: {0}")]
    Cut(DiskFault),
    /// The file under the process was removed, replaced or cut.
    #[error("the audit trail's file was removed, replaced or cut while it was written to")]
    Replaced,
    /// Whoever ran the blocking work lost it.
    #[error("the audit trail's writer is gone")]
    Lost,
}

/// Why a group was not recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GroupError {
    /// Nothing of the group is in the trail; the next one may succeed.
    #[error("the disk of the audit trail is full")]
    Full,
    /// See [`StopCause`].
    #[error(transparent)]
    Stop(StopCause),
}

impl<F: TrailFiles> Appender<F> {
    pub(crate) fn new(
        files: F,
        maker: LineMaker,
        segment: OpenSegment<F::File>,
        link: Link,
        head: Head,
        tree: Option<TrailTree>,
    ) -> Self {
        Self {
            files,
            maker,
            segment,
            link,
            head,
            tree,
            keys: Keys::default(),
            alarm: false,
            low: false,
            closed: Vec::new(),
            lines: Vec::new(),
        }
    }

    /// Records the first of `drafts`, as many as fit one group, and returns a receipt for each once they are durable.
    pub(crate) fn append<'d>(
        &mut self,
        drafts: impl Iterator<Item = &'d RecordDraft>,
    ) -> Result<Vec<Receipt>, GroupError> {
        self.still_in_place().map_err(GroupError::Stop)?;
        let mut drafts = drafts.peekable();
        let Some(first) = drafts.peek() else { return Ok(Vec::new()) };
        self.roll_if_due(first.time)?;
        let (mut link, mut head, mut receipts) = (self.link, self.head, Vec::new());
        let mut tree = self.tree.clone();
        self.lines.clear();
        for draft in drafts {
            let start = self.lines.len();
            link = self.maker.append(
                draft,
                self.segment.header.segment,
                &link,
                self.keys.current.as_ref(),
                &mut self.lines,
            );
            if let Some(growing) = &mut tree {
                let line = self.lines.get(start..).unwrap_or_default();
                growing.tree.push(leaf(line.strip_suffix(b"\n").unwrap_or(line)));
            }
            head = Head { sequence: link.sequence, hash: link.hash };
            receipts.push(Receipt { node: self.maker.node, sequence: link.sequence, hash: link.hash });
            if self.lines.len() >= GROUP_BYTES_MAX {
                break;
            }
        }
        self.write()?;
        (self.link, self.head, self.tree) = (link, head, tree);
        Ok(receipts)
    }

    /// Takes the segments before the open one as they are, and looks for room.
    pub(crate) fn look_first(&mut self) -> io::Result<()> {
        let open = self.segment.header.segment;
        self.closed = self.files.marks()?.into_iter().filter(|(segment, _)| *segment < open).collect();
        self.low = self.files.free_bytes()? < FREE_SEGMENTS_MIN * SEGMENT_BYTES;
        Ok(())
    }

    /// Whether every segment is still the file that it was, the open one included; looks for room as well.
    pub(crate) fn look(&mut self) -> Result<(), StopCause> {
        self.still_in_place()?;
        let before = std::mem::take(&mut self.closed);
        self.look_first().map_err(|_| StopCause::Replaced)?;
        if self.closed == before { Ok(()) } else { Err(StopCause::Replaced) }
    }

    /// Removes the segments before `first`, which are gone for the ledger already.
    pub(crate) fn drop_before(&mut self, first: SegmentNumber) -> io::Result<()> {
        let gone = self.closed.iter().filter(|(segment, _)| *segment < first);
        for (segment, _) in gone {
            self.files.remove(*segment)?;
        }
        self.look_first()
    }

    /// Whether the open file is still the one that its name leads to.
    pub(crate) fn still_in_place(&self) -> Result<(), StopCause> {
        match self.segment.file.in_place(self.segment.end) {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(StopCause::Replaced),
        }
    }

    /// Takes a key. The open segment's own key is used from the next group on; another one waits for the next
    /// segment, which begins at once where the open one has no key at hand.
    pub(crate) fn take_key(&mut self, key: SegmentKey) {
        if self.segment.header.key == Some(key.id) {
            self.keys.current = Some(BodyKey::new(key.id, &key.secret));
        } else {
            self.keys.spare = Some(key);
        }
    }

    /// Drops all keys: what follows is plain.
    pub(crate) fn forget_keys(&mut self) {
        self.keys = Keys::default();
    }

    /// Raises or clears the alarm, durably.
    pub(crate) fn set_alarm(&mut self, change: &AlarmChange) -> io::Result<()> {
        match change {
            AlarmChange::Raise(how) => self.files.raise_alarm(how)?,
            AlarmChange::Clear => self.files.clear_alarm()?,
        }
        self.alarm = matches!(change, AlarmChange::Raise(_));
        Ok(())
    }

    /// Gives back the room that was not used.
    pub(crate) fn close(&mut self) -> Result<(), StopCause> {
        self.segment.give_back()
    }

    fn write(&mut self) -> Result<(), GroupError> {
        let lines_end = self.segment.end + self.lines.len() as u64;
        if lines_end > self.segment.length {
            self.lines.resize(self.lines.len() + RESERVE_BYTES, 0);
        }
        let written_end = self.segment.end + self.lines.len() as u64;
        if let Err(error) = self.segment.file.write_at(self.segment.end, &self.lines) {
            return Err(self.undo(&error));
        }
        self.segment
            .file
            .sync()
            .map_err(|error| GroupError::Stop(StopCause::Sync(DiskFault::from(&error))))?;
        self.segment.end = lines_end;
        self.segment.length = self.segment.length.max(written_end);
        Ok(())
    }

    /// A full disk refuses and does not stop: what the write left behind is cut off, so that the next group does
    /// not stand in front of it.
    fn undo(&mut self, error: &io::Error) -> GroupError {
        if !is_full(error) {
            return GroupError::Stop(StopCause::Write(DiskFault::from(error)));
        }
        match self.segment.file.cut(self.segment.end) {
            Ok(()) => {
                self.segment.length = self.segment.end;
                GroupError::Full
            }
            Err(error) => GroupError::Stop(StopCause::Cut(DiskFault::from(&error))),
        }
    }

    fn roll_if_due(&mut self, now: UnixMillis) -> Result<(), GroupError> {
        if !self.due(now) {
            return Ok(());
        }
        let spare = self.keys.spare.as_ref().map(|key| BodyKey::new(key.id, &key.secret));
        let key: Option<SegmentKeyId> = spare.as_ref().or(self.keys.current.as_ref()).map(|key| key.id);
        let segment = self.segment.header.segment.next();
        let tree = self.tree.clone().unwrap_or_else(|| TrailTree::beginning(segment));
        let header = Header {
            cluster: self.maker.cluster,
            node: self.maker.node,
            segment,
            continues: self.link,
            created: now,
            key,
            tree: Some(tree.clone()),
        };
        let (opened, hash) =
            OpenSegment::create(&self.files, header).map_err(|error| match is_full(&error) {
                true => GroupError::Full,
                false => GroupError::Stop(StopCause::Write(DiskFault::from(&error))),
            })?;
        let mut closed = std::mem::replace(&mut self.segment, opened);
        (self.link.hash, self.tree) = (hash, Some(tree));
        if let Some(spare) = spare {
            self.keys = Keys { current: Some(spare), spare: None };
        }
        closed.give_back().map_err(GroupError::Stop)?;
        self.look_first().map_err(|error| GroupError::Stop(StopCause::Write(DiskFault::from(&error))))
    }

    /// A segment ends when it is of a format without a tree, when a key waits for bodies that would be plain, or when it is large or old. It goes on for
    /// twice its size and age under its own key where the node has not brought a fresh one yet.
    fn due(&self, now: UnixMillis) -> bool {
        let age_ms = now.since(self.segment.header.created);
        if self.tree.is_none() {
            return true;
        }
        match (&self.keys.current, &self.keys.spare) {
            (None, Some(_)) => true,
            (Some(_), Some(_)) | (None, None) => self.segment.end >= SEGMENT_BYTES || age_ms >= SEGMENT_MS,
            (Some(_), None) => self.segment.end >= 2 * SEGMENT_BYTES || age_ms >= 2 * SEGMENT_MS,
        }
    }
}

impl<T: TrailFile> OpenSegment<T> {
    /// Makes a segment, and says its header's hash.
    pub(crate) fn create<F: TrailFiles<File = T>>(files: &F, header: Header) -> io::Result<(Self, [u8; 32])> {
        let (line, hash) = header.line();
        let file = files.create(header.segment, &line, SEGMENT_BYTES)?;
        let length = line.len() as u64;
        Ok((Self { file, header, end: length, length }, hash))
    }

    /// Some file systems need room to cut a file; zeros at its end then stay and harm nobody.
    fn give_back(&mut self) -> Result<(), StopCause> {
        match self.file.cut(self.end) {
            Ok(()) => self.length = self.end,
            Err(error) if is_full(&error) => {}
            Err(error) => return Err(StopCause::Cut(DiskFault::from(&error))),
        }
        Ok(())
    }
}

/// Whether an error means that there is no room, now.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
