//! Patching of features on a task, as `summary.json` records it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A task whose prompts come in pairs, and what patching features of one run into the other does to the answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskPatching {
    /// Kind of task, such as `ioi`.
    pub task: String,
    /// Where the prompts come from: `embedded` or a file.
    pub prompts: String,
    /// Pairs of prompts.
    pub n_pairs: usize,
    /// Pairs that were left out, by reason.
    pub skipped: std::collections::BTreeMap<String, usize>,
    /// Base prompts on which the subject prefers the right answer.
    pub n_right: usize,
    /// Which divergence: `patched_target` is KL(patched ‖ target), `target_patched` the reverse. In nats.
    pub divergence: String,
    /// One entry per dictionary and control, in the order of the tables.
    pub dictionaries: Vec<PatchedDictionary>,
    /// Pairs of methods at a hook point.
    pub differences: Vec<PatchedDifference>,
}

/// Patching with one dictionary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PatchedDictionary {
    /// Hook point.
    pub hook: String,
    /// Method.
    pub method: String,
    /// `random_weights`, or null.
    pub control: Option<String>,
    /// Features whose codes differ between the two prompts of at least one pair.
    pub n_features: usize,
    /// Features that were tried one by one in the exact and the ACDC order.
    pub n_exact: usize,
    /// One curve per order, then one per control.
    pub curves: Vec<PatchCurve>,
    /// Why there are no curves; null if there are.
    pub note: Option<String>,
}

/// Output and edit size against the number of patched features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PatchCurve {
    /// Order of the features: `attribution`, `exact`, `acdc`; of a control, `random_features` or `random_directions`.
    pub order: String,
    /// Whether it is a control.
    pub is_control: bool,
    /// By rising number of features, from 0 to all.
    pub points: Vec<PatchPoint>,
    /// Mean divergence over log2(1 + features), in nats: the area under the curve over the widest range of features at
    /// the hook point. A curve keeps its last value behind its last point.
    pub area: PatchedNumber,
    /// Features needed to remove half of the divergence that patching nothing leaves, interpolated in log2(1 + features).
    pub half: PatchedNumber,
}

/// One number of patched features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PatchPoint {
    /// Patched features.
    pub n_features: usize,
    /// Divergence of the output at the last position from that of the target run, in nats: mean over pairs.
    pub kl: PatchedNumber,
    /// Normalised logit difference, 0 as in the base run, 1 as in the target run: ratio of means over pairs.
    pub logit_difference: PatchedNumber,
    /// ‖x′ − x‖ over all positions of a prompt: mean over pairs.
    pub edit_size: PatchedNumber,
}

/// A number with its interval, resampled over pairs of prompts; of erasure, over held-out prompts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PatchedNumber {
    /// The number; null if it is undefined.
    pub value: Option<f64>,
    /// Lower end of the interval.
    pub ci_low: Option<f64>,
    /// Upper end of the interval.
    pub ci_high: Option<f64>,
    /// Why the number or an end of its interval is undefined; null if all are defined.
    pub reason: Option<String>,
}

/// The difference of two methods in a number of their curves, over the same pairs of prompts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PatchedDifference {
    /// Hook point.
    pub hook: String,
    /// Order of the features.
    pub order: String,
    /// `area` or `half`.
    pub number: String,
    /// First method.
    pub method_a: String,
    /// Second method.
    pub method_b: String,
    /// First minus second.
    pub difference: Option<f64>,
    /// Lower end of the interval.
    pub ci_low: Option<f64>,
    /// Upper end of the interval.
    pub ci_high: Option<f64>,
    /// p of a permutation test that swaps the two methods within pairs of prompts.
    pub p: Option<f64>,
    /// The same, adjusted by Holm over all differences of this number and order.
    pub p_adjusted: Option<f64>,
    /// `higher`, `lower`, `no difference detected`, or `undefined` if one of the two numbers is.
    pub verdict: String,
}
