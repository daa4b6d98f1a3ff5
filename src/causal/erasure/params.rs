//! Settings of erasure.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The positions of a prompt that are edited.
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
pub enum Positions {
    /// Every position of the text but the model's position 0.
    #[default]
    All,
    /// The last position, where the probe reads.
    Last,
}

/// Settings of the erasure of concepts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-main" = "concepts"))]
#[serde(deny_unknown_fields, default)]
pub struct ErasureParams {
    /// `embedded`: number of a noun, gender of a name, and story or dialogue, in text of the embedded corpus's generator.
    /// Or a file of JSON lines with `text`, `label` (two labels per concept) and optionally `concept`. Agreement pairs are
    /// read too: `clean_prefix` is the text, and `case` up to its first `_` the label.
    pub concepts: String,
    /// Prompts of each label of a concept, at most.
    #[schemars(range(min = 8, max = 2_000))]
    pub prompts: usize,
    /// Share of each label's prompts that are held out: the probe is tested and the output measured on them.
    #[schemars(range(min = 0.1, max = 0.9))]
    pub test_share: f64,
    /// Numbers of erased features; 0 is added. A number beyond the features that differ between the labels becomes all of
    /// them.
    #[schemars(length(min = 1, max = 64), inner(range(min = 0, max = 1_000_000)))]
    pub features: Vec<usize>,
    /// λ of the probe's penalty λ/2 ‖w‖², on activations divided by their standard deviation over all dimensions.
    #[schemars(range(min = 0.000_001, max = 1_000_000.0))]
    pub penalty: f64,
    /// Positions that are edited.
    pub positions: Positions,
    /// Whether to erase random features too.
    pub controls: bool,
}

impl ErasureParams {
    /// Word for prompts of this program's own generator.
    pub const EMBEDDED: &str = "embedded";

    /// Whether the concepts are those of this program's own generator.
    pub fn is_embedded(&self) -> bool {
        self.concepts == Self::EMBEDDED
    }

    /// Held-out prompts among `n` of one label: at least one, and not all.
    pub fn n_test(&self, n: usize) -> usize {
        ((self.test_share * n as f64).round() as usize).clamp(1, n.saturating_sub(1).max(1))
    }

    /// Most passes of a held-out prompt: once as it is, then per number of features and for the two baselines.
    pub fn most_passes(&self) -> usize {
        let changed = self.features.iter().filter(|n| **n > 0).count();
        3 + changed * if self.controls { 2 } else { 1 }
    }
}

impl Default for ErasureParams {
    fn default() -> Self {
        Self {
            concepts: Self::EMBEDDED.into(),
            prompts: 128,
            test_share: 0.3,
            features: vec![0, 1, 2, 4, 8, 16, 32, 64, 128],
            penalty: 1.0,
            positions: Positions::default(),
            controls: true,
        }
    }
}
