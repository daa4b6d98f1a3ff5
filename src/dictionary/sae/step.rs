use rayon::prelude::*;

use crate::linalg::{
    Selector, Vectorised, View, add_scaled, dot, for_each_reaching, product_into, sum_of_squares, vectorised,
};

/// Rows of a batch worked on by one task: their codes stay in the cache.
pub const TILE: usize = 128;

/// One active feature of one row, with what its gradients need.
#[derive(Debug, Clone, Copy, Default)]
pub struct Entry {
    pub feature: u32,
    pub row: u32,
    /// Weight of the row's error in the decoder gradient: the code times `2 / rows`.
    pub code: f32,
    /// Derivative of the loss by the encoder's output.
    pub grad: f32,
}

/// Which codes of a row stay.
#[derive(Debug, Clone, Copy)]
pub enum Selection {
    /// All positive ones, at most.
    Positive,
    /// The k largest positive ones.
    Top(usize),
}

/// The weights as the forward pass sees them.
#[derive(Clone, Copy)]
pub struct Forward<'a> {
    pub d: usize,
    pub features: usize,
    /// `[F, d]`.
    pub encoder: &'a [f32],
    /// `[F]`.
    pub encoder_bias: &'a [f32],
    /// Unit rows `[F, d]`.
    pub decoder: &'a [f32],
    /// `[d]`, taken off the input; empty where there is none.
    pub decoder_bias: &'a [f32],
    pub selection: Selection,
    /// L1 weight times the width.
    pub l1: f32,
}

/// What a batch gave.
#[derive(Debug, Default)]
pub struct BatchSums {
    /// `Σ‖x̂ − x‖²`.
    pub squared_error: f64,
    /// `Σ` codes.
    pub code_sum: f64,
    /// Codes that are not zero.
    pub active: usize,
}

/// Room for one batch, reused from step to step.
pub struct Workspace {
    pub rows: usize,
    /// `x − b_dec`, `[rows, d]`.
    pub inputs: Vec<f32>,
    /// `x̂ − x`, `[rows, d]`.
    pub errors: Vec<f32>,
    /// `[rows, F]`.
    pub codes: Vec<f32>,
    /// `[rows, F]`; used where codes are dense.
    pub grads: Vec<f32>,
    /// Active features, tile after tile.
    pub entries: Vec<Vec<Entry>>,
}

impl Workspace {
    pub fn new(rows: usize, d: usize, features: usize) -> Self {
        Self {
            rows,
            inputs: vec![0.0; rows * d],
            errors: vec![0.0; rows * d],
            codes: vec![0.0; rows * features],
            grads: Vec::new(),
            entries: vec![Vec::new(); rows.div_ceil(TILE)],
        }
    }
}

/// Encoder, selection, decoder, error and code gradients of a batch, active features only.
pub fn forward_sparse(forward: Forward<'_>, batch: &[f32], work: &mut Workspace) -> BatchSums {
    let (d, features, rows) = (forward.d, forward.features, work.rows);
    let parts: Vec<BatchSums> = batch
        .par_chunks(TILE * d)
        .zip(work.inputs.par_chunks_mut(TILE * d))
        .zip(work.errors.par_chunks_mut(TILE * d))
        .zip(work.codes.par_chunks_mut(TILE * features))
        .zip(work.entries.par_iter_mut())
        .enumerate()
        .map(|(tile, ((((batch, inputs), errors), codes), entries))| {
            encode(&forward, batch, inputs, codes);
            let tile = SparseTile { forward, first_row: tile * TILE, rows, inputs, errors, codes, entries };
            vectorised(tile)
        })
        .collect();
    sum_parts(&parts)
}

/// `inputs = batch − b_dec` and `codes = W inputs`, without the encoder bias.
fn encode(forward: &Forward<'_>, batch: &[f32], inputs: &mut [f32], codes: &mut [f32]) {
    inputs.copy_from_slice(batch);
    if !forward.decoder_bias.is_empty() {
        for row in inputs.chunks_exact_mut(forward.d) {
            row.iter_mut().zip(forward.decoder_bias).for_each(|(value, bias)| *value -= bias);
        }
    }
    let encoder = View::new(forward.encoder, forward.features, forward.d).transposed();
    product_into(codes, View::new(inputs, inputs.len() / forward.d, forward.d), encoder, false);
}

fn sum_parts(parts: &[BatchSums]) -> BatchSums {
    let mut sums = BatchSums::default();
    for part in parts {
        sums.squared_error += part.squared_error;
        sums.code_sum += part.code_sum;
        sums.active += part.active;
    }
    sums
}

struct SparseTile<'a> {
    forward: Forward<'a>,
    first_row: usize,
    rows: usize,
    inputs: &'a [f32],
    errors: &'a mut [f32],
    codes: &'a mut [f32],
    entries: &'a mut Vec<Entry>,
}

impl Vectorised for SparseTile<'_> {
    type Output = BatchSums;

    #[inline(always)]
    fn run(self) -> BatchSums {
        let Forward { d, features, encoder_bias, decoder, selection, l1, .. } = self.forward;
        let mut sums = BatchSums::default();
        let per_row = 2.0 / self.rows as f32;
        let penalty = l1 / self.rows as f32;
        let mut selector = match selection {
            Selection::Top(k) => Some((Selector::new(features, k), k)),
            Selection::Positive => None,
        };
        self.entries.clear();
        let rows = self.inputs.chunks_exact(d).zip(self.errors.chunks_exact_mut(d));
        for (row, ((input, error), codes)) in rows.zip(self.codes.chunks_exact_mut(features)).enumerate() {
            codes.iter_mut().zip(encoder_bias).for_each(|(code, bias)| *code += bias);
            let from = self.entries.len();
            let row = (self.first_row + row) as u32;
            let entry = |feature: u32, code: f32| Entry { feature, row, code, grad: 0.0 };
            match &mut selector {
                Some((selector, k)) => {
                    let kept = selector.positive(codes, *k);
                    self.entries.extend(kept.iter().map(|&(code, feature)| entry(feature, code)));
                }
                None => {
                    for_each_reaching(codes, LEAST, |feature, code| self.entries.push(entry(feature, code)))
                }
            }
            let active = &mut self.entries[from..];
            error.iter_mut().zip(input).for_each(|(slot, value)| *slot = -value);
            add_directions(error, active, decoder);
            sums.squared_error += f64::from(sum_of_squares(error));
            sums.active += active.len();
            for entry in active.iter_mut() {
                sums.code_sum += f64::from(entry.code);
                let along = dot(error, &decoder[entry.feature as usize * d..][..d]);
                entry.grad = per_row * along + penalty;
                entry.code *= per_row;
            }
        }
        sums
    }
}

/// The least f32 above zero.
const LEAST: f32 = f32::from_bits(1);
/// Columns summed at once: their sums stay in registers over all entries.
const BLOCK: usize = 32;

/// `out += Σ code · direction` over the active features of one row.
#[inline(always)]
fn add_directions(out: &mut [f32], active: &[Entry], decoder: &[f32]) {
    let d = out.len();
    let whole = d - d % BLOCK;
    for from in (0..whole).step_by(BLOCK) {
        let mut sums = [0.0f32; BLOCK];
        for entry in active {
            let direction = &decoder[entry.feature as usize * d + from..][..BLOCK];
            for lane in 0..BLOCK {
                sums[lane] += entry.code * direction[lane];
            }
        }
        add_scaled(&mut out[from..from + BLOCK], 1.0, &sums);
    }
    if whole < d {
        for entry in active {
            let direction = &decoder[entry.feature as usize * d..][whole..d];
            add_scaled(&mut out[whole..], entry.code, direction);
        }
    }
}

/// The same as [`forward_sparse`] for ReLU codes of which many are active: codes stay in
/// `work.codes` and their gradients in `work.grads`, both zero where a feature is off.
pub fn forward_dense(forward: Forward<'_>, batch: &[f32], work: &mut Workspace) -> BatchSums {
    let (d, features, rows) = (forward.d, forward.features, work.rows);
    work.grads.resize(rows * features, 0.0);
    let parts: Vec<BatchSums> = batch
        .par_chunks(TILE * d)
        .zip(work.inputs.par_chunks_mut(TILE * d))
        .zip(work.errors.par_chunks_mut(TILE * d))
        .zip(work.codes.par_chunks_mut(TILE * features))
        .zip(work.grads.par_chunks_mut(TILE * features))
        .map(|((((batch, inputs), errors), codes), grads)| {
            let n = batch.len() / d;
            encode(&forward, batch, inputs, codes);
            let mut sums = vectorised(Relu { codes, bias: forward.encoder_bias });
            errors.iter_mut().zip(inputs.iter()).for_each(|(slot, value)| *slot = -value);
            let decoder = View::new(forward.decoder, features, d);
            product_into(errors, View::new(codes, n, features), decoder, true);
            sums.squared_error = errors.chunks_exact(d).map(|row| f64::from(sum_of_squares(row))).sum();
            product_into(grads, View::new(errors, n, d), decoder.transposed(), false);
            vectorised(MaskGrads { codes, grads, rows, l1: forward.l1 });
            sums
        })
        .collect();
    sum_parts(&parts)
}

struct Relu<'a> {
    codes: &'a mut [f32],
    bias: &'a [f32],
}

impl Vectorised for Relu<'_> {
    type Output = BatchSums;

    #[inline(always)]
    fn run(self) -> BatchSums {
        let mut sums = BatchSums::default();
        for row in self.codes.chunks_exact_mut(self.bias.len()) {
            let mut active = 0u32;
            for (code, bias) in row.iter_mut().zip(self.bias) {
                let value = *code + bias;
                *code = if value > 0.0 { value } else { 0.0 };
                active += u32::from(value > 0.0);
            }
            sums.active += active as usize;
            let ones = row.iter().map(|&code| f64::from(code)).sum::<f64>();
            sums.code_sum += ones;
        }
        sums
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
        let per_row = 2.0 / self.rows as f32;
        let penalty = self.l1 / self.rows as f32;
        for (grad, &code) in self.grads.iter_mut().zip(self.codes) {
            *grad = if code > 0.0 { *grad * per_row + penalty } else { 0.0 };
        }
    }
}

/// The auxiliary loss of dead features.
#[derive(Debug, Clone, Copy)]
pub struct AuxLoss<'a> {
    /// Features that have not fired for long, rising.
    pub dead: &'a [u32],
    /// How many of them a row may use.
    pub k: usize,
    pub weight: f32,
}

/// Lets the strongest dead features of each row predict what the others left over, and writes their
/// entries and the error of that prediction. The left-over is a constant of this loss, and nothing
/// but codes times directions enters the prediction: a bias would predict its mean.
pub fn forward_aux(
    forward: Forward<'_>,
    aux: AuxLoss<'_>,
    work: &Workspace,
    entries: &mut Vec<Vec<Entry>>,
    aux_errors: &mut Vec<f32>,
) {
    let d = forward.d;
    aux_errors.resize(work.errors.len(), 0.0);
    entries.resize(work.rows.div_ceil(TILE), Vec::new());
    let scale = (2.0 * f64::from(aux.weight) * d as f64 / spread(&work.errors, d)) as f32;
    if !scale.is_finite() {
        entries.iter_mut().for_each(Vec::clear);
        return;
    }
    let mut encoder = Vec::with_capacity(aux.dead.len() * d);
    for &feature in aux.dead {
        encoder.extend_from_slice(&forward.encoder[feature as usize * d..][..d]);
    }
    let encoder = View::new(&encoder, aux.dead.len(), d).transposed();
    work.inputs
        .par_chunks(TILE * d)
        .zip(work.errors.par_chunks(TILE * d))
        .zip(aux_errors.par_chunks_mut(TILE * d))
        .zip(entries.par_iter_mut())
        .enumerate()
        .for_each(|(tile, (((inputs, errors), aux_errors), entries))| {
            let n = inputs.len() / d;
            let mut codes = vec![0.0f32; n * aux.dead.len()];
            product_into(&mut codes, View::new(inputs, n, d), encoder, false);
            let first_row = tile * TILE;
            vectorised(AuxTile {
                forward,
                aux,
                scale,
                first_row,
                errors,
                aux_errors,
                codes: &mut codes,
                entries,
            });
        });
}

/// `Σ‖e − ē‖²`.
fn spread(errors: &[f32], d: usize) -> f64 {
    let rows = (errors.len() / d).max(1) as f64;
    let mut sum = vec![0.0f64; d];
    let mut squares = 0.0;
    for row in errors.chunks_exact(d) {
        for (slot, &value) in sum.iter_mut().zip(row) {
            *slot += f64::from(value);
            squares += f64::from(value) * f64::from(value);
        }
    }
    squares - sum.iter().map(|total| total * total).sum::<f64>() / rows
}

struct AuxTile<'a> {
    forward: Forward<'a>,
    aux: AuxLoss<'a>,
    scale: f32,
    first_row: usize,
    errors: &'a [f32],
    aux_errors: &'a mut [f32],
    codes: &'a mut [f32],
    entries: &'a mut Vec<Entry>,
}

impl Vectorised for AuxTile<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Forward { d, encoder_bias, decoder, .. } = self.forward;
        let dead = self.aux.dead;
        let mut selector = Selector::new(dead.len(), self.aux.k);
        self.entries.clear();
        let rows = self.errors.chunks_exact(d).zip(self.aux_errors.chunks_exact_mut(d));
        for (row, ((error, aux_error), codes)) in
            rows.zip(self.codes.chunks_exact_mut(dead.len())).enumerate()
        {
            for (code, &feature) in codes.iter_mut().zip(dead) {
                *code += encoder_bias[feature as usize];
            }
            let row = (self.first_row + row) as u32;
            let from = self.entries.len();
            for &(code, slot) in selector.positive(codes, self.aux.k) {
                self.entries.push(Entry { feature: dead[slot as usize], row, code, grad: 0.0 });
            }
            // The left-over is −error, so prediction minus left-over starts at +error.
            aux_error.copy_from_slice(error);
            let active = &mut self.entries[from..];
            add_directions(aux_error, active, decoder);
            for entry in active.iter_mut() {
                entry.grad = self.scale * dot(aux_error, &decoder[entry.feature as usize * d..][..d]);
                entry.code *= self.scale;
            }
        }
    }
}

/// Entries sorted by feature, rows rising within each.
#[derive(Debug, Default)]
pub struct ByFeature {
    pub offsets: Vec<usize>,
    pub entries: Vec<Entry>,
}

impl ByFeature {
    /// Counting sort of the entries of all tiles.
    pub fn regroup(&mut self, features: usize, tiles: &[Vec<Entry>]) {
        let total = tiles.iter().map(Vec::len).sum();
        self.offsets.clear();
        self.offsets.resize(features + 1, 0);
        for entry in tiles.iter().flatten() {
            self.offsets[entry.feature as usize + 1] += 1;
        }
        for feature in 0..features {
            self.offsets[feature + 1] += self.offsets[feature];
        }
        self.entries.resize(total, Entry::default());
        let mut next = self.offsets.clone();
        for entry in tiles.iter().flatten() {
            let slot = &mut next[entry.feature as usize];
            self.entries[*slot] = *entry;
            *slot += 1;
        }
    }

    pub fn of(&self, feature: usize) -> &[Entry] {
        match self.offsets.get(feature..feature + 2) {
            Some(range) => &self.entries[range[0]..range[1]],
            None => &[],
        }
    }

    pub fn clear(&mut self) {
        self.offsets.clear();
        self.entries.clear();
    }
}
