//! The table that a run ends with, one block per hook point, in the width of the terminal: columns of scores that
//! do not fit beside each other follow below.

mod closing;
mod grid;
mod look;
mod text;

#[cfg(test)]
mod tests;

use super::escape::visible;
use super::number::{DASH, plus_minus, range};
use super::schema::{Cell, Summary};
use super::view::{Pairing, RowKey, View};
pub use closing::{Closing, ControlRange, Extremes, Unscored, next_feature};
pub use grid::{Column, Drawn, Grid};
pub use look::{Ink, Look};
pub use text::{cut, facts, left, right, spelled, width, wrap, wrap_at_most};

use grid::in_two_lines;

/// Narrowest table; below it lines wrap.
const LEAST_WIDTH: usize = 50;
/// Widest name before it is cut.
const NAME_WIDTH: usize = 20;
const INDENT: usize = 2;
/// ` 40/152`, the space before it included.
const COUNT_WIDTH: usize = 8;

/// One column of scores.
#[derive(Clone, Copy)]
struct Scores<'a> {
    pairing: Pairing<'a>,
    scorer: &'a str,
}

/// Columns that fit beside each other, all shown for every hook point.
struct Block<'a> {
    columns: Vec<Scores<'a>>,
    /// Of each column, the space before it included.
    widths: Vec<usize>,
}

/// The summary for a terminal. With one pairing of explainer and simulator all scores are shown; with
/// several, the two that must be read together, side by side. Colours add ANSI styles only: the text
/// is the same.
pub fn terminal_table(summary: &Summary, look: Look) -> String {
    let view = View::new(summary);
    let look = Look { width: look.width.max(LEAST_WIDTH), ..look };
    if view.hooks.is_empty() {
        return "no scores: no feature was eligible at any hook point\n".to_string();
    }
    let label_width = label_width(&view);
    let blocks = blocks(&view, label_width, look.width);
    let mut text = String::new();
    for hook in &view.hooks {
        text.push_str(&look.bold(&visible(hook)));
        text.push('\n');
        for block in &blocks {
            push_block(&mut text, &view, hook, block, label_width, look);
        }
        text.push('\n');
    }
    for line in notes(&view).iter().flat_map(|note| wrap(note, look.width)) {
        text.push_str(&look.dim(&line));
        text.push('\n');
    }
    text
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

fn blocks<'a>(view: &View<'a>, label_width: usize, columns: usize) -> Vec<Block<'a>> {
    let several = view.pairings.len() > 1;
    let scorers = if several { view.main_scorers() } else { view.scorers.clone() };
    let room = columns.saturating_sub(INDENT + COUNT_WIDTH + label_width);
    let mut blocks: Vec<Block<'a>> = Vec::new();
    for pairing in &view.pairings {
        let columns: Vec<Scores<'a>> =
            scorers.iter().map(|scorer| Scores { pairing: *pairing, scorer }).collect();
        let gap = |i: usize| if several && i > 0 { 1 } else { 2 };
        let mut widths: Vec<usize> =
            columns.iter().enumerate().map(|(i, column)| column_width(view, column) + gap(i)).collect();
        // The explainer's name spans its columns.
        let wanted = width(&cut(&pairing.label(), room.min(42).saturating_sub(2))) + 2;
        let missing = wanted.saturating_sub(widths.iter().sum());
        if let Some(last) = widths.last_mut() {
            *last += missing;
        }
        let together: usize = widths.iter().sum();
        for (column, width) in columns.into_iter().zip(widths) {
            let fits = blocks.last().is_some_and(|block| {
                let begun = block.columns.iter().any(|other| other.pairing == column.pairing);
                let needed = if begun { width } else { together.min(room) };
                block.widths.iter().sum::<usize>() + needed <= room
            });
            match blocks.last_mut() {
                Some(block) if fits => {
                    block.columns.push(column);
                    block.widths.push(width);
                }
                _ => blocks.push(Block { columns: vec![column], widths: vec![width] }),
            }
        }
    }
    blocks
}

fn column_width(view: &View<'_>, column: &Scores<'_>) -> usize {
    let cells = view.summary.cells.iter().filter(|cell| {
        cell.scorer == column.scorer
            && cell.explainer == column.pairing.explainer
            && cell.simulator == column.pairing.simulator
            && cell.protocol == column.pairing.protocol
    });
    let widest = cells.map(|cell| width(&plus_minus(cell))).max().unwrap_or(1);
    let name = split_name(column.scorer).iter().map(|part| width(part)).max().unwrap_or(0);
    widest.max(name).max(width("-0.04…0.03"))
}

fn push_block<'a>(
    text: &mut String,
    view: &View<'a>,
    hook: &'a str,
    block: &Block<'a>,
    label_width: usize,
    look: Look,
) {
    push_heads(text, block, label_width, look);
    for method in &view.methods {
        let key = RowKey { hook, method, control: None };
        let cells: Vec<Option<&Cell>> =
            block.columns.iter().map(|column| view.cell(column.pairing, key, column.scorer)).collect();
        if cells.iter().all(Option::is_none) {
            continue;
        }
        let shown: Vec<String> =
            cells.iter().map(|cell| cell.map_or_else(|| DASH.to_string(), plus_minus)).collect();
        push_line(text, &cut(method, NAME_WIDTH), &shown, &scored(&cells), block, label_width);
    }
    for control in &view.controls {
        push_control(text, view, hook, control, block, label_width, look);
    }
}

fn push_line(
    text: &mut String,
    label: &str,
    shown: &[String],
    n: &str,
    block: &Block<'_>,
    label_width: usize,
) {
    let mut line = format!("  {}", left(label, label_width));
    for (cell, width) in shown.iter().zip(&block.widths) {
        line.push_str(&right(cell, *width));
    }
    line.push_str(&right(n, COUNT_WIDTH));
    text.push_str(line.trim_end());
    text.push('\n');
}

/// `40/52`, the fewest scored where columns differ: the number that the weakest estimate rests on.
fn scored(cells: &[Option<&Cell>]) -> String {
    cells
        .iter()
        .flatten()
        .min_by_key(|cell| cell.n_scored)
        .map_or_else(|| DASH.to_string(), |cell| format!("{}/{}", cell.n_scored, cell.n_requested))
}

/// A control in one line: of one method its score, of several the lowest and highest mean.
fn push_control<'a>(
    text: &mut String,
    view: &View<'a>,
    hook: &'a str,
    control: &'a str,
    block: &Block<'a>,
    label_width: usize,
    look: Look,
) {
    let cells: Vec<Vec<&Cell>> = block
        .columns
        .iter()
        .map(|column| view.control_cells(column.pairing, hook, control, column.scorer))
        .collect();
    let Some(most) = cells.iter().max_by_key(|cells| cells.len()).filter(|cells| !cells.is_empty()) else {
        return;
    };
    let label = match most.as_slice() {
        [only] => format!("{} {}", cut(&only.method, NAME_WIDTH), cut(control, NAME_WIDTH)),
        many => control_name(control, many.len()),
    };
    let shown: Vec<String> = cells.iter().map(|cells| control_range(cells)).collect();
    let every: Vec<Option<&Cell>> = cells.iter().flatten().map(|cell| Some(*cell)).collect();
    let mut line = String::new();
    push_line(&mut line, &cut(&label, label_width), &shown, &scored(&every), block, label_width);
    text.push_str(&look.dim(line.trim_end_matches('\n')));
    text.push('\n');
}

fn control_range(cells: &[&Cell]) -> String {
    match cells {
        [only] => plus_minus(only),
        many => range(many),
    }
}

fn push_heads(text: &mut String, block: &Block<'_>, label_width: usize, look: Look) {
    let mut pairings: Vec<(Pairing<'_>, usize)> = Vec::new();
    for (column, width) in block.columns.iter().zip(&block.widths) {
        match pairings.last_mut() {
            Some((pairing, total)) if *pairing == column.pairing => *total += width,
            _ => pairings.push((column.pairing, *width)),
        }
    }
    let margin = " ".repeat(2 + label_width);
    let mut line = margin.clone();
    for (pairing, width) in &pairings {
        line.push_str(&right(&cut(&pairing.label(), width.saturating_sub(2)), *width));
    }
    text.push_str(&look.dim(line.trim_end()));
    text.push('\n');
    let names: Vec<[String; 2]> = block.columns.iter().map(|column| split_name(column.scorer)).collect();
    for part in 0..2 {
        let mut line = margin.clone();
        for (name, width) in names.iter().zip(&block.widths) {
            line.push_str(&right(&name[part], *width));
        }
        if part == 1 {
            line.push_str(&right("n", COUNT_WIDTH));
        }
        text.push_str(&look.dim(line.trim_end()));
        text.push('\n');
    }
}

fn notes(view: &View<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(pairing) = view.pairings.first() {
        notes.push(format!(
            "mean ± half the {}, given these dictionaries and this corpus; n: features scored / walked, the smallest of the row",
            view.interval_name(*pairing)
        ));
    }
    let spread = view.controls.iter().any(|control| {
        view.hooks.iter().any(|hook| {
            view.pairings.iter().any(|pairing| {
                view.rows(*pairing, hook).iter().filter(|row| row.control == Some(control)).count() > 1
            })
        })
    });
    if spread {
        notes.push("a control of several methods shows its lowest and highest mean".to_string());
    }
    let sum = |count: fn(&Cell) -> usize| view.summary.cells.iter().map(count).sum::<usize>();
    let constant = sum(|cell| cell.n_constant);
    if constant > 0 {
        notes.push(format!("{constant} constant predictions over all cells count as 0; see table.md"));
    }
    notes
}
