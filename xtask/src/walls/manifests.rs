//! Dependencies come through `[workspace.dependencies]`, each with a one-line reason, and every crate takes the
//! workspace's lints.

use std::path::Path;

use super::Breach;
use crate::failure::TaskError;
use crate::tree;

/// Every manifest of the workspace.
pub(crate) fn check(root: &Path) -> Result<Vec<Breach>, TaskError> {
    let mut breaches = unreasoned("Cargo.toml", &tree::read(&root.join("Cargo.toml"))?);
    for folder in ["crates", "cluster-tests", "xtask"] {
        for path in tree::files(&root.join(folder), "Cargo.toml")? {
            breaches.extend(own_versions(&tree::shown(root, &path), &tree::read(&path)?));
        }
    }
    Ok(breaches)
}

/// Entries of `[workspace.dependencies]` without a reason behind them; our own crates need none.
fn unreasoned(file: &str, manifest: &str) -> Vec<Breach> {
    entries(manifest, |section| section == "workspace.dependencies")
        .filter(|(_, entry)| !entry.contains("path =") && !entry.contains(" # "))
        .map(|(line, entry)| breach(file, line, "reason", format!("no reason behind `{}`", name(entry))))
        .collect()
}

/// Dependencies that bring a version of their own, and a crate without the workspace's lints.
fn own_versions(file: &str, manifest: &str) -> Vec<Breach> {
    let dependency = |section: &str| section.ends_with("dependencies") || section.contains("dependencies.");
    let mut breaches: Vec<Breach> = entries(manifest, dependency)
        .filter(|(_, entry)| !entry.replace(' ', "").contains("workspace=true"))
        .map(|(line, entry)| {
            breach(file, line, "workspace", format!("`{}` does not come through the workspace", name(entry)))
        })
        .collect();
    let lints =
        entries(manifest, |section| section == "lints").any(|(_, e)| e.starts_with("workspace = true"));
    if !lints {
        breaches.push(breach(file, 1, "lints", "no `[lints] workspace = true`".to_owned()));
    }
    breaches
}

/// Line and text of each entry in the sections that are meant.
fn entries(manifest: &str, meant: impl Fn(&str) -> bool) -> impl Iterator<Item = (usize, &str)> {
    let mut inside = false;
    manifest.lines().zip(1..).filter_map(move |(line, number)| {
        if let Some(section) = line.strip_prefix('[') {
            inside = meant(section.trim_end().trim_end_matches(']'));
            return None;
        }
        (inside && line.contains('=') && !line.starts_with('#')).then_some((number, line))
    })
}

fn name(entry: &str) -> &str {
    entry.split(['.', ' ', '=']).next().unwrap_or(entry)
}

fn breach(file: &str, line: usize, rule: &str, what: String) -> Breach {
    Breach { file: file.to_owned(), line, rule: rule.to_owned(), what }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_without_a_reason_is_found() {
        let manifest = "[workspace.dependencies]\n# group\nours = { path = \"x\" }\na = \"1\" # why\nb = \"1\"\n\n[profile.dev]\nopt-level = 1\n";
        let found = unreasoned("Cargo.toml", manifest);
        assert_eq!(found.iter().map(|b| b.line).collect::<Vec<_>>(), [5]);
    }

    #[test]
    fn a_version_outside_the_workspace_is_found() {
        let manifest = "[dependencies]\na.workspace = true\nb = { workspace = true, features = [] }\nc = \"1\"\n[dev-dependencies]\nd = { version = \"1\" }\n[lints]\nworkspace = true\n";
        let found = own_versions("Cargo.toml", manifest);
        assert_eq!(found.iter().map(|b| b.line).collect::<Vec<_>>(), [4, 6]);
    }

    #[test]
    fn a_crate_without_the_lints_is_found() {
        assert_eq!(own_versions("Cargo.toml", "[dependencies]\n").len(), 1);
    }
}
