//! Texts that a subject writes while a feature is changed, as `steer --json` prints them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What changing a feature does to the next token and to written text, beside a random direction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Steering {
    /// The text that is continued.
    pub prompt: String,
    /// Its tokens, without the model's prefix.
    pub prompt_tokens: Vec<String>,
    /// How the code is changed, at every position of prompt and written text.
    pub change: CodeChange,
    /// Tokens written of each text. No token ends a text earlier.
    pub tokens: usize,
    /// Temperature of the draws; 0 takes the likeliest token.
    pub temperature: f64,
    /// The prediction after the prompt.
    pub next_token: NextToken,
    /// One entry per seed.
    pub samples: Vec<SteeredSample>,
}

/// How a code is changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CodeChange {
    /// `set` to the value, `add` the value, or `scale` by the value.
    pub how: String,
    /// The value: a code, or for `scale` a factor.
    pub value: f64,
    /// The value as a multiple of the feature's maximum activation, where it was given so.
    pub times_max: Option<f64>,
    /// The feature's maximum activation in the run; null if the run has none.
    pub max_activation: Option<f64>,
}

/// How the prediction of the next token changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NextToken {
    /// KL(unsteered ‖ steered) in nats.
    pub kl: f64,
    /// Tokens whose log probability rises most, strongest first.
    pub raised: Vec<ShiftedToken>,
    /// Tokens whose log probability falls most, strongest first.
    pub lowered: Vec<ShiftedToken>,
}

/// A token whose probability changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ShiftedToken {
    /// Its id.
    pub token: u32,
    /// Its text.
    pub text: String,
    /// Its unsteered probability.
    pub before: f64,
    /// Its steered probability.
    pub after: f64,
    /// Change of its log probability, in nats.
    pub change: f64,
}

/// Three texts with the same prompt and the same seed of draws.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SteeredSample {
    /// Seed of the draws of tokens, and of the random direction.
    pub seed: u64,
    /// Without a change.
    pub unsteered: WrittenText,
    /// With the feature changed.
    pub steered: EditedText,
    /// The control: at every position, a random direction with the norm that the feature's change has there.
    pub random_direction: EditedText,
}

/// A text that the subject wrote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WrittenText {
    /// Ids of its tokens.
    pub tokens: Vec<u32>,
    /// The text, without the prompt. Incomplete characters are `�`.
    pub text: String,
    /// Mean loss under the unsteered model, in nats per token, after the prompt.
    pub nats_per_token: f64,
    /// e to that power; null if it exceeds the largest number.
    pub perplexity: Option<f64>,
}

/// A text written with edits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EditedText {
    /// The text.
    pub written: WrittenText,
    /// KL(unsteered ‖ edited) of the next token after the prompt, in nats.
    pub next_token_kl: f64,
    /// Size of the edit.
    pub edit: EditSize,
}

/// Mean Euclidean norms over positions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EditSize {
    /// ‖x′ − x‖ over the prompt.
    pub prompt: f64,
    /// ‖x′ − x‖ over written tokens, except the last, which is never read; null for a text of one token.
    pub written: Option<f64>,
    /// ‖x‖ over all these positions, before the edit.
    pub activation: f64,
}
