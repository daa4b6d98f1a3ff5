//! Aligned tables that adapt to the width of a terminal.
//!
//! A table that is too wide first loses columns, in the order of their rank; what is then still too wide has its
//! last column on a line of its own below the row, where that column may fold. Columns without a rank stay whole:
//! they hold what a person copies.

use super::look::Look;
use super::text::{cut, left, right, width, wrap_at_most};
use crate::report::escape::visible;

/// Columns between two columns.
const GAP: usize = 2;

/// Indent of what is folded below a row.
const INDENT: usize = 4;

/// Lines of what is folded, at most.
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
    /// Text, aligned left, always there.
    pub fn text(head: &str) -> Self {
        Self { head: head.into(), is_number: false, drops: None, folds: None }
    }

    /// Numbers, aligned right, always there.
    pub fn number(head: &str) -> Self {
        Self { is_number: true, ..Self::text(head) }
    }

    /// The same, given up where there is no room: the lowest rank first.
    pub fn drops(self, rank: u32) -> Self {
        Self { drops: Some(rank), ..self }
    }

    /// For the last column: cut to the room there is, but not below `least` columns; then below the row.
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

/// A table drawn.
#[derive(Debug)]
pub struct Drawn {
    /// Its lines, with a line break after each.
    pub text: String,
    /// Heads of the columns that were given up.
    pub dropped: Vec<String>,
}

/// Which columns are shown, and whether the last one stands below its row.
struct Layout {
    shown: Vec<usize>,
    folded: Option<usize>,
    widths: Vec<usize>,
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
                let heads = |nth: usize| in_two_lines(&self.columns[nth].head)[part].clone();
                let line = self.line(&layout, &heads);
                if !(part == 0 && line.is_empty()) {
                    text.push_str(&look.dim(&line));
                    text.push('\n');
                }
            }
        }
        for row in &self.rows {
            text.push_str(&self.line(&layout, &|nth| self.cell(row, nth)));
            text.push('\n');
            if let Some(last) = layout.folded {
                let room = look.width.saturating_sub(INDENT);
                for line in wrap_at_most(&self.cell(row, last), room, FOLDED_LINES) {
                    text.push_str(&format!("{}{line}\n", " ".repeat(INDENT)));
                }
            }
        }
        let gone =
            (0..self.columns.len()).filter(|nth| !layout.shown.contains(nth) && layout.folded != Some(*nth));
        Drawn { text, dropped: gone.map(|nth| self.columns[nth].head.clone()).collect() }
    }

    fn cell(&self, row: &[String], nth: usize) -> String {
        visible(row.get(nth).map_or("", String::as_str))
    }

    /// Columns that a column takes where there is room.
    fn natural(&self, nth: usize) -> usize {
        let head = in_two_lines(&self.columns[nth].head).iter().map(|part| width(part)).max().unwrap_or(0);
        self.rows.iter().map(|row| width(&self.cell(row, nth))).max().unwrap_or(0).max(head)
    }

    fn layout(&self, room: usize) -> Layout {
        let natural: Vec<usize> = (0..self.columns.len()).map(|nth| self.natural(nth)).collect();
        let mut order: Vec<usize> =
            (0..self.columns.len()).filter(|&nth| self.columns[nth].drops.is_some()).collect();
        order.sort_by_key(|&nth| (self.columns[nth].drops, std::cmp::Reverse(nth)));
        let folding = (0..self.columns.len()).rfind(|&nth| self.columns[nth].folds.is_some());
        let without = |dropped: usize| -> Vec<usize> {
            (0..self.columns.len()).filter(|nth| !order[..dropped].contains(nth)).collect()
        };
        let taken = |shown: &[usize], of: &dyn Fn(usize) -> usize| -> usize {
            shown.iter().map(|&nth| of(nth)).sum::<usize>() + GAP * shown.len().saturating_sub(1)
        };
        for dropped in 0..=order.len() {
            let shown = without(dropped);
            let least =
                |nth: usize| self.columns[nth].folds.map_or(natural[nth], |least| least.min(natural[nth]));
            if taken(&shown, &least) <= room {
                let mut widths = natural.clone();
                if let Some(last) = folding.filter(|last| shown.contains(last)) {
                    let others: Vec<usize> = shown.iter().copied().filter(|nth| *nth != last).collect();
                    let left =
                        room.saturating_sub(taken(&others, &|nth| natural[nth]) + GAP * others.len().min(1));
                    widths[last] = natural[last].min(left);
                }
                return Layout { shown, folded: None, widths };
            }
        }
        let inline = |dropped: usize| -> Vec<usize> {
            without(dropped).into_iter().filter(|nth| folding != Some(*nth)).collect()
        };
        let fits = |dropped: &usize| taken(&inline(*dropped), &|nth| natural[nth]) <= room;
        let dropped = (0..=order.len()).find(fits).unwrap_or(order.len());
        Layout { shown: inline(dropped), folded: folding, widths: natural }
    }

    fn line(&self, layout: &Layout, cell: &dyn Fn(usize) -> String) -> String {
        let mut line = String::new();
        for (place, &nth) in layout.shown.iter().enumerate() {
            if place > 0 {
                line.push_str(&" ".repeat(GAP));
            }
            let (text, columns) = (cut(&cell(nth), layout.widths[nth]), layout.widths[nth]);
            line.push_str(&if self.columns[nth].is_number {
                right(&text, columns)
            } else {
                left(&text, columns)
            });
        }
        line.trim_end().to_string()
    }
}

/// `top_and_random` as `top_and` over `random`, so that columns of numbers stay narrow.
pub fn in_two_lines(name: &str) -> [String; 2] {
    match name.rfind('_') {
        Some(at) => [name[..at].to_string(), name[at + 1..].to_string()],
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
