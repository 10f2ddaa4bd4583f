//! What a process that will hold keys does to itself before it holds any: private files, no core dumps, not
//! traceable, one process per data directory.
//!
//! Called by the binary first thing.

use std::fs::File;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode};
use rustix::process::{DumpableBehavior, Resource, Rlimit};

/// Open files that as many connections as there may be need, with what the stores, the trail and the peers take.
const OPEN_FILES_WANTED: u64 = 4_096 + 512;

/// Held for as long as the process uses the directory.
#[derive(Debug)]
pub struct DirectoryLock {
    _file: File,
}

/// Why a process must not go on.
#[derive(Debug, thiserror::Error)]
pub enum HardeningError {
    /// The kernel would write memory to disk after a crash.
    #[error("core dumps cannot be switched off")]
    CoreDumps(#[source] std::io::Error),
    /// The directory is not there and cannot be made, or cannot be written.
    #[error("the data directory {path} cannot be used")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Two processes on one directory.
    #[error("the data directory {path} is in use by another process")]
    InUse {
        /// Which.
        path: PathBuf,
    },
}

/// Files that this process makes are its user's alone; its memory reaches no core file and no tracer.
pub fn harden_process() -> Result<(), HardeningError> {
    rustix::process::umask(Mode::from_raw_mode(0o077));
    rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
        .map_err(|e| HardeningError::CoreDumps(e.into()))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|e| HardeningError::CoreDumps(e.into()))
}

/// As many open files as this process may have, raised to what the system allows; how many that is.
pub fn raise_open_files() -> u64 {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let allowed = match rustix::process::setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    // None is no limit.
    let allowed = allowed.unwrap_or(u64::MAX);
    if allowed < OPEN_FILES_WANTED {
        tracing::warn!(
            allowed,
            wanted = OPEN_FILES_WANTED,
            "fewer files may be open than clients may connect"
        );
    }
    allowed
}

/// Makes the directory if it is not there, and takes it for this process.
pub fn lock_directory(path: &Path) -> Result<DirectoryLock, HardeningError> {
    let wrong = |source| HardeningError::Directory { path: path.to_owned(), source };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(wrong)?;
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path.join("lock"))
        .map_err(wrong)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(DirectoryLock { _file: file }),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(HardeningError::InUse { path: path.to_owned() }),
        Err(error) => Err(wrong(error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_serves_one_process_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let held = lock_directory(&directory.path().join("a/b")).unwrap();
        assert!(matches!(lock_directory(&directory.path().join("a/b")), Err(HardeningError::InUse { .. })));
        drop(held);
        assert!(lock_directory(&directory.path().join("a/b")).is_ok());
    }

    #[test]
    fn as_many_files_may_be_open_as_the_system_allows() {
        let allowed = raise_open_files();
        let limit = rustix::process::getrlimit(Resource::Nofile);
        assert_eq!((limit.current, limit.current.unwrap_or(u64::MAX)), (limit.maximum, allowed));
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("f"), b"").unwrap();
        let error = lock_directory(&directory.path().join("f")).unwrap_err();
        assert!(error.to_string().contains("/f"), "{error}");
    }
}
