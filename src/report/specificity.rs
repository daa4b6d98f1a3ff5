//! Specificity of explanations by interval of activation, as `summary.json` records it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Grades of one method, or of one of its controls, at one hook point under one explainer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GradedRow {
    /// Hook point.
    pub hook: String,
    /// Method.
    pub method: String,
    /// Protocol.
    pub protocol: String,
    /// Who explained.
    pub explainer: String,
    /// Who simulated; `none` if nobody did.
    pub simulator: String,
    /// None for the method itself, else the control's name.
    pub control: Option<String>,
    /// Features walked.
    pub n_requested: usize,
    /// Features with at least one graded fragment. The tally of the others is in the cell of the score `specificity`.
    pub n_features: usize,
    /// Confidence of the intervals of shares.
    pub confidence: f64,
    /// Intervals of activation, the weakest first.
    pub intervals: Vec<GradedInterval>,
}

/// Grades in one interval of activation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GradedInterval {
    /// Lower end as a share of the feature's maximum; not part of the interval.
    pub from: f64,
    /// Upper end.
    pub to: f64,
    /// Features with a graded fragment in this interval.
    pub n_features: usize,
    /// Features that were graded, but have no held-out fragment in this interval. They do not enter the shares.
    pub n_empty: usize,
    /// Graded fragments.
    pub n_fragments: usize,
    /// Why there are no shares, such as `no_fragments`; null if there are.
    pub reason: Option<String>,
    /// One entry per grade, from 0 to 3.
    pub shares: Vec<GradeShare>,
}

/// Share of one grade in an interval.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GradeShare {
    /// The grade, from 0 (irrelevant) to 3 (says precisely what the marked text is).
    pub grade: u8,
    /// Mean over features of the share of the feature's fragments with this grade; null without fragments.
    pub share: Option<f64>,
    /// Lower end of its bootstrap interval over features; null for fewer than two features.
    pub ci_low: Option<f64>,
    /// Upper end.
    pub ci_high: Option<f64>,
}
