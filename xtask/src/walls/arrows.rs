//! Which crate may depend on which: our own by the arrows, those of others by their owners. Development
//! dependencies are exempt, since tests may look anywhere, and are listed instead.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::Breach;
use super::plan::Plan;
use crate::failure::TaskError;
use crate::tree::{self, Metadata};

/// One crate of the workspace and what it needs to be built.
#[derive(Debug)]
pub(crate) struct Room {
    /// The crate's name.
    pub(crate) name: String,
    /// Its Cargo.toml, from the root on.
    pub(crate) manifest: String,
    /// Normal and build dependencies, with the line of the manifest.
    pub(crate) needs: BTreeMap<String, usize>,
}

/// The rooms as cargo knows them.
pub(crate) fn rooms(root: &Path, metadata: &Metadata) -> Result<Vec<Room>, TaskError> {
    let mut rooms = Vec::new();
    for package in &metadata.packages {
        let text = tree::read(&package.manifest_path)?;
        let needs = package
            .dependencies
            .iter()
            .filter(|dependency| dependency.kind.as_deref() != Some("dev"))
            .map(|dependency| (dependency.name.clone(), line_of(&text, &dependency.name)))
            .collect();
        let manifest = tree::shown(root, &package.manifest_path);
        rooms.push(Room { name: package.name.clone(), manifest, needs });
    }
    Ok(rooms)
}

/// Every arrow that is not in the plan, every package outside its owner's room.
pub(crate) fn check(plan: &Plan, rooms: &[Room]) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for room in rooms {
        let breach = |line, rule: &str, what| Breach {
            file: room.manifest.clone(),
            line,
            rule: rule.to_owned(),
            what,
        };
        let Some(may) = plan.rooms.get(&room.name) else {
            breaches.push(breach(1, "room", format!("{} is not a room of walls.toml", room.name)));
            continue;
        };
        for (need, line) in &room.needs {
            if plan.rooms.contains_key(need) && !may.contains(need) {
                breaches.push(breach(*line, "arrow", format!("{} may not depend on {need}", room.name)));
            }
            if plan.owners.get(need).is_some_and(|owners| !owners.contains(&room.name)) {
                breaches.push(breach(*line, "owner", format!("{} may not name {need}", room.name)));
            }
        }
        for target in plan.unreachable.get(&room.name).into_iter().flatten() {
            if let Some(path) = way(rooms, &room.name, target) {
                breaches.push(breach(1, "unreachable", path.join(" -> ")));
            }
        }
    }
    breaches
}

/// What tests look into, for the reader.
pub(crate) fn development(metadata: &Metadata) -> Vec<String> {
    let ours: BTreeSet<&str> = metadata.packages.iter().map(|package| package.name.as_str()).collect();
    let arrow = |package: &tree::Package| {
        let tests: Vec<&str> = package
            .dependencies
            .iter()
            .filter(|need| need.kind.as_deref() == Some("dev") && ours.contains(need.name.as_str()))
            .map(|need| need.name.as_str())
            .collect();
        (!tests.is_empty()).then(|| format!("tests of {} look into {}", package.name, tests.join(", ")))
    };
    metadata.packages.iter().filter_map(arrow).collect()
}

/// The rooms on a way from one to the other, if there is one.
fn way(rooms: &[Room], from: &str, to: &str) -> Option<Vec<String>> {
    let needs: BTreeMap<&str, &Room> = rooms.iter().map(|room| (room.name.as_str(), room)).collect();
    let mut paths = vec![vec![from.to_owned()]];
    let mut seen = BTreeSet::from([from.to_owned()]);
    while let Some(path) = paths.pop() {
        let here = path.last()?;
        if here == to {
            return Some(path);
        }
        for need in needs.get(here.as_str()).into_iter().flat_map(|room| room.needs.keys()) {
            if seen.insert(need.clone()) {
                let mut longer = path.clone();
                longer.push(need.clone());
                paths.push(longer);
            }
        }
    }
    None
}

/// The line of a manifest on which a dependency's name begins, or 1.
fn line_of(manifest: &str, name: &str) -> usize {
    let begins = |line: &str| {
        let rest = line.trim_start().strip_prefix(name)?;
        rest.starts_with(['.', ' ', '=']).then_some(())
    };
    manifest.lines().position(|line| begins(line).is_some()).map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        toml::from_str(
            r#"
            forbidden = []
            [rooms]
            types = []
            crypto = ["types"]
            ledger = ["types"]
            cluster = ["types", "ledger"]
            between = ["types", "crypto"]
            [unreachable]
            cluster = ["crypto"]
            [owners]
            sled = ["ledger"]
            [sizes]
            warn_lines = 1
            fail_lines = 2
            "#,
        )
        .unwrap()
    }

    fn room(name: &str, needs: &[&str]) -> Room {
        let needs = needs.iter().zip(7..).map(|(need, line)| ((*need).to_owned(), line)).collect();
        Room { name: name.to_owned(), manifest: format!("crates/{name}/Cargo.toml"), needs }
    }

    fn rules(rooms: &[Room]) -> Vec<String> {
        check(&plan(), rooms).iter().map(Breach::to_string).collect()
    }

    #[test]
    fn the_allowed_arrows_pass() {
        let rooms = [
            room("types", &[]),
            room("crypto", &["types", "serde"]),
            room("ledger", &["types", "sled"]),
            room("cluster", &["ledger", "types"]),
        ];
        assert_eq!(rules(&rooms), Vec::<String>::new());
    }

    #[test]
    fn a_broken_arrow_is_found_with_its_line() {
        assert_eq!(
            rules(&[room("ledger", &["types", "crypto"])]),
            ["crates/ledger/Cargo.toml:8: [arrow] ledger may not depend on crypto"]
        );
    }

    #[test]
    fn a_package_outside_its_owners_room_is_found() {
        assert_eq!(
            rules(&[room("cluster", &["sled"])]),
            ["crates/cluster/Cargo.toml:7: [owner] cluster may not name sled"]
        );
    }

    #[test]
    fn what_must_be_unreachable_is_found_through_others() {
        let rooms =
            [room("cluster", &["ledger"]), room("ledger", &["between"]), room("between", &["crypto"])];
        let found = rules(&rooms);
        assert!(
            found.iter().any(|breach| breach.contains("cluster -> ledger -> between -> crypto")),
            "{found:?}"
        );
    }

    #[test]
    fn a_room_that_the_plan_does_not_know_is_found() {
        assert!(rules(&[room("attic", &[])]).iter().any(|breach| breach.contains("[room]")));
    }

    #[test]
    fn a_dependency_s_line_is_the_one_that_begins_with_its_name() {
        let manifest = "[dependencies]\nring-compat.workspace = true\nring.workspace = true\n";
        assert_eq!(line_of(manifest, "ring"), 3);
    }
}
