//! How long files are: mentioned from one length on, a breach above another.

use super::Breach;
use super::code::Source;
use super::plan::Sizes;

/// What is to be said about the files' lengths.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    /// Too long.
    pub(crate) breaches: Vec<Breach>,
    /// Long.
    pub(crate) notes: Vec<String>,
}

/// Looks at every file.
pub(crate) fn measure(sizes: &Sizes, sources: &[Source]) -> Measured {
    let mut measured = Measured::default();
    for source in sources {
        let lines = source.lines;
        if lines > sizes.fail_lines {
            measured.breaches.push(Breach {
                file: source.file.clone(),
                line: lines,
                rule: "size".to_owned(),
                what: format!("{lines} lines, at most {}", sizes.fail_lines),
            });
        } else if lines > sizes.warn_lines {
            measured.notes.push(format!("{} has {lines} lines: talk about splitting it", source.file));
        }
    }
    measured
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_is_mentioned_and_a_longer_one_is_a_breach() {
        let source = |file: &str, lines| Source { file: file.to_owned(), lines, code: String::new() };
        let sizes = Sizes { warn_lines: 400, fail_lines: 600 };
        let measured =
            measure(&sizes, &[source("a", 400), source("b", 401), source("c", 600), source("d", 601)]);
        assert_eq!(measured.notes.len(), 2);
        assert_eq!(measured.breaches.iter().map(|b| b.file.as_str()).collect::<Vec<_>>(), ["d"]);
    }
}
