//! The data under a picture.

use serde::Serialize;

/// A table; the first cell of a row is its head.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// What it holds.
    caption: String,
    heads: Vec<Head>,
    rows: Vec<Vec<String>>,
    /// Whether it is shown only when the reader asks for it.
    is_folded: bool,
}

/// Rows from which on a table is folded.
const MANY_ROWS: usize = 13;

#[derive(Clone, Debug, Serialize)]
struct Head {
    text: String,
    is_number: bool,
}

impl Table {
    /// A table of these rows, of which each has a cell for every head. Columns that hold nothing
    /// are left out.
    pub fn new(caption: impl Into<String>, heads: &[&str], rows: Vec<Vec<String>>) -> Self {
        let is_number = |cell: &str| cell.starts_with(|c: char| c.is_ascii_digit() || c == '−');
        let mut table = Self {
            caption: caption.into(),
            heads: Vec::new(),
            is_folded: rows.len() >= MANY_ROWS,
            rows: vec![Vec::new(); rows.len()],
        };
        for (column, text) in heads.iter().enumerate() {
            let mut cells = rows.iter().map(|row| row[column].as_str()).filter(|c| !c.is_empty());
            let Some(first) = cells.next() else { continue };
            let is_number = column > 0 && is_number(first) && cells.all(is_number);
            table.heads.push(Head { text: (*text).into(), is_number });
            for (row, cells) in table.rows.iter_mut().zip(&rows) {
                row.push(cells[column].clone());
            }
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_columns_are_left_out_and_numbers_found() {
        let row = |a: &str, b: &str, c: &str| vec![a.into(), b.into(), c.into()];
        let table = Table::new("t", &["a", "b", "c"], vec![row("x", "", "1.5"), row("y", "", "")]);
        assert_eq!(table.rows, [vec!["x", "1.5"], vec!["y", ""]]);
        let heads: Vec<_> = table.heads.iter().map(|h| (h.text.as_str(), h.is_number)).collect();
        assert_eq!(heads, [("a", false), ("c", true)]);
    }
}
