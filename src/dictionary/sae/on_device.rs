//! Training steps on a device, as dense products and entrywise operations of candle on `[R, F]`.
//!
//! The equations are those of [`forward`](super::forward), [`aux_loss`](super::aux_loss) and [`update`](super::update),
//! which compute from active features only. A test compares both on the CPU. One difference: BatchTopK keeps all codes
//! that equal the smallest one kept here, and only those of the first rows there.
//!
//! R rows, F features, width d. Masks are numbers, 0 or 1.

mod kernels;

use candle_core::{Result, Tensor};

use super::adam::{Optimiser, Param};
use super::aux_loss::AuxLoss;
use super::recipe::Sparsity;
use super::selection::BatchSums;
use super::weights::{Extra, Weights};
use crate::nn::Device;
use kernels::{adam_step, keep_largest};

/// A [`Param`] on the device: values and Adam's moments, all `[n, width]`.
struct DeviceParam {
    values: Tensor,
    first: Tensor,
    second: Tensor,
}

impl DeviceParam {
    fn new(param: &Param, device: &Device) -> Result<Self> {
        let [values, first, second] = param.parts();
        let shape = (values.len() / param.width, param.width);
        let tensor = |data: &[f32]| Tensor::from_slice(data, shape, device);
        Ok(Self { values: tensor(values)?, first: tensor(first)?, second: tensor(second)? })
    }

    fn write_to(&self, param: &mut Param) -> Result<()> {
        let tensors = [&self.values, &self.first, &self.second];
        for (slot, tensor) in param.parts_mut().into_iter().zip(tensors) {
            slot.copy_from_slice(&entries(tensor)?);
        }
        Ok(())
    }

    /// Values `[n, 1]` as `[1, n]`.
    fn as_row(&self) -> Result<Tensor> {
        self.values.t()
    }

    /// One step. `gradient` has as many entries as the values.
    fn step(&mut self, optimiser: Optimiser, gradient: &Tensor) -> Result<()> {
        let gradient = gradient.reshape(self.values.shape())?.contiguous()?;
        match optimiser {
            Optimiser::Adam { rate, second_correction } => {
                let moments = [&self.first, &self.second];
                adam_step(&self.values, moments, &gradient, rate, second_correction)
            }
            #[cfg(test)]
            Optimiser::Plain => {
                self.values = (&self.values - gradient)?;
                Ok(())
            }
        }
    }
}

/// See [`Extra`].
enum DeviceExtra {
    Nothing,
    Gates { log_gain: DeviceParam, magnitude_bias: DeviceParam },
    Thresholds { log: DeviceParam, bandwidth: f64 },
}

/// Results of the forward pass that the update needs.
struct Pass {
    /// `x − b_dec`, `[R, d]`.
    inputs: Tensor,
    /// `[R, F]`.
    codes: Tensor,
    /// `Σ_{i ≥ j} e_i` for each prefix j, `[R, d]` each.
    errors: Vec<Tensor>,
    /// Derivative of the loss by the pre-activations, `[R, F]`.
    grads: Tensor,
    extra: ExtraGrads,
    aux: Option<AuxPass>,
    /// Rows on which each feature fired.
    firings: Vec<f32>,
}

/// Derivatives for the update of a [`DeviceExtra`].
enum ExtraGrads {
    Nothing,
    /// By the argument of the magnitude's ReLU, `[R, F]`.
    Gates {
        by_magnitude: Tensor,
    },
    /// By the thresholds, `[R, F]`, and the number of codes near each, `[1, F]`.
    Thresholds {
        by_threshold: Tensor,
        near: Tensor,
    },
}

/// Results of the auxiliary loss for n dead features.
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
    /// None where it is tied to the unit rows of the decoder.
    encoder: Option<DeviceParam>,
    encoder_bias: DeviceParam,
    decoder: DeviceParam,
    /// `[F, d]`.
    unit: Tensor,
    /// `[F, 1]`.
    norms: Tensor,
    decoder_bias: Option<DeviceParam>,
    extra: DeviceExtra,
    pass: Option<Pass>,
    /// Smallest code that BatchTopK kept in the last batch.
    pub smallest_kept: f32,
}

impl OnDevice {
    /// Copies weights to a device.
    pub fn new(weights: &Weights, sparsity: Sparsity, device: &Device) -> Result<Self> {
        let param = |param: &Param| DeviceParam::new(param, device);
        let shape = (weights.features, weights.d);
        let extra = match &weights.extra {
            Extra::Nothing => DeviceExtra::Nothing,
            Extra::Gates { log_gain, magnitude_bias, .. } => {
                DeviceExtra::Gates { log_gain: param(log_gain)?, magnitude_bias: param(magnitude_bias)? }
            }
            Extra::Thresholds { log, bandwidth, .. } => {
                DeviceExtra::Thresholds { log: param(log)?, bandwidth: f64::from(*bandwidth) }
            }
        };
        let unit = Tensor::from_slice(&weights.unit, shape, device)?;
        let mut decoder = param(&weights.decoder)?;
        if weights.renormalise {
            decoder.values = unit.copy()?;
        }
        Ok(Self {
            device: device.clone(),
            sparsity,
            prefixes: weights.prefixes.clone(),
            renormalise: weights.renormalise,
            encoder: weights.encoder.as_ref().map(param).transpose()?,
            encoder_bias: param(&weights.encoder_bias)?,
            decoder,
            unit,
            norms: Tensor::from_slice(&weights.norms, (weights.features, 1), device)?,
            decoder_bias: weights.decoder_bias.as_ref().map(param).transpose()?,
            extra,
            pass: None,
            smallest_kept: 0.0,
        })
    }

    /// Replaces the weights.
    pub fn put(&mut self, weights: &Weights) -> Result<()> {
        let new = Self::new(weights, self.sparsity, &self.device)?;
        *self = Self { smallest_kept: self.smallest_kept, ..new };
        Ok(())
    }

    /// Copies the weights back.
    pub fn write_to(&self, weights: &mut Weights) -> Result<()> {
        for (here, there) in
            [(&self.encoder, &mut weights.encoder), (&self.decoder_bias, &mut weights.decoder_bias)]
        {
            here.iter().zip(there).try_for_each(|(here, there)| here.write_to(there))?;
        }
        self.encoder_bias.write_to(&mut weights.encoder_bias)?;
        self.decoder.write_to(&mut weights.decoder)?;
        weights.unit.copy_from_slice(&entries(&self.unit)?);
        weights.norms.copy_from_slice(&entries(&self.norms)?);
        match (&self.extra, &mut weights.extra) {
            (
                DeviceExtra::Gates { log_gain, magnitude_bias },
                Extra::Gates { log_gain: log, magnitude_bias: bias, .. },
            ) => {
                log_gain.write_to(log)?;
                magnitude_bias.write_to(bias)?;
            }
            (DeviceExtra::Thresholds { log: here, .. }, Extra::Thresholds { log, .. }) => {
                here.write_to(log)?
            }
            _ => {}
        }
        weights.extra.refresh();
        Ok(())
    }

    /// Inputs and errors of the last prefix in the last forward pass, `[R · d]` each.
    pub fn inputs_and_errors(&self) -> Result<(Vec<f32>, Vec<f32>)> {
        let Some(Pass { inputs, errors, .. }) = &self.pass else { return Ok(Default::default()) };
        Ok((entries(inputs)?, errors.last().map_or(Ok(Vec::new()), entries)?))
    }

    /// Rows on which each feature fired in the last forward pass, `[F]`.
    pub fn firings(&self) -> &[f32] {
        self.pass.as_ref().map_or(&[], |pass| &pass.firings)
    }

    /// Encoder rows `[F, d]`.
    fn encoder_rows(&self) -> &Tensor {
        self.encoder.as_ref().map_or(&self.unit, |encoder| &encoder.values)
    }

    /// Forward pass of a batch `[R · d]`.
    pub fn forward(&mut self, batch: &[f32], l1: f64) -> Result<BatchSums> {
        let (features, d) = self.unit.dims2()?;
        let rows = batch.len() / d;
        let x = Tensor::from_slice(batch, (rows, d), &self.device)?;
        let inputs = match &self.decoder_bias {
            Some(bias) => x.broadcast_sub(&bias.values)?,
            None => x,
        };
        let pre = inputs.matmul(&self.encoder_rows().t()?)?.broadcast_add(&self.encoder_bias.as_row()?)?; // [R, F]
        let weight = 2.0 / (rows * self.prefixes.len()) as f64;
        let penalty = l1 / rows as f64;

        let codes = self.codes(&pre)?;
        let (errors, squares) = self.nested_errors(&inputs, &codes)?;
        let mut objective = (squares.sum_all()? / self.prefixes.len() as f64)?;
        let along = (self.against_directions(&errors)? * weight)?; // [R, F]
        let active = codes.sign()?;
        let (grads, extra) = match &self.extra {
            DeviceExtra::Nothing => {
                objective = (objective + (total(&codes)? * l1)?)?;
                ((along + penalty)?.mul(&active)?, ExtraGrads::Nothing)
            }
            DeviceExtra::Gates { log_gain, .. } => {
                let gates = pre.relu()?;
                let error = (gates.matmul(&self.unit)? - &inputs)?;
                objective = ((objective + total(&error.sqr()?)?)? + (total(&gates)? * l1)?)?;
                let by_magnitude = along.mul(&active)?;
                let of_gates = error.matmul(&self.unit.t()?)?.affine(weight, penalty)?.mul(&gates.sign()?)?;
                let gain = log_gain.as_row()?.exp()?;
                let grads = (by_magnitude.broadcast_mul(&gain)? + of_gates)?;
                (grads, ExtraGrads::Gates { by_magnitude })
            }
            DeviceExtra::Thresholds { log, bandwidth } => {
                let thresholds = log.as_row()?.exp()?; // [1, F]
                let away = pre.broadcast_sub(&thresholds)?.abs()?;
                let near = away.affine(-1.0, 0.5 * bandwidth)?.relu()?.sign()?.mul(&pre.relu()?.sign()?)?;
                let by_threshold = along.mul(&near)?.broadcast_mul(&(thresholds * (-1.0 / bandwidth))?)?;
                (along.mul(&active)?, ExtraGrads::Thresholds { by_threshold, near: column_sums(&near)? })
            }
        };
        // One copy from the device for all sums.
        let last = squares.narrow(0, self.prefixes.len() - 1, 1)?;
        let sums = [column_sums(&active)?.flatten_all()?, last, objective.reshape(1)?];
        let mut firings = entries(&Tensor::cat(&sums, 0)?)?;
        let numbers: Vec<f64> = firings.drain(features..).map(f64::from).collect();
        let active = firings.iter().map(|&count| count as usize).sum();
        self.pass = Some(Pass { inputs, codes, errors, grads, extra, aux: None, firings });
        Ok(BatchSums { squared_error: numbers[0], objective: numbers[1], active, screened: 0 })
    }

    /// Codes `[R, F]` of pre-activations.
    fn codes(&mut self, pre: &Tensor) -> Result<Tensor> {
        match (&self.extra, self.sparsity) {
            (DeviceExtra::Gates { log_gain, magnitude_bias }, _) => {
                let along = pre.broadcast_sub(&self.encoder_bias.as_row()?)?;
                let magnitude = along
                    .broadcast_mul(&log_gain.as_row()?.exp()?)?
                    .broadcast_add(&magnitude_bias.as_row()?)?;
                magnitude.relu()?.mul(&pre.relu()?.sign()?)
            }
            (DeviceExtra::Thresholds { log, .. }, _) => {
                let active = pre.broadcast_sub(&log.as_row()?.exp()?)?.relu()?.sign()?;
                pre.mul(&active)
            }
            (_, Sparsity::TopK { k }) => keep_largest(pre, k),
            (_, Sparsity::BatchTopK { k }) => {
                let positive = pre.relu()?;
                self.smallest_kept = nth_largest(&positive, k * pre.dim(0)?)?;
                reaching(&positive, self.smallest_kept)?.mul(&positive)
            }
            _ => pre.relu(),
        }
    }

    /// `Σ_{i ≥ j} e_i` for each prefix j, and the sum of squares of each `e_j`, `[m]`.
    fn nested_errors(&self, inputs: &Tensor, codes: &Tensor) -> Result<(Vec<Tensor>, Tensor)> {
        let mut errors: Vec<Tensor> = Vec::with_capacity(self.prefixes.len());
        for (start, count) in self.segments() {
            let part =
                codes.narrow(1, start, count)?.contiguous()?.matmul(&self.unit.narrow(0, start, count)?)?; // [R, d]
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

    /// Dot products of each feature's direction with the error it is trained on, `[R, F]`.
    fn against_directions(&self, errors: &[Tensor]) -> Result<Tensor> {
        let parts = self.segments().zip(errors);
        let parts =
            parts.map(|((start, count), error)| error.matmul(&self.unit.narrow(0, start, count)?.t()?));
        Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 1)
    }

    /// First feature and number of features that each prefix adds to the one before.
    fn segments(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let starts = std::iter::once(0).chain(self.prefixes.iter().copied());
        starts.zip(&self.prefixes).map(|(start, end)| (start, end - start))
    }

    /// Adds the loss of dead features to the last forward pass: see [`forward_aux`](super::aux_loss::forward_aux).
    pub fn add_aux(&mut self, loss: AuxLoss<'_>) -> Result<()> {
        let Some(pass) = &self.pass else { return Ok(()) };
        let Some(errors) = pass.errors.last() else { return Ok(()) };
        let (rows, d) = errors.dims2()?;
        let mean = (ones(1, rows, errors)?.matmul(errors)? / rows as f64)?;
        let spread = total(&errors.broadcast_sub(&mean)?.sqr()?)?.to_scalar::<f32>()?;
        let scale = 2.0 * f64::from(loss.weight) * d as f64 / f64::from(spread);
        if !scale.is_finite() {
            return Ok(());
        }
        let dead = Tensor::from_slice(loss.dead, loss.dead.len(), &self.device)?;
        let encoder = self.encoder_rows().index_select(&dead, 0)?; // [n, d]
        let bias = self.encoder_bias.values.index_select(&dead, 0)?.t()?; // [1, n]
        let directions = self.unit.index_select(&dead, 0)?; // [n, d]
        let pre = pass.inputs.matmul(&encoder.t()?)?.broadcast_add(&bias)?;
        let codes = keep_largest(&pre, loss.k)?; // [R, n]
        let errors = (codes.matmul(&directions)? + errors)?; // [R, d]
        let grads = (errors.matmul(&directions.t()?)? * scale)?.mul(&codes.sign()?)?;
        let aux = AuxPass { dead, grads, codes: (codes * scale)?, errors };
        if let Some(pass) = &mut self.pass {
            pass.aux = Some(aux);
        }
        Ok(())
    }

    /// One step of all weights. `l0_grad` is the derivative of the loss by L0.
    pub fn update(&mut self, optimiser: Optimiser, l0_grad: f64) -> Result<()> {
        let Some(pass) = self.pass.take() else { return Ok(()) };
        let weight = 2.0 / (pass.inputs.dim(0)? * self.prefixes.len()) as f64;
        let (encoder_grads, mut decoder_grads, bias_grads) = self.gradients(&pass, weight)?;
        let encoder = self.encoder.as_ref().map_or(&self.unit, |encoder| &encoder.values);
        if let (Some(bias), Some(errors)) = (&mut self.decoder_bias, pass.errors.first()) {
            let by_errors = (column_sums(errors)? * weight)?;
            let gradient = (by_errors - bias_grads.t()?.matmul(encoder)?)?; // [1, d]
            bias.step(optimiser, &gradient)?;
        }
        if self.encoder.is_none() {
            decoder_grads = (decoder_grads + &encoder_grads)?;
        }
        self.step_decoder(optimiser, decoder_grads)?;
        if let Some(encoder) = &mut self.encoder {
            encoder.step(optimiser, &encoder_grads)?;
        }
        let bias_grads = self.step_extra(&pass, optimiser, l0_grad, bias_grads)?;
        self.pass = Some(pass);
        self.encoder_bias.step(optimiser, &bias_grads)
    }

    /// Sums over rows: gradients of the encoder `[F, d]`, of unit decoder rows `[F, d]`, and of pre-activations `[F, 1]`.
    fn gradients(&self, pass: &Pass, weight: f64) -> Result<(Tensor, Tensor, Tensor)> {
        let encoder = pass.grads.t()?.matmul(&pass.inputs)?;
        let parts = self.segments().zip(&pass.errors).map(|((start, count), errors)| {
            pass.codes.narrow(1, start, count)?.contiguous()?.t()?.matmul(errors)
        });
        let decoder = (Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 0)? * weight)?;
        let bias = column_sums(&pass.grads)?.t()?.contiguous()?;
        let Some(AuxPass { dead, grads, codes, errors }) = &pass.aux else {
            return Ok((encoder, decoder, bias));
        };
        Ok((
            encoder.index_add(dead, &grads.t()?.matmul(&pass.inputs)?, 0)?,
            decoder.index_add(dead, &codes.t()?.matmul(errors)?, 0)?,
            bias.index_add(dead, &column_sums(grads)?.t()?.contiguous()?, 0)?,
        ))
    }

    /// Steps the decoder from the gradient of its unit rows: see [`through_norm`](super::adam::through_norm).
    fn step_decoder(&mut self, optimiser: Optimiser, gradient: Tensor) -> Result<()> {
        let along = gradient.mul(&self.unit)?.sum_keepdim(1)?; // [F, 1]
        let across = (gradient - self.unit.broadcast_mul(&along)?)?;
        self.decoder.step(optimiser, &across.broadcast_div(&self.norms.maximum(1e-8)?)?)?;
        let norms = self.decoder.values.sqr()?.sum_keepdim(1)?.sqrt()?;
        self.unit = self.decoder.values.broadcast_div(&norms.maximum(1e-8)?)?;
        match self.renormalise {
            true => self.decoder.values = self.unit.copy()?,
            false => self.norms = norms,
        }
        Ok(())
    }

    /// Steps gates or thresholds; returns the gradient of the encoder's bias.
    fn step_extra(
        &mut self,
        pass: &Pass,
        optimiser: Optimiser,
        l0_grad: f64,
        bias_grads: Tensor,
    ) -> Result<Tensor> {
        match (&mut self.extra, &pass.extra) {
            (DeviceExtra::Gates { log_gain, magnitude_bias }, ExtraGrads::Gates { by_magnitude }) => {
                let of_codes = column_sums(&by_magnitude.mul(&pass.codes)?)?.t()?; // [F, 1]
                let by_magnitude = column_sums(by_magnitude)?.t()?.contiguous()?; // [F, 1]
                let by_gain = (of_codes - by_magnitude.mul(&magnitude_bias.values)?)?;
                let bias_grads = (bias_grads - by_magnitude.mul(&log_gain.values.exp()?)?)?;
                magnitude_bias.step(optimiser, &by_magnitude)?;
                log_gain.step(optimiser, &by_gain)?;
                Ok(bias_grads)
            }
            (DeviceExtra::Thresholds { log, bandwidth }, ExtraGrads::Thresholds { by_threshold, near }) => {
                // A rectangle around the threshold estimates how many codes a change would switch off.
                let count = -l0_grad / (*bandwidth * pass.inputs.dim(0)? as f64);
                let sum = (column_sums(by_threshold)? + (near * count)?)?.t()?.contiguous()?; // [F, 1]
                log.step(optimiser, &sum.mul(&log.values.exp()?)?)?;
                Ok(bias_grads)
            }
            _ => Ok(bias_grads),
        }
    }
}

fn ones(rows: usize, cols: usize, like: &Tensor) -> Result<Tensor> {
    Tensor::ones((rows, cols), like.dtype(), like.device())
}

/// Sums over rows, `[1, columns]`: as a product, which reads memory in order.
fn column_sums(x: &Tensor) -> Result<Tensor> {
    ones(1, x.dim(0)?, x)?.matmul(x)
}

/// The sum of all entries of `[rows, columns]`. Rows are summed first, in parallel.
fn total(x: &Tensor) -> Result<Tensor> {
    x.sum(1)?.sum_all()
}

/// 1 where an entry is at least `bar`.
fn reaching(x: &Tensor, bar: f32) -> Result<Tensor> {
    x.ge(f64::from(bar))?.to_dtype(x.dtype())
}

/// The `n`-th largest positive entry; the smallest where there are fewer, infinity where there are none. Bisects the bit
/// patterns of positive floats, which are ordered like the floats.
fn nth_largest(positive: &Tensor, n: usize) -> Result<f32> {
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
    // Invariant: at least `wanted` entries reach `least`, and fewer reach `beyond`.
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
