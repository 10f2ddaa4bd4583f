//! The checkout that a task works on: where it is, its files, and what cargo says of it.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::failure::TaskError;

/// What `cargo metadata` says, as far as it is asked here.
#[derive(Deserialize, Debug)]
pub(crate) struct Metadata {
    /// Every package: the workspace's own, and with dependencies all others.
    pub(crate) packages: Vec<Package>,
}

/// One package.
#[derive(Deserialize, Debug)]
pub(crate) struct Package {
    /// Its name on the registry.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
    /// Where it comes from; none for the workspace's own.
    pub(crate) source: Option<String>,
    /// SPDX expression.
    pub(crate) license: Option<String>,
    /// Where its Cargo.toml is.
    pub(crate) manifest_path: PathBuf,
    /// What it asks for.
    pub(crate) dependencies: Vec<Dependency>,
}

/// One line of a package's dependencies.
#[derive(Deserialize, Debug)]
pub(crate) struct Dependency {
    /// The other package's name.
    pub(crate) name: String,
    /// `None` normal, else "dev" or "build".
    pub(crate) kind: Option<String>,
}

/// The workspace's folder.
pub(crate) fn root() -> Result<PathBuf, TaskError> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    here.canonicalize().map_err(|source| TaskError::File { path: here, source })
}

/// A file's text.
pub(crate) fn read(path: &Path) -> Result<String, TaskError> {
    std::fs::read_to_string(path).map_err(|source| TaskError::File { path: path.to_owned(), source })
}

/// A TOML file as a type.
pub(crate) fn read_toml<T: DeserializeOwned>(path: &Path) -> Result<T, TaskError> {
    let text = read(path)?;
    toml::from_str(&text)
        .map_err(|source| TaskError::Toml { path: path.to_owned(), source: Box::new(source) })
}

/// All files under `directory` whose name ends in `ending`, sorted; none if there is no such directory.
pub(crate) fn files(directory: &Path, ending: &str) -> Result<Vec<PathBuf>, TaskError> {
    let mut found = Vec::new();
    if directory.is_file() {
        found.push(directory.to_owned());
    }
    if !directory.is_dir() {
        return Ok(found);
    }
    let wrong = |source| TaskError::File { path: directory.to_owned(), source };
    for entry in std::fs::read_dir(directory).map_err(wrong)? {
        let path = entry.map_err(wrong)?.path();
        if path.is_dir() {
            if !path.ends_with("target") {
                found.extend(files(&path, ending)?);
            }
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// `path` as it is printed: from the root on.
pub(crate) fn shown(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}

/// Runs cargo in the root and gives what it printed.
pub(crate) fn cargo(root: &Path, arguments: &[&str]) -> Result<String, TaskError> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(arguments)
        .current_dir(root)
        .output()
        .map_err(|source| TaskError::Start { program: "cargo", source })?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(TaskError::Command {
            command: format!("cargo {}", arguments.join(" ")),
            status: output.status,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

/// What `cargo metadata` says; only of the workspace's own packages unless `all`.
pub(crate) fn metadata(root: &Path, all: bool) -> Result<Metadata, TaskError> {
    let mut arguments = vec!["metadata", "--format-version=1"];
    arguments.extend(if all { ["--locked", "--quiet"] } else { ["--offline", "--no-deps"] });
    let text = cargo(root, &arguments)?;
    serde_json::from_str(&text)
        .map_err(|source| TaskError::Json { command: format!("cargo {}", arguments.join(" ")), source })
}
