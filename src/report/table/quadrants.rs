//! The table of quadrants: features by input and output score.

use crate::base::distinct;
use crate::report::number::{percent, score};
use crate::report::quadrants::{QuadrantRow, Quadrants, Share};

/// Column heads of [`quadrant_cells`].
pub const QUADRANT_HEAD: [&str; 8] = [
    "hook point",
    "method",
    "both high",
    "input only",
    "output only",
    "neither",
    "both if independent",
    "features",
];

/// The cells of a row, in the order of [`QUADRANT_HEAD`].
pub fn quadrant_cells(row: &QuadrantRow) -> [String; 8] {
    let [both, input_only, output_only, neither] = row.shares().map(share);
    [
        row.hook.clone(),
        row.method.clone(),
        both,
        input_only,
        output_only,
        neither,
        percent(row.both_if_independent),
        format!("{}/{}", row.n_both, row.n_requested),
    ]
}

/// `25 % [12, 40]`
fn share(share: Option<Share>) -> String {
    let text = percent(share.map(|share| share.share));
    let end = |value: f64| format!("{:.0}", 100.0 * value);
    match share.and_then(|share| share.ci_low.zip(share.ci_high)) {
        Some((low, high)) => format!("{text} [{}, {}]", end(low), end(high)),
        None => text,
    }
}

/// What the table shows.
pub fn quadrant_note(quadrants: &Quadrants) -> String {
    let cuts = distinct(quadrants.rows.iter().map(|row| (row.hook.as_str(), score(row.input_cut))));
    let cuts: Vec<String> = cuts.iter().map(|(hook, cut)| format!("{cut} at {hook}")).collect();
    format!(
        "Shares of features. Input high: {} from the median of all methods on ({}). Output high: {} above that of a random \
         direction in the feature's place, which chance gives half of the features. Features: those with both scores, \
         of those walked. In brackets: interval over features.",
        quadrants.input,
        cuts.join(", "),
        quadrants.output
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_its_shares_with_intervals_and_a_missing_one_is_a_dash() {
        let half = Share { share: 0.5, ci_low: Some(0.25), ci_high: Some(0.75) };
        let row = QuadrantRow {
            hook: "h".into(),
            method: "sae".into(),
            n_requested: 9,
            n_both: 8,
            both: Some(half),
            neither: Some(Share { ci_low: None, ..half }),
            both_if_independent: Some(0.25),
            ..QuadrantRow::default()
        };
        let cells = quadrant_cells(&row);
        assert_eq!(cells, ["h", "sae", "50 % [25, 75]", "—", "—", "50 %", "25 %", "8/9"]);
        assert_eq!(cells.len(), QUADRANT_HEAD.len());
    }
}
