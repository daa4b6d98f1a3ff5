//! Quadrants of a run with input and output scores: what a feature fires on, and what it does.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Features of each method by input and output score.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Quadrants {
    /// The input score: how well the explanation predicts the feature.
    pub input: String,
    /// The output score.
    pub output: String,
    /// Who explained.
    pub explainer: String,
    /// Who simulated.
    pub simulator: String,
    /// One row per hook point and method.
    pub rows: Vec<QuadrantRow>,
}

/// One method at one hook point.
///
/// An input score is high from the median on, over the scored features of all methods at the hook point. An output
/// score is high above that of the random direction in the feature's place.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QuadrantRow {
    /// Hook point.
    pub hook: String,
    /// Method.
    pub method: String,
    /// The median input score of the hook point.
    pub input_cut: Option<f64>,
    /// Features walked.
    pub n_requested: usize,
    /// Features with both scores.
    pub n_both: usize,
    /// Share of these with a high input and a high output score.
    pub both: Option<Share>,
    /// High input score only.
    pub input_only: Option<Share>,
    /// High output score only.
    pub output_only: Option<Share>,
    /// Both low.
    pub neither: Option<Share>,
    /// `both` if the two scores were independent: share of high input scores × share of high output scores.
    pub both_if_independent: Option<f64>,
}

/// A share of features.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Share {
    /// The share.
    pub share: f64,
    /// Lower end of its interval over features.
    pub ci_low: Option<f64>,
    /// Upper end.
    pub ci_high: Option<f64>,
}

impl QuadrantRow {
    /// The shares, in the order of the fields.
    pub fn shares(&self) -> [Option<Share>; 4] {
        [self.both, self.input_only, self.output_only, self.neither]
    }
}
