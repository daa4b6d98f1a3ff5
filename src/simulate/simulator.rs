use serde::{Deserialize, Serialize};

use crate::base::Attempt;
use crate::features::Explanation;

/// Activations predicted for one fragment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Simulation {
    /// Expected activation of each token, in whatever unit the simulator speaks; correlations don't mind.
    pub expected: Vec<f64>,
}

/// A way to turn an explanation into activations. It gets token ids and never a true activation.
pub trait Simulator: Send + Sync {
    /// The kind, as suites and results spell it.
    fn name(&self) -> &'static str;

    /// One expected activation per token.
    fn simulate(&self, explanation: &Explanation, tokens: &[u32]) -> Attempt<Simulation>;
}
