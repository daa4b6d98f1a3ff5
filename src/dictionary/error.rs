use std::path::PathBuf;

use crate::activations::ActivationError;
use crate::base::FileError;
use crate::linalg::LinalgError;

/// A dictionary that cannot be used in this way, or a file that cannot be read as one.
#[derive(Debug, thiserror::Error)]
pub enum DictionaryError {
    /// Rows have the wrong width.
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
    /// Random directions and neurons have no decoder.
    #[error(
        "`{method}` is not a reconstruction: its codes cannot be decoded, so it has no FVU and cannot be spliced"
    )]
    NotAReconstruction {
        /// Name of the dictionary.
        method: String,
    },
    /// The decoder needs the norm of the row that was encoded.
    #[error(
        "`{method}` scales each row by its own norm, so codes alone cannot be decoded: reconstruct from activations instead"
    )]
    NeedsInput {
        /// Name of the dictionary.
        method: String,
    },
    /// Only chosen features were read.
    #[error(
        "`{method}` was read for its chosen features alone (`quality: false` and `load_proof: false`): set one of them \
         to true to have the others too"
    )]
    Partial {
        /// Name of the dictionary.
        method: String,
    },
    /// A file that could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file whose content cannot be used as a dictionary.
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

/// Why a fit gave no dictionary.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    /// Activations could not be read or are not usable.
    #[error(transparent)]
    Activations(#[from] ActivationError),
    /// A matrix decomposition failed.
    #[error(transparent)]
    Linalg(#[from] LinalgError),
    /// A dictionary file that could not be used.
    #[error(transparent)]
    Dictionary(#[from] DictionaryError),
    /// The loss became NaN or infinite.
    #[error("training `{method}` diverged at step {step} (loss is not finite): lower `lr`, now {lr}")]
    Diverged {
        /// Name of the dictionary.
        method: String,
        /// Step at which it happened.
        step: usize,
        /// Learning rate of that step.
        lr: f64,
    },
    /// The GPU failed.
    #[error(
        "the device failed: {why}; fewer `features` or a smaller `batch` take less of its memory, and `--device cpu` needs none"
    )]
    Device {
        /// Its message.
        why: String,
    },
    /// An external solver failed.
    #[error("`{solver}` found no components: {why}; use `solver: picard`")]
    Solver {
        /// Its name in a suite.
        solver: &'static str,
        /// Its message.
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
        /// What it must be, with the width or number of rows that requires it.
        expected: String,
    },
}

impl From<candle_core::Error> for FitError {
    fn from(error: candle_core::Error) -> Self {
        Self::Device { why: error.to_string() }
    }
}

/// One problem of one parameter. `check` returns all of them at once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {message}")]
pub struct ParamProblem {
    /// The field as written in a suite.
    pub field: &'static str,
    /// The value found and the value expected.
    pub message: String,
}

/// Collects the problems of a set of parameters.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<ParamProblem>);

impl Problems {
    /// Records a problem unless `fine`.
    pub fn require(&mut self, fine: bool, field: &'static str, message: impl FnOnce() -> String) {
        if !fine {
            self.0.push(ParamProblem { field, message: message() });
        }
    }

    /// A finite number above zero.
    pub fn positive(&mut self, field: &'static str, value: f64) {
        self.require(value.is_finite() && value > 0.0, field, || {
            format!("is {value}; expected a number above 0")
        });
    }

    /// A finite number, zero or above.
    pub fn not_negative(&mut self, field: &'static str, value: f64) {
        self.require(value.is_finite() && value >= 0.0, field, || format!("is {value}; expected 0 or more"));
    }

    /// A count of at least `least`.
    pub fn at_least(&mut self, field: &'static str, value: usize, least: usize) {
        self.require(value >= least, field, || format!("is {value}; expected at least {least}"));
    }

    /// The checked value, or all problems.
    pub fn finish<T>(self, value: T) -> Result<T, Vec<ParamProblem>> {
        if self.0.is_empty() { Ok(value) } else { Err(self.0) }
    }
}
