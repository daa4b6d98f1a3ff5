//! The verdict on a terminal. Each main scorer has a paragraph and a small table; sentences about the whole run follow.

use super::LEAST_WIDTH;
use super::grid::{Column, Grid};
use super::look::Look;
use super::text::{cut, wrap};
use crate::report::number::{DASH, estimate, score};
use crate::report::verdict::{Findings, Standing};

/// Methods of a table; more are counted.
const METHODS: usize = 12;

/// Terminal columns for the place, the mean with its interval, and the gaps.
const NUMBERS: usize = 28;

/// Longest name of a method, in terminal columns.
const LONGEST_NAME: usize = 40;

/// The verdict of a run. Names in sentences are never cut.
pub fn terminal_verdict(findings: &Findings, look: Look) -> String {
    let look = Look { width: look.width.max(LEAST_WIDTH), ..look };
    let mut text = String::new();
    for (scorer, standing) in findings.main() {
        push_paragraph(&mut text, &findings.paragraph(Some(scorer)), look);
        if let Some(standing) = standing {
            push_table(&mut text, standing, look);
        }
    }
    push_paragraph(&mut text, &findings.paragraph(None), look);
    text
}

fn push_paragraph(text: &mut String, paragraph: &str, look: Look) {
    if !paragraph.is_empty() {
        text.push_str(&(wrap(paragraph, look.width).join("\n") + "\n\n"));
    }
}

fn push_table(text: &mut String, standing: &Standing, look: Look) {
    let name_width = look.width.saturating_sub(NUMBERS).min(LONGEST_NAME);
    let beside: Vec<&str> = standing.beside().collect();
    let mut columns = vec![
        Column::number("place"),
        Column::text("method"),
        Column::number(&standing.scorer),
        Column::text("letters").drops(9),
    ];
    // What fits is kept from the left.
    let rank = |nth: usize| (beside.len() - nth) as u32;
    columns.extend(beside.iter().enumerate().map(|(nth, head)| Column::number(head).drops(rank(nth))));
    if standing.has_several_n() {
        columns.push(Column::number("n").drops(0));
    }
    let mut grid = Grid::new(columns);
    for row in standing.rows.iter().take(METHODS) {
        let place = row.place.map_or_else(|| DASH.to_string(), |place| place.to_string());
        let mean = estimate(row.mean, row.ci_low, row.ci_high);
        let mut cells = vec![place, cut(&row.label(), name_width), mean, row.letters.clone()];
        cells.extend(row.beside(standing).map(score));
        if standing.has_several_n() {
            cells.push(row.n());
        }
        grid.row(cells);
    }
    text.push_str(&grid.draw(look).text);
    let mut note = standing.caption();
    if let Some(more) = standing.rows.len().checked_sub(METHODS).filter(|more| *more > 0) {
        note = format!("{more} more methods are in table.md. {note}");
    }
    for line in wrap(&note, look.width) {
        text.push_str(&(look.dim(&line) + "\n"));
    }
    text.push('\n');
}
