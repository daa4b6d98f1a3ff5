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
}

/// protocol, explainer, simulator, hook, method, control, scorer
type Key = [String; 7];

/// Single features, and their scores sorted by where they belong.
#[derive(Debug, Default)]
pub struct FeatureScores {
    by_cell: HashMap<Key, Vec<f64>>,
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
            add(&mut scores.by_cell, line);
        }
        for values in scores.by_cell.values_mut() {
            values.sort_by(f64::total_cmp);
        }
        Ok(Some(scores))
    }

    /// Scores of the features of one cell that have one, ascending.
    pub fn of(&self, pairing: Pairing<'_>, row: RowKey<'_>, scorer: &str) -> &[f64] {
        self.by_cell.get(&key(pairing, row, scorer)).map_or(&[], Vec::as_slice)
    }
}

fn add(by_cell: &mut HashMap<Key, Vec<f64>>, line: &FeatureLine) {
    let pairing =
        Pairing { protocol: &line.protocol, explainer: &line.explainer, simulator: &line.simulator };
    let row = RowKey { hook: &line.hook, method: &line.method, control: line.control.as_deref() };
    for (scorer, score) in &line.scores {
        if let Some(score) = score.filter(|score| score.is_finite()) {
            by_cell.entry(key(pairing, row, scorer)).or_default().push(score);
        }
    }
}
