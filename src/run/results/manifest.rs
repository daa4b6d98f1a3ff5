//! `manifest.json`: everything that chose a number, and what the run cost.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::{DeviceName, Digest, Stopwatch, cpu_name, instruction_set, peak_memory_bytes};
use crate::llm::Usage;
use crate::report::ScoreFacts;
use crate::run::inputs::prepare::{CorpusRecord, Fillers};
use crate::run::plan::bill::Beside;
use crate::run::results::calibration::calibration_seconds;
use crate::score::catalog::score_versions;
use crate::subject::{Prefix, SubjectInfo};
use crate::suite::Suite;

/// Versions of the definitions behind the numbers that no scorer computes; a definition that changes raises its own.
const OTHER_VERSIONS: [(&str, u32); 3] = [("fvu", 1), ("loss_recovered", 1), ("interval", 1)];

/// Version of each definition behind a run's numbers, in a fixed order.
pub fn metric_versions(suite: &Suite) -> Vec<(&'static str, u32)> {
    score_versions(&suite.scorers).chain(OTHER_VERSIONS).collect()
}

/// What a run was and what it took. Times and paths stand here and nowhere in `summary.json`.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct Manifest<'a> {
    /// Schema of this file.
    pub schema: u32,
    /// Version of the program.
    pub version: &'static str,
    /// Digest of the resolved suite and of its inputs, as in `summary.json`.
    pub run: Digest,
    /// The suite's name.
    pub suite_name: &'a str,
    /// The suite with every default filled in.
    pub suite: &'a Suite,
    /// Root of every seed stream.
    pub seed: u64,
    /// The model.
    pub subject: &'a SubjectInfo,
    /// What stood in front of every context, fragment and probe.
    pub bos: Prefix,
    /// The text.
    pub corpus: &'a CorpusRecord,
    /// Tokens that stand where text should be in probes, with their text.
    pub fillers: FillerRecord,
    /// Digest of each dictionary and of what it was fitted on, by `HOOK/ROW`.
    pub dictionaries: BTreeMap<String, DictionaryRecord>,
    /// Version of each definition behind a number.
    pub metric_versions: BTreeMap<&'static str, u32>,
    /// The scores, as their scorers declare them.
    pub scores: Vec<ScoreFacts>,
    /// Every stage, in order.
    pub stages: Vec<StageRecord>,
    /// What the reader of the results must know.
    pub warnings: Vec<String>,
    /// Machine and threads; results do not depend on the number of threads.
    pub machine: Machine,
    /// Version of every question that language models were asked, by explainer and simulator.
    pub prompts: BTreeMap<String, Digest>,
    /// Requests, tokens and dollars of this run by language model: none in an offline run. Answers
    /// that were there already are counted as cached and cost nothing.
    pub llm_usage: BTreeMap<String, Usage>,
    /// The same by explainer, simulator and scorer, beside what was planned for the whole suite.
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
    /// Digest of the activations it was fitted on.
    pub fitted_on: Digest,
    /// Tokens that harvesting left out of fitting because their norm is over ten times the median.
    pub rows_left_out: usize,
    /// Which those were, by position in the context and token, the most frequent first.
    pub outliers: Vec<OutlierRecord>,
    /// Tokens fitted on.
    pub rows: usize,
    /// How the fit went.
    pub report: crate::dictionary::FitReport,
    /// Wall-clock seconds of measuring and scoring it, other dictionaries running beside it.
    pub evaluate_seconds: f64,
}

/// Rows left out with one token at one position.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct OutlierRecord {
    /// Counted from the model's position 0.
    pub position: usize,
    /// The token's id.
    pub token: u32,
    /// Its text.
    pub text: String,
    /// How many there were.
    pub count: usize,
}

/// One stage.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
pub struct StageRecord {
    /// What and where.
    pub name: String,
    /// Wall-clock seconds.
    pub seconds: f64,
    /// Largest memory of the process at its end, in bytes, where the system tells.
    pub peak_memory_bytes: Option<u64>,
    /// Whether its result was there already.
    pub reused: bool,
}

/// The machine.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct Machine {
    /// Processor, where the system tells.
    pub cpu: Option<String>,
    /// Widest vector instructions used.
    pub instruction_set: &'static str,
    /// Where subject models ran and autoencoders were trained.
    pub device: String,
    /// Threads.
    pub threads: usize,
    /// Seconds that the calibration kernel took: what times of two runs are compared in.
    pub calibration_seconds: f64,
}

impl Machine {
    /// This one.
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

/// Measures stages as they end.
#[derive(Debug, Default)]
pub struct StageClock {
    /// Every stage so far.
    pub stages: Vec<StageRecord>,
}

impl StageClock {
    /// Runs a stage and notes its time and memory.
    pub fn time<T, E>(&mut self, name: &str, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let started = Stopwatch::start();
        let value = work()?;
        self.note(name.to_string(), started.seconds(), false);
        Ok(value)
    }

    /// Notes a stage whose result was there already.
    pub fn reused(&mut self, name: String) {
        self.note(name, 0.0, true);
    }

    fn note(&mut self, name: String, seconds: f64, reused: bool) {
        self.stages.push(StageRecord { name, seconds, peak_memory_bytes: peak_memory_bytes(), reused });
    }
}
