//! Every dependency is under a licence of the list; an expression with OR needs one side, with AND both.

use crate::tree::Package;

/// Packages whose licence is none or not in the list.
pub(crate) fn check(allowed: &[String], packages: &[Package]) -> Vec<String> {
    let mut wrong = Vec::new();
    for package in packages {
        let ours = package.source.is_none();
        let verdict = package.license.as_deref().map(|expression| satisfied(expression, allowed));
        match verdict {
            _ if ours => {}
            Some(true) => {}
            Some(false) => wrong.push(format!(
                "{} {} is under {}",
                package.name,
                package.version,
                package.license.as_deref().unwrap_or_default()
            )),
            None => wrong.push(format!("{} {} names no licence", package.name, package.version)),
        }
    }
    wrong
}

/// Whether the list allows what the SPDX expression asks for. Old manifests write `/` for OR.
fn satisfied(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    any(&words, &mut at, allowed) && at == words.len()
}

fn any(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut good = all(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        // Both sides are read, whatever the first one says.
        good |= all(words, at, allowed);
    }
    good
}

fn all(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut good = one(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        good &= one(words, at, allowed);
    }
    good
}

fn one(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let Some(word) = words.get(*at) else { return false };
    *at += 1;
    if *word == "(" {
        let good = any(words, at, allowed);
        let closed = words.get(*at) == Some(&")");
        *at += 1;
        return good && closed;
    }
    let mut licence = (*word).to_owned();
    if let (Some(&"WITH"), Some(exception)) = (words.get(*at), words.get(*at + 1)) {
        licence = format!("{licence} WITH {exception}");
        *at += 2;
    }
    allowed.contains(&licence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_needs_one_side_of_or_and_both_of_and() {
        let allowed = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned);
        for good in [
            "MIT",
            "GPL-3.0 OR MIT",
            "MIT/GPL-3.0",
            "MIT AND ISC",
            "(GPL-3.0 OR MIT) AND ISC",
            "Apache-2.0 WITH LLVM-exception",
        ] {
            assert!(satisfied(good, &allowed), "{good}");
        }
        for bad in [
            "",
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "MIT AND",
            "(MIT",
            "MIT ISC",
            "Apache-2.0",
            "MIT WITH LLVM-exception",
        ] {
            assert!(!satisfied(bad, &allowed), "{bad}");
        }
    }
}
