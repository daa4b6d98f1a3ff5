//! Kernel of the sparse forward pass: selection, errors and code gradients of one tile of rows.

use crate::linalg::{
    Exact, Screen, Selector, Vectorised, add_scaled, dot, for_each_at_least, keep_largest, sum_of_squares,
};

use super::batch_threshold::{LEAST, rank_of};
use super::entries::Entry;
use super::selection::{BatchSums, Forward, Selection, error_weight};

/// One tile of rows, with its pre-activations `codes` `[n, F]`.
pub struct SparseTile<'a> {
    pub tile: Tile<'a>,
    pub errors: &'a mut [f32],
    pub entries: &'a mut Vec<Entry>,
}

#[derive(Clone, Copy)]
pub struct Tile<'a> {
    pub forward: Forward<'a>,
    /// BatchTopK: the smallest code kept in the batch, and its rank.
    pub kept_from: Option<(f32, u64)>,
    /// Set where `codes` come from products of bf16: it bounds their error.
    pub screen: Option<&'a Screen>,
    pub first_row: usize,
    /// Rows of the whole batch.
    pub rows: usize,
    pub inputs: &'a [f32],
    pub codes: &'a [f32],
}

impl Vectorised for SparseTile<'_> {
    type Output = BatchSums;

    #[inline(always)]
    fn run(self) -> BatchSums {
        let Self { tile, errors, entries } = self;
        let prefixes = tile.forward.prefixes.len();
        let mut sums = BatchSums::default();
        let mut scratch = Scratch::new(&tile.forward);
        entries.clear();
        for (nth, errors) in errors.chunks_exact_mut(prefixes * tile.forward.d).enumerate() {
            let from = entries.len();
            tile.select(nth, &mut scratch, entries, &mut sums);
            let active = &mut entries[from..];
            let (last, all) = nested_errors(errors, tile.input(nth), active, tile.forward);
            sums.squared_error += last;
            sums.objective += all / prefixes as f64;
            tile.add_gradients(active, errors, &scratch.gates, &mut sums);
        }
        sums
    }
}

/// Buffers of a tile, reused from row to row.
struct Scratch {
    selector: Selector,
    /// JumpReLU: codes from here on matter to the loss or to the threshold's gradient, `[F]`.
    bars: Vec<f32>,
    candidates: Vec<(f32, u32)>,
    exact: Exact,
    gates: Gates,
}

impl Scratch {
    #[inline(always)]
    fn new(forward: &Forward<'_>) -> Self {
        let (mut selector, mut bars, mut gate_width) = (Selector::new(0, 0), Vec::new(), 0);
        match forward.selection {
            Selection::TopK(k) => selector = Selector::new(forward.features, k),
            Selection::JumpRelu { thresholds, bandwidth } => {
                bars = thresholds.iter().map(|threshold| (threshold - 0.5 * bandwidth).max(LEAST)).collect();
            }
            Selection::Gated { .. } => gate_width = forward.d,
            _ => {}
        }
        let gates = Gates { entries: Vec::new(), error: vec![0.0; gate_width] };
        Self { selector, bars, candidates: Vec::new(), exact: Exact::default(), gates }
    }
}

impl Tile<'_> {
    #[inline(always)]
    fn input(&self, row: usize) -> &[f32] {
        &self.inputs[row * self.forward.d..][..self.forward.d]
    }

    /// Adds the active features of a row, and JumpReLU's features near their threshold, in rising order.
    #[inline(always)]
    fn select(&self, nth: usize, scratch: &mut Scratch, entries: &mut Vec<Entry>, sums: &mut BatchSums) {
        let Scratch { selector, bars, candidates, exact, gates } = scratch;
        let features = self.forward.features;
        let (input, codes) = (self.input(nth), &self.codes[nth * features..][..features]);
        let row = self.first_row + nth;
        let entry = |feature: u32, code: f32| Entry { feature, row: row as u32, code, ..Entry::default() };
        match self.forward.selection {
            Selection::TopK(k) => {
                let kept = selector.positive(codes, k);
                let Some(screen) = self.screen else {
                    entries.extend(kept.iter().map(|&(code, feature)| entry(feature, code)));
                    return;
                };
                let bar = Screen::bar_of_largest(kept, k, screen.margin(input));
                candidates.clear();
                candidates.extend(self.exact_positive(exact, codes, bar, input, sums));
                keep_largest(candidates, k);
                entries.extend(candidates.iter().map(|&(code, feature)| entry(feature, code)));
            }
            Selection::Relu => match self.screen {
                None => for_each_at_least(codes, LEAST, |feature, code| entries.push(entry(feature, code))),
                Some(screen) => {
                    let positive = self.exact_positive(exact, codes, -screen.margin(input), input, sums);
                    entries.extend(positive.map(|(code, feature)| entry(feature, code)));
                }
            },
            Selection::BatchTopK(_) => {
                let (smallest, rank) = self.kept_from.unwrap_or((f32::INFINITY, u64::MAX));
                let first = row * features;
                for_each_at_least(codes, smallest, |feature, code| {
                    if rank_of(code, first + feature as usize) >= rank {
                        entries.push(entry(feature, code));
                    }
                });
            }
            Selection::JumpRelu { thresholds, .. } => {
                for_each_reaching_own_bar(codes, bars, |feature, code| {
                    let active = code > thresholds[feature as usize];
                    // `add_gradients` replaces the pre-activation by the gradient.
                    let extra_grad = code;
                    entries.push(Entry { extra_grad, ..entry(feature, if active { code } else { 0.0 }) });
                });
            }
            Selection::Gated { gain, magnitude_bias } => {
                let Forward { encoder_bias, decoder, l1, .. } = self.forward;
                gates.clear(input);
                for_each_at_least(codes, LEAST, |feature, gate| {
                    let at = feature as usize;
                    let magnitude = gain[at] * (gate - encoder_bias[at]) + magnitude_bias[at];
                    entries.push(entry(feature, magnitude.max(0.0)));
                    gates.entries.push(entry(feature, gate));
                });
                sums.objective += gates.loss(decoder, l1);
            }
        }
    }

    /// Positive codes in f32 of the features whose bf16 code is at least `bar`.
    #[inline(always)]
    fn exact_positive<'e>(
        &self,
        exact: &'e mut Exact,
        codes: &[f32],
        bar: f32,
        input: &[f32],
        sums: &mut BatchSums,
    ) -> impl Iterator<Item = (f32, u32)> + use<'e> {
        exact.of_reaching(codes, bar, input, self.forward.encoder, self.forward.encoder_bias);
        sums.screened += exact.count();
        exact.sums().filter(|(code, _)| *code > 0.0)
    }

    /// Sets the gradients of one row's active features, and scales their codes by [`error_weight`].
    #[inline(always)]
    fn add_gradients(&self, active: &mut [Entry], errors: &[f32], gates: &Gates, sums: &mut BatchSums) {
        let Forward { d, decoder, selection, l1, prefixes, .. } = self.forward;
        let weight = error_weight(self.rows, prefixes.len());
        let penalty = l1 / self.rows as f32;
        let mut end = 0;
        for (error, &to) in errors.chunks_exact(d).zip(prefixes) {
            let start = end;
            end += active[start..].partition_point(|entry| (entry.feature as usize) < to);
            for (nth, entry) in active[start..end].iter_mut().enumerate() {
                let feature = entry.feature as usize;
                let is_active = entry.code > 0.0;
                let along = weight * dot(error, &decoder[feature * d..][..d]);
                sums.active += usize::from(is_active);
                match selection {
                    Selection::JumpRelu { thresholds, bandwidth } => {
                        let threshold = thresholds[feature];
                        let near = (entry.extra_grad - threshold).abs() < 0.5 * bandwidth;
                        entry.extra_grad = if near { -threshold / bandwidth * along } else { 0.0 };
                        entry.grad = if is_active { along } else { 0.0 };
                    }
                    Selection::Gated { gain, .. } => {
                        let gate = &gates.entries[start + nth];
                        let direction = &decoder[gate.feature as usize * d..][..d];
                        entry.extra_grad = if is_active { along } else { 0.0 };
                        entry.grad = gain[feature] * entry.extra_grad
                            + weight * dot(&gates.error, direction)
                            + penalty;
                    }
                    _ => {
                        entry.grad = along + penalty;
                        sums.objective += f64::from(l1 * entry.code);
                    }
                }
                entry.code *= weight;
            }
        }
    }
}

/// Writes `Σ_{i ≥ j} e_i` for every prefix j of one row. Returns `‖e_m‖²` of the last prefix, and `Σ_j ‖e_j‖²`.
#[inline(always)]
fn nested_errors(errors: &mut [f32], input: &[f32], active: &[Entry], forward: Forward<'_>) -> (f64, f64) {
    let Forward { d, decoder, prefixes, .. } = forward;
    let (mut start, mut last, mut all) = (0, 0.0, 0.0);
    for (prefix, &to) in prefixes.iter().enumerate() {
        let (before, from_here) = errors.split_at_mut(prefix * d);
        let error = &mut from_here[..d];
        match prefix {
            0 => error.iter_mut().zip(input).for_each(|(slot, value)| *slot = -value),
            _ => error.copy_from_slice(&before[(prefix - 1) * d..]),
        }
        let end = start + active[start..].partition_point(|entry| (entry.feature as usize) < to);
        add_directions(error, &active[start..end], decoder);
        start = end;
        last = f64::from(sum_of_squares(error));
        all += last;
    }
    for prefix in (1..prefixes.len()).rev() {
        let (before, from_here) = errors.split_at_mut(prefix * d);
        add_scaled(&mut before[(prefix - 1) * d..], 1.0, &from_here[..d]);
    }
    (last, all)
}

/// The gates' own reconstruction of one row, `Σ ReLU(p_f) w_f + b_dec` with a constant decoder. Its loss trains the
/// gates (Rajamanoharan et al. 2024, arXiv 2404.16014).
struct Gates {
    entries: Vec<Entry>,
    error: Vec<f32>,
}

impl Gates {
    #[inline(always)]
    fn clear(&mut self, input: &[f32]) {
        self.entries.clear();
        self.error.iter_mut().zip(input).for_each(|(slot, value)| *slot = -value);
    }

    /// Squared error and L1 penalty.
    #[inline(always)]
    fn loss(&mut self, decoder: &[f32], l1: f32) -> f64 {
        add_directions(&mut self.error, &self.entries, decoder);
        let sum: f64 = self.entries.iter().map(|entry| f64::from(entry.code)).sum();
        f64::from(sum_of_squares(&self.error)) + f64::from(l1) * sum
    }
}

/// [`for_each_at_least`] with one bar per code.
#[inline(always)]
fn for_each_reaching_own_bar(codes: &[f32], bars: &[f32], mut found: impl FnMut(u32, f32)) {
    const STRIP: usize = 16;
    for (strip, (codes, bars)) in codes.chunks(STRIP).zip(bars.chunks(STRIP)).enumerate() {
        let mut mask = 0u32;
        for (lane, (code, bar)) in codes.iter().zip(bars).enumerate() {
            mask |= u32::from(code >= bar) << lane;
        }
        while mask != 0 {
            let lane = mask.trailing_zeros() as usize;
            found((strip * STRIP + lane) as u32, codes[lane]);
            mask &= mask - 1;
        }
    }
}

/// `out += Σ code · w_f` over the active features of one row.
#[inline(always)]
pub fn add_directions(out: &mut [f32], active: &[Entry], decoder: &[f32]) {
    let d = out.len();
    let mut from = 0;
    while d - from >= 128 {
        add_columns::<128>(out, active, decoder, from);
        from += 128;
    }
    while d - from >= 32 {
        add_columns::<32>(out, active, decoder, from);
        from += 32;
    }
    if from < d {
        for entry in active {
            let direction = &decoder[entry.feature as usize * d..][from..d];
            add_scaled(&mut out[from..], entry.code, direction);
        }
    }
}

/// [`add_directions`] for `N` columns, whose sums stay in registers. A large `N` reads more of each decoder row at once,
/// which is rarely in the cache.
#[inline(always)]
fn add_columns<const N: usize>(out: &mut [f32], active: &[Entry], decoder: &[f32], from: usize) {
    let d = out.len();
    let mut sums = [0.0f32; N];
    for entry in active {
        let direction = &decoder[entry.feature as usize * d + from..][..N];
        for lane in 0..N {
            sums[lane] += entry.code * direction[lane];
        }
    }
    add_scaled(&mut out[from..from + N], 1.0, &sums);
}
