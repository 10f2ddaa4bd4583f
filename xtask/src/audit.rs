//! `cargo xtask audit`: what the lock file brings in, held against the known advisories, the allowed licences, the
//! one allowed source and the versions that were withdrawn. Works without any network: the advisories are a table
//! in the tree (`advisories/known.tsv`), rewritten by `cargo xtask advisories DIR`, and its age is printed.

mod known;
mod licences;
pub(crate) mod lock;
mod yanked;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::failure::TaskError;
use crate::tree;
use known::{Advisory, Table};
use lock::{Lock, Locked};

/// `audit.toml` as a type.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct Accept {
    #[serde(default)]
    accepted: Vec<Accepted>,
    licences: Licences,
}

/// One advisory that is lived with.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct Accepted {
    advisory: String,
    package: String,
    why: String,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct Licences {
    allowed: Vec<String>,
}

/// The only place that packages may come from.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Checks the lock file and prints what is wrong, what is accepted and what could not be checked.
pub(crate) fn run(root: &Path) -> Result<bool, TaskError> {
    let accept: Accept = tree::read_toml(&root.join("audit.toml"))?;
    let lock: Lock = tree::read_toml(&root.join("Cargo.lock"))?;
    let table = known::read(&root.join("xtask/advisories/known.tsv"))?;
    let mut wrong = sources(&lock.package);
    wrong.extend(advisories(&accept.accepted, &known::affecting(&table, &lock.package)));
    let metadata = tree::metadata(root, true)?;
    wrong.extend(licences::check(&accept.licences.allowed, &metadata.packages));
    let yanked = yanked::check(&lock.package);
    wrong.extend(yanked.wrong);
    report(&accept, &lock, &table);
    println!("yanked: {}", yanked.note);
    for line in &wrong {
        println!("audit: {line}");
    }
    println!("audit: {} packages, {} findings", lock.package.len(), wrong.len());
    Ok(wrong.is_empty())
}

/// Rewrites the table from a checkout of the advisory database.
pub(crate) fn refresh(root: &Path, directory: &Path) -> Result<bool, TaskError> {
    let count = known::rewrite(directory, &root.join("xtask/advisories/known.tsv"))?;
    println!("{count} advisories written; commit the table");
    Ok(count > 0)
}

fn report(accept: &Accept, lock: &Lock, table: &Table) {
    println!(
        "advisories: {} known, as of {}; what came later is not in this check",
        table.advisories.len(),
        table.as_of
    );
    for accepted in &accept.accepted {
        println!("accepted: {} ({}): {}", accepted.advisory, accepted.package, accepted.why);
    }
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in &lock.package {
        versions.entry(&package.name).or_default().push(&package.version);
    }
    for (name, versions) in versions.iter().filter(|(_, versions)| versions.len() > 1) {
        println!("duplicate: {name} {}", versions.join(", "));
    }
}

/// Packages that come from somewhere else than the registry or the workspace.
fn sources(packages: &[Locked]) -> Vec<String> {
    let foreign = |package: &&Locked| package.source.as_deref().is_some_and(|source| source != REGISTRY);
    let say = |package: &Locked| {
        format!(
            "{} {} comes from {}",
            package.name,
            package.version,
            package.source.as_deref().unwrap_or("?")
        )
    };
    packages.iter().filter(foreign).map(say).collect()
}

/// Advisories that nobody accepted, and acceptances that nothing needs.
fn advisories(accepted: &[Accepted], found: &[(&Advisory, &Locked)]) -> Vec<String> {
    let covers = |entry: &Accepted, advisory: &Advisory| {
        entry.advisory == advisory.id && entry.package == advisory.package
    };
    let mut wrong: Vec<String> = found
        .iter()
        .filter(|(advisory, _)| !accepted.iter().any(|entry| covers(entry, advisory)))
        .map(|(advisory, package)| {
            format!("{} {}: {} ({})", package.name, package.version, advisory.id, advisory.kind)
        })
        .collect();
    for entry in accepted {
        if !found.iter().any(|(advisory, _)| covers(entry, advisory)) {
            wrong.push(format!(
                "audit.toml accepts {} for {}, which matches nothing",
                entry.advisory, entry.package
            ));
        }
        if entry.why.trim().is_empty() {
            wrong.push(format!("audit.toml accepts {} without a reason", entry.advisory));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locked(name: &str, source: Option<&str>) -> Locked {
        Locked { name: name.to_owned(), version: "1.0.0".to_owned(), source: source.map(str::to_owned) }
    }

    fn advisory(id: &str, package: &str) -> Advisory {
        Advisory {
            id: id.to_owned(),
            package: package.to_owned(),
            kind: "unsound".to_owned(),
            safe: Vec::new(),
        }
    }

    fn entry(id: &str, package: &str, why: &str) -> Accepted {
        Accepted { advisory: id.to_owned(), package: package.to_owned(), why: why.to_owned() }
    }

    #[test]
    fn only_the_registry_and_the_workspace_are_sources() {
        let packages = [
            locked("a", None),
            locked("b", Some(REGISTRY)),
            locked("c", Some("git+https://example.org/c#1")),
        ];
        assert_eq!(sources(&packages), ["c 1.0.0 comes from git+https://example.org/c#1"]);
    }

    #[test]
    fn an_advisory_is_found_unless_it_is_accepted_with_a_reason() {
        let (one, two, package) = (advisory("R-1", "a"), advisory("R-2", "a"), locked("a", None));
        let found = [(&one, &package), (&two, &package)];
        assert_eq!(advisories(&[entry("R-1", "a", "fine")], &found), ["a 1.0.0: R-2 (unsound)"]);
        assert_eq!(advisories(&[entry("R-1", "a", "fine"), entry("R-2", "a", " ")], &found).len(), 1);
    }

    #[test]
    fn an_acceptance_that_nothing_needs_is_found() {
        let wrong = advisories(&[entry("R-9", "gone", "fine")], &[]);
        assert_eq!(wrong, ["audit.toml accepts R-9 for gone, which matches nothing"]);
    }
}
