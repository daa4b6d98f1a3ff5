//! Two runs compared, and a nightly run held against accepted ones.
//!
//! In: run folders (`summary.json`, `scores.jsonl`, `manifest.json`), the file that `accept` wrote.
//! Out: differences with intervals and verdicts; what became worse; the same as text, Markdown, JUnit XML.
//! Never: needs a model, a key or the network; compares what is not comparable; blames the code for what changed in the
//! inputs.

mod accepted;
mod compare;
mod inputs;
mod junit;
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
    /// A file is not the JSON that it should be.
    #[error("read `{}`: not {expected}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
        /// What the parser says.
        #[source]
        source: serde_json::Error,
    },
    /// A folder without the file that a comparison needs.
    #[error("no `{file}` in `{}`: expected the folder of a finished run", folder.display())]
    Unfinished {
        /// The folder.
        folder: PathBuf,
        /// The file.
        file: &'static str,
    },
    /// Accepted results of another schema.
    #[error("read `{}`: schema {found}, this version reads {ACCEPTED_SCHEMA}: accept runs again with this version", path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// The number found.
        found: u64,
    },
    /// Numbers of different kinds.
    #[error("{a} and {b} are not comparable: {}", why.join("; "))]
    NotComparable {
        /// The first.
        a: String,
        /// The second.
        b: String,
        /// Every reason.
        why: Vec<String>,
    },
    /// Fewer runs than the variance between runs needs.
    #[error(
        "{got} runs to accept, expected at least {LEAST_RUNS} of one suite with different seeds (`run SUITE --seed N --out DIR`): the gate measures the variance between runs from them"
    )]
    TooFewRuns {
        /// How many were given.
        got: usize,
    },
    /// Two runs that say nothing about the variance between runs.
    #[error("`{}` and `{}` both have seed {seed}: the runs to accept must have different seeds, or the variance between them is none", a.display(), b.display())]
    SameSeed {
        /// The first.
        a: PathBuf,
        /// The second.
        b: PathBuf,
        /// Their seed.
        seed: u64,
    },
    /// Runs to accept that are not of one experiment.
    #[error("`{}` and `{}` are not reseeded runs of one suite: {}", a.display(), b.display(), why.join("; "))]
    NotReseeded {
        /// The first.
        a: PathBuf,
        /// The other.
        b: PathBuf,
        /// What differs.
        why: Vec<String>,
    },
    /// A result that cannot be written as JSON.
    #[error("write accepted results as JSON")]
    Unwritable(#[source] serde_json::Error),
    /// Numbers that statistics cannot use.
    #[error("compare {what}")]
    Statistics {
        /// Of what.
        what: String,
        /// Why.
        #[source]
        source: Undefined,
    },
}

/// Runs that `accept` takes at least.
pub const LEAST_RUNS: usize = 5;
