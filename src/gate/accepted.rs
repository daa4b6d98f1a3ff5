//! The accepted file: reseeded runs of one suite, against which the gate tests a nightly run.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::inputs::{Inputs, incomparable};
use super::run_folder::RunFolder;
use super::series::RunNumbers;
use super::{GateError, MIN_RUNS};
use crate::base::{read, write_atomic};

/// The schema number this version writes and reads.
pub const ACCEPTED_SCHEMA: u64 = 1;

/// Inputs that may differ between accepted runs. They change numbers as another seed does, or only the time.
const MAY_DIFFER: [&str; 4] = ["program", "processor", "instruction set", "threads"];

/// The file that `accept` writes. Its margins may be edited by hand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AcceptedRuns {
    /// [`ACCEPTED_SCHEMA`].
    pub schema: u64,
    /// The suite's name.
    pub suite: String,
    /// The scorer that is tested.
    pub primary: String,
    /// Protocol.
    pub protocol: String,
    /// Explainer.
    pub explainer: String,
    /// Simulator.
    pub simulator: String,
    /// Changes smaller than these do not matter.
    pub margins: Margins,
    /// Inputs of the runs.
    pub inputs: Inputs,
    /// Numbers of each run.
    pub runs: Vec<RunNumbers>,
}

/// Largest changes that do not matter. Scores and shares are absolute; the others are relative: 0.1 is 10 %.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Margins {
    /// Mean score, averaged over hook points.
    pub score: f64,
    /// Fraction of variance unexplained.
    pub fvu: f64,
    /// Loss recovered.
    pub loss_recovered: f64,
    /// Dead features / features.
    pub dead_share: f64,
    /// Mean number of active features, relative.
    pub l0: f64,
    /// Failed features / walked features.
    pub failed: f64,
    /// Features that are undefined or have a constant prediction / walked features.
    pub unscored: f64,
    /// Requests to language models, relative.
    pub questions: f64,
    /// Their cost, relative.
    pub dollars: f64,
    /// Time in units of the calibration kernel, relative.
    pub seconds: f64,
    /// Peak memory, relative.
    pub memory: f64,
    /// Area under a curve of patching, relative; absent without a task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patching_area: Option<f64>,
    /// Features for half of the divergence, relative; absent without a task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patching_half: Option<f64>,
}

impl Default for Margins {
    fn default() -> Self {
        Self {
            score: 0.05,
            fvu: 0.02,
            loss_recovered: 0.02,
            dead_share: 0.05,
            l0: 0.1,
            failed: 0.05,
            unscored: 0.1,
            questions: 0.1,
            dollars: 0.1,
            seconds: 0.25,
            memory: 0.2,
            patching_area: None,
            patching_half: None,
        }
    }
}

impl Margins {
    /// Those of patching, of runs with a task: area, then features for half.
    const PATCHING: [f64; 2] = [0.1, 0.25];

    /// The margins of patching, the default ones where the file has none.
    pub(super) fn patching(&self) -> [f64; 2] {
        let [area, half] = Self::PATCHING;
        [self.patching_area.unwrap_or(area), self.patching_half.unwrap_or(half)]
    }
}

/// Collects reseeded runs of one suite. Seeds must differ, all other inputs must be the same.
pub fn accept<'a>(runs: impl IntoIterator<Item = &'a RunFolder>) -> Result<AcceptedRuns, GateError> {
    let runs: Vec<&RunFolder> = runs.into_iter().collect();
    let Some((first, others)) = runs.split_first().filter(|_| runs.len() >= MIN_RUNS) else {
        return Err(GateError::TooFewRuns { got: runs.len() });
    };
    let mut inputs = Inputs::of(&first.facts);
    for (place, run) in others.iter().enumerate() {
        if let Some(twin) = runs[..=place].iter().find(|other| other.facts.seed == run.facts.seed) {
            let (a, b) = (twin.folder.clone(), run.folder.clone());
            return Err(GateError::SameSeed { a, b, seed: run.facts.seed });
        }
        let of_run = Inputs::of(&run.facts);
        let mut changes = inputs.changes(&of_run);
        changes.retain(|change| !MAY_DIFFER.contains(&change.input.as_str()));
        let why: Vec<String> =
            changes.iter().map(ToString::to_string).chain(incomparable(first, run)).collect();
        if !why.is_empty() {
            let expected = "reseeded runs of one suite";
            return Err(GateError::NotComparable { a: first.name(), b: run.name(), expected, why });
        }
        inputs.corpus.extend(of_run.corpus);
    }
    let (explainer, simulator) = first.first_pair();
    let protocol = first.summary.cells.first().map_or(String::new(), |cell| cell.protocol.clone());
    let margin = first.summary.margin.unwrap_or(Margins::default().score);
    let [patching_area, patching_half] =
        Margins::PATCHING.map(|margin| first.summary.patching.is_some().then_some(margin));
    Ok(AcceptedRuns {
        schema: ACCEPTED_SCHEMA,
        suite: first.summary.suite.clone(),
        primary: first.primary().to_string(),
        protocol,
        explainer: explainer.to_string(),
        simulator: simulator.to_string(),
        margins: Margins { score: margin, patching_area, patching_half, ..Margins::default() },
        inputs,
        runs: runs.into_iter().map(RunNumbers::of).collect(),
    })
}

impl AcceptedRuns {
    /// Reads the file. The schema number is checked first.
    pub fn read(path: &Path) -> Result<Self, GateError> {
        #[derive(Deserialize)]
        struct Numbered {
            schema: u64,
        }
        let bytes = read(path)?;
        let unreadable = |source| GateError::Json {
            path: path.to_path_buf(),
            expected: "what `autointerp accept` writes",
            source,
        };
        let Numbered { schema } = serde_json::from_slice(&bytes).map_err(unreadable)?;
        if schema != ACCEPTED_SCHEMA {
            return Err(GateError::Schema { path: path.to_path_buf(), found: schema });
        }
        serde_json::from_slice(&bytes).map_err(unreadable)
    }

    /// Writes the file with one line per cell and dictionary, so that its diffs can be read.
    pub fn write(&self, path: &Path) -> Result<(), GateError> {
        let text = self.to_json().map_err(GateError::Unwritable)?;
        Ok(write_atomic(path, text.as_bytes())?)
    }

    fn to_json(&self) -> serde_json::Result<String> {
        // `runs` is the last field, so the head ends in an empty list.
        let head = serde_json::to_string_pretty(&Self { runs: Vec::new(), ..self.clone() })?;
        let head = head.strip_suffix("[]\n}").unwrap_or(&head);
        let runs: Vec<String> = self.runs.iter().map(run_text).collect::<Result<_, _>>()?;
        Ok(format!("{head}[\n{}\n  ]\n}}\n", runs.join(",\n")))
    }
}

/// A run as JSON. Lists have one entry per line.
fn run_text(run: &RunNumbers) -> serde_json::Result<String> {
    let run = serde_json::to_value(run)?;
    let mut fields = Vec::new();
    for (name, value) in run.as_object().into_iter().flatten() {
        let text = match value.as_array() {
            Some(entries) => {
                let lines: Vec<String> =
                    entries.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
                format!("[\n      {}\n    ]", lines.join(",\n      "))
            }
            None => serde_json::to_string(value)?,
        };
        fields.push(format!("    {}: {text}", serde_json::to_string(name)?));
    }
    Ok(format!("  {{\n{}\n  }}", fields.join(",\n")))
}
