//! Settings of training, and its texts.

use serde::{Deserialize, Serialize};

use super::network::Shape;

/// Everything that decides the weights, except the documents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainConfig {
    /// Seed of initial weights and of the windows' order.
    pub seed: u64,
    /// Sizes; `vocabulary` is the largest number of pieces of the tokenizer.
    pub shape: Shape,
    /// Documents that the tokenizer is trained on.
    pub tokenizer_documents: usize,
    /// Stages of training, one after the other.
    pub stages: Vec<Stage>,
    /// Contexts in a step.
    pub batch: usize,
    /// Steps of linear warm-up in a stage.
    pub warm_up_steps: usize,
    /// Weight decay of matrices.
    pub weight_decay: f64,
    /// Largest norm of the gradient; longer gradients are scaled down.
    pub clip_norm: f64,
    /// Documents of the held-out text.
    pub held_out_documents: usize,
    /// Shares of extra indirect-object documents, which the caller generates.
    pub extra: Extra,
}

/// One run of the optimiser, with fresh moments, a learning-rate schedule and documents of its own.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// Steps taken.
    pub steps: usize,
    /// Step at which the learning rate would reach 0; at least `steps`.
    pub schedule_steps: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Index of its first document.
    pub first_document: u64,
}

impl TrainConfig {
    /// Tokens of a stage.
    pub(super) fn tokens(&self, stage: &Stage) -> usize {
        stage.steps * self.batch * self.shape.context
    }
}

/// Percentages of training documents replaced by indirect-object sentences, beyond those of the generator's mixture.
/// Their rule is rare in other text: a large share early in training lets the model learn it, a smaller one keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extra {
    /// Number of early documents.
    pub early_documents: u64,
    /// Percentage among these.
    pub early_percent: u64,
    /// Percentage among later ones.
    pub late_percent: u64,
}

impl Extra {
    /// True if training document `index` is replaced.
    pub fn takes(&self, index: u64) -> bool {
        let percent = if index < self.early_documents { self.early_percent } else { self.late_percent };
        // 37 and 100 are coprime, so the extra documents are spread evenly.
        index * 37 % 100 < percent
    }
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            shape: Shape {
                vocabulary: 2048,
                n_layers: 4,
                d_model: 128,
                n_heads: 4,
                d_mlp: 512,
                context: 128,
            },
            tokenizer_documents: 6_000,
            stages: vec![
                Stage { steps: 3_600, schedule_steps: 3_600, learning_rate: 3e-3, first_document: 0 },
                Stage { steps: 2_200, schedule_steps: 2_400, learning_rate: 2e-3, first_document: 100_000 },
            ],
            batch: 16,
            warm_up_steps: 200,
            weight_decay: 0.05,
            clip_norm: 1.0,
            held_out_documents: 400,
            extra: Extra { early_documents: 9_000, early_percent: 60, late_percent: 30 },
        }
    }
}

/// The texts for training.
pub struct Texts<'a> {
    /// Text of the document at an index: training documents up to `held_out_from`, then held-out documents, then the
    /// tokenizer's.
    pub document: &'a (dyn Fn(u64) -> String + Sync),
    /// Index of the first held-out document.
    pub held_out_from: u64,
    /// Words that should be one piece with the space before them.
    pub whole_words: Vec<&'a str>,
    /// Prompts to measure, by kind.
    pub choices: Vec<(String, Vec<Choice>)>,
}

impl std::fmt::Debug for Texts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Texts").field("held_out_from", &self.held_out_from).finish_non_exhaustive()
    }
}

/// A prompt with the right and the wrong next word.
#[derive(Debug, Clone)]
pub struct Choice {
    /// The text before the word.
    pub prompt: String,
    /// The right word, without a space before it.
    pub right: String,
    /// The wrong word, without a space before it.
    pub wrong: String,
}
