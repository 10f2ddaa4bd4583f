//! A disk of one node's own: an ext4 on a loop device, which can be filled, and whose power a test can
//! cut. Needs root.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Cluster, LiveError, Place, say};

/// Bytes of each disk; a sparse file.
const DISK_BYTES: u64 = 512 << 20;

/// An ext4 on a loop device.
#[derive(Debug)]
pub struct Disk {
    image: PathBuf,
    mounted: PathBuf,
}

/// Three nodes that do not run yet, each with a disk of its own, run within `within`; none, with the reason why `test`
/// is skipped said, where there can be none. The disks come after the cluster, so that they are unmounted before its
/// directories are removed.
pub fn on_disks(
    place: Place,
    within: &[OsString],
    test: &str,
) -> Result<Option<(Cluster, Vec<Disk>)>, LiveError> {
    let mut nodes = Cluster::plan(&place, 3)?;
    let mut disks = Vec::new();
    for node in &mut nodes {
        match Disk::make(place.root(), node.number) {
            Ok(disk) => {
                node.data = disk.mounted().join("data");
                node.within = within.to_vec();
                disks.push(disk);
            }
            Err(error) => {
                say(format_args!("{test} SKIPPED: {error}"));
                return Ok(None);
            }
        }
    }
    Ok(Some((Cluster::of(place, nodes), disks)))
}

impl Disk {
    /// A fresh one in `root`, mounted.
    pub fn make(root: &Path, number: usize) -> Result<Self, LiveError> {
        let (image, mounted) = (root.join(format!("disk{number}.img")), root.join(format!("disk{number}")));
        let sparse = File::create(&image).and_then(|file| file.set_len(DISK_BYTES));
        sparse.and_then(|()| std::fs::create_dir(&mounted)).map_err(LiveError::system("making an image"))?;
        run("mkfs.ext4", &["-q".as_ref(), "-F".as_ref(), &image])?;
        let disk = Self { image, mounted };
        disk.mount()?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub fn mounted(&self) -> &Path {
        &self.mounted
    }

    fn mount(&self) -> Result<(), LiveError> {
        run("mount", &["-o".as_ref(), "loop".as_ref(), &self.image, &self.mounted])
    }

    /// The power is back; its journal is replayed.
    pub fn again(&self) -> Result<(), LiveError> {
        run("umount", &[&self.mounted])?;
        self.mount()
    }

    /// Everything that was written so far reaches the device, whoever wrote it.
    pub fn sync(&self) -> Result<(), LiveError> {
        run("sync", &["-f".as_ref(), &self.mounted])
    }

    /// Takes all the space that is left.
    pub fn fill(&self) -> Result<(), LiveError> {
        let ballast = File::create(self.ballast()).map_err(LiveError::system("filling a disk"))?;
        for chunk_bytes in [1 << 20, 4 << 10] {
            let chunk = vec![0x6b; chunk_bytes];
            while (&ballast).write_all(&chunk).is_ok() {}
        }
        // Blocks are given out when they are written back.
        let _ = ballast.sync_all();
        Ok(())
    }

    /// Gives it back.
    pub fn free(&self) -> Result<(), LiveError> {
        std::fs::remove_file(self.ballast()).map_err(LiveError::system("freeing a disk"))
    }

    fn ballast(&self) -> PathBuf {
        self.mounted.join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: servers may still run. The loop device goes with the last of them.
        let _ = run("umount", &["-l".as_ref(), &self.mounted]);
    }
}

fn run(tool: &str, arguments: &[&Path]) -> Result<(), LiveError> {
    let failed = |said: String| LiveError::Tool { command: format!("{tool} {arguments:?}"), said };
    let output = Command::new(tool).args(arguments).output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}
