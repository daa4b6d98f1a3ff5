//! `manifest.json`: everything that determines the numbers, and the cost of the run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::{DeviceName, Digest, Stopwatch, cpu_name, instruction_set, peak_memory_bytes};
use crate::llm::Usage;
use crate::report::ScoreFacts;
use crate::run::Beside;
use crate::run::inputs::prepare::{CorpusRecord, Fillers};
use crate::run::results::calibration::calibration_seconds;
use crate::score::catalog::score_versions;
use crate::subject::{Prefix, SubjectInfo};
use crate::suite::Suite;

/// Versions of definitions that belong to no scorer. Raise a version when its definition changes.
const OTHER_VERSIONS: [(&str, u32); 3] = [("fvu", 1), ("loss_recovered", 1), ("interval", 1)];

/// Version of the numbers of patching, of suites with a task.
const PATCHING_VERSION: (&str, u32) = ("patching", 1);

/// Version of the numbers of erasure, of suites with concepts.
const ERASURE_VERSION: (&str, u32) = ("erasure", 1);

/// Version of each definition behind the numbers, in a fixed order.
pub fn metric_versions(suite: &Suite) -> Vec<(&'static str, u32)> {
    let patching = suite.task.is_some().then_some(PATCHING_VERSION);
    let erasure = suite.erasure.is_some().then_some(ERASURE_VERSION);
    score_versions(&suite.scorers).chain(OTHER_VERSIONS).chain(patching).chain(erasure).collect()
}

/// Inputs and cost of a run. Times and paths appear here and not in `summary.json`.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct Manifest<'a> {
    /// Schema of this file.
    pub schema: u32,
    /// Version of the program.
    pub version: &'static str,
    /// Digest of the resolved suite and its inputs, as in `summary.json`.
    pub run: Digest,
    /// The suite's name.
    pub suite_name: &'a str,
    /// The suite with all defaults filled in.
    pub suite: &'a Suite,
    /// Root of every seed stream.
    pub seed: u64,
    /// The subject model.
    pub subject: &'a SubjectInfo,
    /// Prefix of every context, fragment and probe.
    pub bos: Prefix,
    /// The corpus.
    pub corpus: &'a CorpusRecord,
    /// Filler tokens of probes.
    pub fillers: FillerRecord,
    /// Dictionaries by `HOOK/ROW`.
    pub dictionaries: BTreeMap<String, DictionaryRecord>,
    /// Version of each definition behind the numbers.
    pub metric_versions: BTreeMap<&'static str, u32>,
    /// The scores, as their scorers declare them.
    pub scores: Vec<ScoreFacts>,
    /// Every stage, in order.
    pub stages: Vec<StageRecord>,
    /// Warnings for readers of the results.
    pub warnings: Vec<String>,
    /// Machine and threads. Results do not depend on the number of threads.
    pub machine: Machine,
    /// Digest of each prompt, by explainer, simulator and judge.
    pub prompts: BTreeMap<String, Digest>,
    /// Usage of this run by language model; empty in an offline run. Cached answers cost nothing.
    pub llm_usage: BTreeMap<String, Usage>,
    /// The same by explainer, simulator and judge, with the plan for the whole suite.
    pub llm_steps: Vec<Beside>,
}

/// Filler tokens with their text.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct FillerRecord {
    /// The ids.
    #[serde(flatten)]
    pub ids: Fillers,
    /// Text of the lead token.
    pub lead_text: Option<String>,
    /// Text of the pad token.
    pub pad_text: String,
}

/// One dictionary of the run.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct DictionaryRecord {
    /// Digest of the dictionary.
    pub digest: Digest,
    /// Digest of the activations that it was fitted on.
    pub fitted_on: Digest,
    /// Tokens excluded from fitting because their norm exceeds ten times the median.
    pub rows_left_out: usize,
    /// The excluded tokens by position and token, most frequent first.
    pub outliers: Vec<OutlierRecord>,
    /// Number of fitted tokens.
    pub rows: usize,
    /// Origin of a dictionary trained elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    pub source: Option<DictionarySource>,
    /// Fit report.
    pub report: crate::dictionary::FitReport,
    /// For a dictionary trained elsewhere: FVU and L0 here, around, and under other scalings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<crate::run::rows::proof::LoadProof>,
    /// Wall-clock seconds of its evaluation, while other dictionaries run in parallel.
    pub evaluate_seconds: f64,
}

/// Origin of a dictionary trained elsewhere.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct DictionarySource {
    /// Its place as the suite gives it.
    pub path: String,
    /// Commit of its hub repository.
    pub revision: Option<String>,
    /// Digest of its files.
    pub files: Digest,
}

/// Excluded rows with the same token and position.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct OutlierRecord {
    /// Counted from the model's position 0.
    pub position: usize,
    /// The token's id.
    pub token: u32,
    /// Its text.
    pub text: String,
    /// Number of rows.
    pub count: usize,
}

/// One stage.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
pub struct StageRecord {
    /// Name of the stage, with its hook point.
    pub name: String,
    /// Wall-clock seconds.
    pub seconds: f64,
    /// Peak memory of the process at the end of the stage, in bytes, if the system reports it.
    pub peak_memory_bytes: Option<u64>,
    /// Whether a stored result was reused.
    pub reused: bool,
}

/// The machine.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct Machine {
    /// Processor name, if the system reports it.
    pub cpu: Option<String>,
    /// Widest vector instructions in use.
    pub instruction_set: &'static str,
    /// Device of subject models and autoencoder training.
    pub device: String,
    /// Number of threads.
    pub threads: usize,
    /// Seconds of the calibration product: the unit in which run times are compared.
    pub calibration_seconds: f64,
}

impl Machine {
    /// The current machine.
    pub fn here(device: DeviceName) -> Self {
        Self {
            cpu: cpu_name(),
            instruction_set: instruction_set(),
            device: device.to_string(),
            threads: rayon::current_num_threads(),
            calibration_seconds: calibration_seconds(),
        }
    }
}

/// Records time and memory of stages.
#[derive(Debug, Default)]
pub struct StageClock {
    /// Every stage so far.
    pub stages: Vec<StageRecord>,
}

impl StageClock {
    /// Runs a stage and records its time and memory.
    pub fn time<T, E>(&mut self, name: &str, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let started = Stopwatch::start();
        let value = work()?;
        self.note(name.to_string(), started.seconds(), false);
        Ok(value)
    }

    /// Records a stage whose stored result was reused.
    pub fn reused(&mut self, name: String) {
        self.note(name, 0.0, true);
    }

    fn note(&mut self, name: String, seconds: f64, reused: bool) {
        self.stages.push(StageRecord { name, seconds, peak_memory_bytes: peak_memory_bytes(), reused });
    }
}
