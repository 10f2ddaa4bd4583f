//! Directories of local servers: short enough for a socket's path, this user's alone, and gone at the end.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Where directories are made that hold a restart key.
const MEMORY: &str = "/dev/shm";
/// Bytes that a root may have, so that `ROOT/n1/keyclave.sock` stays under the kernel's 108.
const ROOT_BYTES_MAX: usize = 80;
/// Names that are tried.
const NAMES_MAX: u32 = 1_000;

/// One root directory, and one in memory for restart keys.
#[derive(Debug)]
pub(crate) struct Place {
    root: PathBuf,
    memory: Option<PathBuf>,
    kept: bool,
}

/// One node's part of it.
#[derive(Debug, Clone)]
pub(crate) struct NodePlace {
    /// What the server gets as its data directory.
    pub(crate) data: PathBuf,
    /// What it gets as its runtime directory.
    pub(crate) runtime: Option<PathBuf>,
    /// Where its log goes.
    pub(crate) log: PathBuf,
}

impl Place {
    /// Fresh directories that go away with this value.
    pub(crate) fn fresh() -> Result<Self, Failure> {
        let named = std::env::temp_dir();
        let parent =
            if named.as_os_str().len() <= ROOT_BYTES_MAX - 20 { named } else { PathBuf::from("/tmp") };
        let root = make_one(&parent).map_err(|error| wrong(&parent, &error))?;
        // Without a place in memory a restarted node needs an admission; that is a way too.
        let memory = make_one(Path::new(MEMORY)).ok();
        Ok(Self { root, memory, kept: false })
    }

    /// A directory that stays.
    pub(crate) fn at(root: &Path) -> Result<Self, Failure> {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(root);
        let root = made.and_then(|()| root.canonicalize()).map_err(|error| wrong(root, &error))?;
        if root.as_os_str().len() > ROOT_BYTES_MAX {
            let what = format!("{} is too long for a socket's path", root.display());
            return Err(Failure::usage(what).next("name a shorter directory"));
        }
        Ok(Self { root, memory: None, kept: true })
    }

    /// The root directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// All that was made.
    pub(crate) fn directories(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(self.root.as_path()).chain(self.memory.as_deref())
    }

    /// Where node `number` lives.
    pub(crate) fn node(&self, number: usize) -> NodePlace {
        let name = format!("n{number}");
        NodePlace {
            data: self.root.join(&name),
            runtime: self.memory.as_ref().map(|memory| memory.join(&name)),
            log: self.root.join(format!("{name}.log")),
        }
    }

    /// From now on the directories stay.
    pub(crate) fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        for directory in self.directories() {
            let _ = std::fs::remove_dir_all(directory);
        }
    }
}

impl NodePlace {
    /// The operator's socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.data.join("keyclave.sock")
    }

    /// The trail.
    pub(crate) fn audit(&self) -> PathBuf {
        self.data.join("audit")
    }
}

/// A directory that nobody else can have made: creating it fails if it is there.
fn make_one(parent: &Path) -> io::Result<PathBuf> {
    for name in 0..NAMES_MAX {
        let path = parent.join(format!("keyclave-{}-{name}", std::process::id()));
        match std::fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn wrong(path: &Path, error: &io::Error) -> Failure {
    Failure::failed("DIRECTORY", format!("no directory can be made in {}: {error}", path.display()))
        .next("set TMPDIR to a directory that can be written")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_fresh_place_is_private_short_and_gone_afterwards() {
        let place = Place::fresh().unwrap();
        let (root, node) = (place.root().to_owned(), place.node(3));
        assert_eq!(std::fs::metadata(&root).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(node.socket().as_os_str().len() < 108);
        let other = Place::fresh().unwrap();
        assert_ne!(other.root(), root);
        drop(place);
        assert!(!root.exists());
        assert!(other.root().exists());
    }
}
