//! The real files: `trail-0000000001.jsonl` and so on in one directory, readable by their owner alone.
//!
//! Made by the server (`DIR/audit/`) and by `audit verify DIR`. One process writes to a directory at a time: the
//! lock on the data directory sees to that.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::files::{SegmentNumber, TrailFile, TrailFiles};

const PREFIX: &str = "trail-";
const SUFFIX: &str = ".jsonl";
/// A segment that is being made; what a crash leaves of it is made again.
const UNFINISHED: &str = "trail.unfinished";
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
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| {
                let digits = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
                let number = digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(digits)?;
                number.parse().ok().map(SegmentNumber)
            });
            segments.extend(number);
        }
        segments.sort_unstable();
        segments.dedup();
        Ok(segments)
    }

    fn read(&self, segment: SegmentNumber) -> io::Result<File> {
        File::open(self.segment(segment))
    }

    fn create(&self, segment: SegmentNumber, header: &[u8]) -> io::Result<SegmentFile> {
        let (unfinished, path) = (self.path.join(UNFINISHED), self.segment(segment));
        if fs::symlink_metadata(&path).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = self.write_new(&unfinished, header, true)?;
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
}

impl TrailFile for SegmentFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
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
        files.create(SegmentNumber(2), b"header\n").unwrap();
        files.create(SegmentNumber(10_000_000_000), b"header\n").unwrap();
        assert_eq!(files.segments().unwrap(), [SegmentNumber(2), SegmentNumber(10_000_000_000)]);
        let error = files.create(SegmentNumber(2), b"other\n").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        let mut text = String::new();
        files.read(SegmentNumber(2)).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "header\n");
    }

    #[test]
    fn nobody_else_can_read_a_segment() {
        let place = tempfile::tempdir().unwrap();
        let files = Directory::make(&place.path().join("audit")).unwrap();
        let file = files.create(SegmentNumber(1), b"header\n").unwrap();
        assert_eq!(file.file.metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&files.path).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_file_that_is_removed_replaced_or_cut_is_noticed() {
        let place = tempfile::tempdir().unwrap();
        let files = Directory::make(place.path()).unwrap();
        let mut file = files.create(SegmentNumber(1), b"header\n").unwrap();
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
