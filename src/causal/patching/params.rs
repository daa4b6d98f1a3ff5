//! Settings of patching.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The order in which features are patched.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
    strum::Display,
    strum::IntoStaticStr,
    strum::EnumString,
    strum::VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Order {
    /// Attribution patching: gradient times change, from one backward pass per base prompt.
    Attribution,
    /// The effect of each feature patched alone, for the best by attribution.
    Exact,
    /// Removal from the set of all features by a threshold on the rise of the divergence.
    Acdc,
}

/// Which divergence of the output distributions at the last position, in nats.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Default,
    Serialize,
    Deserialize,
    JsonSchema,
    strum::Display,
    strum::IntoStaticStr,
    strum::EnumString,
    strum::VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Divergence {
    /// KL(patched ‖ target), as in the code of Cunningham et al. 2023.
    #[default]
    PatchedTarget,
    /// KL(target ‖ patched).
    TargetPatched,
}

/// What the attribution order differentiates, at the base run.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Default,
    Serialize,
    Deserialize,
    JsonSchema,
    strum::Display,
    strum::IntoStaticStr,
    strum::EnumString,
    strum::VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Attributed {
    /// logit(target answer) − logit(base answer), as in attribution patching and sparse feature circuits.
    #[default]
    LogitDifference,
    /// The chosen divergence, with a minus sign.
    Divergence,
}

/// Settings of patching on a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PatchParams {
    /// Orders of the features. Each gives one curve.
    #[schemars(length(min = 1, max = 3))]
    pub orders: Vec<Order>,
    /// What the attribution order differentiates.
    pub attributed: Attributed,
    /// Features, the best by attribution, that the exact order and the ACDC order try one by one. One try costs one pass
    /// per pair in the exact order, and at most one pass per pair and threshold in the ACDC order.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_exact: usize,
    /// Largest number of features on a curve, beside all of them.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_features: usize,
    /// Thresholds of the ACDC order, spaced evenly in the logarithm from 1e-5 to 1 nats.
    #[schemars(range(min = 1, max = 100))]
    pub thresholds: usize,
    /// Which divergence.
    pub divergence: Divergence,
    /// Whether to measure random features and random directions of the same norm too.
    pub controls: bool,
}

impl Default for PatchParams {
    fn default() -> Self {
        Self {
            orders: vec![Order::Attribution, Order::Exact, Order::Acdc],
            attributed: Attributed::default(),
            max_exact: 64,
            max_features: 512,
            thresholds: 12,
            divergence: Divergence::default(),
            controls: true,
        }
    }
}
