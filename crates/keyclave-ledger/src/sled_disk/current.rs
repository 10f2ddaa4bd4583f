//! Which of a directory's stores is the current one: the file `current` holds its number in decimal and a line feed.
//!
//! It is replaced whole, by a rename, and made durable. A directory that holds anything and does not say which is
//! current is refused: to begin an empty store in its place would be a rollback.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{OpenDiskError, sync_directory};

const CURRENT: &str = "current";
const NEXT: &str = "current.next";
const STORE_PREFIX: &str = "store-";
const FIRST: u64 = 1;

/// Where the store of this number lies.
pub(super) fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{STORE_PREFIX}{number}"))
}

/// The number of the current store; of the first one in a fresh directory, which is named before it is made.
pub(super) fn find_or_begin(directory: &Path) -> Result<u64, OpenDiskError> {
    let file = directory.join(CURRENT);
    let unclear = || OpenDiskError::Current { path: directory.to_owned() };
    match fs::read_to_string(&file) {
        Ok(text) => {
            let number = text.strip_suffix('\n').and_then(|text| text.parse().ok()).ok_or_else(unclear)?;
            // The first one is made after it was named; any later one before.
            if number == FIRST || path(directory, number).is_dir() { Ok(number) } else { Err(unclear()) }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let wrong = |source| OpenDiskError::File { path: file.clone(), source };
            if holds_anything(directory).map_err(wrong)? {
                return Err(unclear());
            }
            name(directory, FIRST).map_err(wrong)?;
            Ok(FIRST)
        }
        Err(source) => Err(OpenDiskError::File { path: file, source }),
    }
}

/// Names the store of this number the current one, durably. After an error either of the two may be it.
pub(super) fn name(directory: &Path, number: u64) -> io::Result<()> {
    let next = directory.join(NEXT);
    let mut file = File::create(&next)?;
    file.write_all(format!("{number}\n").as_bytes())?;
    file.sync_all()?;
    fs::rename(&next, directory.join(CURRENT))?;
    sync_directory(directory)
}

/// Removes every store but this one, durably.
pub(super) fn remove_others(directory: &Path, number: u64) -> io::Result<()> {
    let stays = path(directory, number);
    let mut removed = false;
    for found in fs::read_dir(directory)? {
        let found = found?;
        let is_store = found.file_name().to_string_lossy().starts_with(STORE_PREFIX);
        if is_store && found.path() != stays {
            fs::remove_dir_all(found.path())?;
            removed = true;
        }
    }
    if removed { sync_directory(directory) } else { Ok(()) }
}

fn holds_anything(directory: &Path) -> io::Result<bool> {
    for found in fs::read_dir(directory)? {
        let found = found?.file_name();
        if found != super::LOCK && found != NEXT {
            return Ok(true);
        }
    }
    Ok(false)
}
