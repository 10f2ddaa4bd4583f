//! Versions that their authors withdrew. Asked of the registry index as cargo last saw it on this machine; a
//! package that is not in it is counted as not checked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::lock::Locked;

/// The verdict and what it rests on.
#[derive(Debug)]
pub(crate) struct Yanked {
    /// Withdrawn versions.
    pub(crate) wrong: Vec<String>,
    /// How many packages were checked.
    pub(crate) note: String,
}

/// One version in the index.
#[derive(Deserialize)]
struct Line {
    vers: String,
    yanked: bool,
}

/// Looks up every package of the registry.
pub(crate) fn check(packages: &[Locked]) -> Yanked {
    let caches = caches();
    let (mut wrong, mut checked, mut skipped) = (Vec::new(), 0_usize, 0_usize);
    for package in packages.iter().filter(|package| package.source.is_some()) {
        let versions = caches
            .iter()
            .filter_map(|cache| std::fs::read(cache.join(place(&package.name))).ok())
            .map(|bytes| versions(&bytes))
            .find(|versions| versions.contains_key(&package.version));
        match versions.and_then(|versions| versions.get(&package.version).copied()) {
            Some(true) => wrong.push(format!("{} {} was withdrawn", package.name, package.version)),
            Some(false) => checked += 1,
            None => skipped += 1,
        }
    }
    let note = format!(
        "{checked} checked against cargo's copy of the index, {skipped} not in it and so not checked"
    );
    Yanked { wrong, note }
}

/// Cargo's copies of registry indexes.
fn caches() -> Vec<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let index = home.unwrap_or_default().join("registry/index");
    let entries = std::fs::read_dir(index).into_iter().flatten().flatten();
    entries.map(|entry| entry.path().join(".cache")).filter(|path| path.is_dir()).collect()
}

/// Where the index keeps a package: `3/a/abc`, `ab/cd/abcd…`.
fn place(name: &str) -> PathBuf {
    let name = name.to_lowercase();
    let part = |range: std::ops::Range<usize>| name.get(range).unwrap_or_default().to_owned();
    match name.len() {
        1 => Path::new("1").join(name),
        2 => Path::new("2").join(name),
        3 => Path::new("3").join(part(0..1)).join(name),
        _ => Path::new(&part(0..2)).join(part(2..4)).join(name),
    }
}

/// The JSON lines in one cache file, which stand between zero bytes.
fn versions(bytes: &[u8]) -> BTreeMap<String, bool> {
    bytes
        .split(|byte| *byte == 0)
        .filter_map(|part| serde_json::from_slice::<Line>(part).ok())
        .map(|line| (line.vers, line.yanked))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_is_read_between_its_zero_bytes() {
        let bytes = b"\x03\x02\0\0\0etag: x\x001.0.0\0{\"name\":\"a\",\"vers\":\"1.0.0\",\"yanked\":true}\x001.1.0\0{\"vers\":\"1.1.0\",\"yanked\":false}\0";
        let found = versions(bytes);
        assert_eq!(found.get("1.0.0"), Some(&true));
        assert_eq!(found.get("1.1.0"), Some(&false));
    }

    #[test]
    fn a_package_s_place_depends_on_its_name_s_length() {
        assert_eq!(place("abc"), Path::new("3/a/abc"));
        assert_eq!(place("Serde"), Path::new("se/rd/serde"));
    }

    #[test]
    fn the_workspace_s_own_packages_are_not_looked_up() {
        let own = Locked { name: "x".to_owned(), version: "1.0.0".to_owned(), source: None };
        assert!(check(&[own]).wrong.is_empty());
    }
}
