//! The card of a dictionary from a file: what was read, how it was recognised, and what was done with it.

use serde::{Deserialize, Serialize};

/// What was read, in words for people.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Card {
    /// Name of the format.
    pub format: String,
    /// What the format was recognised by.
    pub recognised_by: String,
    /// Files that were read, relative to the dictionary's folder.
    pub files: Vec<String>,
    /// The dictionary's own word for its architecture.
    pub architecture: String,
    /// Shapes of encoder and decoder as stored: `W_enc [d, F], W_dec [F, d]`.
    pub orientation: String,
    /// Whether and what is subtracted from inputs.
    pub centring: String,
    /// Scaling of inputs and outputs, and use of decoder norms.
    pub scaling: String,
    /// The activation function, with its k or thresholds.
    pub activation: String,
    /// Settings and tensors left out because the suite says `ignore`; they may change numbers.
    pub dropped: Vec<String>,
    /// Assumptions and other facts.
    pub notes: Vec<String>,
}
