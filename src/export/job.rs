//! What the forms share while they write.

use super::error::ExportError;
use super::evidence::Scores;
use super::folder::Output;
use super::run_folder::RunFolder;

/// What became of one dictionary.
pub enum Outcome {
    Written { path: String, features: Option<usize> },
    Skipped(String),
}

/// What a form needs to write a dictionary.
pub struct Job<'a> {
    pub run: &'a RunFolder,
    pub scores: Scores,
    /// Text of every token by id; none if the run folder has no such file.
    pub tokens: Option<Vec<String>>,
    pub out: Output,
    pub stopped: &'a dyn Fn() -> bool,
}

impl Job<'_> {
    /// An error after a stop request.
    pub fn check_stop(&self) -> Result<(), ExportError> {
        if (self.stopped)() { Err(ExportError::Stopped) } else { Ok(()) }
    }
}
