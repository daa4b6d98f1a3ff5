//! Quality of a dictionary: reconstruction, sparsity, dead features, loss recovered.

use serde::{Deserialize, Serialize};

use crate::base::{HookPoint, Matrix, TokenBatch};
use crate::dictionary::{Dictionary, Quality, loss_recovered};
use crate::run::RunError;
use crate::subject::SubjectModel;

/// Fragments used for losses: 4,096 tokens if fragments have 64.
pub const LOSS_FRAGMENTS: usize = 64;

/// Mean losses of the subject in nats per token. The activation at position 0 (the prefix, or else the first token)
/// is never replaced.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Losses {
    /// Unmodified activations.
    pub clean: f64,
    /// Zero ablation.
    pub zero: f64,
    /// Mean ablation, with the mean of the fit split.
    pub mean: f64,
    /// Number of predicted tokens.
    pub n_tokens: usize,
}

/// Measurements of one dictionary for the quality table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measured {
    /// Sparsity, reconstruction and dead features over the scored evaluation tokens.
    pub quality: Quality,
    /// Reference losses for `spliced`; none without a model.
    pub losses: Option<Losses>,
    /// Mean loss with reconstructed activations; none if the dictionary does not reconstruct.
    pub spliced: Option<f64>,
}

impl Measured {
    /// Loss recovered against zero ablation and against mean ablation.
    pub fn recovered(&self) -> (Option<f64>, Option<f64>) {
        let Some((losses, spliced)) = self.losses.zip(self.spliced) else { return (None, None) };
        let against = |ablated| loss_recovered(losses.clean, spliced, ablated);
        (against(losses.zero), against(losses.mean))
    }
}

/// Measures losses at one hook point.
pub enum LossMeter<'a> {
    /// By running the subject.
    Running(Box<RunningMeter<'a>>),
    /// The subject is stored activations; the note goes to the quality table.
    Without(String),
}

/// Measures losses by running a subject.
pub struct RunningMeter<'a> {
    subject: &'a dyn SubjectModel,
    hook: HookPoint,
    tokens: TokenBatch,
    /// Unmodified activations `[tokens, width]`.
    activations: Matrix,
    losses: Losses,
}

impl<'a> LossMeter<'a> {
    /// Computes clean and ablated losses on the first fragments, if the subject runs. `mean` is the mean activation of
    /// the fit split.
    pub fn new(
        subject: &'a dyn SubjectModel,
        hook: HookPoint,
        fragments: &TokenBatch,
        mean: &[f64],
    ) -> Result<Self, RunError> {
        Ok(match subject.without_model() {
            None => Self::Running(Box::new(RunningMeter::new(subject, hook, fragments, mean)?)),
            Some(note) => Self::Without(note),
        })
    }

    /// Combines the counts of a pass over the fragments with the losses.
    pub fn measure(&self, dictionary: &dyn Dictionary, mut quality: Quality) -> Result<Measured, RunError> {
        match self {
            Self::Running(meter) => {
                let spliced = meter.spliced(dictionary)?;
                Ok(Measured { quality, losses: Some(meter.losses), spliced })
            }
            Self::Without(note) => {
                let own = quality.note.take().map_or(String::new(), |own| format!("{own}; "));
                quality.note = Some(format!("{own}{note}"));
                Ok(Measured { quality, losses: None, spliced: None })
            }
        }
    }
}

impl<'a> RunningMeter<'a> {
    fn new(
        subject: &'a dyn SubjectModel,
        hook: HookPoint,
        fragments: &TokenBatch,
        mean: &[f64],
    ) -> Result<Self, RunError> {
        let n = LOSS_FRAGMENTS.min(fragments.rows()) * fragments.cols();
        let tokens = TokenBatch::new(fragments.ids()[..n].to_vec(), fragments.cols())
            .unwrap_or_else(|| fragments.clone());
        let activations = subject.activations(&tokens, &[hook])?.swap_remove(0);
        let clean = subject.token_losses(&tokens, None)?;
        let losses = Losses { clean: mean_of(&clean), zero: 0.0, mean: 0.0, n_tokens: clean.data().len() };
        let mut meter = Self { subject, hook, tokens, activations, losses };
        let constant = |row: &[f32]| Matrix::from_fn(n, row.len(), |_, col| row[col]);
        meter.losses.zero = meter.replaced(constant(&vec![0.0; mean.len()]))?;
        meter.losses.mean =
            meter.replaced(constant(&mean.iter().map(|&value| value as f32).collect::<Vec<_>>()))?;
        Ok(meter)
    }

    /// Mean loss with `rows` in place of the activations at all positions but the model's position 0.
    fn replaced(&self, mut rows: Matrix) -> Result<f64, RunError> {
        let with_prefix = !self.subject.prefix().is_empty();
        for first in (0..rows.rows()).step_by(self.tokens.cols()).filter(|_| !with_prefix) {
            rows.row_mut(first).copy_from_slice(self.activations.row(first));
        }
        Ok(mean_of(&self.subject.token_losses_given(&self.tokens, self.hook, &rows)?))
    }

    /// Mean loss with reconstructed activations; none if the dictionary does not reconstruct.
    fn spliced(&self, dictionary: &dyn Dictionary) -> Result<Option<f64>, RunError> {
        match dictionary.info().is_reconstruction {
            true => Ok(Some(self.replaced(dictionary.reconstruct(&self.activations)?)?)),
            false => Ok(None),
        }
    }
}

fn mean_of(losses: &Matrix) -> f64 {
    let sum: f64 = losses.data().iter().map(|&loss| f64::from(loss)).sum();
    sum / losses.data().len().max(1) as f64
}
