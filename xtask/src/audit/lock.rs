//! Cargo.lock as a type.

use serde::Deserialize;

/// The whole file.
#[derive(Deserialize, Debug)]
pub(crate) struct Lock {
    /// Every package, the workspace's own too.
    pub(crate) package: Vec<Locked>,
}

/// One package at one version.
#[derive(Deserialize, Debug)]
pub(crate) struct Locked {
    /// Its name.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
    /// Where it comes from; none for the workspace's own.
    pub(crate) source: Option<String>,
}
