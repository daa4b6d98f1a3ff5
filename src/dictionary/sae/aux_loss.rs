//! Auxiliary loss that revives dead features (Gao et al. 2024, arXiv 2406.04093, §A.2).
//!
//! ```text
//! n dead features with encoder rows W_dead [n, d] and unit decoder rows w_f
//! r = x − x̂                                    what the dictionary left over, constant in this loss
//! z = TopK_k(W_dead (x − b_dec) + b_dead)       [n]
//! r̂ = Σ_f z_f w_f                               without a bias, which would predict the mean of r
//! loss = weight · d · Σ_rows ‖r̂ − r‖² / Σ_rows ‖r − r̄‖²
//! ```

use rayon::prelude::*;

use crate::linalg::{Selector, Vectorised, View, dot, product_into, vectorised};

use super::entries::Entry;
use super::forward::Workspace;
use super::selection::{Forward, TILE};
use super::sparse_tile::add_directions;

/// Parameters of the loss for one batch.
#[derive(Debug, Clone, Copy)]
pub struct AuxLoss<'a> {
    /// Dead features, rising.
    pub dead: &'a [u32],
    /// Number of them that one row may use.
    pub k: usize,
    pub weight: f32,
}

/// Writes the entries of dead features and the errors `r̂ − r` `[R, d]`, after [`forward_sparse`].
///
/// [`forward_sparse`]: super::forward::forward_sparse
pub fn forward_aux(
    forward: Forward<'_>,
    aux: AuxLoss<'_>,
    work: &Workspace,
    entries: &mut Vec<Vec<Entry>>,
    aux_errors: &mut Vec<f32>,
) {
    let d = forward.d;
    let prefixes = forward.prefixes.len();
    aux_errors.resize(work.inputs.len(), 0.0);
    entries.resize(work.rows.div_ceil(TILE), Vec::new());
    let scale = (2.0 * f64::from(aux.weight) * d as f64 / spread(&work.errors, d, prefixes)) as f32;
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
        .zip(work.errors.par_chunks(TILE * prefixes * d))
        .zip(aux_errors.par_chunks_mut(TILE * d))
        .zip(entries.par_iter_mut())
        .enumerate()
        .for_each(|(tile, (((inputs, errors), aux_errors), entries))| {
            let n = inputs.len() / d;
            let mut codes = vec![0.0f32; n * aux.dead.len()];
            product_into(&mut codes, View::new(inputs, n, d), encoder, false);
            let (first_row, codes) = (tile * TILE, &mut codes[..]);
            vectorised(AuxTile { forward, aux, scale, first_row, errors, aux_errors, codes, entries });
        });
}

/// Errors of the last prefix, from `[rows, prefixes, d]`.
#[inline(always)]
fn last_errors(errors: &[f32], d: usize, prefixes: usize) -> impl Iterator<Item = &[f32]> {
    errors.chunks_exact(prefixes * d).map(move |row| &row[(prefixes - 1) * d..])
}

/// `Σ‖e − ē‖²` of the last prefix.
fn spread(errors: &[f32], d: usize, prefixes: usize) -> f64 {
    let rows = (errors.len() / (prefixes * d)).max(1) as f64;
    let mut sum = vec![0.0f64; d];
    let mut squares = 0.0;
    for row in last_errors(errors, d, prefixes) {
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
    /// `2 · weight · d / spread`.
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
        let errors = last_errors(self.errors, d, self.forward.prefixes.len());
        let rows = errors.zip(self.aux_errors.chunks_exact_mut(d));
        let codes = self.codes.chunks_exact_mut(dead.len());
        for (row, ((error, aux_error), codes)) in (self.first_row as u32..).zip(rows.zip(codes)) {
            for (code, &feature) in codes.iter_mut().zip(dead) {
                *code += encoder_bias[feature as usize];
            }
            let from = self.entries.len();
            let kept = selector.positive(codes, self.aux.k).iter();
            let entry = |&(code, slot): &(f32, u32)| Entry {
                feature: dead[slot as usize],
                row,
                code,
                ..Entry::default()
            };
            self.entries.extend(kept.map(entry));
            // r = −e, so r̂ − r starts at +e.
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
