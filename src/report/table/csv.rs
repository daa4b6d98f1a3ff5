//! The CSV files: every field in full precision, a missing number as an empty field.

use serde::Serialize;

use crate::report::escape::csv as text;
use crate::report::schema::{Cell, DifferenceRow, QualityRow, Summary};
use crate::report::specificity::{GradeShare, GradedInterval, GradedRow};

pub fn number(value: Option<f64>) -> String {
    value.filter(|v| v.is_finite()).map(|v| v.to_string()).unwrap_or_default()
}

fn plain<T: ToString>(value: Option<T>) -> String {
    value.map(|v| v.to_string()).unwrap_or_default()
}

pub fn optional(value: Option<&str>) -> String {
    value.map(text).unwrap_or_default()
}

/// The name under which a value of an enum is serialised; empty for none.
fn name(value: impl Serialize) -> String {
    let json = serde_json::to_value(value).unwrap_or_default();
    json.as_str().unwrap_or_default().to_string()
}

pub fn lines<T>(head: &str, rows: &[T], fields: impl Fn(&T) -> Vec<String>) -> String {
    let rows: String = rows.iter().map(|row| fields(row).join(",") + "\n").collect();
    format!("{head}\n{rows}")
}

/// `table.csv`: one line per cell. `skipped` lists `reason=n` separated by spaces.
pub fn cells_csv(summary: &Summary) -> String {
    let head = "suite,run,hook,method,protocol,explainer,simulator,control,scorer,mean,ci_low,ci_high,confidence,\
                interval_method,mean_defined,n_defined,mean_by_density,n_requested,n_scored,tally_scored,\
                tally_undefined,tally_failed,tally_skipped,skipped,n_constant,eligible_share,tokens_repeating,bca_low,bca_high,note";
    lines(head, &summary.cells, |cell: &Cell| {
        let skipped: Vec<String> =
            cell.tally.skipped.iter().map(|(reason, n)| format!("{reason}={n}")).collect();
        vec![
            text(&summary.suite),
            text(&summary.run),
            text(&cell.hook),
            text(&cell.method),
            text(&cell.protocol),
            text(&cell.explainer),
            text(&cell.simulator),
            optional(cell.control.as_deref()),
            text(&cell.scorer),
            number(cell.mean),
            number(cell.ci_low),
            number(cell.ci_high),
            number(Some(cell.confidence)),
            optional(cell.interval_method.as_deref()),
            number(cell.mean_defined),
            cell.n_defined.to_string(),
            number(cell.mean_by_density),
            cell.n_requested.to_string(),
            cell.n_scored.to_string(),
            cell.tally.scored.to_string(),
            cell.tally.undefined.to_string(),
            cell.tally.failed.to_string(),
            cell.tally.skipped.values().sum::<usize>().to_string(),
            text(&skipped.join(" ")),
            cell.n_constant.to_string(),
            number(cell.eligible_share),
            number(cell.tokens_repeating),
            number(cell.bca_low),
            number(cell.bca_high),
            optional(cell.note.as_deref()),
        ]
    })
}

/// `quality.csv`: one line per dictionary.
pub fn quality_csv(summary: &Summary) -> String {
    let head = "hook,method,control,n_features,l0,fvu,loss_recovered_zero,loss_recovered_mean,alive,dead,near_dead,\
                n_tokens,density_median,mmcs_between_seeds,converged,note";
    lines(head, &summary.quality, |row: &QualityRow| {
        vec![
            text(&row.hook),
            text(&row.method),
            optional(row.control.as_deref()),
            row.n_features.to_string(),
            number(row.l0),
            number(row.fvu),
            number(row.loss_recovered_zero),
            number(row.loss_recovered_mean),
            plain(row.alive),
            plain(row.dead),
            plain(row.near_dead),
            row.n_tokens.to_string(),
            number(row.density_median),
            number(row.mmcs_between_seeds),
            plain(row.converged),
            optional(row.note.as_deref()),
        ]
    })
}

/// `differences.csv`: one line per comparison.
pub fn differences_csv(summary: &Summary) -> String {
    let head = "hook,scorer,explainer,simulator,method_a,method_b,n_a,n_b,difference,ci_low,ci_high,p,p_adjusted,\
                family,verdict,adjusted_low,adjusted_high";
    lines(head, &summary.differences, |row: &DifferenceRow| {
        vec![
            text(&row.hook),
            text(&row.scorer),
            text(&row.explainer),
            text(&row.simulator),
            text(&row.method_a),
            text(&row.method_b),
            row.n_a.to_string(),
            row.n_b.to_string(),
            number(row.difference),
            number(row.ci_low),
            number(row.ci_high),
            number(row.p),
            number(row.p_adjusted),
            name(row.family),
            name(row.verdict),
            number(row.adjusted_low),
            number(row.adjusted_high),
        ]
    })
}

/// `specificity.csv`: one line per row, interval of activation and grade.
pub fn specificity_csv(summary: &Summary) -> String {
    let head = "hook,method,protocol,explainer,simulator,control,n_requested,n_graded,from,to,n_features,n_empty,\
                n_fragments,grade,share,ci_low,ci_high,confidence,reason";
    let mut all: Vec<(&GradedRow, &GradedInterval, &GradeShare)> = Vec::new();
    for row in &summary.specificity {
        for interval in &row.intervals {
            all.extend(interval.shares.iter().map(|share| (row, interval, share)));
        }
    }
    lines(head, &all, |(row, interval, share)| {
        vec![
            text(&row.hook),
            text(&row.method),
            text(&row.protocol),
            text(&row.explainer),
            text(&row.simulator),
            optional(row.control.as_deref()),
            row.n_requested.to_string(),
            row.n_features.to_string(),
            number(Some(interval.from)),
            number(Some(interval.to)),
            interval.n_features.to_string(),
            interval.n_empty.to_string(),
            interval.n_fragments.to_string(),
            share.grade.to_string(),
            number(share.share),
            number(share.ci_low),
            number(share.ci_high),
            number(Some(row.confidence)),
            optional(interval.reason.as_deref()),
        ]
    })
}
