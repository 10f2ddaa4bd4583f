//! Directories of one live test: short enough for a socket's path, and gone at the end unless `KEYCLAVE_LIVE_KEEP` is
//! set (for reading the servers' logs).

use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::LiveError;

/// Where restart keys may lie.
const MEMORY: &str = "/dev/shm";
/// Held by the live test that runs: side by side they would judge each other's load.
const TURN: &str = "keyclave-live.turn";
const KEEP: &str = "KEYCLAVE_LIVE_KEEP";
const NAMES_MAX: u32 = 1_000;

/// One root directory, one in memory for restart keys, and the turn to run.
#[derive(Debug)]
pub struct Place {
    root: PathBuf,
    memory: Option<PathBuf>,
    _turn: File,
}

impl Place {
    /// Fresh directories, once no other live test runs on this machine.
    pub fn fresh() -> Result<Self, LiveError> {
        let parent = std::env::temp_dir();
        let turn = std::fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(parent.join(TURN))
            .map_err(LiveError::system("opening the turn's file"))?;
        turn.lock().map_err(LiveError::system("waiting for the turn"))?;
        let root = make_one(&parent).map_err(LiveError::system("making a directory"))?;
        // Without a place in memory a restarted node is admitted by its code.
        let memory = make_one(Path::new(MEMORY)).ok();
        Ok(Self { root, memory, _turn: turn })
    }

    /// The root directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A directory in memory for node `number`.
    pub fn memory(&self, number: usize) -> Option<PathBuf> {
        self.memory.as_ref().map(|memory| memory.join(format!("n{number}")))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::env::var_os(KEEP).is_some() {
            return;
        }
        let _ = std::fs::remove_dir_all(&self.root);
        if let Some(memory) = &self.memory {
            let _ = std::fs::remove_dir_all(memory);
        }
    }
}

/// Writes a file whole or not at all, for its user alone.
pub(super) fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let unfinished = path.with_added_extension("unfinished");
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(text.as_bytes())?;
    std::fs::rename(&unfinished, path)
}

fn make_one(parent: &Path) -> io::Result<PathBuf> {
    for name in 0..NAMES_MAX {
        let path = parent.join(format!("kclive-{}-{name}", std::process::id()));
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}
