//! A finished run as a comparison needs it.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::GateError;
use crate::base::read;
use crate::report::{Cell, FeatureLine, Summary, read_lines};

/// Everything that a comparison needs of one run folder.
#[derive(Debug)]
pub struct RunFolder {
    /// Where it lies.
    pub folder: PathBuf,
    /// `summary.json`.
    pub summary: Summary,
    /// What `manifest.json` says about inputs, machine and cost.
    pub facts: RunFacts,
    /// Scores of single features by cell.
    features: HashMap<GroupKey, Vec<FeatureScores>>,
}

/// Where a cell's features are found: hook, method, protocol, explainer, simulator, control.
type GroupKey = [String; 6];

/// The scores of one feature.
#[derive(Debug, Clone, PartialEq)]
struct FeatureScores {
    training: Option<u32>,
    feature: usize,
    scores: BTreeMap<String, f64>,
}

/// One feature's score under one scorer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FeatureScore {
    /// Which training of the method, where there are several.
    pub training: Option<u32>,
    /// Index of the feature in its dictionary.
    pub feature: usize,
    /// The score as it enters the mean: a constant prediction is 0.
    pub score: f64,
}

/// The part of `manifest.json` that says what a run was.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct RunFacts {
    /// Version of the program.
    pub version: String,
    /// Root of every seed stream.
    pub seed: u64,
    /// The suite with every default filled in.
    pub suite: Value,
    /// The model.
    pub subject: SubjectFacts,
    /// The text.
    pub corpus: CorpusFacts,
    /// By `HOOK/ROW`, with the control's name behind it.
    pub dictionaries: BTreeMap<String, DictionaryFacts>,
    /// Version of each definition behind a number.
    pub metric_versions: BTreeMap<String, u32>,
    /// Version of every question that language models were asked.
    pub prompts: BTreeMap<String, Value>,
    /// The machine.
    pub machine: MachineFacts,
    /// Every stage, in order.
    pub stages: Vec<StageFacts>,
    /// What language models were asked, by model.
    pub llm_usage: BTreeMap<String, UsageFacts>,
}

/// The model of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SubjectFacts {
    /// Its name.
    pub name: String,
    /// Digest of weights and configuration.
    pub weights_digest: String,
}

/// The text of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct CorpusFacts {
    /// Digest of both splits' tokens.
    pub digest: String,
}

/// A dictionary of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct DictionaryFacts {
    /// Its digest.
    pub digest: String,
}

/// The machine of a run.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct MachineFacts {
    /// Processor.
    pub cpu: Option<String>,
    /// Widest vector instructions used.
    pub instruction_set: String,
    /// Where models ran and autoencoders were trained.
    pub device: Option<String>,
    /// Threads.
    pub threads: usize,
    /// Seconds that a fixed piece of arithmetic took in the same run.
    pub calibration_seconds: Option<f64>,
}

/// A stage of a run.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct StageFacts {
    /// Wall-clock seconds.
    pub seconds: f64,
    /// Largest memory of the process at its end.
    pub peak_memory_bytes: Option<f64>,
    /// Whether its result was there already.
    pub reused: bool,
}

/// What a language model was asked.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct UsageFacts {
    /// Requests that were answered by the endpoint.
    pub requests: f64,
    /// Requests answered from the cache.
    pub cached: f64,
    /// Cost of the former, where prices are known.
    pub dollars: Option<f64>,
}

impl RunFolder {
    /// Reads a run folder.
    pub fn read(folder: &Path) -> Result<Self, GateError> {
        let present = |file: &'static str| {
            let path = folder.join(file);
            if path.exists() {
                Ok(path)
            } else {
                Err(GateError::Unfinished { folder: folder.to_path_buf(), file })
            }
        };
        let summary = Summary::read(&present("summary.json")?)?;
        let path = present("manifest.json")?;
        let facts = serde_json::from_slice(&read(&path)?).map_err(|source| GateError::Json {
            path,
            expected: "the manifest of a run",
            source,
        })?;
        let features = read_features(&present("scores.jsonl")?)?;
        Ok(Self { folder: folder.to_path_buf(), summary, facts, features })
    }

    /// Scores of a cell's features that are in its mean, in the order of the file.
    pub fn scores(&self, cell: &Cell) -> Vec<FeatureScore> {
        let of_scorer = |feature: &FeatureScores| {
            let score = *feature.scores.get(&cell.scorer)?;
            Some(FeatureScore { training: feature.training, feature: feature.feature, score })
        };
        self.features
            .get(&group_key(cell))
            .map_or(Vec::new(), |features| features.iter().filter_map(of_scorer).collect())
    }

    /// Digest of a cell's dictionary; none where a control's dictionary or a manifest does not tell.
    pub fn dictionary(&self, hook: &str, method: &str, control: Option<&str>) -> Option<&str> {
        let plain = format!("{hook}/{method}");
        let controlled = control.map(|control| format!("{plain} ({control})"));
        let found = controlled
            .and_then(|name| self.facts.dictionaries.get(&name))
            .or_else(|| self.facts.dictionaries.get(&plain));
        found.map(|dictionary| dictionary.digest.as_str()).filter(|digest| !digest.is_empty())
    }

    /// The explainer and the simulator that the suite's own question is about: those of its planned comparisons, else
    /// the first cell's.
    pub fn first_pair(&self) -> (&str, &str) {
        let planned =
            self.summary.differences.iter().find(|row| row.family == crate::report::Family::Primary);
        let first = self.summary.cells.iter().find(|cell| cell.control.is_none());
        match (planned, first) {
            (Some(row), _) => (&row.explainer, &row.simulator),
            (None, Some(cell)) => (&cell.explainer, &cell.simulator),
            (None, None) => ("", ""),
        }
    }

    /// The scorer that the gate tests: the suite's primary one.
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
