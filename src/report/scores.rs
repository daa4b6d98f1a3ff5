//! The lines of `scores.jsonl`: one for each feature under each explainer and control.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::ReportError;
use super::schema::ScoreStatus;
use super::standing::LineScores;
use super::view::{Pairing, RowKey};
use crate::base::FileError;

/// A [`ScoreLine`](super::ScoreLine) as reports read it: fields that an older file may lack have defaults.
#[derive(Debug, Clone, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of `ScoreLine`")]
pub struct FeatureLine {
    pub hook: String,
    pub method: String,
    pub training: Option<u32>,
    pub feature: usize,
    pub protocol: String,
    pub explainer: String,
    pub simulator: String,
    pub control: Option<String>,
    pub status: ScoreStatus,
    pub reason: Option<String>,
    pub explanation: Option<String>,
    #[serde(default)]
    pub scores: BTreeMap<String, Option<f64>>,
    #[serde(default)]
    pub score_reasons: BTreeMap<String, String>,
    pub density: Option<f64>,
    pub max_activation: Option<f64>,
    pub kurtosis: Option<f64>,
}

impl FeatureLine {
    /// Explainer and simulator, without the protocol.
    pub fn pairing(&self) -> Pairing<'_> {
        Pairing::without_protocol(&self.explainer, &self.simulator)
    }

    /// Its scores, and why some are missing.
    pub fn all_scores(&self) -> LineScores<'_> {
        LineScores { scores: &self.scores, reasons: &self.score_reasons, reason: self.reason.as_deref() }
    }

    /// The score, if it is a finite number.
    pub fn score(&self, scorer: &str) -> Option<f64> {
        self.all_scores().score(scorer)
    }

    /// The score as it enters a mean: 0 for a constant prediction, none where there is no score.
    pub fn entering(&self, scorer: &str) -> Option<f64> {
        self.all_scores().entering(scorer)
    }
}

/// Protocol, explainer, simulator, hook point, method, control.
type Key = [String; 6];

/// The lines of `scores.jsonl`.
#[derive(Debug)]
pub struct FeatureScores {
    pub lines: Vec<FeatureLine>,
    /// Indices of the lines of each table row.
    by_row: HashMap<Key, Vec<usize>>,
}

/// Reads a file of JSON lines; none if it does not exist. The error of an unreadable line has its number.
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

fn key(pairing: Pairing<'_>, row: RowKey<'_>) -> Key {
    let Pairing { protocol, explainer, simulator } = pairing;
    let control = row.control.unwrap_or_default();
    [protocol, explainer, simulator, row.hook, row.method, control].map(str::to_string)
}

impl FeatureScores {
    /// Reads `scores.jsonl`; none if it does not exist.
    pub fn read(path: &Path) -> Result<Option<Self>, ReportError> {
        let Some(lines) = read_lines::<FeatureLine>(path)? else { return Ok(None) };
        let mut by_row: HashMap<Key, Vec<usize>> = HashMap::new();
        for (nth, line) in lines.iter().enumerate() {
            let pairing = Pairing { protocol: &line.protocol, ..line.pairing() };
            let row = RowKey { control: line.control.as_deref(), ..RowKey::of(&line.hook, &line.method) };
            by_row.entry(key(pairing, row)).or_default().push(nth);
        }
        Ok(Some(Self { lines, by_row }))
    }

    /// The lines of a table row, in the order of the file.
    pub fn of(&self, pairing: Pairing<'_>, row: RowKey<'_>) -> impl Iterator<Item = &FeatureLine> {
        self.by_row.get(&key(pairing, row)).into_iter().flatten().map(|&nth| &self.lines[nth])
    }
}
