//! Rankings in `summary.json`: methods in the order of their mean over hook points, with intervals that hold
//! together.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The methods of a run under one scorer and one explainer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ranking {
    /// The score, for example `top_and_random`.
    pub scorer: String,
    /// Protocol.
    pub protocol: String,
    /// Who explained.
    pub explainer: String,
    /// Who simulated.
    pub simulator: String,
    /// Whether this is the primary scorer under the first explainer.
    pub primary: bool,
    /// Hook points that each mean is over.
    pub hooks: Vec<String>,
    /// Probability that all intervals of this ranking hold together.
    pub confidence: f64,
    /// Methods and controls, best first; those without a place at the end.
    pub rows: Vec<RankedMethod>,
    /// A remark to print with the ranking; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// One method, or one control of a method, in a [`Ranking`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RankedMethod {
    /// Method, as the suite names it.
    pub method: String,
    /// None for the method itself, else the control's name.
    #[serde(default)]
    pub control: Option<String>,
    /// Place among the methods, from 1; equal means share one. None for a control and for a method that is not
    /// ranked.
    pub place: Option<usize>,
    /// Mean over hook points of the cells' means.
    pub mean: Option<f64>,
    /// Lower end of its simultaneous interval; none where the row is not ranked.
    pub ci_low: Option<f64>,
    /// Upper end.
    pub ci_high: Option<f64>,
    /// Scored features behind the mean, over all hook points.
    pub n_scored: usize,
    /// Least and largest number of scored features at one hook point.
    pub n_per_hook: (usize, usize),
    /// Two rows that share a letter are not separated (compact letter display); empty where there is no test. After
    /// `z` follows `aa`; with more than 26 letters they stand apart by blanks.
    pub letters: String,
    /// Separated rows, as (method, control): this row's mean is better than theirs (higher, where higher is better)
    /// at the ranking's confidence.
    pub above: Vec<(String, Option<String>)>,
    /// Why there is no mean or no place; absent where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
