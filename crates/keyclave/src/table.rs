//! Columns for people: each as wide as its widest cell, two spaces between.

use crate::failure::printable;

/// A table with a heading.
pub(crate) struct Table<const N: usize> {
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// A table with nothing under its heading.
    pub(crate) fn new(heading: [&str; N]) -> Self {
        Self { rows: vec![heading.map(str::to_owned)] }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| printable(&cell)));
    }

    /// Its lines, each with its end.
    pub(crate) fn lines(&self) -> String {
        let width = |at: usize| {
            self.rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..N).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
            text.push('\n');
        }
        text
    }
}

/// Lines of a name and what it is, the names as wide as the widest.
pub(crate) fn pairs(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    pairs.iter().map(|(name, value)| format!("  {name:<width$}  {}\n", printable(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_no_line_ends_in_spaces() {
        let mut table = Table::new(["NAME", "N"]);
        table.row(["a/long/name".to_owned(), "1".to_owned()]);
        table.row(["b\u{1b}[2J".to_owned(), String::new()]);
        assert_eq!(table.lines(), "NAME         N\na/long/name  1\nb\u{fffd}[2J\n");
        assert_eq!(pairs(&[("a", "1".to_owned()), ("bcd", "2".to_owned())]), "  a    1\n  bcd  2\n");
    }
}
