//! Training steps on a device of candle's, written as products and entrywise operations on `[rows, F]`, all features
//! of all rows. What is computed is what [`step`](super::step) and [`update`](super::update) compute from active
//! features alone: a test holds the two together on the CPU, where this runs as well. Of equal codes at a batch's cut
//! all are kept here, and there those of the first rows.
//!
//! R rows, F features, width d. Masks are numbers, 0 or 1.

mod kernels;

use candle_core::{Result, Tensor};

use super::rows::{Learned, Stepper};
use super::step::{AuxLoss, BatchSums};
use super::train::Sparsity;
use super::update::{Extra, Weights};
use crate::nn::Device;
use kernels::{descend, keep_largest, move_first, move_second};

/// What is learned, with Adam's moments, all `[n, width]`.
struct Moving {
    values: Tensor,
    first: Tensor,
    second: Tensor,
}

impl Moving {
    fn of(learned: &Learned, device: &Device) -> Result<Self> {
        let [values, first, second] = learned.parts();
        let shape = (values.len() / learned.width, learned.width);
        let tensor = |data: &[f32]| Tensor::from_slice(data, shape, device);
        Ok(Self { values: tensor(values)?, first: tensor(first)?, second: tensor(second)? })
    }

    fn write_to(&self, learned: &mut Learned) -> Result<()> {
        let tensors = [&self.values, &self.first, &self.second];
        for (slot, tensor) in learned.parts_mut().into_iter().zip(tensors) {
            slot.copy_from_slice(&entries(tensor)?);
        }
        Ok(())
    }

    /// Numbers that stand beside the columns of `[R, F]`: `[1, n]`.
    fn as_row(&self) -> Result<Tensor> {
        self.values.t()
    }

    /// Moves values against `gradient`, of the same number of entries.
    fn step(&mut self, stepper: Stepper, gradient: &Tensor) -> Result<()> {
        let gradient = gradient.reshape(self.values.shape())?.contiguous()?;
        match stepper {
            Stepper::Adam { rate, second_correction } => {
                move_first(&self.first, &gradient)?;
                move_second(&self.second, &gradient)?;
                descend(&self.values, &self.first, &self.second, rate, second_correction)
            }
            #[cfg(test)]
            Stepper::Plain => {
                self.values = (&self.values - gradient)?;
                Ok(())
            }
        }
    }
}

/// What a kind learns beside encoder and decoder: see [`Extra`].
enum MovingExtra {
    Nothing,
    Gates { log_gain: Moving, magnitude_bias: Moving },
    Thresholds { log: Moving, bandwidth: f64 },
}

/// What a forward pass leaves for the update.
struct Pass {
    /// `x − b_dec`, `[R, d]`.
    inputs: Tensor,
    /// `[R, F]`.
    codes: Tensor,
    /// `x̂ − x` of each prefix and, added, of all longer ones, `[R, d]` each.
    errors: Vec<Tensor>,
    /// Derivative of the loss by the encoder's output, `[R, F]`.
    grads: Tensor,
    side: Side,
    /// Of dead features.
    aux: Option<AuxPass>,
    /// Rows in which each feature fired.
    firings: Vec<f32>,
}

/// What the update of an [`Extra`] needs.
enum Side {
    Nothing,
    /// Derivative by what the ReLU takes, `[R, F]`.
    Gates {
        by_magnitude: Tensor,
    },
    /// Derivative by the thresholds, `[R, F]`, and how many codes are near each, `[1, F]`.
    Thresholds {
        by_threshold: Tensor,
        near: Tensor,
    },
}

struct AuxPass {
    /// `[n]`.
    dead: Tensor,
    /// `[R, n]`.
    grads: Tensor,
    /// `[R, n]`, times the weight of the loss.
    codes: Tensor,
    /// `[R, d]`.
    errors: Tensor,
}

/// An autoencoder in training on a device.
pub struct OnDevice {
    device: Device,
    sparsity: Sparsity,
    prefixes: Vec<usize>,
    renormalise: bool,
    /// None where the decoder's unit rows encode as well.
    encoder: Option<Moving>,
    encoder_bias: Moving,
    decoder: Moving,
    /// `[F, d]`.
    unit: Tensor,
    /// `[F, 1]`.
    norms: Tensor,
    decoder_bias: Option<Moving>,
    extra: MovingExtra,
    pass: Option<Pass>,
    /// The least code that the last batch kept as a whole.
    least_kept: f32,
}

impl OnDevice {
    /// Copies weights to a device.
    pub fn new(weights: &Weights, sparsity: Sparsity, device: &Device) -> Result<Self> {
        let moving = |learned: &Learned| Moving::of(learned, device);
        let shape = (weights.features, weights.d);
        let extra = match &weights.extra {
            Extra::Nothing => MovingExtra::Nothing,
            Extra::Gates { log_gain, magnitude_bias, .. } => {
                MovingExtra::Gates { log_gain: moving(log_gain)?, magnitude_bias: moving(magnitude_bias)? }
            }
            Extra::Thresholds { log, bandwidth, .. } => {
                MovingExtra::Thresholds { log: moving(log)?, bandwidth: f64::from(*bandwidth) }
            }
        };
        let unit = Tensor::from_slice(&weights.unit, shape, device)?;
        let mut decoder = moving(&weights.decoder)?;
        if weights.renormalise {
            decoder.values = unit.copy()?;
        }
        Ok(Self {
            device: device.clone(),
            sparsity,
            prefixes: weights.prefixes.clone(),
            renormalise: weights.renormalise,
            encoder: weights.encoder.as_ref().map(moving).transpose()?,
            encoder_bias: moving(&weights.encoder_bias)?,
            decoder,
            unit,
            norms: Tensor::from_slice(&weights.norms, (weights.features, 1), device)?,
            decoder_bias: weights.decoder_bias.as_ref().map(moving).transpose()?,
            extra,
            pass: None,
            least_kept: 0.0,
        })
    }

    /// Takes weights that were changed elsewhere.
    pub fn put(&mut self, weights: &Weights) -> Result<()> {
        *self = Self { least_kept: self.least_kept, ..Self::new(weights, self.sparsity, &self.device)? };
        Ok(())
    }

    /// Copies weights back, into those they came from.
    pub fn write_to(&self, weights: &mut Weights) -> Result<()> {
        if let (Some(here), Some(there)) = (&self.encoder, &mut weights.encoder) {
            here.write_to(there)?;
        }
        if let (Some(here), Some(there)) = (&self.decoder_bias, &mut weights.decoder_bias) {
            here.write_to(there)?;
        }
        self.encoder_bias.write_to(&mut weights.encoder_bias)?;
        self.decoder.write_to(&mut weights.decoder)?;
        weights.unit.copy_from_slice(&entries(&self.unit)?);
        weights.norms.copy_from_slice(&entries(&self.norms)?);
        match (&self.extra, &mut weights.extra) {
            (
                MovingExtra::Gates { log_gain, magnitude_bias },
                Extra::Gates { log_gain: log, gain, magnitude_bias: bias },
            ) => {
                log_gain.write_to(log)?;
                magnitude_bias.write_to(bias)?;
                gain.iter_mut().zip(log.values.iter()).for_each(|(gain, log)| *gain = log.exp());
            }
            (MovingExtra::Thresholds { log: here, .. }, Extra::Thresholds { log, thresholds, .. }) => {
                here.write_to(log)?;
                thresholds.iter_mut().zip(log.values.iter()).for_each(|(bar, log)| *bar = log.exp());
            }
            _ => {}
        }
        Ok(())
    }

    /// Inputs and longest prefix's errors of the last forward pass, `[R · d]` each.
    pub fn inputs_and_errors(&self) -> Result<(Vec<f32>, Vec<f32>)> {
        match &self.pass {
            Some(Pass { inputs, errors, .. }) => {
                Ok((entries(inputs)?, errors.last().map_or(Ok(Vec::new()), entries)?))
            }
            None => Ok((Vec::new(), Vec::new())),
        }
    }

    /// The least code that the last batch kept as a whole.
    pub fn least_kept(&self) -> f32 {
        self.least_kept
    }

    /// Rows in which each feature fired in the last forward pass, `[F]`.
    pub fn firings(&self) -> &[f32] {
        self.pass.as_ref().map_or(&[], |pass| &pass.firings)
    }

    /// Encoder, selection, decoder, errors and code gradients of a batch `[R · d]`.
    pub fn forward(&mut self, batch: &[f32], l1: f64) -> Result<BatchSums> {
        let (features, d) = self.unit.dims2()?;
        let rows = batch.len() / d;
        let x = Tensor::from_slice(batch, (rows, d), &self.device)?;
        let inputs = match &self.decoder_bias {
            Some(bias) => x.broadcast_sub(&bias.values)?,
            None => x,
        };
        let encoder = self.encoder.as_ref().map_or(&self.unit, |encoder| &encoder.values);
        let pre = inputs.matmul(&encoder.t()?)?.broadcast_add(&self.encoder_bias.as_row()?)?; // [R, F]
        let per_row = 2.0 / (rows * self.prefixes.len()) as f64;
        let penalty = l1 / rows as f64;

        let codes = self.codes(&pre)?;
        let (errors, squares) = self.nested_errors(&inputs, &codes)?;
        let mut objective = (squares.sum_all()? / self.prefixes.len() as f64)?;
        let along = (self.against_directions(&errors)? * per_row)?; // [R, F]
        let on = codes.sign()?;
        let (grads, side) = match &self.extra {
            MovingExtra::Nothing => {
                objective = (objective + (total(&codes)? * l1)?)?;
                ((along + penalty)?.mul(&on)?, Side::Nothing)
            }
            MovingExtra::Gates { log_gain, .. } => {
                let gates = pre.relu()?;
                let error = (gates.matmul(&self.unit)? - &inputs)?;
                objective = ((objective + total(&error.sqr()?)?)? + (total(&gates)? * l1)?)?;
                let by_magnitude = along.mul(&on)?;
                let of_gates =
                    error.matmul(&self.unit.t()?)?.affine(per_row, penalty)?.mul(&gates.sign()?)?;
                let gain = log_gain.as_row()?.exp()?;
                let grads = (by_magnitude.broadcast_mul(&gain)? + of_gates)?;
                (grads, Side::Gates { by_magnitude })
            }
            MovingExtra::Thresholds { log, bandwidth } => {
                let thresholds = log.as_row()?.exp()?; // [1, F]
                let away = pre.broadcast_sub(&thresholds)?.abs()?;
                let near = away.affine(-1.0, 0.5 * bandwidth)?.relu()?.sign()?.mul(&pre.relu()?.sign()?)?;
                let by_threshold = along.mul(&near)?.broadcast_mul(&(thresholds * (-1.0 / bandwidth))?)?;
                (along.mul(&on)?, Side::Thresholds { by_threshold, near: column_sums(&near)? })
            }
        };
        let last = squares.narrow(0, self.prefixes.len() - 1, 1)?;
        let scalars = [last, objective.reshape(1)?, total(&codes)?.reshape(1)?];
        let sums = Tensor::cat(&[&column_sums(&on)?.flatten_all()?, &Tensor::cat(&scalars, 0)?], 0)?;
        let mut firings = entries(&sums)?;
        let numbers: Vec<f64> = firings.drain(features..).map(f64::from).collect();
        let active = firings.iter().map(|&count| count as usize).sum();
        self.pass = Some(Pass { inputs, codes, errors, grads, side, aux: None, firings });
        let [squared_error, objective, code_sum] = [numbers[0], numbers[1], numbers[2]];
        Ok(BatchSums { squared_error, objective, code_sum, active, ..BatchSums::default() })
    }

    /// Codes `[R, F]` of the encoder's output.
    fn codes(&mut self, pre: &Tensor) -> Result<Tensor> {
        match (&self.extra, self.sparsity) {
            (MovingExtra::Gates { log_gain, magnitude_bias }, _) => {
                let along = pre.broadcast_sub(&self.encoder_bias.as_row()?)?;
                let open = along
                    .broadcast_mul(&log_gain.as_row()?.exp()?)?
                    .broadcast_add(&magnitude_bias.as_row()?)?;
                open.relu()?.mul(&pre.relu()?.sign()?)
            }
            (MovingExtra::Thresholds { log, .. }, _) => {
                let on = pre.broadcast_sub(&log.as_row()?.exp()?)?.relu()?.sign()?;
                pre.mul(&on)
            }
            (_, Sparsity::TopK { k }) => keep_largest(pre, k),
            (_, Sparsity::BatchTopK { k }) => {
                let positive = pre.relu()?;
                let cut = least_of_largest(&positive, k * pre.dim(0)?)?;
                self.least_kept = cut;
                reaching(&positive, cut)?.mul(&positive)
            }
            _ => pre.relu(),
        }
    }

    /// Errors of each prefix, those of longer ones added, and the sum of squares of each one's own, `[prefixes]`.
    fn nested_errors(&self, inputs: &Tensor, codes: &Tensor) -> Result<(Vec<Tensor>, Tensor)> {
        let mut errors: Vec<Tensor> = Vec::with_capacity(self.prefixes.len());
        for (start, count) in self.segments() {
            let codes = if count == codes.dim(1)? {
                codes.clone()
            } else {
                codes.narrow(1, start, count)?.contiguous()?
            };
            let part = codes.matmul(&self.unit.narrow(0, start, count)?)?; // [R, d]
            errors.push(match errors.last() {
                None => (part - inputs)?,
                Some(shorter) => (shorter + part)?,
            });
        }
        let squares =
            errors.iter().map(|error| total(&error.sqr()?)?.reshape(1)).collect::<Result<Vec<_>>>()?;
        for prefix in (1..errors.len()).rev() {
            errors[prefix - 1] = (&errors[prefix - 1] + &errors[prefix])?;
        }
        Ok((errors, Tensor::cat(&squares, 0)?))
    }

    /// Scalar products of each feature's direction with the errors that it has a part in, `[R, F]`.
    fn against_directions(&self, errors: &[Tensor]) -> Result<Tensor> {
        let parts = self.segments().zip(errors);
        let parts =
            parts.map(|((start, count), error)| error.matmul(&self.unit.narrow(0, start, count)?.t()?));
        joined(parts.collect::<Result<Vec<_>>>()?, 1)
    }

    /// First feature and number of features that each prefix has beyond the one before.
    fn segments(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let starts = std::iter::once(0).chain(self.prefixes.iter().copied());
        starts.zip(&self.prefixes).map(|(start, end)| (start, end - start))
    }

    /// Adds the loss of dead features to the last forward pass: see [`forward_aux`](super::step::forward_aux).
    pub fn add_aux(&mut self, loss: AuxLoss<'_>) -> Result<()> {
        let Some(pass) = &mut self.pass else { return Ok(()) };
        let Some(left) = pass.errors.last() else { return Ok(()) };
        let (rows, d) = left.dims2()?;
        let mean = (ones(1, rows, left)?.matmul(left)? / rows as f64)?;
        let spread = total(&left.broadcast_sub(&mean)?.sqr()?)?.to_scalar::<f32>()?;
        let scale = 2.0 * f64::from(loss.weight) * d as f64 / f64::from(spread);
        if !scale.is_finite() {
            return Ok(());
        }
        let dead = Tensor::from_slice(loss.dead, loss.dead.len(), &self.device)?;
        let encoder = self.encoder.as_ref().map_or(&self.unit, |encoder| &encoder.values);
        let encoder = encoder.index_select(&dead, 0)?; // [n, d]
        let bias = self.encoder_bias.values.index_select(&dead, 0)?.t()?; // [1, n]
        let directions = self.unit.index_select(&dead, 0)?; // [n, d]
        let pre = pass.inputs.matmul(&encoder.t()?)?.broadcast_add(&bias)?;
        let codes = keep_largest(&pre, loss.k)?; // [R, n]
        let errors = (codes.matmul(&directions)? + left)?; // [R, d]
        let grads = (errors.matmul(&directions.t()?)? * scale)?.mul(&codes.sign()?)?;
        pass.aux = Some(AuxPass { dead, grads, codes: (codes * scale)?, errors });
        Ok(())
    }

    /// One step of all weights; `pull` is the derivative of the loss by the mean number of active features.
    pub fn update(&mut self, stepper: Stepper, pull: f64) -> Result<()> {
        let Some(pass) = &self.pass else { return Ok(()) };
        let rows = pass.inputs.dim(0)?;
        let per_row = 2.0 / (rows * self.prefixes.len()) as f64;
        let segments: Vec<(usize, usize)> = self.segments().collect();
        let mut encoder_grads = pass.grads.t()?.matmul(&pass.inputs)?; // [F, d]
        let parts = segments.iter().zip(&pass.errors).map(|(&(start, count), errors)| {
            let codes = match count == pass.codes.dim(1)? {
                true => pass.codes.clone(),
                false => pass.codes.narrow(1, start, count)?.contiguous()?,
            };
            codes.t()?.matmul(errors)
        });
        let mut decoder_grads = (joined(parts.collect::<Result<Vec<_>>>()?, 0)? * per_row)?; // [F, d]
        let mut bias_grads = column_sums(&pass.grads)?.t()?.contiguous()?; // [F, 1]
        if let Some(AuxPass { dead, grads, codes, errors }) = &pass.aux {
            encoder_grads = encoder_grads.index_add(dead, &grads.t()?.matmul(&pass.inputs)?, 0)?;
            decoder_grads = decoder_grads.index_add(dead, &codes.t()?.matmul(errors)?, 0)?;
            bias_grads = bias_grads.index_add(dead, &column_sums(grads)?.t()?.contiguous()?, 0)?;
        }
        let encoder = self.encoder.as_ref().map_or(&self.unit, |encoder| &encoder.values);
        if let Some(bias) = &mut self.decoder_bias {
            let of_errors = match pass.errors.first() {
                Some(errors) => (column_sums(errors)? * per_row)?,
                None => bias.values.zeros_like()?,
            };
            let gradient = (of_errors - bias_grads.t()?.matmul(encoder)?)?; // [1, d]
            bias.step(stepper, &gradient)?;
        }
        if self.encoder.is_none() {
            decoder_grads = (decoder_grads + &encoder_grads)?;
        }
        // The gradient of a raw row whose unit vector is what the loss sees.
        let along = decoder_grads.mul(&self.unit)?.sum_keepdim(1)?; // [F, 1]
        let across = (decoder_grads - self.unit.broadcast_mul(&along)?)?;
        self.decoder.step(stepper, &across.broadcast_div(&at_least(&self.norms, 1e-8)?)?)?;
        let norms = self.decoder.values.sqr()?.sum_keepdim(1)?.sqrt()?;
        self.unit = self.decoder.values.broadcast_div(&at_least(&norms, 1e-8)?)?;
        match self.renormalise {
            true => self.decoder.values = self.unit.copy()?,
            false => self.norms = norms,
        }
        if let Some(encoder) = &mut self.encoder {
            encoder.step(stepper, &encoder_grads)?;
        }
        match (&mut self.extra, &pass.side) {
            (MovingExtra::Gates { log_gain, magnitude_bias }, Side::Gates { by_magnitude }) => {
                let of_codes = column_sums(&by_magnitude.mul(&pass.codes)?)?.t()?; // [F, 1]
                let by_magnitude = column_sums(by_magnitude)?.t()?.contiguous()?; // [F, 1]
                let by_gain = (of_codes - by_magnitude.mul(&magnitude_bias.values)?)?;
                bias_grads = (bias_grads - by_magnitude.mul(&log_gain.values.exp()?)?)?;
                magnitude_bias.step(stepper, &by_magnitude)?;
                log_gain.step(stepper, &by_gain)?;
            }
            (MovingExtra::Thresholds { log, bandwidth }, Side::Thresholds { by_threshold, near }) => {
                // Moving a threshold changes how many codes near it are active by their density there.
                let count = -pull / (*bandwidth * rows as f64);
                let sum = (column_sums(by_threshold)? + (near * count)?)?.t()?.contiguous()?; // [F, 1]
                let gradient = sum.mul(&log.values.exp()?)?;
                log.step(stepper, &gradient)?;
            }
            _ => {}
        }
        self.encoder_bias.step(stepper, &bias_grads)
    }
}

/// Parts side by side; one is itself.
fn joined(mut parts: Vec<Tensor>, axis: usize) -> Result<Tensor> {
    match parts.len() {
        1 => Ok(parts.swap_remove(0)),
        _ => Tensor::cat(&parts, axis),
    }
}

fn ones(rows: usize, cols: usize, like: &Tensor) -> Result<Tensor> {
    Tensor::ones((rows, cols), like.dtype(), like.device())
}

/// Sums over rows, `[1, columns]`: as a product, which reads rows as they lie.
fn column_sums(x: &Tensor) -> Result<Tensor> {
    ones(1, x.dim(0)?, x)?.matmul(x)
}

/// The sum of all entries of `[rows, columns]`, rows first: those are summed side by side.
fn total(x: &Tensor) -> Result<Tensor> {
    x.sum(1)?.sum_all()
}

fn at_least(x: &Tensor, least: f64) -> Result<Tensor> {
    x.maximum(least)
}

/// 1 where an entry is `bar` or more.
fn reaching(x: &Tensor, bar: f32) -> Result<Tensor> {
    x.ge(f64::from(bar))?.to_dtype(x.dtype())
}

/// The `n`-th largest of the entries above zero, the least of them where there are fewer, infinity where there is
/// none. Halves the range of bit patterns, which are in the order of the numbers, until one is left.
fn least_of_largest(positive: &Tensor, n: usize) -> Result<f32> {
    let count = |bits: u32| -> Result<f64> {
        let rows = reaching(positive, f32::from_bits(bits))?.sum(1)?;
        Ok(rows.to_vec1::<f32>()?.into_iter().map(f64::from).sum())
    };
    let (mut least, mut beyond) = (1u32, f32::INFINITY.to_bits());
    let found = count(least)?;
    if found == 0.0 {
        return Ok(f32::INFINITY);
    }
    let wanted = found.min(n as f64);
    // At least `wanted` entries reach `least`, and fewer reach `beyond`.
    while beyond - least > 1 {
        let middle = least + (beyond - least) / 2;
        match count(middle)? >= wanted {
            true => least = middle,
            false => beyond = middle,
        }
    }
    Ok(f32::from_bits(least))
}

fn entries(x: &Tensor) -> Result<Vec<f32>> {
    x.flatten_all()?.to_vec1()
}

#[cfg(test)]
mod tests;
