//! The real files: `trail-0000000001.jsonl` and so on in one directory, readable by their owner alone.
//!
//! Made by the server (`DIR/audit/`) and by `audit verify DIR`. One process writes to a directory at a time: the
//! lock on the data directory sees to that.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;

use crate::files::{FileMark, SegmentNumber, TrailFile, TrailFiles};

const PREFIX: &str = "trail-";
const SUFFIX: &str = ".jsonl";
/// A segment that is being made; what a crash leaves of it is made again.
const UNFINISHED: &str = "trail.unfinished";
/// Says that the trail was tampered with, until a person acknowledges it.
const ALARM: &str = "tampered";
/// Torn writes kept from one place.
const TORN_COPIES_MAX: u32 = 1000;

/// A directory with the segments of one node.
#[derive(Clone, Debug)]
pub struct Directory {
    path: PathBuf,
}

/// One segment, open for appending.
#[derive(Debug)]
pub struct SegmentFile {
    file: File,
    path: PathBuf,
}

impl Directory {
    /// The trail in `path`, which is made if it is not there.
    pub fn make(path: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(parent)?.sync_all()?;
        }
        Ok(Self { path: path.to_owned() })
    }

    /// The trail in `path`, to be read.
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    fn segment(&self, segment: SegmentNumber) -> PathBuf {
        self.path.join(format!("{PREFIX}{:010}{SUFFIX}", segment.0))
    }

    fn write_new(&self, path: &Path, bytes: &[u8], replace: bool) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(0o600);
        let mut file = match replace {
            true => options.create(true).truncate(true).open(path)?,
            false => options.create_new(true).open(path)?,
        };
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(file)
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

impl TrailFiles for Directory {
    type File = SegmentFile;
    type Reader = File;

    fn segments(&self) -> io::Result<Vec<SegmentNumber>> {
        let mut segments = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            segments.extend(number(&entry?.file_name()));
        }
        segments.sort_unstable();
        segments.dedup();
        Ok(segments)
    }

    fn marks(&self) -> io::Result<Vec<(SegmentNumber, FileMark)>> {
        let mut marks = Vec::new();
        for segment in self.segments()? {
            let found = fs::symlink_metadata(self.segment(segment))?;
            let written = i128::from(found.mtime()) * 1_000_000_000 + i128::from(found.mtime_nsec());
            marks.push((segment, FileMark { identity: found.ino(), length: found.len(), written }));
        }
        Ok(marks)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let found = statvfs(&self.path)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    fn remove(&self, segment: SegmentNumber) -> io::Result<()> {
        match fs::remove_file(self.segment(segment)) {
            Ok(()) => self.sync_names(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn read(&self, segment: SegmentNumber) -> io::Result<File> {
        File::open(self.segment(segment))
    }

    fn create(&self, segment: SegmentNumber, header: &[u8], room_bytes: u64) -> io::Result<SegmentFile> {
        let (unfinished, path) = (self.path.join(UNFINISHED), self.segment(segment));
        if fs::symlink_metadata(&path).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = self.write_new(&unfinished, header, true)?;
        if let Err(error) = set_aside(&file, room_bytes).and_then(|()| file.sync_all()) {
            // What was set aside is given back; whatever is left is made anew by the next attempt.
            let _ = fs::remove_file(&unfinished);
            return Err(error);
        }
        fs::rename(&unfinished, &path)?;
        self.sync_names()?;
        Ok(SegmentFile { file, path })
    }

    fn open(&self, segment: SegmentNumber) -> io::Result<SegmentFile> {
        let path = self.segment(segment);
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        Ok(SegmentFile { file, path })
    }

    fn keep_torn(&self, segment: SegmentNumber, offset: u64, bytes: &[u8]) -> io::Result<()> {
        for copy in 0..TORN_COPIES_MAX {
            let path = self.path.join(format!("torn-{:010}-{offset}-{copy}", segment.0));
            match self.write_new(&path, bytes, false) {
                Ok(_) => return self.sync_names(),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    fn raise_alarm(&self, how: &str) -> io::Result<()> {
        self.write_new(&self.path.join(ALARM), how.as_bytes(), true)?;
        self.sync_names()
    }

    fn has_alarm(&self) -> io::Result<bool> {
        self.path.join(ALARM).try_exists()
    }

    fn clear_alarm(&self) -> io::Result<()> {
        match fs::remove_file(self.path.join(ALARM)) {
            Ok(()) => self.sync_names(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl TrailFile for SegmentFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn reserve(&mut self, length: u64) -> io::Result<()> {
        set_aside(&self.file, length)
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn in_place(&self, length: u64) -> io::Result<bool> {
        let ours = self.file.metadata()?;
        let there = match fs::symlink_metadata(&self.path) {
            Ok(there) => there,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        Ok((ours.dev(), ours.ino()) == (there.dev(), there.ino()) && ours.len() >= length)
    }
}

/// The number of a segment from its file's name.
fn number(name: &OsStr) -> Option<SegmentNumber> {
    let digits = name.to_str()?.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let digits = digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(digits)?;
    digits.parse().ok().map(SegmentNumber)
}

/// Room on the disk, so that a write can hardly fail for want of it. Not every file system knows how.
fn set_aside(file: &File, length: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, length) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_segment_exists_whole_or_not_at_all_and_only_once() {
        let place = tempfile::tempdir().unwrap();
        let files = Directory::make(&place.path().join("audit")).unwrap();
        assert_eq!(files.segments().unwrap(), []);
        fs::write(place.path().join("audit").join(UNFINISHED), "half a he").unwrap();
        assert_eq!(files.segments().unwrap(), []);
        files.create(SegmentNumber(2), b"header\n", 0).unwrap();
        files.create(SegmentNumber(10_000_000_000), b"header\n", 0).unwrap();
        assert_eq!(files.segments().unwrap(), [SegmentNumber(2), SegmentNumber(10_000_000_000)]);
        let error = files.create(SegmentNumber(2), b"other\n", 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        let mut text = String::new();
        files.read(SegmentNumber(2)).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "header\n");
    }

    #[test]
    fn room_is_set_aside_and_given_back() {
        let place = tempfile::tempdir().unwrap();
        let files = Directory::make(place.path()).unwrap();
        let mut file = files.create(SegmentNumber(1), b"header\n", 1 << 20).unwrap();
        let blocks = |file: &SegmentFile| file.file.metadata().unwrap().blocks() * 512;
        assert!(blocks(&file) >= 1 << 20 && files.free_bytes().unwrap() > 0);
        file.cut(7).unwrap();
        assert!(blocks(&file) < 1 << 20);
        file.reserve(2 << 20).unwrap();
        assert!(blocks(&file) >= 2 << 20);
    }

    #[test]
    fn a_mark_tells_a_file_from_itself_once_it_was_written_to() {
        let place = tempfile::tempdir().unwrap();
        let files = Directory::make(place.path()).unwrap();
        files.create(SegmentNumber(1), b"header\n", 0).unwrap();
        let before = files.marks().unwrap();
        assert_eq!(files.marks().unwrap(), before);
        fs::write(files.segment(SegmentNumber(1)), "headeR\n").unwrap();
        assert_ne!(files.marks().unwrap(), before);
        files.remove(SegmentNumber(1)).unwrap();
        files.remove(SegmentNumber(1)).unwrap();
        assert_eq!(files.marks().unwrap(), []);
    }

    #[test]
    fn nobody_else_can_read_a_segment() {
        let place = tempfile::tempdir().unwrap();
        let files = Directory::make(&place.path().join("audit")).unwrap();
        let file = files.create(SegmentNumber(1), b"header\n", 0).unwrap();
        assert_eq!(file.file.metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&files.path).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_file_that_is_removed_replaced_or_cut_is_noticed() {
        let place = tempfile::tempdir().unwrap();
        let files = Directory::make(place.path()).unwrap();
        let mut file = files.create(SegmentNumber(1), b"header\n", 0).unwrap();
        assert!(file.in_place(7).unwrap());
        file.cut(3).unwrap();
        assert!(!file.in_place(7).unwrap());
        let path = files.segment(SegmentNumber(1));
        fs::write(place.path().join("copy"), "header\n").unwrap();
        fs::rename(place.path().join("copy"), &path).unwrap();
        assert!(!file.in_place(0).unwrap());
        fs::remove_file(&path).unwrap();
        assert!(!file.in_place(0).unwrap());
    }

    #[test]
    fn an_alarm_stays_until_it_is_cleared() {
        let place = tempfile::tempdir().unwrap();
        let files = Directory::make(place.path()).unwrap();
        assert!(!files.has_alarm().unwrap());
        files.raise_alarm("first").unwrap();
        files.raise_alarm("second").unwrap();
        assert!(Directory::at(place.path()).has_alarm().unwrap());
        assert_eq!(fs::read_to_string(place.path().join(ALARM)).unwrap(), "second");
        files.clear_alarm().unwrap();
        files.clear_alarm().unwrap();
        assert!(!files.has_alarm().unwrap());
    }

    #[test]
    fn torn_bytes_of_one_place_are_kept_apart() {
        let place = tempfile::tempdir().unwrap();
        let files = Directory::make(place.path()).unwrap();
        files.keep_torn(SegmentNumber(1), 70, b"first").unwrap();
        files.keep_torn(SegmentNumber(1), 70, b"second").unwrap();
        assert_eq!(fs::read(place.path().join("torn-0000000001-70-0")).unwrap(), b"first");
        assert_eq!(fs::read(place.path().join("torn-0000000001-70-1")).unwrap(), b"second");
        assert_eq!(files.segments().unwrap(), []);
    }
}
