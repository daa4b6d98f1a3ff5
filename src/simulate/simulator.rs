use serde::{Deserialize, Serialize};

use crate::base::Attempt;
use crate::features::Explanation;

/// Activations predicted for one fragment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Simulation {
    /// Expected activation of each token, in whatever unit the simulator speaks; correlations don't mind. None for
    /// an untold token: one for which a language model gave no number.
    pub expected: Vec<Option<f64>>,
}

impl Simulation {
    /// One in which every token is told.
    pub fn told(expected: impl IntoIterator<Item = f64>) -> Self {
        Self { expected: expected.into_iter().map(Some).collect() }
    }

    /// Tokens from position `from` on for which there is no number.
    pub fn n_untold(&self, from: usize) -> usize {
        self.expected.iter().skip(from).filter(|value| value.is_none()).count()
    }
}

/// A way to turn an explanation into activations. It gets token ids and never a true activation.
pub trait Simulator: Send + Sync {
    /// The kind, as suites and results spell it.
    fn name(&self) -> &'static str;

    /// One expected activation per token.
    fn simulate(&self, explanation: &Explanation, tokens: &[u32]) -> Attempt<Simulation>;
}
