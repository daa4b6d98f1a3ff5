//! Patching on a task on a terminal: a table for each hook point, in the main order.

use super::LEAST_WIDTH;
use super::grid::{Column, Grid};
use super::look::Look;
use super::text::{cut, wrap};
use crate::report::escape::visible;
use crate::report::number::DASH;
use crate::report::patched::Patched;
use crate::report::table::{patched_head, patched_rows, patched_what};

/// Longest name of a method, in terminal columns.
const LONGEST_NAME: usize = 40;
/// Terminal columns for the features for half and the gaps.
const NUMBER_WIDTH: usize = 26;
/// Smallest width of the verdict beside its row.
const VERDICT_WIDTH: usize = 22;

/// Columns of a row's cells that are shown, with the rank by which a narrow terminal drops them.
const SHOWN: [(usize, Option<u32>); 7] =
    [(0, None), (1, Some(6)), (2, Some(1)), (3, Some(2)), (4, Some(3)), (5, Some(0)), (6, Some(4))];

/// A cell whose number is undefined, without the reason: the verdict says it.
fn without_reason(cell: &str) -> &str {
    if cell.starts_with(DASH) { DASH } else { cell }
}

/// The tables of the main order; empty without a task.
pub fn patching_tables(patched: &Patched<'_>, look: Look) -> String {
    let look = Look { width: look.width.max(LEAST_WIDTH), ..look };
    let Some(order) = patched.orders.first() else { return String::new() };
    let head = patched_head(patched);
    let rows = patched_rows(patched, order);
    let mut text = String::new();
    for hook in &patched.hooks {
        let title = format!("patching on {} at {}, order {}", patched.task.task, hook, order);
        for line in wrap(&visible(&title), look.width) {
            text.push_str(&(look.bold(&line) + "\n"));
        }
        let numbers = SHOWN.iter().map(|(nth, rank)| {
            let column = Column::number(&head[*nth]);
            rank.map_or(column.clone(), |rank| column.drops(rank))
        });
        let verdict = Column::text("verdict").folds(VERDICT_WIDTH);
        let mut grid =
            Grid::new(std::iter::once(Column::text("method")).chain(numbers).chain([verdict]).collect());
        for row in rows.iter().filter(|row| row.hook == *hook) {
            let cells = SHOWN.iter().map(|(nth, _)| without_reason(&row.cells[*nth]).to_string());
            let name = cut(&row.method, look.width.saturating_sub(NUMBER_WIDTH).min(LONGEST_NAME));
            let verdict = row.cells.last().cloned().unwrap_or_default();
            grid.row(std::iter::once(name).chain(cells).chain([verdict]).collect());
        }
        text.push_str(&(grid.draw(look).text + "\n"));
    }
    let others = match patched.orders.len() {
        1 => "",
        _ => " The other orders are in table.md.",
    };
    for line in wrap(&format!("{}{others}", patched_what(patched)), look.width) {
        text.push_str(&(look.dim(&line) + "\n"));
    }
    text
}
