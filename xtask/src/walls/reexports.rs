//! No crate re-exports another's items: a chain of re-exports hides which room an item comes from.

use std::collections::BTreeSet;
use std::path::Path;

use super::Breach;
use super::code::{self, Source};
use crate::audit::lock::Lock;
use crate::failure::TaskError;
use crate::tree;

/// Every name under which code can reach another crate.
pub(crate) fn packages(root: &Path) -> Result<BTreeSet<String>, TaskError> {
    let lock: Lock = tree::read_toml(&root.join("Cargo.lock"))?;
    let mut names: BTreeSet<String> = lock.package.iter().map(|p| p.name.replace('-', "_")).collect();
    names.extend(["std", "core", "alloc"].map(str::to_owned));
    Ok(names)
}

/// Every unrestricted `pub use` of another crate, and every `pub extern crate`.
pub(crate) fn check(sources: &[Source], packages: &BTreeSet<String>) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for source in sources {
        for import in code::imports(&source.code).into_iter().filter(|import| import.public) {
            let first = import.path.trim_start_matches("::").split("::").next().unwrap_or_default();
            let own_module = source.code.contains(&format!("mod {first};"))
                || source.code.contains(&format!("mod {first} {{"));
            if packages.contains(first) && (import.path.starts_with("::") || !own_module) {
                breaches.push(breach(source, import.line, format!("`pub use {}`", import.path)));
            }
        }
        for (index, line) in source.code.lines().enumerate() {
            if line.contains("pub extern crate ") {
                breaches.push(breach(source, index + 1, "`pub extern crate`".to_owned()));
            }
        }
    }
    breaches
}

fn breach(source: &Source, line: usize, found: String) -> Breach {
    Breach {
        file: source.file.clone(),
        line,
        rule: "re-export".to_owned(),
        what: format!("{found}: a crate does not re-export another's items"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<usize> {
        let packages = BTreeSet::from(["sled".to_owned(), "time".to_owned(), "std".to_owned()]);
        let source = Source { file: "a.rs".to_owned(), lines: 1, code: code::code_only(text) };
        check(&[source], &packages).iter().map(|breach| breach.line).collect()
    }

    #[test]
    fn a_re_export_of_another_crate_is_found() {
        assert_eq!(found("x;\npub use sled::Db;"), [2]);
        assert_eq!(found("pub use ::sled::{Db, Tree};"), [1, 1]);
        assert_eq!(found("pub use std::fs;"), [1]);
        assert_eq!(found("\npub extern crate sled;"), [2]);
    }

    #[test]
    fn own_modules_and_restricted_uses_pass() {
        assert_eq!(
            found("pub(crate) use sled::Db; use sled::Tree; pub use crate::a::B; pub use self::c::D;"),
            Vec::<usize>::new()
        );
        assert_eq!(found("mod time;\npub use time::Moment;"), Vec::<usize>::new());
    }
}
