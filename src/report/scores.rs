//! Per-feature scores out of `scores.jsonl`, for distributions.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::Deserialize;

use super::ReportError;
use super::view::{Pairing, RowKey};
use crate::base::FileError;

/// The part of a line that distributions need; the rest is skipped unread.
#[derive(Debug, Deserialize)]
struct Line {
    hook: String,
    method: String,
    protocol: String,
    explainer: String,
    simulator: String,
    #[serde(default)]
    control: Option<String>,
    #[serde(default)]
    scores: HashMap<String, Option<f64>>,
    #[serde(default)]
    score_reasons: HashMap<String, String>,
    #[serde(default)]
    density: Option<f64>,
    #[serde(default)]
    kurtosis: Option<f64>,
}

/// Why a score is null that counts as 0 in means: the truth varies and the prediction does not.
const CONSTANT_PREDICTION: &str = "constant_prediction";

/// One feature's score, as it enters means, beside what else is known of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FeaturePoint {
    /// The score; 0 for a constant prediction.
    pub score: f64,
    /// Share of tokens on which it fires.
    pub density: Option<f64>,
    /// Excess kurtosis of its code.
    pub kurtosis: Option<f64>,
}

/// protocol, explainer, simulator, hook, method, control, scorer
type Key = [String; 7];

/// Scores of single features, sorted, by where they belong.
#[derive(Debug, Default)]
pub struct FeatureScores {
    by_cell: HashMap<Key, Vec<f64>>,
    /// In the order of the lines; of real rows, not of controls.
    points: HashMap<Key, Vec<FeaturePoint>>,
}

fn key(pairing: Pairing<'_>, row: RowKey<'_>, scorer: &str) -> Key {
    [
        pairing.protocol,
        pairing.explainer,
        pairing.simulator,
        row.hook,
        row.method,
        row.control.unwrap_or_default(),
        scorer,
    ]
    .map(str::to_string)
}

impl FeatureScores {
    /// Reads `scores.jsonl`; none if there is no such file. A line that is not one is an error that
    /// names it.
    pub fn read(path: &Path) -> Result<Option<Self>, ReportError> {
        if !path.exists() {
            return Ok(None);
        }
        let failed = |source| FileError { action: "read", path: path.to_path_buf(), source };
        let file = std::fs::File::open(path).map_err(failed)?;
        let mut scores = Self::default();
        for (i, line) in BufReader::with_capacity(1 << 20, file).lines().enumerate() {
            let line = line.map_err(failed)?;
            if line.trim().is_empty() {
                continue;
            }
            let line: Line = serde_json::from_str(&line).map_err(|source| ReportError::Json {
                path: path.to_path_buf(),
                line: Some(i + 1),
                source,
            })?;
            scores.add(line);
        }
        for values in scores.by_cell.values_mut() {
            values.sort_by(f64::total_cmp);
        }
        Ok(Some(scores))
    }

    fn add(&mut self, line: Line) {
        let pairing =
            Pairing { protocol: &line.protocol, explainer: &line.explainer, simulator: &line.simulator };
        let row = RowKey { hook: &line.hook, method: &line.method, control: line.control.as_deref() };
        let (density, kurtosis) = (line.density, line.kurtosis);
        for (scorer, score) in line.scores.iter().filter(|_| line.control.is_none()) {
            let constant = line.score_reasons.get(scorer).is_some_and(|why| why == CONSTANT_PREDICTION);
            let entering = score.filter(|score| score.is_finite()).or(constant.then_some(0.0));
            if let Some(score) = entering {
                let point = FeaturePoint { score, density, kurtosis };
                self.points.entry(key(pairing, row, scorer)).or_default().push(point);
            }
        }
        for (scorer, score) in &line.scores {
            if let Some(score) = score.filter(|score| score.is_finite()) {
                self.by_cell.entry(key(pairing, row, scorer)).or_default().push(score);
            }
        }
    }

    /// Features of one cell that enter its mean, in the order of the lines; none for controls.
    pub fn points(&self, pairing: Pairing<'_>, row: RowKey<'_>, scorer: &str) -> &[FeaturePoint] {
        self.points.get(&key(pairing, row, scorer)).map_or(&[], Vec::as_slice)
    }

    /// Scores of the features of one cell that have one, ascending.
    pub fn of(&self, pairing: Pairing<'_>, row: RowKey<'_>, scorer: &str) -> &[f64] {
        self.by_cell.get(&key(pairing, row, scorer)).map_or(&[], Vec::as_slice)
    }
}
