//! `cargo xtask bench`: builds the release binary and measures its writes side by side with etcd's.
//!
//! The measuring is `bench-etcd`'s, a program of its own, so that the tasks stay without a network. Deliberately
//! absent: Keyclave's other figures, which `keyclave bench` prints by itself.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::TaskError;
use crate::tree;

/// Builds both and hands the remaining words on.
pub(crate) fn run(root: &Path, arguments: &[&str]) -> Result<bool, TaskError> {
    let build = ["build", "--release", "--locked", "--quiet", "-p", "keyclave", "-p", "bench-etcd"];
    tree::cargo(root, &build)?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let target = root.join(target);
    let ended = Command::new(target.join("release/bench-etcd"))
        .arg("--keyclave")
        .arg(target.join("release/keyclave"))
        .arg("--scratch")
        .arg(target.join("bench"))
        .args(arguments)
        .status()
        .map_err(|source| TaskError::Start { program: "bench-etcd", source })?;
    Ok(ended.success())
}
