//! The table of known advisories: identifier, package, kind, and the version ranges that are safe. Made from the
//! RustSec advisory database (identifiers and ranges only, no texts), so that an audit needs no network.

use std::path::Path;

use semver::{Version, VersionReq};
use serde::Deserialize;

use super::lock::Locked;
use crate::failure::TaskError;
use crate::tree;

/// The table.
#[derive(Debug)]
pub(crate) struct Table {
    /// The newest date in it.
    pub(crate) as_of: String,
    /// One per advisory and package.
    pub(crate) advisories: Vec<Advisory>,
}

/// One advisory.
#[derive(Debug)]
pub(crate) struct Advisory {
    /// RUSTSEC number.
    pub(crate) id: String,
    /// Which package.
    pub(crate) package: String,
    /// `vulnerability`, `unsound`, `unmaintained` or `notice`.
    pub(crate) kind: String,
    /// Versions inside any of these are not affected.
    pub(crate) safe: Vec<VersionReq>,
}

const HEAD: &str = "# Advisories of the RustSec database (public domain; identifiers and version ranges only).\n# id, package, kind, safe version ranges separated by |. Rewritten by `cargo xtask advisories DIR`.\n";
const AS_OF: &str = "# as of ";
const BETWEEN: &str = " | ";

/// Reads the table.
pub(crate) fn read(path: &Path) -> Result<Table, TaskError> {
    parse(path, &tree::read(path)?)
}

/// Each advisory that affects a locked package.
pub(crate) fn affecting<'a>(table: &'a Table, packages: &'a [Locked]) -> Vec<(&'a Advisory, &'a Locked)> {
    let mut found = Vec::new();
    for package in packages {
        for advisory in table.advisories.iter().filter(|advisory| advisory.package == package.name) {
            // A version that cannot be read is in no safe range.
            let safe = Version::parse(&package.version)
                .is_ok_and(|version| advisory.safe.iter().any(|range| range.matches(&version)));
            if !safe {
                found.push((advisory, package));
            }
        }
    }
    found
}

/// Writes the table from a checkout of the database and says how many advisories it has.
pub(crate) fn rewrite(database: &Path, table: &Path) -> Result<usize, TaskError> {
    let mut lines = Vec::new();
    let mut as_of = String::new();
    for path in tree::files(&database.join("crates"), ".md")? {
        let text = tree::read(&path)?;
        let head = text.split("```").nth(1).and_then(|head| head.strip_prefix("toml")).unwrap_or_default();
        let file: File = toml::from_str(head)
            .map_err(|source| TaskError::Toml { path: path.clone(), source: Box::new(source) })?;
        if file.advisory.withdrawn.is_some() {
            continue;
        }
        as_of = as_of.max(file.advisory.date.clone());
        lines.push(file.line());
    }
    lines.sort();
    let text = format!("{HEAD}{AS_OF}{as_of}\n{}", lines.concat());
    parse(table, &text)?;
    std::fs::write(table, text).map_err(|source| TaskError::File { path: table.to_owned(), source })?;
    Ok(lines.len())
}

fn parse(path: &Path, text: &str) -> Result<Table, TaskError> {
    let wrong = |line, expected| TaskError::Line { path: path.to_owned(), line, expected };
    let mut table = Table { as_of: String::new(), advisories: Vec::new() };
    for (line, number) in text.lines().zip(1..) {
        if let Some(date) = line.strip_prefix(AS_OF) {
            table.as_of = date.to_owned();
        }
        if line.starts_with('#') {
            continue;
        }
        let fields: Vec<&str> = line.split('\t').collect();
        let [id, package, kind, ranges] = fields.as_slice() else {
            return Err(wrong(number, "four fields between tabs"));
        };
        let range = |text: &str| {
            VersionReq::parse(text).map_err(|source| TaskError::Version {
                path: path.to_owned(),
                found: text.to_owned(),
                source,
            })
        };
        let safe =
            ranges.split(BETWEEN).filter(|text| !text.is_empty()).map(range).collect::<Result<_, _>>()?;
        let advisory =
            Advisory { id: (*id).to_owned(), package: (*package).to_owned(), kind: (*kind).to_owned(), safe };
        table.advisories.push(advisory);
    }
    if table.as_of.is_empty() { Err(wrong(1, "a line `# as of DATE`")) } else { Ok(table) }
}

/// The head of one advisory's file.
#[derive(Deserialize)]
struct File {
    advisory: Head,
    #[serde(default)]
    versions: Versions,
}

#[derive(Deserialize)]
struct Head {
    id: String,
    package: String,
    date: String,
    informational: Option<String>,
    withdrawn: Option<String>,
}

#[derive(Deserialize, Default)]
struct Versions {
    #[serde(default)]
    patched: Vec<String>,
    #[serde(default)]
    unaffected: Vec<String>,
}

impl File {
    fn line(&self) -> String {
        let safe: Vec<&str> =
            self.versions.patched.iter().chain(&self.versions.unaffected).map(String::as_str).collect();
        let kind = self.advisory.informational.as_deref().unwrap_or("vulnerability");
        format!("{}\t{}\t{kind}\t{}\n", self.advisory.id, self.advisory.package, safe.join(BETWEEN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str =
        "# as of 2026-01-02\nR-1\ta\tvulnerability\t>= 1.2.0 | ^0.9.5\nR-2\tb\tunmaintained\t\n";

    fn hits(name: &str, version: &str) -> Vec<String> {
        let table = parse(Path::new("t"), TABLE).unwrap();
        let packages = [Locked { name: name.to_owned(), version: version.to_owned(), source: None }];
        affecting(&table, &packages).iter().map(|(advisory, _)| advisory.id.clone()).collect()
    }

    #[test]
    fn a_version_is_affected_outside_every_safe_range_only() {
        assert_eq!(hits("a", "1.1.9"), ["R-1"]);
        assert_eq!(hits("a", "0.9.4"), ["R-1"]);
        assert_eq!(hits("a", "0.9.6"), Vec::<String>::new());
        assert_eq!(hits("a", "1.2.0"), Vec::<String>::new());
        assert_eq!(hits("b", "7.0.0"), ["R-2"]);
        assert_eq!(hits("c", "1.0.0"), Vec::<String>::new());
        assert_eq!(hits("a", "not a version"), ["R-1"]);
    }

    #[test]
    fn a_table_without_a_date_or_with_a_torn_line_is_refused() {
        assert!(parse(Path::new("t"), "R-1\ta\tnotice\t\n").is_err());
        assert!(parse(Path::new("t"), "# as of 2026-01-02\nR-1\ta\n").is_err());
        assert!(parse(Path::new("t"), "# as of 2026-01-02\nR-1\ta\tnotice\tnonsense\n").is_err());
    }

    #[test]
    fn the_database_is_read_and_withdrawn_advisories_are_left_out() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("crates/a");
        std::fs::create_dir_all(&folder).unwrap();
        let head = |id: &str, more: &str| {
            format!(
                "```toml\n[advisory]\nid = \"{id}\"\npackage = \"a\"\ndate = \"2026-03-04\"\n{more}[versions]\npatched = [\">= 2\"]\n```\n# text\n"
            )
        };
        std::fs::write(folder.join("1.md"), head("R-1", "")).unwrap();
        std::fs::write(folder.join("2.md"), head("R-2", "withdrawn = \"2026-03-05\"\n")).unwrap();
        let table = place.path().join("known.tsv");
        assert_eq!(rewrite(place.path(), &table).unwrap(), 1);
        let read = read(&table).unwrap();
        assert_eq!((read.as_of.as_str(), read.advisories.len()), ("2026-03-04", 1));
    }
}
