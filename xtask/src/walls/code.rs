//! Rust source as the walls see it: without comments, texts and test items, its lines in place; and the paths that
//! its `use` items name. A small scanner instead of a parser: what it cannot tell apart it leaves standing, so that
//! it may find too much but not too little.

use std::path::Path;

use crate::failure::TaskError;
use crate::tree;

/// One file of code.
#[derive(Debug)]
pub(crate) struct Source {
    /// From the root on.
    pub(crate) file: String,
    /// Lines as they stand on disk.
    pub(crate) lines: usize,
    /// The text with everything blanked that is not code of the product.
    pub(crate) code: String,
}

/// One path that a `use` item names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Import {
    /// From 1.
    pub(crate) line: usize,
    /// Whether it is `pub` without restriction.
    pub(crate) public: bool,
    /// With braces resolved, without `as`.
    pub(crate) path: String,
}

/// Every file of code in the workspace, tests included, generated code excluded (it is not in the tree).
pub(crate) fn sources(root: &Path) -> Result<Vec<Source>, TaskError> {
    let mut sources = Vec::new();
    for folder in ["crates", "cluster-tests", "xtask"] {
        for path in tree::files(&root.join(folder), ".rs")? {
            let text = tree::read(&path)?;
            let file = tree::shown(root, &path);
            let in_tests = file.split('/').any(|part| part == "tests" || part == "benches");
            let code = if in_tests { String::new() } else { without_tests(&code_only(&text)) };
            sources.push(Source { file, lines: text.lines().count(), code });
        }
    }
    Ok(sources)
}

/// The text with comments and literals blanked, every line where it was.
pub(crate) fn code_only(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let (blank, length) = match token(rest) {
            Some(length) => (true, length),
            None => (false, next.len_utf8()),
        };
        let (taken, left) = rest.split_at(length);
        if blank {
            code.extend(taken.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        } else {
            code.push_str(taken);
        }
        rest = left;
    }
    code
}

/// The code without its `#[cfg(test)]` items.
pub(crate) fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut product = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(start) = rest.find(MARK) {
        let (before, item) = rest.split_at(start);
        product.push_str(before);
        let (item, after) = item.split_at(item_length(item));
        product.extend(item.chars().filter(|c| *c == '\n'));
        rest = after;
    }
    product.push_str(rest);
    product
}

/// The `use` items of the code.
pub(crate) fn imports(code: &str) -> Vec<Import> {
    let mut imports = Vec::new();
    let mut offset = 0;
    for item in code.split_inclusive([';', '{', '}']) {
        let start = offset;
        offset += item.len();
        let Some(at) =
            item.rmatch_indices("use").find(|(at, _)| stands_alone(item, *at, 3)).map(|(at, _)| at)
        else {
            continue;
        };
        let head = item.get(..at).unwrap_or_default();
        let line = code.get(..start + at).map_or(1, |before| before.matches('\n').count() + 1);
        let public = head.split_whitespace().next_back() == Some("pub");
        // A brace of the import itself ends the piece too: take the whole import from the text.
        let whole = code.get(start + at + 3..).and_then(|text| text.split(';').next()).unwrap_or_default();
        for path in flatten(whole) {
            imports.push(Import { line, public, path });
        }
    }
    imports
}

/// Whether `text[at..at+length]` is a whole word of Rust.
pub(crate) fn stands_alone(text: &str, at: usize, length: usize) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let before = text.get(..at).and_then(|t| t.chars().next_back());
    let after = text.get(at + length..).and_then(|t| t.chars().next());
    !before.is_some_and(word) && !after.is_some_and(word)
}

/// The length of the comment or literal that begins here, if one does.
fn token(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(block_comment(rest));
    }
    if rest.starts_with('"') {
        return Some(quoted(rest, 1));
    }
    if rest.starts_with('r') || rest.starts_with("br") {
        return raw(rest);
    }
    if let Some(after) = rest.strip_prefix('\'') {
        // 'a' and '\n' are literals, 'a in a type is a lifetime.
        let mut characters = after.chars();
        return match (characters.next(), characters.next()) {
            (Some('\\'), _) => after.get(2..).and_then(|t| t.find('\'')).map(|end| end + 4),
            (Some(only), Some('\'')) => Some(only.len_utf8() + 2),
            _ => None,
        };
    }
    None
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(text) = rest.get(at..).filter(|text| !text.is_empty()) {
        if text.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text.chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

fn quoted(rest: &str, from: usize) -> usize {
    let mut escaped = false;
    for (at, character) in rest.char_indices().skip(from) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

fn raw(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let opened = after.get(hashes..)?;
    if !opened.starts_with('"') {
        return None;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    let begun = rest.len() - opened.len() + 1;
    let end = rest.get(begun..)?.find(&close)?;
    Some(begun + end + close.len())
}

/// From the mark of a test item to its end: the matching brace, or a semicolon before any brace.
fn item_length(item: &str) -> usize {
    let mut depth = 0_usize;
    for (at, character) in item.char_indices() {
        match character {
            ';' if depth == 0 => return at + 1,
            '{' => depth += 1,
            '}' if depth <= 1 => return at + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    item.len()
}

/// `a::{b, c::{d, e as f}}` as `a::b`, `a::c::d`, `a::c::e`.
fn flatten(tree: &str) -> Vec<String> {
    let Some((head, inner)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default();
        let path: String = path.split_whitespace().collect();
        return if path.is_empty() { Vec::new() } else { vec![path] };
    };
    let inner = inner.rsplit_once('}').map_or(inner, |(inner, _)| inner);
    let head: String = head.split_whitespace().collect();
    let (mut depth, mut start, mut paths) = (0_usize, 0, Vec::new());
    for (at, character) in inner.char_indices().chain([(inner.len(), ',')]) {
        match character {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                let part = inner.get(start..at).unwrap_or_default();
                paths.extend(flatten(part).into_iter().map(|path| format!("{head}{path}")));
                start = at + 1;
            }
            _ => {}
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_not_code() {
        let text =
            "a // std::fs\n/* std::fs /* x */ y */ b \"std::fs \\\" c\" 'x' '\\'' r#\"std\"fs\"# <'a> d\n";
        let code = code_only(text);
        assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["a", "b", "<'a>", "d"]);
        assert_eq!(code.lines().count(), text.lines().count());
        assert_eq!(code.len(), text.len());
    }

    #[test]
    fn test_items_are_not_product_code_and_lines_stay_in_place() {
        let code =
            "one\n#[cfg(test)]\nmod tests {\n  fn f() { {} }\n}\ntwo\n#[cfg(test)]\nuse x::y;\nthree\n";
        let product = without_tests(code);
        let lines: Vec<&str> = product.lines().collect();
        assert_eq!(lines.iter().position(|line| *line == "two"), Some(5));
        assert_eq!(lines.iter().position(|line| *line == "three"), Some(8));
        assert!(!product.contains("mod tests") && !product.contains("x::y"));
    }

    #[test]
    fn imports_are_resolved_to_whole_paths() {
        let code = "mod a;\nuse std::{fs, time::{Duration, Instant as Moment}};\npub use other::Thing;\npub(crate) use b::C;\nfn user() { let because = 1; }\n";
        let found = imports(code);
        let import = |line, public, path: &str| Import { line, public, path: path.to_owned() };
        assert_eq!(
            found,
            [
                import(2, false, "std::fs"),
                import(2, false, "std::time::Duration"),
                import(2, false, "std::time::Instant"),
                import(3, true, "other::Thing"),
                import(4, false, "b::C"),
            ]
        );
    }
}
