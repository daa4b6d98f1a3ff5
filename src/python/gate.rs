//! `compare` and `regress`.

use std::path::PathBuf;

use pyo3::prelude::*;
use serde::{Deserialize, Serialize};

use super::error::{failed, raised};
use super::table::Table;
use crate::cli::Failure;
use crate::gate::{
    AcceptedRuns, Comparison, GateError, GateReport, QualityChange, RunFolder, comparison_text, gate_text,
};
use crate::report::{Ink, Look};
use crate::stats::{Family, RunVerdict, Verdict};

/// Width of texts in characters.
const WIDTH: usize = 120;

const PLAIN: Look = Look { ink: Ink::None, width: WIDTH };

/// A cell in both runs: the fields of `CellChange`.
#[derive(Serialize, Deserialize)]
struct CellRow {
    hook: String,
    method: String,
    protocol: String,
    explainer: String,
    simulator: String,
    control: Option<String>,
    scorer: String,
    mean_a: Option<f64>,
    mean_b: Option<f64>,
    n_a: usize,
    n_b: usize,
    n_pairs: Option<usize>,
    difference: Option<f64>,
    ci_low: Option<f64>,
    ci_high: Option<f64>,
    p: Option<f64>,
    p_adjusted: Option<f64>,
    family: Family,
    verdict: Option<Verdict>,
    identical: bool,
    reason: Option<String>,
}

fn cells(comparison: &Comparison) -> Vec<CellRow> {
    let row = |cell: &crate::gate::CellChange| CellRow {
        hook: cell.hook.clone(),
        method: cell.method.clone(),
        protocol: cell.protocol.clone(),
        explainer: cell.explainer.clone(),
        simulator: cell.simulator.clone(),
        control: cell.control.clone(),
        scorer: cell.scorer.clone(),
        mean_a: cell.mean_a,
        mean_b: cell.mean_b,
        n_a: cell.n_a,
        n_b: cell.n_b,
        n_pairs: cell.n_pairs,
        difference: cell.difference,
        ci_low: cell.ci_low,
        ci_high: cell.ci_high,
        p: cell.p,
        p_adjusted: cell.p_adjusted,
        family: cell.family,
        verdict: cell.verdict,
        identical: cell.identical,
        reason: cell.reason.clone(),
    };
    comparison.cells.iter().map(row).collect()
}

/// A number of a dictionary in both runs.
#[derive(Serialize, Deserialize)]
struct QualityRow {
    hook: String,
    method: String,
    control: Option<String>,
    same_dictionary: bool,
    quantity: String,
    value_a: Option<f64>,
    value_b: Option<f64>,
}

fn quality(change: &QualityChange) -> impl Iterator<Item = QualityRow> + '_ {
    change.values.iter().map(|(quantity, [value_a, value_b])| QualityRow {
        hook: change.hook.clone(),
        method: change.method.clone(),
        control: change.control.clone(),
        same_dictionary: change.same_dictionary,
        quantity: quantity.to_string(),
        value_a: *value_a,
        value_b: *value_b,
    })
}

/// A quantity that the gate tests.
#[derive(Serialize, Deserialize)]
struct GateRow {
    group: String,
    gates: bool,
    level: f64,
    subject: String,
    quantity: String,
    higher_is_better: bool,
    relative: bool,
    margin: f64,
    n_hooks: usize,
    n_features: Option<usize>,
    former: f64,
    n_runs: usize,
    now: f64,
    change: f64,
    ci_low: f64,
    ci_high: f64,
    p: f64,
    p_adjusted: f64,
    smallest_detectable: f64,
    verdict: RunVerdict,
}

fn lines(report: &GateReport) -> Vec<GateRow> {
    let all = report.groups.iter().flat_map(|group| group.lines.iter().map(move |line| (group, line)));
    let row = |(group, line): (&crate::gate::GateGroup, &crate::gate::GateLine)| GateRow {
        group: group.name.to_string(),
        gates: group.gates,
        level: group.level,
        subject: line.subject.clone(),
        quantity: line.quantity.clone(),
        higher_is_better: line.higher_is_better,
        relative: line.relative,
        margin: line.margin,
        n_hooks: line.n_hooks,
        n_features: line.n_features,
        former: line.change.former,
        n_runs: line.change.n_runs,
        now: line.change.now,
        change: line.change.change,
        ci_low: line.change.ci_low,
        ci_high: line.change.ci_high,
        p: line.change.p,
        p_adjusted: line.change.p_adjusted,
        smallest_detectable: line.change.smallest_detectable,
        verdict: line.change.verdict,
    };
    all.map(row).collect()
}

/// The output of `--json`.
fn json<T: Serialize>(result: &T) -> PyResult<String> {
    serde_json::to_string(result)
        .map_err(|error| failed(Failure::new(format!("bug: a result is no JSON: {error}"), 1)))
}

/// Compares two runs: text, JSON, cells, numbers of dictionaries.
#[pyfunction]
pub fn compare(py: Python<'_>, a: PathBuf, b: PathBuf) -> PyResult<(String, String, Table, Table)> {
    let compared = py.detach(|| -> Result<Comparison, GateError> {
        crate::gate::compare(&RunFolder::read(&a)?, &RunFolder::read(&b)?)
    });
    let found = compared.map_err(raised)?;
    let values: Vec<QualityRow> = found.quality.iter().flat_map(quality).collect();
    Ok((
        comparison_text(&found, false, PLAIN),
        json(&found)?,
        Table::of(&cells(&found))?,
        Table::of(&values)?,
    ))
}

/// Tests a run against accepted ones: whether it passed, text, JSON, quantities.
#[pyfunction]
pub fn regress(py: Python<'_>, run: PathBuf, against: PathBuf) -> PyResult<(bool, String, String, Table)> {
    let tested = py.detach(|| -> Result<GateReport, GateError> {
        let accepted = AcceptedRuns::read(&against)?;
        crate::gate::regress(&RunFolder::read(&run)?, &accepted, &against.display().to_string())
    });
    let report = tested.map_err(raised)?;
    Ok((report.passed, gate_text(&report, false, PLAIN), json(&report)?, Table::of(&lines(&report))?))
}
