//! The dictionary and the report of a finished training.

use crate::activations::ActivationSet;
use crate::base::Matrix;
use crate::dictionary::affine::{AffineDictionary, Label};
use crate::dictionary::tensors::{Activation, RowScale, Tensors};
use crate::dictionary::{FitError, FitReport, Fitted};

use super::feed::Feed;
use super::recipe::Sparsity;
use super::training::{Training, last_tenth};
use super::weights::Extra;

/// A larger fall of the loss over the last tenth of the steps means that the fit is under-trained.
const UNDER_TRAINED_FALL: f64 = 0.01;

impl Training {
    /// Fails where training diverged.
    pub(super) fn finish(
        mut self,
        method: &str,
        set: &ActivationSet,
        feed: &Feed<'_>,
    ) -> Result<Fitted, FitError> {
        if let Some(device) = &self.on_device {
            device.write_to(&mut self.weights)?;
        }
        if let Some((step, lr)) = self.diverged {
            return Err(FitError::Diverged { method: method.to_string(), step, lr });
        }
        let label = Label::new(self.recipe.kind, method, set, true);
        let tensors = self.tensors(&feed.centre, 1.0 / f64::from(feed.inverse_scale));
        Ok(Fitted { dictionary: Box::new(AffineDictionary::new(label, tensors)), report: self.report() })
    }

    /// Tensors for raw activations `a = centre + scale · x`. Codes are in raw units: the encoder is unchanged and all
    /// biases are multiplied by `scale`.
    fn tensors(&self, centre: &[f32], scale: f64) -> Tensors {
        let (weights, d, features) = (&self.weights, self.weights.d, self.recipe.features);
        let rows = |values: &[f32]| Matrix::from_fn(features, d, |row, col| values[row * d + col]);
        let raw = |bias: f32| (f64::from(bias) * scale) as f32;
        let all_raw = |biases: &[f32]| biases.iter().map(|&bias| raw(bias)).collect::<Vec<f32>>();
        let mut decoder_bias = centre.to_vec();
        if let Some(learned) = &weights.decoder_bias {
            decoder_bias.iter_mut().zip(&learned.values).for_each(|(slot, &bias)| *slot += raw(bias));
        }
        let mut encoder_bias = all_raw(&weights.encoder_bias.values);
        let activation = match (self.recipe.sparsity, &weights.extra) {
            (Sparsity::TopK { k }, _) => Activation::TopK(k),
            (Sparsity::BatchTopK { .. }, _) => {
                Activation::JumpRelu(vec![(self.threshold.mean * scale) as f32; features])
            }
            (_, Extra::Thresholds { thresholds, .. }) => Activation::JumpRelu(all_raw(thresholds)),
            (_, Extra::Gates { log_gain, magnitude_bias, .. }) => Activation::Gated {
                // Gated dictionaries store the encoder bias as `gate`.
                gate: std::mem::replace(&mut encoder_bias, vec![0.0; features]),
                magnitude: all_raw(&magnitude_bias.values),
                log_gain: log_gain.values.to_vec(),
            },
            _ => Activation::Relu,
        };
        Tensors {
            encoder: rows(weights.encoder_rows()),
            encoder_bias,
            decoder: rows(&weights.unit),
            decoder_bias,
            subtract_decoder_bias: self.recipe.centred || self.recipe.decoder_bias,
            activation,
            row_scale: RowScale::Plain,
            skip: None,
        }
    }

    fn report(&self) -> FitReport {
        let (before, after) = self.probe_losses;
        let fall = if before > 0.0 { 1.0 - after / before } else { 0.0 };
        let l0 = mean(&self.l0s[last_tenth(self.losses.len())..]);
        let share = l0 / self.recipe.features as f64;
        let mut warnings = Vec::new();
        if fall > UNDER_TRAINED_FALL {
            warnings.push(format!("under-trained: loss fell {:.1} % over the last tenth", 100.0 * fall));
        }
        if !(0.01..=0.25).contains(&share) {
            warnings.push(format!("L0 outside 1–25 % of the width: {l0:.1} of {}", self.recipe.features));
        }
        let target = self.recipe.sparsity.target_l0();
        if let Some(target) = target.filter(|target| (l0 / target - 1.0).abs() > 0.2) {
            warnings.push(format!("L0 {l0:.1} missed its target {target}"));
        }
        let resampled = format!("{} features given a new direction", self.resampled);
        FitReport {
            converged: Some(fall <= UNDER_TRAINED_FALL),
            steps: self.losses.len(),
            rows: self.rows_seen,
            loss_curve: thin(&self.losses),
            l0: Some(l0),
            l1_weight: self.l1.map(|l1| l1.weight),
            seconds: self.seconds,
            warnings,
            notes: if self.resampled > 0 { vec![resampled] } else { Vec::new() },
            read: None,
        }
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// About a hundred means over consecutive steps, each with the number of its last step.
fn thin(losses: &[f64]) -> Vec<(usize, f64)> {
    let run = losses.len().div_ceil(100).max(1);
    losses.chunks(run).enumerate().map(|(i, part)| (i * run + part.len(), mean(part))).collect()
}
