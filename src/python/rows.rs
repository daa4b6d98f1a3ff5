//! The tables of a run folder.

use std::path::{Path, PathBuf};

use pyo3::prelude::*;
use serde::{Deserialize, Serialize};

use super::error::raised;
use super::setting;
use super::table::Table;
use crate::report::{
    Layout, Ranking, ReportError, ScoreLine, ScoreStatus, Summary, check_listed, read_lines,
};

/// A line of `scores.jsonl` without its scores.
#[derive(Serialize, Deserialize)]
struct FeatureRow {
    hook: String,
    method: String,
    training: Option<u32>,
    feature: usize,
    protocol: String,
    explainer: String,
    simulator: String,
    control: Option<String>,
    status: ScoreStatus,
    reason: Option<String>,
    explanation: Option<String>,
    density: Option<f64>,
    max_activation: Option<f64>,
    kurtosis: Option<f64>,
    n_top: usize,
    n_random: usize,
    tokens_untold: Option<usize>,
}

impl From<ScoreLine> for FeatureRow {
    fn from(line: ScoreLine) -> Self {
        Self {
            hook: line.hook,
            method: line.method,
            training: line.training,
            feature: line.feature,
            protocol: line.protocol,
            explainer: line.explainer,
            simulator: line.simulator,
            control: line.control,
            status: line.status,
            reason: line.reason,
            explanation: line.explanation,
            density: line.density,
            max_activation: line.max_activation,
            kurtosis: line.kurtosis,
            n_top: line.n_top,
            n_random: line.n_random,
            tokens_untold: line.tokens_untold,
        }
    }
}

/// One score of a line of `scores.jsonl`.
#[derive(Serialize, Deserialize)]
struct ScoreRow {
    hook: String,
    method: String,
    training: Option<u32>,
    feature: usize,
    protocol: String,
    explainer: String,
    simulator: String,
    control: Option<String>,
    scorer: String,
    score: Option<f64>,
    reason: Option<String>,
}

/// The scores of a line, by the scorer's name. A score without a number has its reason.
fn scores_of(line: &ScoreLine) -> impl Iterator<Item = ScoreRow> + '_ {
    line.scores.iter().map(|(scorer, score)| ScoreRow {
        hook: line.hook.clone(),
        method: line.method.clone(),
        training: line.training,
        feature: line.feature,
        protocol: line.protocol.clone(),
        explainer: line.explainer.clone(),
        simulator: line.simulator.clone(),
        control: line.control.clone(),
        scorer: scorer.clone(),
        score: *score,
        reason: line.score_reasons.get(scorer).cloned(),
    })
}

/// A method of a ranking.
#[derive(Serialize, Deserialize)]
struct RankingRow {
    scorer: String,
    protocol: String,
    explainer: String,
    simulator: String,
    primary: bool,
    confidence: f64,
    method: String,
    control: Option<String>,
    place: Option<usize>,
    mean: Option<f64>,
    ci_low: Option<f64>,
    ci_high: Option<f64>,
    n_scored: usize,
    letters: String,
    reason: Option<String>,
}

fn ranked(ranking: &Ranking) -> impl Iterator<Item = RankingRow> + '_ {
    ranking.rows.iter().map(|row| RankingRow {
        scorer: ranking.scorer.clone(),
        protocol: ranking.protocol.clone(),
        explainer: ranking.explainer.clone(),
        simulator: ranking.simulator.clone(),
        primary: ranking.primary,
        confidence: ranking.confidence,
        method: row.method.clone(),
        control: row.control.clone(),
        place: row.place,
        mean: row.mean,
        ci_low: row.ci_low,
        ci_high: row.ci_high,
        n_scored: row.n_scored,
        letters: row.letters.clone(),
        reason: row.reason.clone(),
    })
}

/// `summary.json` and `scores.jsonl` of a run, as far as they are needed.
struct Files {
    layout: Layout,
}

impl Files {
    /// Checks that the folder is that of a finished run, whose files hold what the run wrote.
    fn open(folder: &Path) -> Result<Self, ReportError> {
        let layout = Layout::new(folder);
        if !layout.summary().exists() {
            return Err(ReportError::NoSummary(folder.to_path_buf()));
        }
        check_listed(folder, &[layout.summary(), layout.scores()])?;
        Ok(Self { layout })
    }

    fn summary(&self) -> Result<Summary, ReportError> {
        Summary::read(&self.layout.summary())
    }

    fn lines(&self) -> Result<Vec<ScoreLine>, ReportError> {
        Ok(read_lines(&self.layout.scores())?.unwrap_or_default())
    }
}

/// A table of a run folder: `cells`, `quality`, `differences`, `rankings`, `features` or `scores`.
#[pyfunction]
pub fn table(py: Python<'_>, folder: PathBuf, name: &str) -> PyResult<Table> {
    let files = py.detach(|| Files::open(&folder)).map_err(raised)?;
    let summary = || py.detach(|| files.summary()).map_err(raised);
    let lines = || py.detach(|| files.lines()).map_err(raised);
    match name {
        "cells" => Table::of(&summary()?.cells),
        "quality" => Table::of(&summary()?.quality),
        "differences" => Table::of(&summary()?.differences),
        "rankings" => Table::of(&summary()?.rankings.iter().flat_map(ranked).collect::<Vec<_>>()),
        "features" => Table::of(&lines()?.into_iter().map(FeatureRow::from).collect::<Vec<_>>()),
        "scores" => Table::of(&lines()?.iter().flat_map(scores_of).collect::<Vec<_>>()),
        _ => {
            let problem =
                format!("is `{name}`, expected cells, quality, differences, rankings, features or scores");
            Err(raised(setting("name", problem)))
        }
    }
}
