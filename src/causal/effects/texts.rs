//! Texts with their activations, and what the unchanged model makes of neutral ones.

use crate::base::{HookPoint, Matrix, TokenBatch};
use crate::causal::CausalError;
use crate::causal::direction::norm;
use crate::causal::divergence::total_kl;
use crate::subject::{SubjectError, SubjectModel, Wanted};

/// Sequences of one length.
#[derive(Clone)]
pub struct Texts {
    /// The tokens `[n, cols]`.
    pub tokens: TokenBatch,
    /// Activations that are encoded `[n · cols, d_in]`.
    pub inputs: Matrix,
    /// Activations that are changed `[n · cols, d_out]`: the same, except for a transcoder.
    pub rows: Matrix,
}

impl Texts {
    /// The first `n` positions of each sequence; `n` is from 1 to the length.
    fn beginnings(&self, n: usize) -> Result<Self, SubjectError> {
        let cols = self.tokens.cols();
        let places: Vec<usize> = (0..self.tokens.ids().len()).filter(|place| place % cols < n).collect();
        let ids = places.iter().map(|&place| self.tokens.ids()[place]).collect();
        Ok(Self {
            tokens: TokenBatch::new(ids, n).ok_or(SubjectError::TooShort { cols: n })?,
            inputs: self.inputs.select_rows(&places),
            rows: self.rows.select_rows(&places),
        })
    }

    /// One sequence twice: unchanged, and with its rows of `changed`, which holds the changed activations of all
    /// sequences.
    pub fn beside(&self, nth: usize, changed: &Matrix) -> Result<(TokenBatch, Matrix), SubjectError> {
        let cols = self.tokens.cols();
        let places: Vec<usize> = (nth * cols..(nth + 1) * cols).collect();
        let ids = self.tokens.row(nth);
        let tokens = TokenBatch::new([ids, ids].concat(), cols).ok_or(SubjectError::TooShort { cols })?;
        let mut rows = self.rows.select_rows(&places).into_vec();
        rows.extend_from_slice(changed.select_rows(&places).data());
        let rows = Matrix::from_vec(2 * cols, changed.cols(), rows);
        Ok((tokens, rows.ok_or(SubjectError::TooShort { cols })?))
    }
}

/// Neutral texts with the unchanged model's outputs.
pub struct Neutral {
    /// The whole texts.
    pub whole: Texts,
    /// Their beginnings.
    pub prompts: Texts,
    /// Logits at the last position of each prompt `[n, vocab]`.
    pub logits: Matrix,
    /// Mean loss of the tokens behind the prompts, in nats.
    loss: f64,
    /// Mean norm of the activations at the prompts' scored positions.
    pub mean_norm: f64,
    hook: HookPoint,
}

impl Neutral {
    /// Runs the unchanged model. `prompt` tokens of each text are its prompt; positions from `first_scored` on are scored.
    pub fn new(
        subject: &dyn SubjectModel,
        hook: HookPoint,
        whole: Texts,
        prompt: usize,
        first_scored: usize,
    ) -> Result<Self, CausalError> {
        let prompts = whole.beginnings(prompt)?;
        let logits = subject.given(&prompts.tokens, (hook, &prompts.rows), Wanted::LastLogits)?;
        let norms: Vec<f64> = prompts
            .rows
            .iter_rows()
            .enumerate()
            .filter(|(row, _)| row % prompt >= first_scored)
            .map(|(_, row)| norm(row))
            .collect();
        let mean_norm = norms.iter().sum::<f64>() / norms.len().max(1) as f64;
        let mut neutral = Self { whole, prompts, logits, loss: 0.0, mean_norm, hook };
        neutral.loss = neutral.loss_of(subject, &neutral.whole.rows)?;
        Ok(neutral)
    }

    /// Logits at the last position of each prompt, with these activations of the prompts.
    pub fn last_logits(&self, subject: &dyn SubjectModel, rows: &Matrix) -> Result<Matrix, SubjectError> {
        subject.given(&self.prompts.tokens, (self.hook, rows), Wanted::LastLogits)
    }

    /// Mean over prompts of KL(clean ‖ changed) at the last position.
    pub fn mean_kl(&self, changed: &Matrix) -> f64 {
        total_kl(&self.logits, changed) / self.logits.rows().max(1) as f64
    }

    /// Increase of the mean loss behind the prompts, with these activations of the whole texts.
    pub fn loss_increase(&self, subject: &dyn SubjectModel, rows: &Matrix) -> Result<f64, SubjectError> {
        Ok(self.loss_of(subject, rows)? - self.loss)
    }

    fn loss_of(&self, subject: &dyn SubjectModel, rows: &Matrix) -> Result<f64, SubjectError> {
        let losses = subject.token_losses_given(&self.whole.tokens, self.hook, rows)?;
        let (cols, prompt) = (self.whole.tokens.cols(), self.prompts.tokens.cols());
        // With tokens in front of the text, its first token has a loss too.
        let first = prompt + losses.cols() - cols;
        let behind = losses.iter_rows().flat_map(|row| &row[first..]);
        let n = losses.rows() * (cols - prompt);
        Ok(behind.map(|&loss| f64::from(loss)).sum::<f64>() / n.max(1) as f64)
    }
}
