//! What a pass from given or edited activations is asked for, and how text is continued.

use crate::base::HookPoint;

/// What a pass from given or edited activations returns, one row per position or sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Logits at every position, `[rows · cols, vocab]`.
    Logits,
    /// Logits at the last position of each sequence, `[rows, vocab]`.
    LastLogits,
    /// Activations at a hook point, `[rows · cols, width]`. It must be later than the given activations.
    Activations(HookPoint),
}

/// How a text is continued.
#[derive(Debug, Clone, Copy)]
pub struct Writing<'a> {
    /// Number of tokens to write.
    pub tokens: usize,
    /// Temperature of the softmax that tokens are drawn from; 0 takes the likeliest.
    pub temperature: f64,
    /// Seed of the draws.
    pub seed: u64,
    /// Tokens that end the text. They are not part of it.
    pub stop: &'a [u32],
}
