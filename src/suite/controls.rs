//! Controls as a suite file writes them.

use schemars::JsonSchema;
use serde::Deserialize;

/// An item of `controls`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ControlEntry {
    /// A control on the same subject.
    Named(ControlName),
    /// Controls on a subject with permuted weights.
    OnPermuted(PermutedControls),
}

/// A control on the same subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ControlName {
    /// Each feature is scored with another feature's explanation.
    Shuffled,
    /// Each feature is scored with the labelled concept that fits it best.
    Oracle,
}

/// Controls on a subject with permuted weights, each with the methods to repeat.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PermutedControls {
    /// Weights are permuted within each matrix, except embeddings.
    pub random_weights: Vec<String>,
    /// Weights are permuted within each matrix, embeddings and unembedding included.
    pub random_weights_and_embeddings: Vec<String>,
}
