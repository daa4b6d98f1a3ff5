//! What a nightly run is held against: reseeded runs of one suite that were looked at and accepted.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::inputs::{Inputs, incomparable};
use super::run_folder::RunFolder;
use super::series::RunNumbers;
use super::{GateError, LEAST_RUNS};
use crate::base::{read, write_atomic};

/// The schema number this version writes and reads.
pub const ACCEPTED_SCHEMA: u64 = 1;

/// Inputs that may differ between accepted runs: they are as another seed is, or change time alone.
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
    /// Who explained.
    pub explainer: String,
    /// Who simulated.
    pub simulator: String,
    /// Changes smaller than these do not matter.
    pub margins: Margins,
    /// What went into the runs.
    pub inputs: Inputs,
    /// The numbers of each.
    pub runs: Vec<RunNumbers>,
}

/// Changes that do not matter, by what is tested. Shares and scores are absolute, the others relative: 0.1 is 10 %.
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
    /// Features that failed / walked.
    pub failed: f64,
    /// Features that are undefined or have a constant prediction / walked.
    pub unscored: f64,
    /// Questions put to language models, relative.
    pub questions: f64,
    /// Their cost, relative.
    pub dollars: f64,
    /// Time in units of the calibration kernel's, relative.
    pub seconds: f64,
    /// Peak memory, relative.
    pub memory: f64,
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
        }
    }
}

/// Gathers reseeded runs of one suite. They must have different seeds and otherwise the same inputs.
pub fn accept<'a>(runs: impl IntoIterator<Item = &'a RunFolder>) -> Result<AcceptedRuns, GateError> {
    let runs: Vec<&RunFolder> = runs.into_iter().collect();
    let Some((first, others)) = runs.split_first().filter(|_| runs.len() >= LEAST_RUNS) else {
        return Err(GateError::TooFewRuns { got: runs.len() });
    };
    let mut inputs = Inputs::of(&first.facts);
    for (place, run) in others.iter().enumerate() {
        if let Some(twin) = runs[..=place].iter().find(|other| other.facts.seed == run.facts.seed) {
            let (a, b) = (twin.folder.clone(), run.folder.clone());
            return Err(GateError::SameSeed { a, b, seed: run.facts.seed });
        }
        let of_run = Inputs::of(&run.facts);
        let changes = inputs.changes(&of_run).into_iter();
        let mut why: Vec<String> = changes
            .filter(|change| !MAY_DIFFER.contains(&change.input.as_str()))
            .map(|change| change.to_string())
            .collect();
        why.extend(incomparable(first, run));
        if !why.is_empty() {
            return Err(GateError::NotReseeded { a: first.folder.clone(), b: run.folder.clone(), why });
        }
        inputs.corpus.extend(of_run.corpus);
    }
    let (explainer, simulator) = first.first_pair();
    let protocol = first.summary.cells.first().map_or(String::new(), |cell| cell.protocol.clone());
    let margin = first.summary.margin.unwrap_or(Margins::default().score);
    Ok(AcceptedRuns {
        schema: ACCEPTED_SCHEMA,
        suite: first.summary.suite.clone(),
        primary: first.primary().to_string(),
        protocol,
        explainer: explainer.to_string(),
        simulator: simulator.to_string(),
        margins: Margins { score: margin, ..Margins::default() },
        inputs,
        runs: runs.into_iter().map(RunNumbers::of).collect(),
    })
}

impl AcceptedRuns {
    /// Reads what [`AcceptedRuns::write`] wrote. An unknown schema number is an error before anything else.
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

    /// Writes the file, a line for each cell and dictionary, so that a change of it can be read.
    pub fn write(&self, path: &Path) -> Result<(), GateError> {
        Ok(write_atomic(path, self.to_json()?.as_bytes())?)
    }

    /// The text of the file.
    pub fn to_json(&self) -> Result<String, GateError> {
        // `runs` is the last field: an empty list of them ends the head.
        let head = serde_json::to_string_pretty(&Self { runs: Vec::new(), ..self.clone() });
        let head = head.map_err(GateError::Unwritable)?;
        let runs: Result<Vec<String>, GateError> = self.runs.iter().map(run_text).collect();
        let head = head.strip_suffix("[]\n}").unwrap_or(&head);
        Ok(format!("{head}[\n{}\n  ]\n}}\n", runs?.join(",\n")))
    }
}

/// A run as JSON, its lists with an entry on each line.
fn run_text(run: &RunNumbers) -> Result<String, GateError> {
    let run = serde_json::to_value(run).map_err(GateError::Unwritable)?;
    let mut fields = Vec::new();
    for (name, value) in run.as_object().into_iter().flatten() {
        let shown = match value.as_array() {
            Some(entries) => {
                let lines: Result<Vec<String>, _> = entries.iter().map(serde_json::to_string).collect();
                format!("[\n      {}\n    ]", lines.map_err(GateError::Unwritable)?.join(",\n      "))
            }
            None => serde_json::to_string(value).map_err(GateError::Unwritable)?,
        };
        fields.push(format!("    {}: {shown}", serde_json::to_string(name).map_err(GateError::Unwritable)?));
    }
    Ok(format!("  {{\n{}\n  }}", fields.join(",\n")))
}
