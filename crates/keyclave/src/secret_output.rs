//! Where secrets go that are shown once: to the result, or into a file that only its owner may read.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::failure::Failure;

/// Writes a secret, with a line end, into a file of mode 0600 that must not be there yet or must be empty: an older
/// file might be readable by others, and might hold something that nobody has elsewhere.
pub(crate) fn write_secret(path: &Path, secret: &str) -> Result<(), Failure> {
    writable(path)?;
    let wrong = |error: std::io::Error| {
        Failure::failed("FILE", format!("{} cannot be written: {error}", path.display()))
    };
    let unfinished = path.with_added_extension("unfinished");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)
        .map_err(wrong)?;
    file.write_all(format!("{secret}\n").as_bytes()).and_then(|()| file.sync_all()).map_err(wrong)?;
    // Renamed into place, so that a server that waits for the file never reads half a token.
    std::fs::rename(&unfinished, path).map_err(wrong)
}

/// Whether a secret can be written there; asked before the secret is made, because it is shown once.
pub(crate) fn writable(path: &Path) -> Result<(), Failure> {
    match std::fs::symlink_metadata(path) {
        Ok(there) if there.is_file() && there.len() == 0 => Ok(()),
        Ok(_) => Err(Failure::usage(format!("{} is there already", path.display()))
            .next("name a file that is not there; nothing is written over a secret")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            match directory.unwrap_or(Path::new(".")).is_dir() {
                true => Ok(()),
                false => Err(Failure::usage(format!("there is no directory for {}", path.display()))),
            }
        }
        Err(error) => Err(Failure::usage(format!("{} cannot be written: {error}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_its_owners_alone_and_never_written_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, "").unwrap();
        write_secret(&path, "kclj_x").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "kclj_x\n");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(write_secret(&path, "kclj_y").is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "kclj_x\n");
        assert!(writable(Path::new("/no/such/directory/x")).is_err());
        assert!(writable(directory.path()).is_err());
    }
}
