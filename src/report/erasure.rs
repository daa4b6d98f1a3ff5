//! Erasure of concepts, as `summary.json` records it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::patching::PatchedNumber;
use crate::base::distinct;

/// Erasure of concepts by features of dictionaries, beside LEACE and the projection along the difference of class means.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Erasure {
    /// Where the prompts come from: `embedded` or a file.
    pub source: String,
    /// Positions that are edited: `all` or `last`.
    pub positions: String,
    /// λ of the probe's penalty.
    pub penalty: f64,
    /// One entry per concept.
    pub concepts: Vec<ErasureConcept>,
}

/// One concept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ErasureConcept {
    /// Name of the concept.
    pub concept: String,
    /// Its two labels.
    pub labels: [String; 2],
    /// Prompts of each label, held-out ones among them.
    pub n_prompts: [usize; 2],
    /// Held-out prompts, on which everything is measured.
    pub n_held_out: usize,
    /// Texts that were left out, by reason.
    pub skipped: std::collections::BTreeMap<String, usize>,
    /// One entry per dictionary, in the order of the tables.
    pub dictionaries: Vec<ErasureDictionary>,
}

/// One dictionary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ErasureDictionary {
    /// Hook point.
    pub hook: String,
    /// Method.
    pub method: String,
    /// Features whose mean codes differ between the labels on the training prompts.
    pub n_features: usize,
    /// Share of held-out prompts with the label of most training prompts: chance.
    pub majority: PatchedNumber,
    /// `features`, the control `random_features`, `leace` and `mean_projection`.
    pub curves: Vec<ErasureCurve>,
    /// Why there are no curves; null if there are.
    pub note: Option<String>,
}

/// Probe and output against the number of erased features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ErasureCurve {
    /// `features` in the order of their separation, `random_features`, `leace` or `mean_projection`.
    pub eraser: String,
    /// Whether it is a control.
    pub is_control: bool,
    /// By rising number of features; of a baseline, one point.
    pub points: Vec<ErasurePoint>,
    /// Smallest measured number of features with an accuracy at most halfway from the unedited one to the majority share;
    /// null for a baseline.
    pub half: Option<PatchedNumber>,
    /// Divergence there, in nats; null for a baseline.
    pub kl_at_half: Option<PatchedNumber>,
}

/// One edit: means over held-out prompts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ErasurePoint {
    /// Erased features; null for a baseline.
    pub n_features: Option<usize>,
    /// Accuracy of a linear probe that is trained after the edit.
    pub accuracy: PatchedNumber,
    /// KL(unedited ‖ edited) of the output at the last position, in nats.
    pub kl: PatchedNumber,
    /// ‖x′ − x‖ over all positions of a prompt.
    pub edit_size: PatchedNumber,
}

impl Erasure {
    /// The hook points, in order of appearance.
    pub fn hooks(&self) -> Vec<&str> {
        let all = self.concepts.iter().flat_map(|concept| &concept.dictionaries);
        distinct(all.map(|dictionary| dictionary.hook.as_str()))
    }
}

impl ErasureDictionary {
    /// The curve of an eraser.
    pub fn curve(&self, eraser: &str) -> Option<&ErasureCurve> {
        self.curves.iter().find(|curve| curve.eraser == eraser)
    }
}
