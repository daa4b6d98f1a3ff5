use rayon::prelude::*;

use crate::linalg::{
    Exact, Panels, Room, Screen, Selector, Vectorised, View, add_scaled, dot, for_each_reaching, has_screens,
    leave_largest, product_into, sum_of_squares, vectorised,
};

/// Rows of a batch worked on by one task: their codes stay in the cache. Whole blocks of [`Panels`].
pub const TILE: usize = 96;
/// The same where codes are dense and products want taller pieces.
const DENSE_TILE: usize = 256;

/// One active feature of one row, with what its gradients need.
#[derive(Debug, Clone, Copy, Default)]
pub struct Entry {
    pub feature: u32,
    pub row: u32,
    /// Weight of the row's error in the decoder gradient: the code times `2 / rows`.
    pub code: f32,
    /// Derivative of the loss by the encoder's output.
    pub grad: f32,
    /// Derivative of the loss by what a kind learns beside encoder and decoder: see [`Selection`].
    pub side: f32,
}

/// What makes codes of the encoder's output `p`, its bias included.
#[derive(Debug, Clone, Copy)]
pub enum Selection<'a> {
    /// `p` where it is positive.
    Positive,
    /// Of each row the k largest positive ones.
    Top(usize),
    /// Of the whole batch the k·rows largest positive ones.
    BatchTop(usize),
    /// `p` where it exceeds its feature's threshold `[F]`. `side` is the derivative by the threshold that a
    /// rectangle of width `bandwidth` stands in for.
    Above { thresholds: &'a [f32], bandwidth: f32 },
    /// `p` decides whether a feature is on; its code is then `ReLU(gain · (p − bias) + magnitude_bias)`, both
    /// `[F]`. `side` is the derivative by what the ReLU takes.
    Gated { gain: &'a [f32], magnitude_bias: &'a [f32] },
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
    pub selection: Selection<'a>,
    /// L1 weight times the width.
    pub l1: f32,
    /// Where nested dictionaries end, rising to F: the loss is the mean over those of features `0..end`. Only F
    /// where nothing is nested.
    pub prefixes: &'a [usize],
}

impl Forward<'_> {
    /// Weight of an error in the gradient of the loss.
    fn per_row(&self, rows: usize) -> f32 {
        2.0 / (rows * self.prefixes.len()) as f32
    }
}

/// What a batch gave.
#[derive(Debug, Default)]
pub struct BatchSums {
    /// `Σ‖x̂ − x‖²`.
    pub squared_error: f64,
    /// What training minimises, summed over rows: squared errors and penalties of this kind.
    pub objective: f64,
    /// `Σ` codes.
    pub code_sum: f64,
    /// Codes that are not zero.
    pub active: usize,
    /// Codes that a screen left to be computed one by one.
    pub screened: usize,
}

/// What is least of the codes that a batch kept, in the order of values and, for equal ones, places.
#[derive(Debug, Clone, Copy)]
struct Cut {
    value: f32,
    rank: u64,
}

/// Room for one batch, reused from step to step.
pub struct Workspace {
    pub rows: usize,
    /// `x − b_dec`, `[rows, d]`.
    pub inputs: Room,
    /// `x̂ − x`, `[rows, prefixes, d]`: of each prefix the sum of its own error and those of longer ones, which
    /// is what its features' gradients need.
    pub errors: Room,
    /// `[rows, F]`; used where a choice is made among all of the batch, or where codes are dense.
    pub codes: Room,
    /// `[rows, F]`; used where codes are dense.
    pub grads: Room,
    /// Active features, tile after tile.
    pub entries: Vec<Vec<Entry>>,
    /// The encoder, rearranged once a step.
    pub encoder: Panels,
    /// The same for choices among the largest codes.
    pub screen: Screen,
    /// The least code that the last batch kept as a whole; 0 where none was looked at.
    pub least_kept: f32,
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
            least_kept: 0.0,
        }
    }
}

/// Encoder, selection, decoder, error and code gradients of a batch, active features only.
pub fn forward_sparse(forward: Forward<'_>, batch: &[f32], work: &mut Workspace) -> BatchSums {
    let (d, features, rows) = (forward.d, forward.features, work.rows);
    let of_each_row = matches!(forward.selection, Selection::Top(_) | Selection::Positive);
    let screened = of_each_row && has_screens() && work.screen.worth.now();
    match screened {
        true => work.screen.fill(forward.encoder, d, forward.encoder_bias),
        false => work.encoder.fill(forward.encoder, d),
    }
    let (encoder, screen) = (&work.encoder, screened.then_some(&work.screen));
    let cut = match forward.selection {
        Selection::BatchTop(k) => {
            work.codes.fit(rows * features);
            batch
                .par_chunks(TILE * d)
                .zip(work.inputs.par_chunks_mut(TILE * d))
                .zip(work.codes.par_chunks_mut(TILE * features))
                .for_each(|((batch, inputs), codes)| {
                    centre(&forward, batch, inputs);
                    encoder.multiply(inputs, forward.encoder_bias, codes);
                });
            let cut = cut_of_batch(&work.codes, features, k * (batch.len() / d), work.least_kept);
            work.least_kept = cut.value;
            Some(cut)
        }
        _ => None,
    };
    let stored = &work.codes;
    let parts: Vec<BatchSums> = batch
        .par_chunks(TILE * d)
        .zip(work.inputs.par_chunks_mut(TILE * d))
        .zip(work.errors.par_chunks_mut(TILE * forward.prefixes.len() * d))
        .zip(work.entries.par_iter_mut())
        .enumerate()
        .map(|(tile, (((batch, inputs), errors), entries))| {
            let first_row = tile * TILE;
            let n = batch.len() / d * features;
            let tile =
                SparseTile { forward, cut, screen, first_row, rows, inputs, errors, entries, codes: &[] };
            if cut.is_some() {
                return vectorised(SparseTile { codes: &stored[first_row * features..][..n], ..tile });
            }
            centre(&forward, batch, tile.inputs);
            with_room(n, |codes| {
                match screen {
                    Some(screen) => screen.multiply(tile.inputs, forward.encoder_bias, codes),
                    None => encoder.multiply(tile.inputs, forward.encoder_bias, codes),
                }
                vectorised(SparseTile { codes, ..tile })
            })
        })
        .collect();
    let sums = sum_parts(&parts);
    if screened {
        work.screen.worth.note(sums.screened, rows * features);
    }
    sums
}

/// Lends room for `n` numbers that a thread keeps for the next time: codes of a tile that are looked at once stay
/// in its cache. What was there before is still there.
fn with_room<R>(n: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    thread_local! {
        static ROOM: std::cell::Cell<Room> = std::cell::Cell::new(Room::default());
    }
    let mut room = ROOM.take();
    if room.len() < n {
        room = Room::zeros(n);
    }
    let result = work(&mut room[..n]);
    ROOM.set(room);
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

fn sum_parts(parts: &[BatchSums]) -> BatchSums {
    let mut sums = BatchSums::default();
    for part in parts {
        sums.squared_error += part.squared_error;
        sums.objective += part.objective;
        sums.code_sum += part.code_sum;
        sums.active += part.active;
        sums.screened += part.screened;
    }
    sums
}

/// How far below the last batch's cut the next one's candidates begin.
const CUT_GUESS: f32 = 0.8;

/// Where the `n` largest positive codes of a batch end. `last` is where those of the batch before did: a guess
/// that decides how much is looked at, not what is found.
fn cut_of_batch(codes: &[f32], features: usize, n: usize, last: f32) -> Cut {
    let reaching = |bar: f32| -> Vec<u64> {
        let tiles = codes.par_chunks(TILE * features).enumerate();
        let found = tiles.map(|(tile, codes)| {
            let mut ranks = Vec::new();
            vectorised(Reaching { codes, bar, first: tile * TILE * features, ranks: &mut ranks });
            ranks
        });
        found.collect::<Vec<_>>().concat()
    };
    let mut ranks = if last > 0.0 { reaching(CUT_GUESS * last) } else { Vec::new() };
    if ranks.len() < n {
        ranks = reaching(LEAST);
    }
    let rank = match ranks.len() {
        found if found <= n => ranks.iter().copied().min().unwrap_or(u64::MAX),
        _ => *ranks.select_nth_unstable_by(n - 1, |a, b| b.cmp(a)).1,
    };
    let value = if rank == u64::MAX { f32::INFINITY } else { f32::from_bits((rank >> 32) as u32) };
    Cut { value, rank }
}

/// One number for a positive code and its place in the batch: larger codes first, of equal ones the earlier.
#[inline(always)]
fn rank_of(code: f32, place: usize) -> u64 {
    u64::from(code.to_bits()) << 32 | u64::from(!(place as u32))
}

struct Reaching<'a> {
    codes: &'a [f32],
    bar: f32,
    /// Place of the first code in the batch.
    first: usize,
    ranks: &'a mut Vec<u64>,
}

impl Vectorised for Reaching<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for_each_reaching(self.codes, self.bar, |place, code| {
            self.ranks.push(rank_of(code, self.first + place as usize));
        });
    }
}

struct SparseTile<'a> {
    forward: Forward<'a>,
    cut: Option<Cut>,
    /// What says how near codes are to what they should be, where they are only near.
    screen: Option<&'a Screen>,
    first_row: usize,
    rows: usize,
    inputs: &'a mut [f32],
    errors: &'a mut [f32],
    codes: &'a [f32],
    entries: &'a mut Vec<Entry>,
}

impl Vectorised for SparseTile<'_> {
    type Output = BatchSums;

    #[inline(always)]
    fn run(self) -> BatchSums {
        let forward = self.forward;
        let Forward { d, features, decoder, selection, l1, prefixes, .. } = forward;
        let mut sums = BatchSums::default();
        let per_row = forward.per_row(self.rows);
        let penalty = l1 / self.rows as f32;
        let mut selector = match selection {
            Selection::Top(k) => Selector::new(features, k),
            _ => Selector::new(0, 0),
        };
        let least = match selection {
            Selection::Above { thresholds, bandwidth } => {
                thresholds.iter().map(|threshold| (threshold - 0.5 * bandwidth).max(LEAST)).collect()
            }
            _ => Vec::new(),
        };
        let mut candidates: Vec<(f32, u32)> = Vec::new();
        let mut exact = Exact::default();
        let mut gates = Gates::new(matches!(selection, Selection::Gated { .. }), d);
        self.entries.clear();
        let rows = self.inputs.chunks_exact(d).zip(self.errors.chunks_exact_mut(prefixes.len() * d));
        for (nth, ((input, errors), codes)) in rows.zip(self.codes.chunks_exact(features)).enumerate() {
            let from = self.entries.len();
            let row = (self.first_row + nth) as u32;
            let entry = |feature: u32, code: f32| Entry { feature, row, code, ..Entry::default() };
            let entries = &mut *self.entries;
            match selection {
                Selection::Top(k) => {
                    let kept = selector.positive(codes, k);
                    match self.screen {
                        None => entries.extend(kept.iter().map(|&(code, feature)| entry(feature, code))),
                        Some(screen) => {
                            let bar = Screen::bar_of_largest(kept, k, screen.margin(input));
                            exact.of_reaching(codes, bar, input, forward.encoder, forward.encoder_bias);
                            sums.screened += exact.count();
                            candidates.clear();
                            candidates.extend(exact.sums().filter(|(code, _)| *code > 0.0));
                            leave_largest(&mut candidates, k);
                            entries.extend(candidates.iter().map(|&(code, feature)| entry(feature, code)));
                        }
                    }
                }
                Selection::BatchTop(_) => {
                    let Cut { value, rank } =
                        self.cut.unwrap_or(Cut { value: f32::INFINITY, rank: u64::MAX });
                    let first = row as usize * features;
                    for_each_reaching(codes, value, |feature, code| {
                        if rank_of(code, first + feature as usize) >= rank {
                            entries.push(entry(feature, code));
                        }
                    });
                }
                Selection::Positive => match self.screen {
                    None => {
                        for_each_reaching(codes, LEAST, |feature, code| entries.push(entry(feature, code)))
                    }
                    Some(screen) => {
                        let margin = screen.margin(input);
                        exact.of_reaching(codes, -margin, input, forward.encoder, forward.encoder_bias);
                        sums.screened += exact.count();
                        let positive = exact.sums().filter(|(code, _)| *code > 0.0);
                        entries.extend(positive.map(|(code, feature)| entry(feature, code)));
                    }
                },
                Selection::Above { thresholds, .. } => {
                    for_each_reaching_own(codes, &least, |feature, code| {
                        let on = code > thresholds[feature as usize];
                        let side = code;
                        entries.push(Entry { side, ..entry(feature, if on { code } else { 0.0 }) });
                    });
                }
                Selection::Gated { gain, magnitude_bias } => {
                    gates.clear(input);
                    for_each_reaching(codes, LEAST, |feature, gate| {
                        let at = feature as usize;
                        let open = gain[at] * (gate - forward.encoder_bias[at]) + magnitude_bias[at];
                        entries.push(entry(feature, open.max(0.0)));
                        gates.entries.push(entry(feature, gate));
                    });
                    sums.objective += gates.predict(decoder, l1);
                }
            }
            let active = &mut self.entries[from..];
            let (last, nested) = nested_errors(errors, input, active, forward);
            sums.squared_error += last;
            sums.objective += nested / prefixes.len() as f64;
            let mut end = 0;
            for (prefix, &to) in prefixes.iter().enumerate() {
                let error = &errors[prefix * d..][..d];
                let start = end;
                end += active[start..].partition_point(|entry| (entry.feature as usize) < to);
                for (nth, entry) in active[start..end].iter_mut().enumerate() {
                    let on = entry.code > 0.0;
                    let along = per_row * dot(error, &decoder[entry.feature as usize * d..][..d]);
                    sums.active += usize::from(on);
                    sums.code_sum += f64::from(entry.code);
                    match selection {
                        Selection::Above { thresholds, bandwidth } => {
                            let threshold = thresholds[entry.feature as usize];
                            let near = (entry.side - threshold).abs() < 0.5 * bandwidth;
                            entry.side = if near { -threshold / bandwidth * along } else { 0.0 };
                            entry.grad = if on { along } else { 0.0 };
                        }
                        Selection::Gated { gain, .. } => {
                            let gate = &gates.entries[start + nth];
                            let direction = &decoder[gate.feature as usize * d..][..d];
                            entry.side = if on { along } else { 0.0 };
                            entry.grad = gain[entry.feature as usize] * entry.side
                                + per_row * dot(&gates.error, direction)
                                + penalty;
                        }
                        _ => {
                            entry.grad = along + penalty;
                            sums.objective += f64::from(l1 * entry.code);
                        }
                    }
                    entry.code *= per_row;
                }
            }
        }
        sums
    }
}

/// Errors of all prefixes of one row, each then with those of longer ones added. Gives the square of the
/// longest one's own and the sum of all their squares.
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

/// What the gates of one row predict by themselves: the loss that teaches them (Rajamanoharan et al. 2024), in
/// which the decoder is a constant.
struct Gates {
    entries: Vec<Entry>,
    error: Vec<f32>,
}

impl Gates {
    fn new(wanted: bool, d: usize) -> Self {
        Self { entries: Vec::new(), error: vec![0.0; if wanted { d } else { 0 }] }
    }

    #[inline(always)]
    fn clear(&mut self, input: &[f32]) {
        self.entries.clear();
        self.error.iter_mut().zip(input).for_each(|(slot, value)| *slot = -value);
    }

    /// Squared error and penalty.
    #[inline(always)]
    fn predict(&mut self, decoder: &[f32], l1: f32) -> f64 {
        add_directions(&mut self.error, &self.entries, decoder);
        let sum: f64 = self.entries.iter().map(|entry| f64::from(entry.code)).sum();
        f64::from(sum_of_squares(&self.error)) + f64::from(l1) * sum
    }
}

/// As [`for_each_reaching`], each code with a bar of its own.
#[inline(always)]
fn for_each_reaching_own(codes: &[f32], bars: &[f32], mut found: impl FnMut(u32, f32)) {
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

/// The least f32 above zero.
const LEAST: f32 = f32::from_bits(1);

/// `out += Σ code · direction` over the active features of one row.
#[inline(always)]
fn add_directions(out: &mut [f32], active: &[Entry], decoder: &[f32]) {
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

/// The same of `N` columns, whose sums stay in registers over all entries: as many as fit, so that of each
/// direction, which comes from far, much is read at once.
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

/// The same as [`forward_sparse`] for ReLU codes of which many are active: codes stay in
/// `work.codes` and their gradients in `work.grads`, both zero where a feature is off.
pub fn forward_dense(forward: Forward<'_>, batch: &[f32], work: &mut Workspace) -> BatchSums {
    let (d, features, rows) = (forward.d, forward.features, work.rows);
    work.grads.fit(rows * features);
    work.codes.fit(rows * features);
    work.encoder.fill(forward.encoder, d);
    let encoder = &work.encoder;
    let parts: Vec<BatchSums> = batch
        .par_chunks(DENSE_TILE * d)
        .zip(work.inputs.par_chunks_mut(DENSE_TILE * d))
        .zip(work.errors.par_chunks_mut(DENSE_TILE * d))
        .zip(work.codes.par_chunks_mut(DENSE_TILE * features))
        .zip(work.grads.par_chunks_mut(DENSE_TILE * features))
        .map(|((((batch, inputs), errors), codes), grads)| {
            let n = batch.len() / d;
            centre(&forward, batch, inputs);
            encoder.multiply(inputs, forward.encoder_bias, codes);
            let mut sums = vectorised(Relu { codes, features });
            errors.iter_mut().zip(inputs.iter()).for_each(|(slot, value)| *slot = -value);
            let decoder = View::new(forward.decoder, features, d);
            product_into(errors, View::new(codes, n, features), decoder, true);
            sums.squared_error = errors.chunks_exact(d).map(|row| f64::from(sum_of_squares(row))).sum();
            sums.objective = sums.squared_error + f64::from(forward.l1) * sums.code_sum;
            product_into(grads, View::new(errors, n, d), decoder.transposed(), false);
            vectorised(MaskGrads { codes, grads, rows, l1: forward.l1 });
            sums
        })
        .collect();
    sum_parts(&parts)
}

struct Relu<'a> {
    codes: &'a mut [f32],
    features: usize,
}

impl Vectorised for Relu<'_> {
    type Output = BatchSums;

    #[inline(always)]
    fn run(self) -> BatchSums {
        let mut sums = BatchSums::default();
        for row in self.codes.chunks_exact_mut(self.features) {
            let mut active = 0u32;
            for code in row.iter_mut() {
                let value = *code;
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

/// The longest prefix's errors of `[rows, prefixes, d]`.
#[inline(always)]
fn last_errors(errors: &[f32], d: usize, prefixes: usize) -> impl Iterator<Item = &[f32]> {
    errors.chunks_exact(prefixes * d).map(move |row| &row[(prefixes - 1) * d..])
}

/// `Σ‖e − ē‖²`.
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
        for (row, ((error, aux_error), codes)) in
            rows.zip(self.codes.chunks_exact_mut(dead.len())).enumerate()
        {
            for (code, &feature) in codes.iter_mut().zip(dead) {
                *code += encoder_bias[feature as usize];
            }
            let row = (self.first_row + row) as u32;
            let from = self.entries.len();
            for &(code, slot) in selector.positive(codes, self.aux.k) {
                let feature = dead[slot as usize];
                self.entries.push(Entry { feature, row, code, ..Entry::default() });
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
