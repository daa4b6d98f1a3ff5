//! Compares two runs, and tests a nightly run against accepted runs.
//!
//! In: run folders (`summary.json`, `scores.jsonl`, `manifest.json`), the accepted file.
//! Out: differences with intervals and verdicts, as text, Markdown and JUnit XML.
//! Never: needs a model, a key or the network; compares numbers of different kinds; hides that inputs differ.

mod accepted;
mod compare;
mod curve;
mod inputs;
mod junit;
mod patching;
mod quantities;
mod regress;
mod run_folder;
mod series;
mod text;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use crate::base::FileError;
use crate::report::ReportError;
use crate::stats::Undefined;

pub use accepted::{ACCEPTED_SCHEMA, AcceptedRuns, Margins, accept};
pub use compare::{CellChange, Comparison, QualityChange, compare};
pub use inputs::InputChange;
pub use junit::junit_xml;
pub use patching::PatchingChange;
pub use regress::{GateGroup, GateLine, GateReport, regress};
pub use run_folder::RunFolder;
pub use text::{comparison_text, gate_markdown, gate_text};

/// Why runs cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A run folder's results could not be read.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// A file with the wrong JSON.
    #[error("read `{}`: not {expected}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Expected content.
        expected: &'static str,
        /// The parser's error.
        #[source]
        source: serde_json::Error,
    },
    /// A run folder without a required file.
    #[error("no `{file}` in `{}`: expected the folder of a finished run", folder.display())]
    Unfinished {
        /// The folder.
        folder: PathBuf,
        /// The file.
        file: String,
    },
    /// An accepted file of another schema.
    #[error("read `{}`: schema {found}, this version reads {ACCEPTED_SCHEMA}: accept runs again with this version", path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// Its schema number.
        found: u64,
    },
    /// Runs whose numbers are of different kinds, or whose inputs differ in more than the seed.
    #[error("{a} and {b} are not {expected}: {}", why.join("; "))]
    NotComparable {
        /// The first.
        a: String,
        /// The second.
        b: String,
        /// What the runs should be.
        expected: &'static str,
        /// Every reason.
        why: Vec<String>,
    },
    /// Too few runs to estimate the variance between runs.
    #[error(
        "{got} runs to accept, expected at least {MIN_RUNS} of one suite with different seeds (`run SUITE --seed N --out DIR`): the gate measures the variance between runs from them"
    )]
    TooFewRuns {
        /// Number of runs given.
        got: usize,
    },
    /// Two accepted runs with the same seed: they say nothing about the variance between runs.
    #[error("`{}` and `{}` both have seed {seed}: accepted runs must have different seeds, so that they show the variance between runs", a.display(), b.display())]
    SameSeed {
        /// The first.
        a: PathBuf,
        /// The second.
        b: PathBuf,
        /// Their seed.
        seed: u64,
    },
    /// Accepted results that cannot be written as JSON.
    #[error("write accepted results as JSON")]
    Unwritable(#[source] serde_json::Error),
    /// A statistic that is undefined.
    #[error("compare {what}")]
    Statistics {
        /// The quantity.
        what: String,
        /// The reason.
        #[source]
        source: Undefined,
    },
}

/// Smallest number of runs to accept.
pub const MIN_RUNS: usize = 5;
