//! Predicted activations.

use serde::{Deserialize, Serialize};

/// Predicted activations of one fragment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Simulation {
    /// Expected activation of each token, in any unit, because correlations are scale-free. None if a language
    /// model gave no number for the token.
    pub expected: Vec<Option<f64>>,
}

impl Simulation {
    /// A simulation with a number for every token.
    pub fn told(expected: impl IntoIterator<Item = f64>) -> Self {
        Self { expected: expected.into_iter().map(Some).collect() }
    }

    /// Number of tokens without a number, from position `from` on.
    pub fn n_untold(&self, from: usize) -> usize {
        self.expected.iter().skip(from).filter(|value| value.is_none()).count()
    }
}
