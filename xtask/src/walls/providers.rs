//! rustls has one provider, ring, and speaks TLS 1.3 only. With two providers compiled in, its builders panic;
//! features of a dependency can bring the second one unasked.

use std::path::Path;

use super::Breach;
use crate::audit::lock::Lock;
use crate::failure::TaskError;
use crate::tree;

/// What nobody may switch on in rustls.
const REFUSED: &[&str] = &["aws_lc_rs", "aws-lc-rs", "tls12", "fips"];

/// Asks cargo for every version of rustls in the lock file, each by its exact name: with two of them a question
/// for "rustls" fails, and a search of its empty answer would pass.
pub(crate) fn check(root: &Path) -> Result<Vec<Breach>, TaskError> {
    let lock: Lock = tree::read_toml(&root.join("Cargo.lock"))?;
    let versions: Vec<&str> =
        lock.package.iter().filter(|p| p.name == "rustls").map(|p| p.version.as_str()).collect();
    let mut breaches = Vec::new();
    if versions.len() > 1 {
        breaches.push(breach(format!("{} versions of rustls: {}", versions.len(), versions.join(", "))));
    }
    for version in versions {
        let package = format!("rustls@{version}");
        let arguments = ["tree", "--locked", "--workspace", "--target=all", "-e", "features", "-i", &package];
        let answer = tree::cargo(root, &arguments)?;
        breaches.extend(refused(&answer).into_iter().map(breach));
    }
    Ok(breaches)
}

fn refused(answer: &str) -> Vec<String> {
    let on = |feature: &&&str| answer.contains(&format!("rustls feature \"{feature}\""));
    REFUSED.iter().filter(on).map(|feature| format!("rustls is built with `{feature}`")).collect()
}

fn breach(what: String) -> Breach {
    Breach { file: "Cargo.lock".to_owned(), line: 1, rule: "provider".to_owned(), what }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_provider_and_old_tls_are_found() {
        let answer = "rustls v0.23.46\n├── rustls feature \"ring\"\n│   └── x\n├── rustls feature \"tls12\"\n├── rustls feature \"aws_lc_rs\"\n";
        assert_eq!(refused(answer), ["rustls is built with `aws_lc_rs`", "rustls is built with `tls12`"]);
        assert_eq!(refused("rustls v0.23.46\n├── rustls feature \"ring\"\n"), Vec::<String>::new());
    }
}
