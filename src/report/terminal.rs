//! The table of scores that a run ends with, one block per hook point. Columns of scores that do not fit the width
//! of the terminal continue in a further block.

mod closing;
mod grid;
mod look;
mod patching;
mod quadrants;
mod text;
mod verdict;

#[cfg(test)]
mod tests;

use super::escape::visible;
use super::number::{DASH, plus_minus, range};
use super::patched::Patched;
use super::schema::{Cell, Summary};
use super::view::{Pairing, RowKey, View};
pub use closing::{Closing, ControlRange, Extremes, Unscored, next_feature};
pub use grid::{Column, Drawn, Grid};
pub use look::{Ink, Look};
pub use text::{cut, labelled_list, pad_left, pad_right, visible_token, width, wrap, wrap_at_most};
pub use verdict::terminal_verdict;

use grid::in_two_lines;
use quadrants::quadrants_text;

/// Smallest width of a table; a narrower terminal wraps its lines.
const LEAST_WIDTH: usize = 50;
/// Longest name that is not cut.
const NAME_WIDTH: usize = 20;
const INDENT: usize = 2;
/// Width of ` 40/152` with the space before it.
const COUNT_WIDTH: usize = 8;

/// One column of scores.
struct Scores<'a> {
    pairing: Pairing<'a>,
    scorer: &'a str,
    /// With the space before it.
    width: usize,
}

/// Columns that fit beside each other.
type Block<'a> = Vec<Scores<'a>>;

fn total_width(columns: &[Scores<'_>]) -> usize {
    columns.iter().map(|column| column.width).sum()
}

struct Table<'v, 'a> {
    view: &'v View<'a>,
    look: Look,
    label_width: usize,
    text: String,
}

/// The summary for a terminal. With one pairing of explainer and simulator all scores are shown, with several only
/// the two main ones. Colours add ANSI styles and leave the text as it is.
pub fn terminal_table(summary: &Summary, look: Look) -> String {
    let scores = score_table(summary, look);
    match Patched::of(summary) {
        Some(patched) => format!("{scores}\n{}", patching::patching_tables(&patched, look)),
        None => scores,
    }
}

fn score_table(summary: &Summary, look: Look) -> String {
    let view = View::new(summary);
    let look = Look { width: look.width.max(LEAST_WIDTH), ..look };
    if view.hooks.is_empty() {
        return wrap("no scores: no feature was eligible at any hook point", look.width).join("\n") + "\n";
    }
    let mut table = Table { view: &view, look, label_width: label_width(&view), text: String::new() };
    let blocks = table.blocks();
    for hook in &view.hooks {
        table.push(look.bold(&visible(hook)));
        for block in &blocks {
            table.push_block(hook, block);
        }
        table.push(String::new());
    }
    table.text.push_str(&quadrants_text(summary.quadrants.as_ref(), look));
    for line in notes(&view).iter().flat_map(|note| wrap(note, look.width)) {
        table.push(look.dim(&line));
    }
    table.text
}

fn control_name(control: &str, methods: usize) -> String {
    format!("{} ({methods})", cut(control, NAME_WIDTH - 5))
}

fn label_width(view: &View<'_>) -> usize {
    let methods = view.methods.iter().map(|method| width(&cut(method, NAME_WIDTH)));
    let controls = view.controls.iter().map(|control| width(&control_name(control, 12)));
    methods.chain(controls).max().unwrap_or(0)
}

fn split_name(name: &str) -> [String; 2] {
    in_two_lines(&cut(name, NAME_WIDTH))
}

fn column_width(view: &View<'_>, pairing: Pairing<'_>, scorer: &str) -> usize {
    let cells =
        view.summary.cells.iter().filter(|cell| cell.scorer == scorer && Pairing::of(cell) == pairing);
    let widest = cells.map(|cell| width(&plus_minus(cell))).max().unwrap_or(1);
    let name = split_name(scorer).iter().map(|part| width(part)).max().unwrap_or(0);
    widest.max(name).max(width("-0.04…0.03"))
}

impl<'a> Table<'_, 'a> {
    fn push(&mut self, line: String) {
        self.text.push_str(&line);
        self.text.push('\n');
    }

    /// Distributes the columns over blocks. A pairing starts in a new block if its columns do not all fit in the
    /// current one.
    fn blocks(&self) -> Vec<Block<'a>> {
        let view = self.view;
        let several = view.pairings.len() > 1;
        let scorers = if several { view.main_scorers() } else { view.scorers.clone() };
        let room = self.look.width.saturating_sub(INDENT + COUNT_WIDTH + self.label_width);
        let mut blocks: Vec<Block<'a>> = Vec::new();
        for &pairing in &view.pairings {
            let column = |(i, scorer): (usize, &&'a str)| {
                let gap = if several && i > 0 { 1 } else { 2 };
                Scores { pairing, scorer, width: column_width(view, pairing, scorer) + gap }
            };
            let mut columns: Vec<Scores<'a>> = scorers.iter().enumerate().map(column).collect();
            // The label of the pairing spans its columns.
            let label = width(&cut(&pairing.label(), room.min(42).saturating_sub(2))) + 2;
            let missing = label.saturating_sub(total_width(&columns));
            if let Some(last) = columns.last_mut() {
                last.width += missing;
            }
            let together = total_width(&columns);
            for column in columns {
                let fits = |block: &&mut Block<'a>| {
                    let begun = block.iter().any(|other| other.pairing == pairing);
                    let needed = if begun { column.width } else { together.min(room) };
                    total_width(block) + needed <= room
                };
                match blocks.last_mut().filter(fits) {
                    Some(block) => block.push(column),
                    None => blocks.push(vec![column]),
                }
            }
        }
        blocks
    }

    fn push_block(&mut self, hook: &'a str, block: &[Scores<'a>]) {
        self.push_heads(block);
        let view = self.view;
        for method in &view.methods {
            let cell =
                |column: &Scores<'a>| view.cell(column.pairing, RowKey::of(hook, method), column.scorer);
            let cells: Vec<Option<&Cell>> = block.iter().map(cell).collect();
            if cells.iter().any(Option::is_some) {
                let shown = cells.iter().map(|cell| cell.map_or_else(|| DASH.to_string(), plus_minus));
                let n = scored(cells.iter().flatten().copied());
                let name = format!("{}{}", cut(method, NAME_WIDTH), view.mark(hook, method));
                self.push(self.line(&name, shown, &n, block));
            }
        }
        for control in &view.controls {
            self.push_control(hook, control, block);
        }
    }

    /// A control in one line: the score of one method, or the lowest and highest mean of several.
    fn push_control(&mut self, hook: &'a str, control: &'a str, block: &[Scores<'a>]) {
        let cells =
            |column: &Scores<'a>| self.view.control_cells(column.pairing, hook, control, column.scorer);
        let cells: Vec<Vec<&Cell>> = block.iter().map(cells).collect();
        let label = match cells.iter().max_by_key(|cells| cells.len()).map(Vec::as_slice) {
            None | Some([]) => return,
            Some([only]) => format!("{} {}", cut(&only.method, NAME_WIDTH), cut(control, NAME_WIDTH)),
            Some(many) => control_name(control, many.len()),
        };
        let shown = cells.iter().map(|cells| range(cells, plus_minus));
        let n = scored(cells.iter().flatten().copied());
        let line = self.line(&cut(&label, self.label_width), shown, &n, block);
        self.push(self.look.dim(&line));
    }

    fn line(
        &self,
        label: &str,
        shown: impl Iterator<Item = String>,
        n: &str,
        block: &[Scores<'_>],
    ) -> String {
        let scores: String = shown.zip(block).map(|(cell, column)| pad_left(&cell, column.width)).collect();
        let line = format!("  {}{scores}{}", pad_right(label, self.label_width), pad_left(n, COUNT_WIDTH));
        line.trim_end().to_string()
    }

    /// Three lines above the scores: the pairings, then the scorers' names in two parts.
    fn push_heads(&mut self, block: &[Scores<'_>]) {
        let margin = " ".repeat(INDENT + self.label_width);
        let mut lines = [margin.clone(), margin.clone(), margin];
        for columns in block.chunk_by(|a, b| a.pairing == b.pairing) {
            let width = total_width(columns);
            let label = cut(&columns[0].pairing.label(), width.saturating_sub(2));
            lines[0].push_str(&pad_left(&label, width));
        }
        for column in block {
            for (line, part) in lines[1..].iter_mut().zip(split_name(column.scorer)) {
                line.push_str(&pad_left(&part, column.width));
            }
        }
        lines[2].push_str(&pad_left("n", COUNT_WIDTH));
        for line in lines {
            self.push(self.look.dim(line.trim_end()));
        }
    }
}

/// `40/52` of the cell with the fewest scored features: the weakest estimate of the row.
fn scored<'c>(cells: impl Iterator<Item = &'c Cell>) -> String {
    cells
        .min_by_key(|cell| cell.n_scored)
        .map_or_else(|| DASH.to_string(), |cell| format!("{}/{}", cell.n_scored, cell.n_requested))
}

fn notes(view: &View<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(pairing) = view.pairings.first() {
        notes.push(format!(
            "mean ± half the {}, given these dictionaries and this corpus; n: features scored / walked, the smallest of the row",
            view.interval_name(*pairing)
        ));
    }
    notes.extend(view.chosen_note());
    notes.extend(view.elsewhere_note());
    let has_range = |control: &&str| {
        let hooks = || view.hooks.iter();
        let mut tables =
            view.pairings.iter().flat_map(|pairing| hooks().map(move |hook| view.rows(*pairing, hook)));
        tables.any(|rows| rows.iter().filter(|row| row.control == Some(*control)).count() > 1)
    };
    if view.controls.iter().any(has_range) {
        notes.push("a control of several methods shows its lowest and highest mean".to_string());
    }
    let constant: usize = view.summary.cells.iter().map(|cell| cell.n_constant).sum();
    if constant > 0 {
        notes.push(format!("{constant} constant predictions over all cells count as 0; see table.md"));
    }
    notes
}
