//! The verdict as Markdown: paragraphs and a small table for each main scorer.

use super::lines::{push_head, push_row};
use crate::report::escape::markdown as escape;
use crate::report::number::{DASH, estimate, score};
use crate::report::verdict::{Findings, Standing};

/// A paragraph. Names stand between backticks and nowhere else; one with markup in it becomes escaped text.
fn escaped(paragraph: &str) -> String {
    let piece = |(nth, piece): (usize, &str)| match (nth % 2 == 1, piece.contains(['<', '>', '&'])) {
        (false, _) => piece.to_string(),
        (true, false) => format!("`{piece}`"),
        (true, true) => escape(piece),
    };
    paragraph.split('`').enumerate().map(piece).collect()
}

/// Adds the verdict.
pub fn push_verdict(text: &mut String, findings: &Findings) {
    text.push_str("\n## The verdict\n");
    for (scorer, standing) in findings.main() {
        text.push_str(&format!("\n{}\n", escaped(&findings.paragraph(Some(scorer)))));
        if let Some(standing) = standing {
            push_standing(text, standing);
        }
    }
    let paragraph = escaped(&findings.paragraph(None));
    if !paragraph.is_empty() {
        text.push_str(&format!("\n{paragraph}\n"));
    }
}

fn push_standing(text: &mut String, standing: &Standing) {
    let several_n = standing.has_several_n();
    let head = ["place", "method", standing.scorer.as_str(), "letters"].into_iter().chain(standing.beside());
    let head = head.chain(several_n.then_some("n")).map(escape);
    text.push('\n');
    push_head(text, &head.collect::<Vec<_>>(), 2);
    for row in &standing.rows {
        let place = row.place.map_or_else(|| DASH.to_string(), |place| place.to_string());
        let mut mean = estimate(row.mean, row.ci_low, row.ci_high);
        if let Some(reason) = &row.reason {
            mean = format!("{mean} ({})", escape(reason));
        }
        let cells = [place, escape(&row.label()), mean, escape(&row.letters)].into_iter();
        let beside = row.beside(standing).map(|other| match row.is_reached_by(other) {
            true => format!("**{}**", score(other)),
            false => score(other),
        });
        push_row(text, cells.chain(beside).chain(several_n.then(|| row.n())));
    }
    let bold = "Bold: as high as the method itself, or higher.";
    text.push_str(&format!("\n{} {bold}\n", escape(&standing.caption())));
}
