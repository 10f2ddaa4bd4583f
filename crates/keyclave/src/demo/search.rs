//! What must not lie on any disk is looked for in every file of every node; and every trail is verified.

use std::io;
use std::path::Path;

use data_encoding::{BASE64, HEXLOWER};

use super::story::Matter;
use crate::audit::verify_directory;
use crate::failure::Failure;
use crate::local::cluster::{Cluster, NODES};
use crate::local::told::Told;

/// Bytes of the plaintext that are looked for: long enough that chance does not find them.
const PIECE_BYTES: usize = 32;

/// One thing to look for.
struct Sought {
    what: &'static str,
    bytes: Vec<u8>,
}

/// What a search has read.
#[derive(Default)]
struct Read {
    files: u64,
    bytes: u64,
    found: Vec<String>,
    control: bool,
}

/// Reads every file of every node's data directory, runtime directory and log.
pub(super) async fn search(cluster: &Cluster, matter: &Matter) -> Result<Told<()>, Failure> {
    let sought = sought(cluster, matter)?;
    // What lies there in the clear on purpose; a search that misses it would miss anything.
    let control = cluster.node(1).client_address().to_string().into_bytes();
    let mut read = Read::default();
    for number in 1..=NODES {
        let place = &cluster.node(number).place;
        read.control = false;
        read_all(&place.data, &sought, &control, &mut read)
            .map_err(|error| unreadable(&place.data, &error))?;
        if !read.control {
            let what = format!("the search of node {number} does not even find what lies there in the clear");
            return Err(Failure::failed("DEMO", what));
        }
        for other in place.runtime.iter().chain([&place.log]) {
            read_all(other, &sought, &control, &mut read).map_err(|error| unreadable(other, &error))?;
        }
    }
    if !read.found.is_empty() {
        return Err(Failure::failed("FOUND", format!("found in the clear: {}", read.found.join("; "))));
    }
    let detail = format!("{} files, {:.1} MiB", read.files, read.bytes as f64 / 1_048_576.0);
    Ok(Told { value: (), detail })
}

/// Each as it is, in hex, and in base64.
fn sought(cluster: &Cluster, matter: &Matter) -> Result<Vec<Sought>, Failure> {
    let token = cluster.secrets()?.token.as_bytes().to_vec();
    let middle = matter.plaintext.len() / 2;
    let mut things = vec![("the key's name", matter.key.as_str().as_bytes().to_vec()), ("the token", token)];
    for at in [0, middle] {
        let piece = matter.plaintext.get(at..at + PIECE_BYTES).unwrap_or_default().to_vec();
        things.push(("the plaintext", piece));
    }
    let forms = |(what, bytes): (&'static str, Vec<u8>)| {
        let hex = HEXLOWER.encode(&bytes).into_bytes();
        let base64 = BASE64.encode(&bytes).trim_end_matches('=').as_bytes().to_vec();
        // The last letters of base64 depend on what follows.
        let base64 = base64.get(..base64.len().saturating_sub(2)).unwrap_or_default().to_vec();
        [bytes, hex, base64].map(|bytes| Sought { what, bytes })
    };
    Ok(things.into_iter().flat_map(forms).collect())
}

fn read_all(path: &Path, sought: &[Sought], control: &[u8], read: &mut Read) -> io::Result<()> {
    let metadata = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        // Servers run on meanwhile, and files come and go.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if metadata.is_dir() {
        for entry in std::fs::read_dir(path)? {
            read_all(&entry?.path(), sought, control, read)?;
        }
    } else if metadata.is_file() {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        read.files += 1;
        read.bytes += bytes.len() as u64;
        read.control |= holds(&bytes, control);
        let found = sought.iter().filter(|thing| holds(&bytes, &thing.bytes));
        read.found.extend(found.map(|thing| format!("{} in {}", thing.what, path.display())));
    }
    Ok(())
}

fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    let Some((first, rest)) = wanted.split_first() else { return false };
    let mut left = bytes;
    while let Some(at) = left.iter().position(|byte| byte == first) {
        left = left.get(at + 1..).unwrap_or_default();
        if left.starts_with(rest) {
            return true;
        }
    }
    false
}

/// Verifies each node's trail as `keyclave audit verify DIR` does.
pub(super) async fn verify_trails(cluster: &Cluster) -> Result<Told<()>, Failure> {
    let mut records = Vec::new();
    for number in 1..=NODES {
        let report = verify_directory(&cluster.node(number).place.audit())?;
        if let Some(finding) = report.findings.first() {
            return Err(Failure::failed("AUDIT_NOT_VERIFIED", format!("node {number}: {finding}")));
        }
        if report.records == 0 {
            return Err(Failure::failed("AUDIT_EMPTY", format!("node {number} has recorded nothing")));
        }
        records.push(report.records.to_string());
    }
    Ok(Told { value: (), detail: format!("{} records", records.join(" + ")) })
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::failed("FILE", format!("{} cannot be searched: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_needle_is_found_wherever_it_lies() {
        assert!(holds(b"aab", b"ab"));
        assert!(holds(b"xxab", b"ab"));
        assert!(holds(b"ab", b"ab"));
        assert!(!holds(b"a", b"ab"));
        assert!(!holds(b"ba", b"ab"));
        assert!(!holds(b"ab", b""));
    }

    #[test]
    fn every_file_below_a_directory_is_read() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("a")).unwrap();
        std::fs::write(directory.path().join("a/b"), b"xx secret xx control").unwrap();
        let sought = [Sought { what: "it", bytes: b"secret".to_vec() }];
        let mut read = Read::default();
        read_all(directory.path(), &sought, b"control", &mut read).unwrap();
        assert_eq!((read.files, read.found.len(), read.control), (1, 1, true));
        read_all(Path::new("/no/such/place"), &sought, b"", &mut read).unwrap();
    }
}
