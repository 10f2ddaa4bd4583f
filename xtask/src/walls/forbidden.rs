//! Words that may not stand in some rooms' code: clocks, randomness, threads, I/O. A word is a path of Rust and is
//! found written out and imported, braces resolved.

use std::collections::BTreeSet;

use super::Breach;
use super::code::{self, Source};
use super::plan::{Forbidden, Plan};

/// Every forbidden word that stands without an exception, and every exception that stands for nothing.
pub(crate) fn check(plan: &Plan, sources: &[Source]) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let mut used = BTreeSet::new();
    for rule in &plan.forbidden {
        for source in sources.iter().filter(|source| covers(rule, &source.file)) {
            for (line, word) in occurrences(&rule.words, &source.code) {
                match plan.excepted.iter().position(|e| e.file == source.file && e.word == word) {
                    Some(exception) => {
                        used.insert(exception);
                    }
                    None => breaches.push(Breach {
                        file: source.file.clone(),
                        line,
                        rule: rule.rule.clone(),
                        what: format!("`{word}`: {}", rule.why),
                    }),
                }
            }
        }
    }
    let unused = plan.excepted.iter().enumerate().filter(|(index, _)| !used.contains(index));
    breaches.extend(unused.map(|(_, exception)| Breach {
        file: "xtask/walls.toml".to_owned(),
        line: 1,
        rule: "exception".to_owned(),
        what: format!("`{}` does not stand in {} ({})", exception.word, exception.file, exception.why),
    }));
    breaches
}

fn covers(rule: &Forbidden, file: &str) -> bool {
    rule.under.iter().any(|under| {
        file.strip_prefix(under.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// Line and word of each place where one of the words stands; at most one a line and word.
fn occurrences<'a>(words: &'a [String], code: &str) -> BTreeSet<(usize, &'a str)> {
    let mut found = BTreeSet::new();
    for (line, text) in code.lines().zip(1..).map(|(text, line)| (line, text)) {
        for word in words {
            let stands = |at: usize| {
                // A path that merely ends in the word's first part (`my::rand`) is another path.
                let before = text.get(..at).unwrap_or_default();
                code::stands_alone(text, at, word.len()) && !before.ends_with("::")
            };
            // Words without a `::` are also found as the last part of a longer path.
            let tail = |at: usize| !word.contains("::") && code::stands_alone(text, at, word.len());
            if text.match_indices(word.as_str()).any(|(at, _)| stands(at) || (tail(at) && word.len() > 5)) {
                found.insert((line, word.as_str()));
            }
        }
    }
    for import in code::imports(code) {
        for word in words {
            let rest = import.path.strip_prefix(word.as_str());
            if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::")) {
                found.insert((import.line, word.as_str()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::plan::Excepted;
    use super::*;

    fn plan(excepted: Vec<Excepted>) -> Plan {
        let mut plan: Plan = toml::from_str(
            r#"
            [[forbidden]]
            rule = "pure"
            why = "no clock"
            under = ["crates/vault/src"]
            words = ["std::time::Instant", "Instant::now", "rand", "spawn_blocking"]
            [rooms]
            [unreachable]
            [owners]
            [sizes]
            warn_lines = 1
            fail_lines = 2
            "#,
        )
        .unwrap();
        plan.excepted = excepted;
        plan
    }

    fn source(file: &str, text: &str) -> Source {
        Source { file: file.to_owned(), lines: 1, code: code::without_tests(&code::code_only(text)) }
    }

    fn found(text: &str) -> Vec<usize> {
        check(&plan(Vec::new()), &[source("crates/vault/src/a.rs", text)]).iter().map(|b| b.line).collect()
    }

    #[test]
    fn a_clock_is_found_written_out_and_imported() {
        assert_eq!(found("x\nlet t = std::time::Instant::now();\n"), [2]);
        assert_eq!(found("\n\nuse std::time::{Duration, Instant};\n"), [3]);
        assert_eq!(found("let t = Instant::now();"), [1]);
        assert_eq!(found("tokio::task::spawn_blocking(f)"), [1]);
        assert_eq!(found("use rand::RngCore;"), [1]);
    }

    #[test]
    fn what_only_resembles_a_word_passes() {
        assert_eq!(
            found("let random = operand; let strand = 1; use std::time::Duration;"),
            Vec::<usize>::new()
        );
        assert_eq!(
            found("// Instant::now\n\"Instant::now\"\n#[cfg(test)]\nmod t { fn f() { Instant::now(); } }"),
            Vec::<usize>::new()
        );
    }

    #[test]
    fn another_room_may() {
        let other = source("crates/vaulting/src/a.rs", "Instant::now()");
        assert_eq!(check(&plan(Vec::new()), &[other]), []);
    }

    #[test]
    fn an_exception_covers_its_word_in_its_file_and_must_be_used() {
        let exception = |word: &str| Excepted {
            file: "crates/vault/src/a.rs".to_owned(),
            word: word.to_owned(),
            why: "reason".to_owned(),
        };
        let sources = [source("crates/vault/src/a.rs", "spawn_blocking(f)")];
        assert_eq!(check(&plan(vec![exception("spawn_blocking")]), &sources), []);
        let both = check(&plan(vec![exception("spawn_blocking"), exception("rand")]), &sources);
        assert_eq!(both.iter().map(|b| b.rule.as_str()).collect::<Vec<_>>(), ["exception"]);
    }
}
