//! The quadrants of input and output scores on a terminal.

use super::grid::{Column, Grid};
use super::look::Look;
use super::text::{cut, wrap};
use crate::report::quadrants::Quadrants;
use crate::report::table::{QUADRANT_HEAD, quadrant_cells, quadrant_note};

/// Longest name that is not cut.
const NAME_WIDTH: usize = 20;

/// The table with its note; empty without rows.
pub fn quadrants_text(quadrants: Option<&Quadrants>, look: Look) -> String {
    let Some(quadrants) = quadrants.filter(|found| !found.rows.is_empty()) else { return String::new() };
    let columns = QUADRANT_HEAD.iter().enumerate().map(|(nth, head)| match nth {
        0 => Column::text(head).drops(1),
        1 => Column::text(head),
        6 => Column::number(head).drops(0),
        _ => Column::number(head).drops(9 - nth as u32),
    });
    let mut grid = Grid::new(columns.collect());
    for row in &quadrants.rows {
        let mut cells = quadrant_cells(row).to_vec();
        cells[1] = cut(&cells[1], NAME_WIDTH);
        grid.row(cells);
    }
    let mut text = look.bold("input and output scores") + "\n" + &grid.draw(look).text;
    for line in wrap(&quadrant_note(quadrants), look.width) {
        text.push_str(&(look.dim(&line) + "\n"));
    }
    text.push('\n');
    text
}
