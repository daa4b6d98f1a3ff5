//! Prompts of a concept, and what erasure measures on them.

use serde::{Deserialize, Serialize};

/// Prompts with two labels. The probe reads the last position of each.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ConceptPrompts {
    /// Name of the concept.
    pub name: String,
    /// The two labels.
    pub labels: [String; 2],
    /// Tokens of each prompt, at least two.
    pub prompts: Vec<Vec<u32>>,
    /// Whether a prompt has the second label.
    pub classes: Vec<bool>,
    /// Whether a prompt is held out from ranking, erasers and probes.
    pub is_test: Vec<bool>,
}

impl ConceptPrompts {
    /// Places of the prompts that are held out, or of the others.
    pub fn places(&self, is_test: bool) -> Vec<usize> {
        (0..self.prompts.len()).filter(|&place| self.is_test[place] == is_test).collect()
    }
}

/// What erasing one concept with one dictionary does.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ErasedConcept {
    /// Name of the concept.
    pub concept: String,
    /// Features whose mean codes differ between the labels, on the training prompts.
    pub n_features: usize,
    /// Passes from the hook point to the output, one per prompt, that the experiment took.
    pub n_passes: usize,
    /// Per held-out prompt: 1 if it has the label of most training prompts, else 0.
    pub majority: Vec<f64>,
    /// The ranked features, the control if there is one, then the baselines, which have one point each.
    pub curves: Vec<ErasedCurve>,
}

/// Probe and output against the number of erased features.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ErasedCurve {
    /// `features`, `random_features`, `leace` or `mean_projection`.
    pub eraser: String,
    /// By rising number of features.
    pub points: Vec<ErasedPoint>,
}

/// One edit. Every list has one entry per held-out prompt.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ErasedPoint {
    /// Erased features; none for a baseline.
    pub n_features: Option<usize>,
    /// 1 if the probe, trained after the edit, predicts the label; else 0.
    pub right: Vec<f64>,
    /// KL(unedited ‖ edited) of the output at the last position, in nats.
    pub kl: Vec<f64>,
    /// ‖x′ − x‖ over all positions and dimensions.
    pub edit_size: Vec<f64>,
}
