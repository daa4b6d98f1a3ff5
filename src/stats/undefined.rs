//! Reasons why a statistic does not exist.

use crate::base::Missing;

/// Why a statistic does not exist for these numbers. Such cases are counted and shown; they stop nothing.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum Undefined {
    /// Fewer values than the statistic needs.
    #[error("needs at least {need} values, got {got}")]
    #[strum(serialize = "too_few_values")]
    TooFew { need: usize, got: usize },
    /// Slices that must have one length differ.
    #[error("slices of one length expected, got {first} and {second} values")]
    LengthMismatch { first: usize, second: usize },
    /// A value, or the statistic on some resample, is NaN or infinite.
    #[error("value {index} is not a finite number")]
    NotFinite { index: usize },
    /// A weight is negative, or the weights sum to zero.
    #[error("weights must be non-negative with a positive sum")]
    BadWeights,
    /// The values are equal, or nearly all of them, so that resamples or permutations have no spread.
    #[error("too few of the values differ")]
    TooFewDistinct,
    /// The truth does not vary, so correlation is undefined.
    #[error("the truth is constant")]
    ConstantTruth,
    /// The truth varies but the prediction does not.
    #[error("the prediction is constant")]
    ConstantPrediction,
    /// A setting is out of range.
    #[error("`{name}` must be {expected}, got {got}")]
    #[strum(serialize = "bad_setting")]
    Setting { name: &'static str, expected: &'static str, got: f64 },
}

impl Undefined {
    /// The stable snake_case reason under which tallies count this case.
    pub fn reason(&self) -> &'static str {
        self.into()
    }

    /// Fails unless every value is finite.
    pub(super) fn check_finite(values: &[f64]) -> Result<(), Self> {
        match values.iter().position(|value| !value.is_finite()) {
            Some(index) => Err(Self::NotFinite { index }),
            None => Ok(()),
        }
    }

    /// Fails unless there are at least `need` values.
    pub fn check_count(got: usize, need: usize) -> Result<(), Self> {
        if got < need { Err(Self::TooFew { need, got }) } else { Ok(()) }
    }

    /// Fails unless both lengths are equal.
    pub(super) fn check_lengths(first: usize, second: usize) -> Result<(), Self> {
        if first == second { Ok(()) } else { Err(Self::LengthMismatch { first, second }) }
    }
}

impl From<Undefined> for Missing {
    fn from(undefined: Undefined) -> Self {
        Missing::Undefined(undefined.reason().to_owned())
    }
}
