//! What patching measures on each pair of prompts.

use serde::{Deserialize, Serialize};

/// Reason for no curves: patching every feature would change nothing.
pub const NO_FEATURE_DIFFERS: &str = "no_feature_differs";

/// Pairs of prompts of a task. The two prompts of a pair have equal token counts; pairs may differ in length. Outputs
/// are read at the last position.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskPairs {
    /// Prompts that are patched.
    pub base: Vec<Vec<u32>>,
    /// Prompts whose codes are written into the base run.
    pub target: Vec<Vec<u32>>,
    /// Answer to the target prompt, answer to the base prompt.
    pub answers: Vec<[u32; 2]>,
}

/// What patching with one dictionary does to the output, per pair.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PatchedPairs {
    /// Features whose codes differ between the two prompts of at least one pair.
    pub n_features: usize,
    /// Features that were tried one by one in the exact and the ACDC order.
    pub n_exact: usize,
    /// Passes from the hook point to the output, one per pair, that the experiment took.
    pub n_passes: usize,
    /// logit(target answer) − logit(base answer) of the base run, per pair.
    pub base_difference: Vec<f64>,
    /// The same of the target run.
    pub target_difference: Vec<f64>,
    /// One curve per order, then one per control. Empty if `note` says why.
    pub curves: Vec<MeasuredCurve>,
    /// Why there are no curves: [`NO_FEATURE_DIFFERS`]; none if there are.
    pub note: Option<String>,
}

/// Output and edit size against the number of patched features.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MeasuredCurve {
    /// `attribution`, `exact`, `acdc`; of a control, `random_features` or `random_directions`.
    pub order: String,
    /// Whether it is a control.
    pub is_control: bool,
    /// By rising number of features, from 0 to all.
    pub points: Vec<MeasuredPoint>,
}

/// One number of patched features. Every list has one entry per pair.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MeasuredPoint {
    /// Patched features.
    pub n_features: usize,
    /// Divergence from the target run's output at the last position, in nats.
    pub kl: Vec<f64>,
    /// logit(target answer) − logit(base answer).
    pub difference: Vec<f64>,
    /// ‖x′ − x‖ over all positions and dimensions of the hook point that is written.
    pub edit_size: Vec<f64>,
}
