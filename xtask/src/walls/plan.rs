//! `walls.toml` as a type.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

/// The whole file.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    /// A room and the rooms that it may depend on.
    pub(crate) rooms: BTreeMap<String, BTreeSet<String>>,
    /// A room and the rooms that it may not even reach.
    pub(crate) unreachable: BTreeMap<String, BTreeSet<String>>,
    /// A package of others and the rooms that may name it.
    pub(crate) owners: BTreeMap<String, BTreeSet<String>>,
    /// Words that may not stand in code.
    pub(crate) forbidden: Vec<Forbidden>,
    /// Where they may after all.
    #[serde(default)]
    pub(crate) excepted: Vec<Excepted>,
    /// How long a file may be.
    pub(crate) sizes: Sizes,
}

/// Words that may not stand in some code.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Forbidden {
    /// The rule's name.
    pub(crate) rule: String,
    /// What it is for, printed with each breach.
    pub(crate) why: String,
    /// Files, or folders with everything under them.
    pub(crate) under: Vec<String>,
    /// Paths of Rust, matched as a whole: `std::fs` also finds `std::fs::read`, not `mystd::fs`.
    pub(crate) words: Vec<String>,
}

/// One word in one file that has a reason to stand there.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Excepted {
    /// From the root on.
    pub(crate) file: String,
    /// One of the forbidden words.
    pub(crate) word: String,
    /// The reason.
    pub(crate) why: String,
}

/// How long a file of code may be.
#[derive(Deserialize, Debug, Clone, Copy)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sizes {
    /// From here on it is mentioned.
    pub(crate) warn_lines: usize,
    /// Above this it is a breach.
    pub(crate) fail_lines: usize,
}
