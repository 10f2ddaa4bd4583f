//! The restart key's place on a real machine: one file in a tmpfs directory that cannot be swapped out.
//!
//! Called by the node through [`RuntimeMemory`]. Deliberately absent: falling back to a disk.

use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use keyclave_node::world::{RuntimeMemory, RuntimeUnusable};
use zeroize::Zeroizing;

/// `f_type` of a tmpfs, from linux/magic.h.
const TMPFS_MAGIC: i64 = 0x0102_1994;
/// Bits that no other user may have on the directory.
const OTHERS: u32 = 0o077;

/// A directory that is asked anew at each use whether it may hold a key.
pub(crate) struct RuntimeDirectory {
    directory: Option<PathBuf>,
}

impl RuntimeDirectory {
    /// The directory, if one is configured. It is made, for this user alone, if its parent is there.
    pub(crate) fn new(directory: Option<PathBuf>) -> Self {
        if let Some(path) = &directory {
            // A failure shows in `usable`, which is asked before anything is stored.
            let _ =
                std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).create(path);
        }
        Self { directory }
    }

    fn file(&self) -> Option<PathBuf> {
        self.directory.as_ref().map(|d| d.join("restart.key"))
    }
}

impl RuntimeMemory for RuntimeDirectory {
    fn usable(&self) -> Result<(), RuntimeUnusable> {
        let directory = self.directory.as_deref().ok_or(RuntimeUnusable::Absent)?;
        let metadata = std::fs::metadata(directory).map_err(|_| RuntimeUnusable::Access)?;
        if !metadata.is_dir()
            || metadata.mode() & OTHERS != 0
            || metadata.uid() != rustix::process::geteuid().as_raw()
        {
            return Err(RuntimeUnusable::Access);
        }
        let kind = rustix::fs::statfs(directory).map_err(|_| RuntimeUnusable::Access)?.f_type;
        if kind != TMPFS_MAGIC {
            return Err(RuntimeUnusable::NotTmpfs);
        }
        if swap_is_on() && !mounted_noswap(directory) { Err(RuntimeUnusable::Swap) } else { Ok(()) }
    }

    fn load(&self) -> Option<[u8; 32]> {
        self.usable().ok()?;
        let mut bytes = Zeroizing::new([0; 32]);
        let mut file = std::fs::File::open(self.file()?).ok()?;
        file.read_exact(bytes.as_mut()).ok()?;
        Some(*bytes)
    }

    fn store(&self, seed: &[u8; 32]) -> bool {
        let Some(path) = self.file().filter(|_| self.usable().is_ok()) else { return false };
        let written = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)
            .and_then(|mut file| file.write_all(seed));
        written.is_ok()
    }

    fn wipe(&self) {
        let Some(path) = self.file() else { return };
        // Pages of a tmpfs are freed with the file; overwriting first keeps the key out of what is freed.
        if let Ok(mut file) = std::fs::OpenOptions::new().write(true).open(&path) {
            let _ = file.write_all(&[0; 32]);
        }
        let _ = std::fs::remove_file(path);
    }
}

fn swap_is_on() -> bool {
    // One line of heading, one per swap area. Unreadable: assume the worse.
    std::fs::read_to_string("/proc/swaps").map_or(true, |text| text.lines().count() > 1)
}

/// Whether the mount that holds `directory` has the option `noswap`.
fn mounted_noswap(directory: &Path) -> bool {
    let Ok(directory) = directory.canonicalize() else { return false };
    let Ok(mounts) = std::fs::read_to_string("/proc/self/mounts") else { return false };
    let holding = mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let (_, point, _, options) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
            directory.starts_with(point).then_some((point.len(), options))
        })
        .max_by_key(|(length, _)| *length);
    holding.is_some_and(|(_, options)| options.split(',').any(|option| option == "noswap"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_never_holds_a_restart_key() {
        let directory = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let memory = RuntimeDirectory::new(Some(directory.path().join("run")));
        if memory.usable() == Err(RuntimeUnusable::NotTmpfs) {
            assert!(!memory.store(&[7; 32]));
            assert_eq!(memory.load(), None);
            assert!(!directory.path().join("run/restart.key").exists());
        } else {
            println!("skipped: the source tree itself lies on a tmpfs");
        }
    }

    #[test]
    fn what_is_wiped_is_gone() {
        let Ok(directory) = tempfile::tempdir_in("/dev/shm") else {
            println!("skipped: there is no /dev/shm");
            return;
        };
        let memory = RuntimeDirectory::new(Some(directory.path().join("run")));
        match memory.usable() {
            Ok(()) => {
                assert!(memory.store(&[7; 32]));
                assert_eq!(memory.load(), Some([7; 32]));
                memory.wipe();
                assert_eq!(memory.load(), None);
            }
            Err(reason) => {
                assert!(!memory.store(&[7; 32]), "stored although {reason}");
            }
        }
    }

    #[test]
    fn without_a_directory_nothing_is_stored() {
        let memory = RuntimeDirectory::new(None);
        assert_eq!(memory.usable(), Err(RuntimeUnusable::Absent));
        assert!(!memory.store(&[7; 32]));
    }
}
