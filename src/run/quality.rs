//! How good each dictionary is: reconstruction, sparsity, dead features, loss recovered.

use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use super::{RunError, Stop};
use crate::activations::ActivationSet;
use crate::base::{HookPoint, Matrix, TokenBatch};
use crate::dictionary::{Dictionary, DictionaryError, Quality, QualityCounter, loss_recovered};
use crate::subject::{Edit, SubjectModel};

/// Fragments that losses are measured on: 4,096 tokens of 64-token fragments.
const LOSS_FRAGMENTS: usize = 64;

/// Fragments passed through a dictionary at once.
const BLOCK_FRAGMENTS: usize = 64;

/// Mean losses of the subject in nats per token, position 0 never replaced.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Losses {
    /// Untouched.
    pub clean: f64,
    /// Activations replaced by zero.
    pub zero: f64,
    /// Activations replaced by the fit split's mean.
    pub mean: f64,
    /// Tokens predicted.
    pub n_tokens: usize,
}

/// What the quality table shows of one dictionary.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measured {
    /// Sparsity, reconstruction and dead features over the scored evaluation tokens.
    pub quality: Quality,
    /// Losses that `spliced` is compared with.
    pub losses: Losses,
    /// Mean loss with the reconstruction in place; none where there is no reconstruction.
    pub spliced: Option<f64>,
}

impl Measured {
    /// Loss recovered against zero ablation and against mean ablation.
    pub fn recovered(&self) -> (Option<f64>, Option<f64>) {
        let against =
            |ablated| self.spliced.and_then(|spliced| loss_recovered(self.losses.clean, spliced, ablated));
        (against(self.losses.zero), against(self.losses.mean))
    }
}

/// Measures losses at one hook point.
pub struct LossMeter<'a> {
    subject: &'a dyn SubjectModel,
    hook: HookPoint,
    tokens: TokenBatch,
    losses: Losses,
}

impl<'a> LossMeter<'a> {
    /// Clean and ablated losses on the first fragments; `mean` is the fit split's mean row.
    pub fn new(
        subject: &'a dyn SubjectModel,
        hook: HookPoint,
        fragments: &TokenBatch,
        mean: &[f64],
    ) -> Result<Self, RunError> {
        let n = LOSS_FRAGMENTS.min(fragments.rows()) * fragments.cols();
        let tokens = TokenBatch::new(fragments.ids()[..n].to_vec(), fragments.cols())
            .unwrap_or_else(|| fragments.clone());
        let mut meter =
            Self { subject, hook, tokens, losses: Losses { clean: 0.0, zero: 0.0, mean: 0.0, n_tokens: 0 } };
        let zeros = vec![0.0; mean.len()];
        let mean: Vec<f32> = mean.iter().map(|&value| value as f32).collect();
        meter.losses = Losses {
            clean: meter.loss(None)?,
            zero: meter.loss(Some(&|rows: &mut Matrix| fill(rows, &zeros)))?,
            mean: meter.loss(Some(&|rows: &mut Matrix| fill(rows, &mean)))?,
            n_tokens: meter.tokens.rows() * (meter.tokens.cols() - 1),
        };
        Ok(meter)
    }

    /// Mean loss with activations after position 0 changed by `edit`.
    fn loss(&self, edit: Option<&(dyn Fn(&mut Matrix) + Sync)>) -> Result<f64, RunError> {
        let positions = self.tokens.cols();
        let keep_first = |rows: &mut Matrix| {
            let firsts: Vec<usize> = (0..rows.rows()).step_by(positions).collect();
            let kept = rows.select_rows(&firsts);
            if let Some(edit) = edit {
                edit(rows);
            }
            for (nth, row) in firsts.into_iter().enumerate() {
                rows.row_mut(row).copy_from_slice(kept.row(nth));
            }
        };
        let edit = edit.is_some().then_some(Edit { hook: self.hook, apply: &keep_first });
        let losses = self.subject.token_losses(&self.tokens, edit)?;
        let sum: f64 = losses.data().iter().map(|&loss| f64::from(loss)).sum();
        Ok(sum / losses.data().len().max(1) as f64)
    }

    /// Mean loss with a dictionary's reconstruction in place; none where it makes none.
    pub fn spliced(&self, dictionary: &dyn Dictionary) -> Result<Option<f64>, RunError> {
        if !dictionary.info().is_reconstruction {
            return Ok(None);
        }
        let failure: Mutex<Option<DictionaryError>> = Mutex::new(None);
        let loss = self.loss(Some(&|rows: &mut Matrix| match dictionary.reconstruct(rows) {
            Ok(estimate) => *rows = estimate,
            Err(error) => *failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(error),
        }))?;
        match failure.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
            Some(error) => Err(error.into()),
            None => Ok(Some(loss)),
        }
    }

    /// Everything the quality table shows. `first_scored` leaves out the position that the protocol
    /// leaves out; `mean` is x̄.
    pub fn measure(
        &self,
        dictionary: &dyn Dictionary,
        evaluate: &ActivationSet,
        first_scored: usize,
        mean: &[f64],
        stop: &Stop,
    ) -> Result<Measured, RunError> {
        let positions = self.tokens.cols();
        let mut counter = QualityCounter::new(dictionary, mean);
        for block in evaluate.blocks(BLOCK_FRAGMENTS * positions) {
            stop.check()?;
            let block = block?;
            let scored: Vec<usize> =
                (0..block.rows()).filter(|row| row % positions >= first_scored).collect();
            counter.add(&block.select_rows(&scored))?;
        }
        Ok(Measured { quality: counter.finish(), losses: self.losses, spliced: self.spliced(dictionary)? })
    }
}

fn fill(rows: &mut Matrix, value: &[f32]) {
    for row in 0..rows.rows() {
        rows.row_mut(row).copy_from_slice(value);
    }
}
