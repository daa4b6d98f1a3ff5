use crate::base::Missing;

/// Why a statistic does not exist for these numbers. Data, not a failure: it is counted and shown.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum Undefined {
    /// Fewer values than the statistic needs.
    #[error("needs at least {need} values, got {got}")]
    TooFew {
        /// Values it takes.
        need: usize,
        /// Values there are.
        got: usize,
    },
    /// Slices that belong together differ in length.
    #[error("slices of one length expected, got {first} and {second} values")]
    LengthMismatch {
        /// Length of the first slice.
        first: usize,
        /// Length of the slice that differs from it.
        second: usize,
    },
    /// A value is NaN or infinite, or the statistic is so on some resample.
    #[error("value {index} is not a finite number")]
    NotFinite {
        /// Position of the first such value.
        index: usize,
    },
    /// A negative weight, or weights that sum to nothing.
    #[error("weights must be non-negative with a positive sum")]
    BadWeights,
    /// The truth does not vary, so nothing can correlate with it.
    #[error("the truth is constant")]
    ConstantTruth,
    /// The truth varies and the prediction does not.
    #[error("the prediction is constant")]
    ConstantPrediction,
    /// A setting outside its range.
    #[error("`{name}` must be {expected}, got {got}")]
    Setting {
        /// Its name.
        name: &'static str,
        /// What is allowed.
        expected: &'static str,
        /// What was given.
        got: f64,
    },
}

impl Undefined {
    /// The stable snake_case reason that tallies count by.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TooFew { .. } => "too_few_values",
            Self::LengthMismatch { .. } => "length_mismatch",
            Self::NotFinite { .. } => "not_finite",
            Self::BadWeights => "bad_weights",
            Self::ConstantTruth => "constant_truth",
            Self::ConstantPrediction => "constant_prediction",
            Self::Setting { .. } => "bad_setting",
        }
    }

    /// An error unless every value is finite.
    pub(super) fn check_finite(values: &[f64]) -> Result<(), Self> {
        match values.iter().position(|value| !value.is_finite()) {
            Some(index) => Err(Self::NotFinite { index }),
            None => Ok(()),
        }
    }

    /// An error unless there are at least `need` values.
    pub(super) fn check_count(got: usize, need: usize) -> Result<(), Self> {
        if got < need { Err(Self::TooFew { need, got }) } else { Ok(()) }
    }

    /// An error unless `first` and `second` are equal.
    pub(super) fn check_lengths(first: usize, second: usize) -> Result<(), Self> {
        if first == second { Ok(()) } else { Err(Self::LengthMismatch { first, second }) }
    }
}

impl From<Undefined> for Missing {
    fn from(undefined: Undefined) -> Self {
        Missing::Undefined(undefined.reason().to_owned())
    }
}
