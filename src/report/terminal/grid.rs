//! Aligned tables that adapt to the width of a terminal.
//!
//! A table that is too wide first drops columns, lowest rank first. If it is then still too wide, its last column
//! moves below each row and is wrapped there. Columns without a rank are never cut or dropped: people copy them.

use super::look::Look;
use super::text::{cut, pad_left, pad_right, width, wrap_at_most};
use crate::report::escape::visible;

/// Terminal columns between two columns of a table.
const GAP: usize = 2;

/// Indent of a cell below its row.
const INDENT: usize = 4;

/// Lines of a cell below its row, at most.
const FOLDED_LINES: usize = 2;

/// One column.
#[derive(Debug, Clone)]
pub struct Column {
    head: String,
    is_number: bool,
    drops: Option<u32>,
    folds: Option<usize>,
}

impl Column {
    /// Text, aligned left, never dropped.
    pub fn text(head: &str) -> Self {
        Self { head: head.into(), is_number: false, drops: None, folds: None }
    }

    /// Numbers, aligned right, never dropped.
    pub fn number(head: &str) -> Self {
        Self { is_number: true, ..Self::text(head) }
    }

    /// The same column, dropped where there is no room: the lowest rank first.
    pub fn drops(self, rank: u32) -> Self {
        Self { drops: Some(rank), ..self }
    }

    /// For the last column: cut to the available room, but if that is below `least`, moved below the row.
    pub fn folds(self, least: usize) -> Self {
        Self { folds: Some(least), ..self }
    }
}

/// A table.
#[derive(Debug, Clone)]
pub struct Grid {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

/// A drawn table.
#[derive(Debug)]
pub struct Drawn {
    /// Its lines, with a line break after each.
    pub text: String,
    /// Heads of the dropped columns.
    pub dropped: Vec<String>,
}

/// Indices of the columns shown, the column below its row, if any, and the widths of all columns.
struct Layout {
    shown: Vec<usize>,
    folded: Option<usize>,
    widths: Vec<usize>,
}

/// Terminal columns that `shown` takes with the gaps between them.
fn taken(shown: &[usize], width: impl Fn(usize) -> usize) -> usize {
    shown.iter().map(|&nth| width(nth)).sum::<usize>() + GAP * shown.len().saturating_sub(1)
}

impl Grid {
    /// A table without rows.
    pub fn new(columns: Vec<Column>) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row with a cell for each column. Cells are escaped when they are drawn.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Draws the table in the width of `look`.
    pub fn draw(&self, look: Look) -> Drawn {
        let layout = self.layout(look.width);
        let mut text = String::new();
        if self.columns.iter().any(|column| !column.head.is_empty()) {
            for part in 0..2 {
                let line = self.line(&layout, |nth| in_two_lines(&self.columns[nth].head)[part].clone());
                if !(part == 0 && line.is_empty()) {
                    text.push_str(&(look.dim(&line) + "\n"));
                }
            }
        }
        for row in &self.rows {
            text.push_str(&(self.line(&layout, |nth| cell(row, nth)) + "\n"));
            if let Some(last) = layout.folded {
                let room = look.width.saturating_sub(INDENT);
                for line in wrap_at_most(&cell(row, last), room, FOLDED_LINES) {
                    text.push_str(&format!("{}{line}\n", " ".repeat(INDENT)));
                }
            }
        }
        let gone =
            (0..self.columns.len()).filter(|nth| !layout.shown.contains(nth) && layout.folded != Some(*nth));
        Drawn { text, dropped: gone.map(|nth| self.columns[nth].head.clone()).collect() }
    }

    /// The width of a column with nothing cut.
    fn natural(&self, nth: usize) -> usize {
        let head = in_two_lines(&self.columns[nth].head).map(|part| width(&part));
        self.rows.iter().map(|row| width(&cell(row, nth))).chain(head).max().unwrap_or(0)
    }

    fn layout(&self, room: usize) -> Layout {
        let all = 0..self.columns.len();
        let natural: Vec<usize> = all.clone().map(|nth| self.natural(nth)).collect();
        let mut order: Vec<usize> = all.clone().filter(|&nth| self.columns[nth].drops.is_some()).collect();
        order.sort_by_key(|&nth| (self.columns[nth].drops, std::cmp::Reverse(nth)));
        let folding = all.clone().rfind(|&nth| self.columns[nth].folds.is_some());
        let order = order.as_slice();
        let without = |dropped: usize| all.clone().filter(move |nth| !order[..dropped].contains(nth));
        let least = |nth: usize| self.columns[nth].folds.unwrap_or(usize::MAX).min(natural[nth]);
        for dropped in 0..=order.len() {
            let shown: Vec<usize> = without(dropped).collect();
            if taken(&shown, least) <= room {
                let mut widths = natural.clone();
                if let Some(last) = folding.filter(|last| shown.contains(last)) {
                    let others: Vec<usize> = shown.iter().copied().filter(|nth| *nth != last).collect();
                    let used = taken(&others, |nth| natural[nth]) + GAP * others.len().min(1);
                    widths[last] = natural[last].min(room.saturating_sub(used));
                }
                return Layout { shown, folded: None, widths };
            }
        }
        let inline =
            |dropped: usize| -> Vec<usize> { without(dropped).filter(|nth| folding != Some(*nth)).collect() };
        let fits = |dropped: &usize| taken(&inline(*dropped), |nth| natural[nth]) <= room;
        let dropped = (0..=order.len()).find(fits).unwrap_or(order.len());
        Layout { shown: inline(dropped), folded: folding, widths: natural }
    }

    fn line(&self, layout: &Layout, cell: impl Fn(usize) -> String) -> String {
        let padded = |&nth: &usize| {
            let columns = layout.widths[nth];
            let pad = if self.columns[nth].is_number { pad_left } else { pad_right };
            pad(&cut(&cell(nth), columns), columns)
        };
        let cells: Vec<String> = layout.shown.iter().map(padded).collect();
        cells.join(&" ".repeat(GAP)).trim_end().to_string()
    }
}

fn cell(row: &[String], nth: usize) -> String {
    visible(row.get(nth).map_or("", String::as_str))
}

/// `top_and_random` as `top_and` over `random`, so that columns of numbers stay narrow.
pub fn in_two_lines(name: &str) -> [String; 2] {
    match name.rsplit_once('_') {
        Some((first, second)) => [first.to_string(), second.to_string()],
        None => [String::new(), name.to_string()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Ink;

    fn grid() -> Grid {
        let columns = vec![
            Column::text("feature"),
            Column::number("top_and_random"),
            Column::number("population").drops(1),
            Column::number("density").drops(0),
            Column::text("explanation").folds(16),
        ];
        let mut grid = Grid::new(columns);
        for (place, score) in
            [("blocks.0.hook_resid_post/topk/7", "0.81"), ("blocks.0.hook_resid_post/日本/12", "—")]
        {
            let cells = [place, score, "0.40", "0.5 %", "fires on the second word of a name\u{1b}[2J"];
            grid.row(cells.map(String::from).to_vec());
        }
        grid
    }

    fn drawn(columns: usize) -> Drawn {
        let drawn = grid().draw(Look { width: columns, ink: Ink::None });
        for line in drawn.text.lines() {
            assert!(width(line) <= columns, "{} of {columns} columns: {line}", width(line));
            assert!(!line.contains('\u{1b}') && line.trim_end() == line);
        }
        drawn
    }

    #[test]
    fn columns_go_by_rank_and_the_last_one_folds() {
        let wide = drawn(120);
        assert!(wide.dropped.is_empty() && wide.text.lines().count() == 4, "{}", wide.text);
        let less = drawn(80);
        assert!(less.dropped.is_empty() && less.text.contains('…'), "{}", less.text);
        assert_eq!(drawn(75).dropped, ["density"]);
        assert_eq!(drawn(66).dropped, ["population", "density"]);
        let narrow = drawn(55);
        assert!(narrow.text.lines().any(|line| line.starts_with("    fires on")), "{}", narrow.text);
        assert_eq!(narrow.dropped, ["density"]);
        assert_eq!(drawn(44).dropped, ["population", "density"]);
    }

    #[test]
    fn columns_stay_aligned_beside_wide_characters() {
        let text = drawn(120).text;
        let place = |line: &str, mark: &str| line.find(mark).map(|at| width(&line[..at]));
        let rows: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(place(rows[0], "fires"), place(rows[1], "fires"), "{text}");
    }
}
