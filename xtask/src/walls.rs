//! `cargo xtask walls`: the arrows between the rooms, who may name which package, and what may not stand in whose
//! code. The rules are data (`walls.toml`); each module here holds one kind of rule and returns what breaks it.

mod arrows;
mod code;
mod forbidden;
mod manifests;
mod plan;
mod providers;
mod reexports;
mod sizes;

use std::fmt;
use std::path::Path;

use crate::failure::TaskError;
use crate::tree;
use plan::Plan;

/// One place where a wall is broken.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Breach {
    /// From the root on.
    pub(crate) file: String,
    /// From 1; 0 where a whole file is meant.
    pub(crate) line: usize,
    /// The rule's name.
    pub(crate) rule: String,
    /// What stands there and what should.
    pub(crate) what: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: [{}] {}", self.file, self.line, self.rule, self.what)
    }
}

/// Checks every wall and prints every breach.
pub(crate) fn run(root: &Path) -> Result<bool, TaskError> {
    let plan: Plan = tree::read_toml(&root.join("xtask/walls.toml"))?;
    let metadata = tree::metadata(root, false)?;
    let mut breaches = arrows::check(&plan, &arrows::rooms(root, &metadata)?);
    let sources = code::sources(root)?;
    breaches.extend(forbidden::check(&plan, &sources));
    breaches.extend(reexports::check(&sources, &reexports::packages(root)?));
    breaches.extend(manifests::check(root)?);
    breaches.extend(providers::check(root)?);
    let sizes = sizes::measure(&plan.sizes, &sources);
    breaches.extend(sizes.breaches);
    for note in arrows::development(&metadata) {
        println!("note: {note}");
    }
    for note in sizes.notes {
        println!("note: {note}");
    }
    breaches.sort();
    for breach in &breaches {
        println!("{breach}");
    }
    match breaches.len() {
        0 => println!("walls: {} rooms, {} files: every wall stands", plan.rooms.len(), sources.len()),
        count => println!("walls: {count} breaches"),
    }
    Ok(breaches.is_empty())
}
