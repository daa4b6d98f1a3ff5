//! What a feature does to the model's output, as data for explainers and judges. The two get texts behind different
//! prompts.

use serde::Serialize;

/// A token, and how much it changes.
pub type TokenChange = (u32, f64);

/// A prompt and two texts behind it, drawn with the same seed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WrittenPair {
    /// The evaluation fragment whose beginning is the prompt.
    pub fragment: usize,
    /// The prompt.
    pub prompt: Vec<u32>,
    /// Written with the feature's code raised.
    pub steered: Vec<u32>,
    /// Written without that: by the unchanged model, or along a random direction.
    pub other: Vec<u32>,
}

impl WrittenPair {
    /// Whether both texts are the same, so that nothing tells which one is steered.
    pub fn is_alike(&self) -> bool {
        self.steered == self.other
    }
}

/// The tokens that a feature raises most and lowers most, strongest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct TokenChanges {
    /// Raised tokens.
    pub raised: Vec<TokenChange>,
    /// Lowered tokens.
    pub lowered: Vec<TokenChange>,
}

/// What an explainer may see of a feature's output.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct OutputEvidence {
    /// Direct effects of its direction on the logits; none where the direction is not in the residual stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direct: Option<TokenChanges>,
    /// Measured changes of log-probabilities behind the prompts, in nats.
    pub measured: TokenChanges,
    /// Steered texts beside those of the unchanged model.
    pub texts: Vec<WrittenPair>,
}

/// The output of a feature, or a stable reason why there is none.
pub type Output<T> = Result<T, &'static str>;
