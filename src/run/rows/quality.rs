//! Quality of a dictionary: reconstruction, sparsity, dead features, loss recovered.

use serde::{Deserialize, Serialize};

use crate::base::{HookPoint, Matrix, TokenBatch};
use crate::dictionary::{Dictionary, Quality, column_means, fvu_of_rows, loss_recovered};
use crate::run::RunError;
use crate::subject::{SubjectError, SubjectModel};

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
    #[serde(default)]
    n_features: usize,
    /// Sparsity, reconstruction and dead features over the scored evaluation tokens, or a sample of them. None if not
    /// measured.
    pub quality: Option<Quality>,
    /// Reference losses for `spliced`; none if not measured.
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

    /// Number of features. Stored results of earlier versions have it with the quality only.
    pub fn n_features(&self) -> usize {
        self.quality.as_ref().map_or(self.n_features, |quality| quality.n_features)
    }

    /// Of a dictionary whose quality is not measured.
    pub fn nothing(dictionary: &dyn Dictionary) -> Self {
        Self { n_features: dictionary.info().n_features, quality: None, losses: None, spliced: None }
    }
}

/// Measures losses at one hook point. Stored activations have none, and the quality says so.
pub struct LossMeter<'a> {
    subject: &'a dyn SubjectModel,
    hook: HookPoint,
    tokens: TokenBatch,
    /// Unmodified activations `[tokens, width]`.
    activations: Matrix,
    losses: Option<Losses>,
}

impl<'a> LossMeter<'a> {
    /// Computes clean and ablated losses on the first fragments, if there is a model. `mean` is the mean activation of
    /// the fit split.
    pub fn new(
        subject: &'a dyn SubjectModel,
        hook: HookPoint,
        fragments: &TokenBatch,
        mean: &[f64],
    ) -> Result<Self, RunError> {
        let n = LOSS_FRAGMENTS.min(fragments.rows()) * fragments.cols();
        let tokens = TokenBatch::new(fragments.ids()[..n].to_vec(), fragments.cols())
            .unwrap_or_else(|| fragments.clone());
        let activations = subject.activations(&tokens, &[hook])?.swap_remove(0);
        let mut meter = Self { subject, hook, tokens, activations, losses: None };
        if subject.without_model().is_none() {
            let clean = subject.token_losses(&meter.tokens, None)?;
            let constant = |row: &[f32]| Matrix::from_fn(n, row.len(), |_, col| row[col]);
            meter.losses = Some(Losses {
                clean: mean_of(&clean),
                zero: meter.replaced(constant(&vec![0.0; mean.len()]))?,
                mean: meter
                    .replaced(constant(&mean.iter().map(|&value| value as f32).collect::<Vec<_>>()))?,
                n_tokens: clean.data().len(),
            });
        }
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

    /// Combines the counts of a pass over the fragments with the losses.
    pub fn measure(&self, dictionary: &dyn Dictionary, quality: Quality) -> Result<Measured, RunError> {
        let info = dictionary.info();
        if let (Some(output), true) = (info.output, info.is_reconstruction) {
            return self.measure_output(dictionary, output, quality);
        }
        let spliced = match info.is_reconstruction && self.losses.is_some() {
            true => Some(self.replaced(dictionary.reconstruct(&self.activations)?)?),
            false => None,
        };
        Ok(self.measured(quality, spliced))
    }

    /// Adds what is missing without a model to the note.
    fn measured(&self, mut quality: Quality, spliced: Option<f64>) -> Measured {
        if let Some(missing) = self.subject.without_model() {
            let own = quality.note.take().map_or(String::new(), |own| format!("{own}; "));
            quality.note = Some(format!("{own}{missing}"));
        }
        let n_features = quality.n_features;
        Measured { n_features, quality: Some(quality), losses: self.losses, spliced }
    }

    /// The same for a transcoder: FVU and losses at its output, over the fragments of the losses. x̄ and the mean
    /// ablation are means over these rows. FVU leaves out the model's position 0.
    fn measure_output(
        &self,
        dictionary: &dyn Dictionary,
        output: HookPoint,
        mut quality: Quality,
    ) -> Result<Measured, RunError> {
        let target = match self.subject.activations(&self.tokens, &[output]) {
            Ok(mut rows) => rows.swap_remove(0),
            Err(SubjectError::HookNotStored { .. }) => {
                quality.fvu = None;
                quality.note = Some(format!("transcoder: no activations at `{output}`, so no FVU"));
                return Ok(self.measured(quality, None));
            }
            Err(error) => return Err(error.into()),
        };
        let first = usize::from(self.subject.prefix().is_empty());
        let scored: Vec<usize> = (0..target.rows()).filter(|row| row % self.tokens.cols() >= first).collect();
        let estimate = dictionary.reconstruct(&self.activations)?;
        let compared = target.select_rows(&scored);
        quality.fvu = fvu_of_rows(&compared, &estimate.select_rows(&scored));
        let mean = column_means(&compared);
        quality.note = Some(format!("transcoder: FVU over {} tokens and losses at `{output}`", scored.len()));
        let meter = LossMeter::new(self.subject, output, &self.tokens, &mean)?;
        let spliced = if meter.losses.is_some() { Some(meter.replaced(estimate)?) } else { None };
        Ok(meter.measured(quality, spliced))
    }
}

fn mean_of(losses: &Matrix) -> f64 {
    let sum: f64 = losses.data().iter().map(|&loss| f64::from(loss)).sum();
    sum / losses.data().len().max(1) as f64
}
