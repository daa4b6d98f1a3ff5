//! Gradients of all weights, and one step of the optimiser.
//!
//! ```text
//! dL/dW_enc,f = Σ_rows grad · x′     dL/dw_f = Σ_rows code · e     dL/db_enc,f = Σ_rows grad
//! dL/db_dec   = 2 / (R m) · Σ_rows Σ_j e_j − Σ_f dL/db_enc,f · W_enc,f
//! ```
//!
//! Entries carry `grad` and the weighted `code`; `e` is the error of the feature's prefixes. Gradients of a block of
//! features are summed and applied at once, so the full gradient matrix is never stored.

use rayon::prelude::*;

use crate::linalg::{Vectorised, View, add_scaled, product_into, vectorised};

use super::adam::{Optimiser, ParamRows, normalise, normalise_into, through_norm};
use super::entries::{ByFeature, Entry};
use super::forward::Workspace;
use super::selection::error_weight;
use super::weights::{Extra, Weights};

/// Features per task with sparse gradients.
const SPARSE_CHUNK: usize = 16;
/// Features per task with dense gradients, where products gain from taller blocks.
const DENSE_CHUNK: usize = 128;

/// Where the gradients of a batch come from.
pub enum Gradients<'a> {
    /// Active features of the loss, and those of the auxiliary loss with its errors.
    Sparse { main: &'a ByFeature, aux: &'a ByFeature, aux_errors: &'a [f32] },
    /// `work.codes` and `work.grads`.
    Dense,
}

/// One step of all weights.
pub fn update(weights: &mut Weights, work: &Workspace, gradients: &Gradients<'_>, optimiser: Optimiser) {
    let (d, features, renormalise) = (weights.d, weights.features, weights.renormalise);
    let size = match gradients {
        Gradients::Sparse { .. } => SPARSE_CHUNK,
        Gradients::Dense => DENSE_CHUNK,
    };
    let chunks = features.div_ceil(size);
    let with_bias_part = weights.decoder_bias.is_some();
    let mut bias_parts = vec![0.0f32; chunks * d];
    let mut bias_grads = vec![0.0f32; features];
    let encoders: Vec<Option<ParamRows<'_>>> = match &mut weights.encoder {
        Some(encoder) => encoder.chunks(size).map(Some).collect(),
        None => (0..chunks).map(|_| None).collect(),
    };
    let prefixes = &weights.prefixes[..];
    let tasks: Vec<ChunkTask<'_>> = encoders
        .into_iter()
        .zip(weights.decoder.chunks(size))
        .zip(weights.unit.chunks_mut(size * d))
        .zip(weights.norms.chunks_mut(size))
        .zip(bias_grads.chunks_mut(size))
        .zip(bias_parts.chunks_mut(d))
        .enumerate()
        .map(|(chunk, (((((encoder, decoder), unit), norms), bias_grads), bias_part))| ChunkTask {
            first: chunk * size,
            d,
            renormalise,
            optimiser,
            work,
            gradients,
            encoder,
            decoder,
            unit,
            norms,
            bias_grads,
            bias_part: if with_bias_part { bias_part } else { &mut [] },
            prefixes,
        })
        .collect();
    tasks.into_par_iter().for_each(vectorised);
    if let Some(bias) = &mut weights.decoder_bias {
        let gradient = decoder_bias_gradient(work, d, weights.prefixes.len(), &bias_parts);
        bias.step(&optimiser, &gradient);
    }
    if let Gradients::Sparse { main, .. } = gradients {
        let weight = error_weight(work.rows, weights.prefixes.len());
        weights.extra.step(&optimiser, weight, work.rows, main, &mut bias_grads);
    }
    weights.encoder_bias.step(&optimiser, &bias_grads);
}

/// `dL/db_dec`. `encoder_parts` holds `Σ dL/db_enc,f · W_enc,f` of each task.
fn decoder_bias_gradient(work: &Workspace, d: usize, prefixes: usize, encoder_parts: &[f32]) -> Vec<f32> {
    let mut gradient = vec![0.0f32; d];
    for row in work.errors.chunks_exact(prefixes * d) {
        add_scaled(&mut gradient, 1.0, &row[..d]);
    }
    let weight = error_weight(work.rows, prefixes);
    gradient.iter_mut().for_each(|value| *value *= weight);
    for part in encoder_parts.chunks_exact(d) {
        add_scaled(&mut gradient, -1.0, part);
    }
    gradient
}

impl Extra {
    /// One step. `bias_grads` `[F]` holds sums of `grad` and is corrected to the gradient of the encoder's bias.
    fn step(
        &mut self,
        optimiser: &Optimiser,
        weight: f32,
        rows: usize,
        main: &ByFeature,
        bias_grads: &mut [f32],
    ) {
        let features = 0..bias_grads.len();
        match self {
            Self::Nothing => return,
            Self::Gates { log_gain, gain, magnitude_bias } => {
                let biases = &magnitude_bias.values;
                let sums = features.into_par_iter().map(|feature| {
                    main.of(feature).iter().fold((0.0, 0.0), |(by_gain, by_magnitude), entry| {
                        let magnitude = entry.code / weight - biases[feature];
                        (by_gain + entry.extra_grad * magnitude, by_magnitude + entry.extra_grad)
                    })
                });
                let (gain_grads, magnitude_grads): (Vec<f32>, Vec<f32>) = sums.unzip();
                for ((grad, gain), magnitude) in bias_grads.iter_mut().zip(gain.iter()).zip(&magnitude_grads)
                {
                    *grad -= gain * magnitude;
                }
                magnitude_bias.step(optimiser, &magnitude_grads);
                log_gain.step(optimiser, &gain_grads);
            }
            Self::Thresholds { log, thresholds, bandwidth, l0_grad } => {
                // A rectangle around the threshold estimates how many codes a change would switch off.
                let count = -*l0_grad / (*bandwidth * rows as f32);
                let sums = features.into_par_iter().map(|feature| {
                    let upper = thresholds[feature] + 0.5 * *bandwidth;
                    let near = main.of(feature).iter().filter(|entry| entry.code / weight < upper);
                    thresholds[feature] * near.fold(0.0, |sum, entry| sum + (entry.extra_grad + count))
                });
                log.step(optimiser, &sums.collect::<Vec<f32>>());
            }
        }
        self.refresh();
    }
}

/// A block of features.
struct ChunkTask<'a> {
    /// Its first feature.
    first: usize,
    d: usize,
    renormalise: bool,
    optimiser: Optimiser,
    work: &'a Workspace,
    gradients: &'a Gradients<'a>,
    /// None where it is tied.
    encoder: Option<ParamRows<'a>>,
    decoder: ParamRows<'a>,
    unit: &'a mut [f32],
    norms: &'a mut [f32],
    /// `Σ grad` of each feature.
    bias_grads: &'a mut [f32],
    /// `Σ_f Σ grad · W_enc,f` before the step, `[d]`; empty where there is no decoder bias.
    bias_part: &'a mut [f32],
    prefixes: &'a [usize],
}

impl Vectorised for ChunkTask<'_> {
    type Output = ();

    #[inline(always)]
    fn run(mut self) {
        let d = self.d;
        let count = self.norms.len();
        let mut encoder_grads = vec![0.0f32; count * d];
        let mut decoder_grads = vec![0.0f32; count * d];
        match self.gradients {
            Gradients::Sparse { main, aux, aux_errors } => {
                for slot in 0..count {
                    let feature = self.first + slot;
                    let range = slot * d..(slot + 1) * d;
                    let sums = (&mut encoder_grads[range.clone()], &mut decoder_grads[range]);
                    let prefix = self.prefixes.partition_point(|&end| end <= feature);
                    let own = Errors { all: &self.work.errors, per_row: self.prefixes.len(), nth: prefix };
                    let left_over = Errors { all: aux_errors, per_row: 1, nth: 0 };
                    for (list, errors) in [(main, own), (aux, left_over)] {
                        let entries = list.of(feature);
                        sum_entries(entries, &self.work.inputs, errors, (&mut *sums.0, &mut *sums.1));
                        self.bias_grads[slot] += entries.iter().map(|entry| entry.grad).sum::<f32>();
                    }
                }
            }
            Gradients::Dense => self.dense(&mut encoder_grads, &mut decoder_grads),
        }
        for slot in 0..count {
            let range = slot * d..(slot + 1) * d;
            let encoder = self.encoder.as_ref().map_or(&*self.unit, |rows| &*rows.values);
            add_scaled(self.bias_part, self.bias_grads[slot], &encoder[range.clone()]);
            self.step_feature(slot, &mut encoder_grads[range.clone()], &mut decoder_grads[range]);
        }
    }
}

impl ChunkTask<'_> {
    #[inline(always)]
    fn dense(&mut self, encoder_grads: &mut [f32], decoder_grads: &mut [f32]) {
        let (d, rows, work) = (self.d, self.work.rows, self.work);
        let features = work.codes.len() / rows;
        let end = self.first + self.norms.len();
        let columns = |data| View::new(data, rows, features).transposed().rows(self.first, end);
        product_into(encoder_grads, columns(&work.grads[..]), View::new(&work.inputs, rows, d), false);
        product_into(decoder_grads, columns(&work.codes[..]), View::new(&work.errors, rows, d), false);
        let weight = error_weight(rows, 1);
        decoder_grads.iter_mut().for_each(|value| *value *= weight);
        for row in work.grads.chunks_exact(features) {
            add_scaled(self.bias_grads, 1.0, &row[self.first..end]);
        }
    }

    #[inline(always)]
    fn step_feature(&mut self, slot: usize, encoder_grad: &mut [f32], decoder_grad: &mut [f32]) {
        let range = slot * self.d..(slot + 1) * self.d;
        if self.encoder.is_none() {
            add_scaled(decoder_grad, 1.0, encoder_grad);
        }
        let unit = &mut self.unit[range.clone()];
        through_norm(decoder_grad, unit, self.norms[slot]);
        let ParamRows { values: raw, first, second } = self.decoder.part(range.clone());
        if self.renormalise {
            self.optimiser.apply(unit, first, second, decoder_grad);
            normalise(unit);
        } else {
            self.optimiser.apply(raw, first, second, decoder_grad);
            self.norms[slot] = normalise_into(unit, raw);
        }
        if let Some(encoder) = &mut self.encoder {
            let ParamRows { values, first, second } = encoder.part(range);
            self.optimiser.apply(values, first, second, encoder_grad);
        }
    }
}

/// Errors of prefix `nth` in `[R, per_row, d]`.
#[derive(Clone, Copy)]
struct Errors<'a> {
    all: &'a [f32],
    per_row: usize,
    nth: usize,
}

/// Adds `Σ grad · x′` and `Σ code · e` over some entries.
#[inline(always)]
fn sum_entries(entries: &[Entry], inputs: &[f32], errors: Errors<'_>, sums: (&mut [f32], &mut [f32])) {
    let d = sums.0.len();
    let mut from = 0;
    while d - from >= 128 {
        sum_columns::<128>(entries, inputs, errors, (&mut *sums.0, &mut *sums.1), from);
        from += 128;
    }
    while d - from >= 32 {
        sum_columns::<32>(entries, inputs, errors, (&mut *sums.0, &mut *sums.1), from);
        from += 32;
    }
    if from < d {
        for entry in entries {
            let row = entry.row as usize;
            let error = (row * errors.per_row + errors.nth) * d;
            add_scaled(&mut sums.0[from..], entry.grad, &inputs[row * d + from..(row + 1) * d]);
            add_scaled(&mut sums.1[from..], entry.code, &errors.all[error + from..error + d]);
        }
    }
}

/// [`sum_entries`] for `N` columns, whose sums stay in registers.
#[inline(always)]
fn sum_columns<const N: usize>(
    entries: &[Entry],
    inputs: &[f32],
    errors: Errors<'_>,
    sums: (&mut [f32], &mut [f32]),
    from: usize,
) {
    let d = sums.0.len();
    let mut encoder = [0.0f32; N];
    let mut decoder = [0.0f32; N];
    for entry in entries {
        let row = entry.row as usize;
        let input = &inputs[row * d + from..][..N];
        let error = &errors.all[(row * errors.per_row + errors.nth) * d + from..][..N];
        for lane in 0..N {
            encoder[lane] += entry.grad * input[lane];
            decoder[lane] += entry.code * error[lane];
        }
    }
    add_scaled(&mut sums.0[from..from + N], 1.0, &encoder);
    add_scaled(&mut sums.1[from..from + N], 1.0, &decoder);
}
