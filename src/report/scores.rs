//! Single features out of `scores.jsonl`: for distributions, for the explorer and for the pages of features.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::ReportError;
use super::schema::ScoreStatus;
use super::view::{Pairing, RowKey};
use crate::base::FileError;

/// A line as pages need it: what the schema promises, and defaults for what an older file may lack.
#[derive(Debug, Clone, Deserialize)]
pub struct FeatureLine {
    /// Hook point.
    pub hook: String,
    /// Method.
    pub method: String,
    /// Which of several trainings, from 0.
    #[serde(default)]
    pub training: Option<u32>,
    /// Number of the feature in its dictionary.
    pub feature: usize,
    /// Protocol.
    pub protocol: String,
    /// Who explained.
    pub explainer: String,
    /// Who simulated.
    pub simulator: String,
    /// None, or the control's name.
    #[serde(default)]
    pub control: Option<String>,
    /// What became of it.
    pub status: ScoreStatus,
    /// Why there is no score.
    #[serde(default)]
    pub reason: Option<String>,
    /// The explanation as text.
    #[serde(default)]
    pub explanation: Option<String>,
    /// Scores by scorer.
    #[serde(default)]
    pub scores: BTreeMap<String, Option<f64>>,
    /// Why a score is missing, by scorer.
    #[serde(default)]
    pub score_reasons: BTreeMap<String, String>,
    /// Share of evaluation tokens on which it fires.
    #[serde(default)]
    pub density: Option<f64>,
    /// Largest activation on the evaluation tokens.
    #[serde(default)]
    pub max_activation: Option<f64>,
    /// Excess kurtosis of its code.
    #[serde(default)]
    pub kurtosis: Option<f64>,
}

/// Why a score is null that counts as 0 in means: the truth varies and the prediction does not.
const CONSTANT_PREDICTION: &str = "constant_prediction";

impl FeatureLine {
    /// The score as it enters a mean: 0 for a constant prediction, none where there is no score.
    pub fn entering(&self, scorer: &str) -> Option<f64> {
        let constant = || self.score_reasons.get(scorer).is_some_and(|why| why == CONSTANT_PREDICTION);
        let score = self.scores.get(scorer)?;
        score.filter(|score| score.is_finite()).or_else(|| constant().then_some(0.0))
    }
}

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

/// Single features, and their scores sorted by where they belong.
#[derive(Debug, Default)]
pub struct FeatureScores {
    by_cell: HashMap<Key, Vec<f64>>,
    /// In the order of the lines; of real rows, not of controls.
    points: HashMap<Key, Vec<FeaturePoint>>,
    /// Every line, in the order of the file.
    pub lines: Vec<FeatureLine>,
}

/// Reads a file of JSON lines; none if there is no such file. A line that is not what it should be is an error
/// that names it.
pub fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Option<Vec<T>>, ReportError> {
    if !path.exists() {
        return Ok(None);
    }
    let failed = |source| FileError { action: "read", path: path.to_path_buf(), source };
    let mut reader = BufReader::with_capacity(1 << 20, std::fs::File::open(path).map_err(failed)?);
    let (mut lines, mut text, mut number) = (Vec::new(), String::new(), 0);
    while reader.read_line(&mut text).map_err(failed)? > 0 {
        number += 1;
        if !text.trim().is_empty() {
            let unreadable =
                |source| ReportError::Json { path: path.to_path_buf(), line: Some(number), source };
            lines.push(serde_json::from_str(&text).map_err(unreadable)?);
        }
        text.clear();
    }
    Ok(Some(lines))
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
        let Some(lines) = read_lines(path)? else { return Ok(None) };
        let mut scores = Self { lines, ..Self::default() };
        for line in &scores.lines {
            add(&mut scores.by_cell, &mut scores.points, line);
        }
        for values in scores.by_cell.values_mut() {
            values.sort_by(f64::total_cmp);
        }
        Ok(Some(scores))
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

fn add(
    by_cell: &mut HashMap<Key, Vec<f64>>,
    points: &mut HashMap<Key, Vec<FeaturePoint>>,
    line: &FeatureLine,
) {
    let pairing =
        Pairing { protocol: &line.protocol, explainer: &line.explainer, simulator: &line.simulator };
    let row = RowKey { hook: &line.hook, method: &line.method, control: line.control.as_deref() };
    let (density, kurtosis) = (line.density, line.kurtosis);
    for scorer in line.scores.keys().filter(|_| line.control.is_none()) {
        if let Some(score) = line.entering(scorer) {
            let point = FeaturePoint { score, density, kurtosis };
            points.entry(key(pairing, row, scorer)).or_default().push(point);
        }
    }
    for (scorer, score) in &line.scores {
        if let Some(score) = score.filter(|score| score.is_finite()) {
            by_cell.entry(key(pairing, row, scorer)).or_default().push(score);
        }
    }
}
