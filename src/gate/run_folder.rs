//! A finished run: the parts of a run folder that a comparison needs.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::GateError;
use crate::base::read;
use crate::report::{Cell, Family, FeatureLine, Layout, Summary, check_listed, read_lines};

/// A run folder.
#[derive(Debug)]
pub struct RunFolder {
    /// Path of the folder.
    pub folder: PathBuf,
    /// `summary.json`.
    pub summary: Summary,
    /// Inputs, machine and cost, from `manifest.json`.
    pub facts: RunFacts,
    /// Scores of single features by cell.
    features: HashMap<GroupKey, Vec<FeatureScores>>,
}

/// Hook point, method, protocol, explainer, simulator, control.
type GroupKey = [String; 6];

/// The scores of one feature, by scorer.
#[derive(Debug, Clone, PartialEq)]
struct FeatureScores {
    training: Option<u32>,
    feature: usize,
    scores: BTreeMap<String, f64>,
}

/// One feature's score under one scorer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FeatureScore {
    /// Training of the method, if there are several.
    pub training: Option<u32>,
    /// Index of the feature in its dictionary.
    pub feature: usize,
    /// The score as it enters the mean: a constant prediction is 0.
    pub score: f64,
}

/// The part of `manifest.json` that comparisons use.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct RunFacts {
    pub version: String,
    pub seed: u64,
    /// The suite with every default filled in.
    pub suite: Value,
    pub subject: DigestFacts,
    pub corpus: DigestFacts,
    /// By `HOOK/ROW`, with ` (CONTROL)` appended for a control.
    pub dictionaries: BTreeMap<String, DigestFacts>,
    /// Version of each metric's definition.
    pub metric_versions: BTreeMap<String, u32>,
    /// Version of every prompt.
    pub prompts: BTreeMap<String, Value>,
    pub machine: MachineFacts,
    pub stages: Vec<StageFacts>,
    /// Requests to language models, by model.
    pub llm_usage: BTreeMap<String, UsageFacts>,
}

/// The model, the corpus or a dictionary of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct DigestFacts {
    #[serde(alias = "weights_digest")]
    pub digest: String,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct MachineFacts {
    pub cpu: Option<String>,
    /// Widest vector instructions used.
    pub instruction_set: String,
    /// Device of models and of training.
    pub device: Option<String>,
    pub threads: usize,
    /// Seconds of the calibration kernel, a fixed computation timed in every run.
    pub calibration_seconds: Option<f64>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct StageFacts {
    /// Wall-clock seconds.
    pub seconds: f64,
    /// Peak memory of the process at the stage's end.
    pub peak_memory_bytes: Option<f64>,
    /// Whether a stored result was used.
    pub reused: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct UsageFacts {
    /// Requests answered by the endpoint.
    pub requests: f64,
    /// Requests answered from the cache.
    pub cached: f64,
    /// Cost of `requests`, if prices are known.
    pub dollars: Option<f64>,
}

impl RunFolder {
    /// Reads a run folder.
    pub fn read(folder: &Path) -> Result<Self, GateError> {
        let present = |path: PathBuf| {
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let unfinished = || GateError::Unfinished { folder: folder.to_path_buf(), file };
            if path.exists() { Ok(path) } else { Err(unfinished()) }
        };
        let layout = Layout::new(folder);
        check_listed(folder, &[layout.summary(), layout.scores(), layout.manifest()])?;
        let summary = Summary::read(&present(layout.summary())?)?;
        let path = present(layout.manifest())?;
        let facts = serde_json::from_slice(&read(&path)?).map_err(|source| GateError::Json {
            path,
            expected: "the manifest of a run",
            source,
        })?;
        let features = read_features(&present(layout.scores())?)?;
        Ok(Self { folder: folder.to_path_buf(), summary, facts, features })
    }

    /// Scores of the features in a cell's mean, in the order of the file.
    pub fn scores(&self, cell: &Cell) -> Vec<FeatureScore> {
        let of_scorer = |feature: &FeatureScores| {
            let score = *feature.scores.get(&cell.scorer)?;
            Some(FeatureScore { training: feature.training, feature: feature.feature, score })
        };
        self.features.get(&group_key(cell)).into_iter().flatten().filter_map(of_scorer).collect()
    }

    /// Digest of a cell's dictionary, if the manifest has it. A control without its own dictionary uses the method's.
    pub fn dictionary(&self, hook: &str, method: &str, control: Option<&str>) -> Option<&str> {
        let plain = format!("{hook}/{method}");
        let controlled = control.map(|control| format!("{plain} ({control})"));
        let found = controlled
            .and_then(|name| self.facts.dictionaries.get(&name))
            .or_else(|| self.facts.dictionaries.get(&plain));
        found.map(|dictionary| dictionary.digest.as_str()).filter(|digest| !digest.is_empty())
    }

    /// Explainer and simulator of the suite's planned comparisons, else those of its first cell.
    pub fn first_pair(&self) -> (&str, &str) {
        let planned = self.summary.differences.iter().find(|row| row.family == Family::Primary);
        let first = self.summary.cells.iter().find(|cell| cell.control.is_none());
        match (planned, first) {
            (Some(row), _) => (&row.explainer, &row.simulator),
            (None, Some(cell)) => (&cell.explainer, &cell.simulator),
            (None, None) => ("", ""),
        }
    }

    /// The suite's primary scorer.
    pub fn primary(&self) -> &str {
        self.summary.primary.as_deref().unwrap_or("top_and_random")
    }

    /// The folder's name for messages.
    pub fn name(&self) -> String {
        format!("`{}`", self.folder.display())
    }
}

fn group_key(cell: &Cell) -> GroupKey {
    let control = cell.control.as_deref().unwrap_or_default();
    [&cell.hook, &cell.method, &cell.protocol, &cell.explainer, &cell.simulator, control].map(str::to_string)
}

fn read_features(path: &Path) -> Result<HashMap<GroupKey, Vec<FeatureScores>>, GateError> {
    let mut features: HashMap<GroupKey, Vec<FeatureScores>> = HashMap::new();
    for line in read_lines::<FeatureLine>(path)?.unwrap_or_default() {
        let entering = |scorer: &String| Some((scorer.clone(), line.entering(scorer)?));
        let scores = line.scores.keys().filter_map(entering).collect();
        let control = line.control.unwrap_or_default();
        let key = [line.hook, line.method, line.protocol, line.explainer, line.simulator, control];
        features.entry(key).or_default().push(FeatureScores {
            training: line.training,
            feature: line.feature,
            scores,
        });
    }
    Ok(features)
}
