//! Forward pass of a batch: encoder, selection of active features, decoder, errors and code gradients.
//!
//! ```text
//! R rows, F features, width d, m prefixes that end at features end_1 < … < end_m = F
//! x′ = x − b_dec                                [R, d]
//! p  = x′ W_encᵀ + b_enc                        [R, F]   pre-activations
//! z  = selection(p)                             [R, F]   codes, sparse
//! e_j = Σ_{f < end_j} z_f w_f − x′              [R, d]   error of prefix j
//! dL/dp_f = 2 / (R m) · w_f · Σ_{j: f < end_j} e_j + l1 / R      where z_f > 0
//! ```
//!
//! The equations of each kind, and their sources, are in the [module above](super).

use rayon::prelude::*;

use crate::linalg::{
    Panels, Room, Screen, Vectorised, View, has_screens, product_into, sum_of_squares, vectorised,
};

use super::batch_threshold::batch_threshold;
use super::entries::Entry;
use super::selection::{BatchSums, Forward, Selection, TILE, error_weight};
use super::sparse_tile::{SparseTile, Tile};

/// Rows per task with dense codes, where products gain from taller tiles.
const DENSE_TILE: usize = 256;

/// Buffers of one batch, reused from step to step.
pub struct Workspace {
    pub rows: usize,
    /// `x − b_dec`, `[R, d]`.
    pub inputs: Room,
    /// `[R, m, d]`. Entry j holds `Σ_{i ≥ j} e_i`, the error that features between ends j − 1 and j are trained on.
    pub errors: Room,
    /// `[R, F]`, for BatchTopK and for dense codes.
    pub codes: Room,
    /// `[R, F]`, for dense codes.
    pub grads: Room,
    /// Active features of each tile.
    pub entries: Vec<Vec<Entry>>,
    /// The encoder as packed panels.
    pub encoder: Panels,
    /// The encoder in bf16, to find which codes may be large.
    pub screen: Screen,
    /// Smallest code that BatchTopK kept in the last batch; 0 before the first.
    pub smallest_kept: f32,
}

impl Workspace {
    pub fn new(rows: usize, d: usize, prefixes: usize) -> Self {
        Self {
            rows,
            inputs: Room::zeros(rows * d),
            errors: Room::zeros(rows * prefixes * d),
            codes: Room::default(),
            grads: Room::default(),
            entries: vec![Vec::new(); rows.div_ceil(TILE)],
            encoder: Panels::default(),
            screen: Screen::default(),
            smallest_kept: 0.0,
        }
    }

    /// Stores all codes of a batch and finds the smallest one that BatchTopK keeps, with its rank.
    fn encode_batch(&mut self, forward: Forward<'_>, batch: &[f32], k: usize) -> (f32, u64) {
        let (d, features) = (forward.d, forward.features);
        self.codes.fit(self.rows * features);
        batch
            .par_chunks(TILE * d)
            .zip(self.inputs.par_chunks_mut(TILE * d))
            .zip(self.codes.par_chunks_mut(TILE * features))
            .for_each(|((batch, inputs), codes)| {
                centre(&forward, batch, inputs);
                self.encoder.multiply(inputs, forward.encoder_bias, codes);
            });
        let kept_from = batch_threshold(&self.codes, features, k * (batch.len() / d), self.smallest_kept);
        self.smallest_kept = kept_from.0;
        kept_from
    }
}

/// Forward pass that computes errors and gradients from active features only.
pub fn forward_sparse(forward: Forward<'_>, batch: &[f32], work: &mut Workspace) -> BatchSums {
    let (d, features, rows) = (forward.d, forward.features, work.rows);
    let can_screen = matches!(forward.selection, Selection::TopK(_) | Selection::Relu);
    let screened = can_screen && has_screens() && work.screen.worth.now();
    match screened {
        true => work.screen.fill(forward.encoder, d, forward.encoder_bias),
        false => work.encoder.fill(forward.encoder, d),
    }
    let kept_from = match forward.selection {
        Selection::BatchTopK(k) => Some(work.encode_batch(forward, batch, k)),
        _ => None,
    };
    let (encoder, screen, stored) = (&work.encoder, screened.then_some(&work.screen), &work.codes);
    let tiles: Vec<BatchSums> = batch
        .par_chunks(TILE * d)
        .zip(work.inputs.par_chunks_mut(TILE * d))
        .zip(work.errors.par_chunks_mut(TILE * forward.prefixes.len() * d))
        .zip(work.entries.par_iter_mut())
        .enumerate()
        .map(|(tile, (((batch, inputs), errors), entries))| {
            let first_row = tile * TILE;
            let n = batch.len() / d * features;
            if kept_from.is_none() {
                centre(&forward, batch, inputs);
            }
            let inputs = &*inputs;
            let mut finish = |codes: &[f32]| {
                let tile = Tile { forward, kept_from, screen, first_row, rows, inputs, codes };
                vectorised(SparseTile { tile, errors, entries })
            };
            if kept_from.is_some() {
                return finish(&stored[first_row * features..][..n]);
            }
            with_buffer(n, |codes| {
                match screen {
                    Some(screen) => screen.multiply(inputs, forward.encoder_bias, codes),
                    None => encoder.multiply(inputs, forward.encoder_bias, codes),
                }
                finish(codes)
            })
        })
        .collect();
    let sums = BatchSums::of_tiles(&tiles);
    if screened {
        work.screen.worth.note(sums.screened, rows * features);
    }
    sums
}

/// Lends a buffer of `n` numbers that each thread keeps, so that the codes of a tile stay in its cache. The numbers are
/// those of the last use.
fn with_buffer<R>(n: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    thread_local! {
        static BUFFER: std::cell::Cell<Room> = std::cell::Cell::new(Room::default());
    }
    let mut buffer = BUFFER.take();
    if buffer.len() < n {
        buffer = Room::zeros(n);
    }
    let result = work(&mut buffer[..n]);
    BUFFER.set(buffer);
    result
}

/// `inputs = batch − b_dec`.
fn centre(forward: &Forward<'_>, batch: &[f32], inputs: &mut [f32]) {
    inputs.copy_from_slice(batch);
    if !forward.decoder_bias.is_empty() {
        for row in inputs.chunks_exact_mut(forward.d) {
            row.iter_mut().zip(forward.decoder_bias).for_each(|(value, bias)| *value -= bias);
        }
    }
}

/// Computes what [`forward_sparse`] does, with dense products: for ReLU codes with many active features. Codes and
/// gradients are left in `work.codes` and `work.grads`. They are zero where a feature is not active.
pub fn forward_dense(forward: Forward<'_>, batch: &[f32], work: &mut Workspace) -> BatchSums {
    let (d, features, rows) = (forward.d, forward.features, work.rows);
    work.grads.fit(rows * features);
    work.codes.fit(rows * features);
    work.encoder.fill(forward.encoder, d);
    let encoder = &work.encoder;
    let tiles: Vec<BatchSums> = batch
        .par_chunks(DENSE_TILE * d)
        .zip(work.inputs.par_chunks_mut(DENSE_TILE * d))
        .zip(work.errors.par_chunks_mut(DENSE_TILE * d))
        .zip(work.codes.par_chunks_mut(DENSE_TILE * features))
        .zip(work.grads.par_chunks_mut(DENSE_TILE * features))
        .map(|((((batch, inputs), errors), codes), grads)| {
            let n = batch.len() / d;
            centre(&forward, batch, inputs);
            encoder.multiply(inputs, forward.encoder_bias, codes);
            let (active, code_sum) = vectorised(Relu { codes, features });
            errors.iter_mut().zip(inputs.iter()).for_each(|(slot, value)| *slot = -value);
            let decoder = View::new(forward.decoder, features, d);
            product_into(errors, View::new(codes, n, features), decoder, true);
            let squared_error: f64 = errors.chunks_exact(d).map(|row| f64::from(sum_of_squares(row))).sum();
            let objective = squared_error + f64::from(forward.l1) * code_sum;
            product_into(grads, View::new(errors, n, d), decoder.transposed(), false);
            vectorised(MaskGrads { codes, grads, rows, l1: forward.l1 });
            BatchSums { squared_error, objective, active, screened: 0 }
        })
        .collect();
    BatchSums::of_tiles(&tiles)
}

/// ReLU in place; returns the number and the sum of positive codes.
struct Relu<'a> {
    codes: &'a mut [f32],
    features: usize,
}

impl Vectorised for Relu<'_> {
    type Output = (usize, f64);

    #[inline(always)]
    fn run(self) -> (usize, f64) {
        let (mut active, mut code_sum) = (0, 0.0);
        for row in self.codes.chunks_exact_mut(self.features) {
            let mut row_active = 0u32;
            for code in row.iter_mut() {
                let value = *code;
                *code = if value > 0.0 { value } else { 0.0 };
                row_active += u32::from(value > 0.0);
            }
            active += row_active as usize;
            code_sum += row.iter().map(|&code| f64::from(code)).sum::<f64>();
        }
        (active, code_sum)
    }
}

struct MaskGrads<'a> {
    codes: &'a [f32],
    grads: &'a mut [f32],
    rows: usize,
    l1: f32,
}

impl Vectorised for MaskGrads<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let per_row = error_weight(self.rows, 1);
        let penalty = self.l1 / self.rows as f32;
        for (grad, &code) in self.grads.iter_mut().zip(self.codes) {
            *grad = if code > 0.0 { *grad * per_row + penalty } else { 0.0 };
        }
    }
}
