use std::path::PathBuf;

use crate::activations::ActivationError;
use crate::base::FileError;
use crate::linalg::LinalgError;

/// A dictionary that cannot do what was asked of it, or a file that is none.
#[derive(Debug, thiserror::Error)]
pub enum DictionaryError {
    /// Rows of another width than the dictionary's.
    #[error(
        "`{method}` takes rows of {expected} values and got {got}: use activations of the hook point it was fitted at"
    )]
    Shape {
        /// Name of the dictionary.
        method: String,
        /// Width it takes.
        expected: usize,
        /// Width it got.
        got: usize,
    },
    /// Random directions and neurons through ReLU read activations without modelling them.
    #[error(
        "`{method}` is not a reconstruction: its codes cannot be decoded, so it has no FVU and cannot be spliced"
    )]
    NotAReconstruction {
        /// Name of the dictionary.
        method: String,
    },
    /// The decoder needs the norm of the row that was encoded.
    #[error(
        "`{method}` scales each row by itself, so codes alone cannot be decoded: reconstruct from activations instead"
    )]
    NeedsInput {
        /// Name of the dictionary.
        method: String,
    },
    /// A file that could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file that was read and is not a dictionary that can be used.
    #[error("dictionary file `{}`: {problem}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What was expected, what was found, and what to do.
        problem: String,
    },
}

impl DictionaryError {
    pub(super) fn unusable(path: &std::path::Path, problem: impl Into<String>) -> Self {
        Self::Unusable { path: path.to_path_buf(), problem: problem.into() }
    }
}

/// A fit that did not give a dictionary.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    /// Activations could not be read or are no good.
    #[error(transparent)]
    Activations(#[from] ActivationError),
    /// A matrix without the decomposition asked for.
    #[error(transparent)]
    Linalg(#[from] LinalgError),
    /// A dictionary file that could not be used.
    #[error(transparent)]
    Dictionary(#[from] DictionaryError),
    /// The loss is no longer a number.
    #[error("training `{method}` diverged at step {step} (loss is not finite): lower `lr`, now {lr}")]
    Diverged {
        /// Name of the dictionary.
        method: String,
        /// Step at which it was seen.
        step: usize,
        /// Learning rate in force.
        lr: f64,
    },
    /// A GPU that could not do its part.
    #[error(
        "the device failed: {why}; fewer `features` or a smaller `batch` take less of its memory, and `--device cpu` needs none"
    )]
    Device {
        /// What it says.
        why: String,
    },
    /// A solver from elsewhere that gave up.
    #[error("`{solver}` found no components: {why}; use `solver: picard`")]
    Solver {
        /// Its name in a suite.
        solver: &'static str,
        /// What it says.
        why: String,
    },
    /// Parameters that do not fit the width of the hook point.
    #[error("`{method}`: `{field}` is {got}, but {expected}")]
    DoesNotFit {
        /// Name of the dictionary.
        method: String,
        /// The parameter.
        field: &'static str,
        /// Its value.
        got: String,
        /// What it must be, with the width or number of rows that says so.
        expected: String,
    },
}

impl From<candle_core::Error> for FitError {
    fn from(error: candle_core::Error) -> Self {
        Self::Device { why: error.to_string() }
    }
}

/// One problem of one parameter; `check` gives all of them at once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {message}")]
pub struct ParamProblem {
    /// The field as written in a suite.
    pub field: &'static str,
    /// What was got and what is expected.
    pub message: String,
}

/// Collects problems until all are known.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<ParamProblem>);

impl Problems {
    /// Notes a problem unless `fine`.
    pub fn require(&mut self, fine: bool, field: &'static str, message: impl FnOnce() -> String) {
        if !fine {
            self.0.push(ParamProblem { field, message: message() });
        }
    }

    /// A number above zero and finite.
    pub fn positive(&mut self, field: &'static str, value: f64) {
        self.require(value.is_finite() && value > 0.0, field, || {
            format!("is {value}; expected a number above 0")
        });
    }

    /// A count of at least `least`.
    pub fn at_least(&mut self, field: &'static str, value: usize, least: usize) {
        self.require(value >= least, field, || format!("is {value}; expected at least {least}"));
    }

    /// The checked value, or everything that is wrong.
    pub fn finish<T>(self, value: T) -> Result<T, Vec<ParamProblem>> {
        if self.0.is_empty() { Ok(value) } else { Err(self.0) }
    }
}
