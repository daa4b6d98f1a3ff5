//! Inference loops over plain slices, compiled once for each vector width and chosen at run time.
//!
//! They run on one thread each; callers spread independent sequences over threads, so results do not depend on
//! the number of threads. Sums run in a fixed number of lanes, so they do not depend on the vector width
//! either, save for the rounding of fused multiply-adds.

use std::ops::Range;

use super::architecture::{Activation, NormKind};
use crate::linalg::{StoredRows, dispatched, mul_add};

/// Lanes of every reduction: one 512-bit vector of f32.
const LANES: usize = 16;

/// eˣ to a few units in the last place; below −87 it is e⁻⁸⁷, above 88 it is e⁸⁸.
///
/// x = n·ln 2 + r with |r| ≤ ln 2/2, a polynomial of degree 6 fitted for the least relative error on r, and 2ⁿ
/// put together from its bits.
#[inline(always)]
fn exp<const FMA: bool>(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5·2²³: adding it rounds to an integer in the low bits
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.0, 88.0);
    let shifted = mul_add::<FMA>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = mul_add::<FMA>(n, -LN2_LOW, mul_add::<FMA>(n, -LN2_HIGH, x));
    let mut tail = mul_add::<FMA>(0.001_375_14, r, 0.008_368_92);
    tail = mul_add::<FMA>(tail, r, 0.041_669_53);
    tail = mul_add::<FMA>(tail, r, 0.166_665_18);
    tail = mul_add::<FMA>(tail, r, 0.499_999_89);
    let value = mul_add::<FMA>(tail, r * r, r) + 1.0;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
    value * power
}

/// erf(x) to 4·10⁻⁷: x·P(x²)/Q(x²), fitted for the least largest error on |x| ≤ 3.95, where erf is 1 in f32.
#[inline(always)]
fn erf<const FMA: bool>(x: f32) -> f32 {
    #[expect(clippy::approx_constant, reason = "a fitted coefficient, close to 2/√π but not it")]
    const P: [f32; 6] = [2.011_745_5e-6, 2.875_986e-4, 3.917_255e-3, 5.320_687e-2, 1.940_343_1e-1, 1.128_379];
    const Q: [f32; 6] = [3.783_963_3e-5, 1.198_184_3e-3, 1.527_058e-2, 1.155_901_8e-1, 5.052_899e-1, 1.0];
    let x = x.clamp(-3.95, 3.95);
    let t = x * x;
    let (mut p, mut q) = (P[0], Q[0]);
    for i in 1..6 {
        p = mul_add::<FMA>(p, t, P[i]);
        q = mul_add::<FMA>(q, t, Q[i]);
    }
    x * p / q
}

#[inline(always)]
fn gelu<const FMA: bool>(x: f32) -> f32 {
    0.5 * x * (1.0 + erf::<FMA>(x * std::f32::consts::FRAC_1_SQRT_2))
}

#[inline(always)]
fn gelu_tanh<const FMA: bool>(x: f32) -> f32 {
    // ½(1 + tanh u) = 1/(1 + e⁻²ᵘ), u = √(2/π)·(x + 0.044715 x³)
    let u = 0.797_884_6 * x * mul_add::<FMA>(0.044_715 * x, x, 1.0);
    x / (1.0 + exp::<FMA>(-2.0 * u))
}

#[inline(always)]
fn silu<const FMA: bool>(x: f32) -> f32 {
    x / (1.0 + exp::<FMA>(-x))
}

#[inline(always)]
fn quick_gelu<const FMA: bool>(x: f32) -> f32 {
    x / (1.0 + exp::<FMA>(-1.702 * x))
}

#[inline(always)]
fn relu(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

/// Sum of `value` over the entries, in lanes.
#[inline(always)]
fn sum(xs: &[f32], value: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let chunks = xs.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] += value(chunk[lane]);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane += value(x);
    }
    lanes.iter().sum()
}

#[inline(always)]
fn largest(xs: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = xs.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = if chunk[lane] > lanes[lane] { chunk[lane] } else { lanes[lane] };
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane = if x > *lane { x } else { *lane };
    }
    lanes.into_iter().fold(f32::NEG_INFINITY, |top, x| if x > top { x } else { top })
}

#[inline(always)]
fn bias_and_activation<const FMA: bool>(
    rows: &mut [f32],
    bias: Option<&[f32]>,
    width: usize,
    act: Option<Activation>,
) {
    #[inline(always)]
    fn each(rows: &mut [f32], bias: Option<&[f32]>, width: usize, f: impl Fn(f32) -> f32) {
        match bias {
            Some(bias) => {
                for row in rows.chunks_exact_mut(width) {
                    for (x, b) in row.iter_mut().zip(bias) {
                        *x = f(*x + b);
                    }
                }
            }
            None => rows.iter_mut().for_each(|x| *x = f(*x)),
        }
    }
    match act {
        None => each(rows, bias, width, |x| x),
        Some(Activation::Gelu) => each(rows, bias, width, gelu::<FMA>),
        Some(Activation::GeluTanh) => each(rows, bias, width, gelu_tanh::<FMA>),
        Some(Activation::Silu) => each(rows, bias, width, silu::<FMA>),
        Some(Activation::QuickGelu) => each(rows, bias, width, quick_gelu::<FMA>),
        Some(Activation::Relu) => each(rows, bias, width, relu),
        Some(Activation::ReluSquared) => each(rows, bias, width, |x| relu(x) * relu(x)),
    }
}

dispatched! {
    /// x ← act(x + bias) for every row of `width` entries.
    add_bias_and_activate = bias_and_activation(
        rows: &mut [f32], bias: Option<&[f32]>, width: usize, act: Option<Activation>)
}

#[inline(always)]
fn gate_loop<const FMA: bool>(gate: &mut [f32], up: &[f32]) {
    for (g, u) in gate.iter_mut().zip(up) {
        *g *= u;
    }
}

dispatched! {
    /// gate ← gate·up, entry by entry.
    multiply_into = gate_loop(gate: &mut [f32], up: &[f32])
}

#[inline(always)]
fn sum_loop<const FMA: bool>(out: &mut [f32], x: &[f32], a: &[f32], b: Option<&[f32]>) {
    let pairs = out.iter_mut().zip(x.iter().zip(a));
    match b {
        Some(b) => pairs.zip(b).for_each(|((out, (x, a)), b)| *out = x + a + b),
        None => pairs.for_each(|(out, (x, a))| *out = x + a),
    }
}

dispatched! {
    /// out ← x + a (+ b), entry by entry.
    write_sum = sum_loop(out: &mut [f32], x: &[f32], a: &[f32], b: Option<&[f32]>)
}

#[inline(always)]
fn norm_loop<const FMA: bool>(
    out: &mut [f32],
    x: &[f32],
    width: usize,
    kind: NormKind,
    weight: &[f32],
    bias: Option<&[f32]>,
    eps: f32,
) {
    for (nth, (out, x)) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)).enumerate() {
        let at = nth * width % weight.len();
        let weight = &weight[at..at + width];
        let mean = match kind {
            NormKind::Layer => sum(x, |v| v) / width as f32,
            NormKind::Rms => 0.0,
        };
        let scale = 1.0 / (sum(x, |v| (v - mean) * (v - mean)) / width as f32 + eps).sqrt();
        match bias.map(|bias| &bias[at..at + width]) {
            Some(bias) => {
                for i in 0..width {
                    out[i] = mul_add::<FMA>((x[i] - mean) * scale, weight[i], bias[i]);
                }
            }
            None => {
                for i in 0..width {
                    out[i] = (x[i] - mean) * scale * weight[i];
                }
            }
        }
    }
}

dispatched! {
    /// Norm of each `width` entries. Weights, and biases where there are any, may be of several rows of that width,
    /// which then take turns.
    normalise = norm_loop(
        out: &mut [f32], x: &[f32], width: usize, kind: NormKind, weight: &[f32], bias: Option<&[f32]>, eps: f32)
}

#[inline(always)]
fn losses_loop<const FMA: bool>(out: &mut [f32], logits: &[f32], targets: &[u32]) {
    let vocab = logits.len() / targets.len().max(1);
    for ((out, logits), &target) in out.iter_mut().zip(logits.chunks_exact(vocab.max(1))).zip(targets) {
        let top = largest(logits);
        let total = sum(logits, |v| exp::<FMA>(v - top));
        *out = (f64::from(total).ln() + f64::from(top) - f64::from(logits[target as usize])) as f32;
    }
}

dispatched! {
    /// −ln softmax(logits)[target] in nats for each row of logits.
    cross_entropies = losses_loop(out: &mut [f32], logits: &[f32], targets: &[u32])
}

/// Where the heads of queries, keys or values lie in rows that may hold other things too.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeadView<'a> {
    /// Rows, sequence after sequence.
    pub data: &'a [f32],
    /// Entries from one row to the next.
    pub stride: usize,
    /// Column of head 0.
    pub first: usize,
    /// Columns from one head to the next.
    pub step: usize,
}

impl<'a> HeadView<'a> {
    #[inline(always)]
    fn head(&self, row: usize, head: usize, d_head: usize) -> &'a [f32] {
        let start = row * self.stride + self.first + head * self.step;
        &self.data[start..start + d_head]
    }
}

/// Everything but the data that attention needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct AttentionShape<'a> {
    /// Sequences.
    pub batch: usize,
    /// Query positions in each: the last `queries` of `keys`.
    pub queries: usize,
    /// Key positions in each.
    pub keys: usize,
    /// Query heads.
    pub n_heads: usize,
    /// Key and value heads.
    pub n_kv_heads: usize,
    /// Width of a head.
    pub d_head: usize,
    /// Factor on query·key.
    pub scale: f32,
    /// Positions back that a query sees, its own included.
    pub window: usize,
    /// c in c·tanh(score/c), which scores pass through.
    pub cap: Option<f32>,
    /// Of each query head, a score that joins the softmax and whose weight goes nowhere; empty without them.
    pub sinks: &'a [f32],
    /// Cosines then sines, each `[keys, pairs]`; empty without rotary positions.
    pub cos: &'a [f32],
    /// See `cos`.
    pub sin: &'a [f32],
    /// Rotated pairs.
    pub pairs: usize,
    /// What is added to the score of a key, `[n_heads, positions]` with at least as many positions as there are
    /// keys; empty where nothing is.
    pub key_bias: &'a [f32],
}

/// Queries that share one pass over keys or values.
const ROWS: usize = 4;
/// Keys whose scores are kept in registers at once.
const KEYS: usize = 2 * LANES;

/// One vector register.
type Vector = [f32; LANES];

/// Scores, later weights, of `ROWS` queries with `KEYS` keys.
type Tile = [[f32; KEYS]; ROWS];

/// sum ← sum + scale·x
#[inline(always)]
fn add_scaled<const FMA: bool>(sum: &mut Vector, scale: f32, x: &[f32]) {
    for lane in 0..LANES {
        sum[lane] = mul_add::<FMA>(scale, x[lane], sum[lane]);
    }
}

/// Keys and values of one head of one sequence, laid out as attention reads them. Grows position by position.
#[derive(Debug, Clone)]
pub(super) struct LaidOut {
    d_head: usize,
    positions: usize,
    /// Positions that `values` has room for, an even number.
    room: usize,
    /// `[positions / KEYS, d_head]`: a coordinate of `KEYS` rotated keys side by side.
    keys: Vec<[f32; KEYS]>,
    /// `[d_head / LANES, room]`: `LANES` coordinates of one value side by side.
    values: Vec<Vector>,
}

impl LaidOut {
    /// With room for so many positions before it has to grow.
    pub fn new(d_head: usize, room: usize) -> Self {
        let room = room.next_multiple_of(2);
        let values = vec![[0.0; LANES]; d_head.div_ceil(LANES) * room];
        Self { d_head, positions: 0, room, keys: Vec::new(), values }
    }

    /// Positions held.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Bytes that keys and values take.
    pub fn bytes(&self) -> usize {
        size_of_val(self.keys.as_slice()) + size_of_val(self.values.as_slice())
    }

    /// Forgets all but the first `positions`; what stays in memory behind them is overwritten before it is read
    /// with a weight other than 0.
    pub fn truncate(&mut self, positions: usize) {
        self.positions = self.positions.min(positions);
        self.keys.truncate(self.positions.div_ceil(KEYS) * self.d_head);
    }

    /// A copy of the first `positions`.
    pub fn beginning(&self, positions: usize) -> Self {
        let positions = positions.min(self.positions);
        let mut copy = Self::new(self.d_head, positions);
        copy.keys = self.keys[..positions.div_ceil(KEYS) * self.d_head].to_vec();
        copy.positions = positions;
        for (to, from) in
            copy.values.chunks_exact_mut(copy.room.max(1)).zip(self.values.chunks_exact(self.room.max(1)))
        {
            to[..positions].copy_from_slice(&from[..positions]);
        }
        copy
    }

    /// Makes room for `more` positions.
    fn reserve(&mut self, more: usize) {
        let needed = self.positions + more;
        if needed <= self.room {
            return;
        }
        let mut grown = Self::new(self.d_head, needed.max(2 * self.room));
        for (to, from) in
            grown.values.chunks_exact_mut(grown.room).zip(self.values.chunks_exact(self.room.max(1)))
        {
            to[..self.positions].copy_from_slice(&from[..self.positions]);
        }
        (self.values, self.room) = (grown.values, grown.room);
    }

    /// Adds the next position, for which there must be room.
    #[inline(always)]
    fn push(&mut self, key: &[f32], value: &[f32], rotated: &mut [f32], shape: &AttentionShape<'_>) {
        let position = self.positions;
        if position.is_multiple_of(KEYS) {
            self.keys.resize(self.keys.len() + self.d_head, [0.0; KEYS]);
        }
        rotate(rotated, key, position, 1.0, shape);
        let tile = &mut self.keys[position / KEYS * self.d_head..][..self.d_head];
        fill_lane(tile, position % KEYS, rotated);
        for (part, entries) in value.chunks(LANES).enumerate() {
            self.values[part * self.room + position][..entries.len()].copy_from_slice(entries);
        }
        self.positions += 1;
    }
}

/// Working memory of queries.
struct Scratch {
    /// `[d_head]`: a coordinate of `ROWS` queries side by side.
    queries: Vec<[f32; ROWS]>,
    /// `[keys / KEYS]`
    tiles: Vec<Tile>,
    /// One head, rotated.
    rotated: Vec<f32>,
}

impl Scratch {
    fn new(shape: &AttentionShape<'_>) -> Self {
        Self {
            queries: vec![[0.0; ROWS]; shape.d_head],
            tiles: vec![[[0.0; KEYS]; ROWS]; shape.keys.div_ceil(KEYS)],
            rotated: vec![0.0; shape.d_head],
        }
    }
}

/// Copies one head at one position, rotated and scaled.
#[inline(always)]
fn rotate(out: &mut [f32], head: &[f32], position: usize, scale: f32, shape: &AttentionShape<'_>) {
    for (out, x) in out.iter_mut().zip(head) {
        *out = x * scale;
    }
    let pairs = shape.pairs;
    if pairs > 0 {
        let cos = &shape.cos[position * pairs..][..pairs];
        let sin = &shape.sin[position * pairs..][..pairs];
        let (first, rest) = out.split_at_mut(pairs);
        for i in 0..pairs {
            let (a, b) = (first[i], rest[i]);
            first[i] = a * cos[i] - b * sin[i];
            rest[i] = b * cos[i] + a * sin[i];
        }
    }
}

/// Writes `xs` to one lane of a table. Never inlined: compiled for the widest vectors the loop would become
/// scatter instructions, which are several times slower than plain stores on most processors.
#[inline(never)]
fn fill_lane<const N: usize>(table: &mut [[f32; N]], lane: usize, xs: &[f32]) {
    for (lanes, x) in table.iter_mut().zip(xs) {
        lanes[lane] = *x;
    }
}

#[inline(always)]
fn attention_loop<const FMA: bool>(
    out: &mut [f32],
    q: HeadView<'_>,
    k: HeadView<'_>,
    v: HeadView<'_>,
    shape: &AttentionShape<'_>,
) {
    let mut scratch = Scratch::new(shape);
    let mut laid_out = LaidOut::new(shape.d_head, shape.keys);
    let group = shape.n_heads / shape.n_kv_heads;
    for sequence in 0..shape.batch {
        for kv_head in 0..shape.n_kv_heads {
            laid_out.truncate(0);
            for row in sequence * shape.keys..(sequence + 1) * shape.keys {
                let (key, value) = (k.head(row, kv_head, shape.d_head), v.head(row, kv_head, shape.d_head));
                laid_out.push(key, value, &mut scratch.rotated, shape);
            }
            for head in kv_head * group..(kv_head + 1) * group {
                for start in (0..shape.queries).step_by(ROWS) {
                    attend_from::<FMA>(out, &mut scratch, &laid_out, [sequence, head, start], q, shape);
                }
            }
        }
    }
}

#[inline(always)]
fn lay_out_loop<const FMA: bool>(
    k: HeadView<'_>,
    v: HeadView<'_>,
    laid_out: &mut LaidOut,
    shape: &AttentionShape<'_>,
) {
    let mut rotated = vec![0.0; shape.d_head];
    laid_out.reserve(shape.queries);
    for row in 0..shape.queries {
        let (key, value) = (k.head(row, 0, shape.d_head), v.head(row, 0, shape.d_head));
        laid_out.push(key, value, &mut rotated, shape);
    }
}

#[inline(always)]
fn attention_on_loop<const FMA: bool>(
    out: &mut [f32],
    q: HeadView<'_>,
    laid_out: &LaidOut,
    shape: &AttentionShape<'_>,
) {
    let mut scratch = Scratch::new(shape);
    for head in 0..shape.n_heads {
        for start in (0..shape.queries).step_by(ROWS) {
            attend_from::<FMA>(out, &mut scratch, laid_out, [0, head, start], q, shape);
        }
    }
}

/// `ROWS` queries (fewer at the end) of one head of one sequence, from query `start` on.
#[inline(always)]
fn attend_from<const FMA: bool>(
    out: &mut [f32],
    scratch: &mut Scratch,
    laid_out: &LaidOut,
    [sequence, head, start]: [usize; 3],
    q: HeadView<'_>,
    shape: &AttentionShape<'_>,
) {
    let Scratch { queries, tiles, rotated } = scratch;
    let LaidOut { keys, values, room, .. } = laid_out;
    let rows = ROWS.min(shape.queries - start);
    let first = shape.keys - shape.queries + start; // position of the first of these queries
    for r in 0..rows {
        let row = sequence * shape.queries + start + r;
        rotate(rotated, q.head(row, head, shape.d_head), first + r, shape.scale, shape);
        fill_lane(queries, r, rotated);
    }
    let seen = first + rows;
    let tiles = &mut tiles[..seen.div_ceil(KEYS)];
    for (tile, keys) in tiles.iter_mut().zip(keys.chunks_exact(shape.d_head)) {
        *tile = scores::<FMA>(queries, keys);
    }
    if !shape.key_bias.is_empty() {
        let positions = shape.key_bias.len() / shape.n_heads;
        add_to_keys(tiles, &shape.key_bias[head * positions..][..seen]);
    }
    if let Some(cap) = shape.cap {
        for score in tiles.iter_mut().flatten().flatten() {
            *score = cap * (*score / cap).tanh();
        }
    }
    let mut scales = [0.0; ROWS];
    for r in 0..rows {
        let end = first + r + 1;
        let seen = end.saturating_sub(shape.window)..end;
        scales[r] = exponentiate::<FMA>(tiles, r, seen, shape.sinks.get(head).copied());
    }
    let mut write = |r: usize, part: usize, average: &Vector| {
        if r < rows {
            let row = (sequence * shape.queries + start + r) * shape.n_heads + head;
            let count = LANES.min(shape.d_head - part * LANES);
            let into = &mut out[row * shape.d_head + part * LANES..][..count];
            for (into, x) in into.iter_mut().zip(average) {
                *into = x * scales[r];
            }
        }
    };
    let seen = seen.next_multiple_of(2);
    let mut parts = values.chunks_exact(*room).enumerate();
    while let Some((part, low)) = parts.next() {
        if let Some((_, high)) = parts.next() {
            let averages = average_two::<FMA>(tiles, &low[..seen], &high[..seen]);
            for (r, [low, high]) in averages.iter().enumerate() {
                write(r, part, low);
                write(r, part + 1, high);
            }
        } else {
            let averages = average_one::<FMA>(tiles, &low[..seen]);
            for (r, average) in averages.iter().enumerate() {
                write(r, part, average);
            }
        }
    }
}

/// Scores of `ROWS` queries with `KEYS` keys. The sums are named one by one: an array of them would live in
/// memory rather than in registers; the same holds of the averages below.
#[inline(always)]
fn scores<const FMA: bool>(queries: &[[f32; ROWS]], keys: &[[f32; KEYS]]) -> Tile {
    let [mut a0, mut a1, mut b0, mut b1] = [[0.0; LANES]; 4];
    let [mut c0, mut c1, mut d0, mut d1] = [[0.0; LANES]; 4];
    for ([a, b, c, d], x) in queries.iter().zip(keys) {
        let (x0, x1) = x.split_at(LANES);
        add_scaled::<FMA>(&mut a0, *a, x0);
        add_scaled::<FMA>(&mut a1, *a, x1);
        add_scaled::<FMA>(&mut b0, *b, x0);
        add_scaled::<FMA>(&mut b1, *b, x1);
        add_scaled::<FMA>(&mut c0, *c, x0);
        add_scaled::<FMA>(&mut c1, *c, x1);
        add_scaled::<FMA>(&mut d0, *d, x0);
        add_scaled::<FMA>(&mut d1, *d, x1);
    }
    let mut tile = [[0.0; KEYS]; ROWS];
    for (row, [low, high]) in tile.iter_mut().zip([[a0, a1], [b0, b1], [c0, c1], [d0, d1]]) {
        row[..LANES].copy_from_slice(&low);
        row[LANES..].copy_from_slice(&high);
    }
    tile
}

/// Adds `bias` `[keys]` to the scores of every query.
#[inline(always)]
fn add_to_keys(tiles: &mut [Tile], bias: &[f32]) {
    for (tile, bias) in tiles.iter_mut().zip(bias.chunks(KEYS)) {
        for scores in tile {
            scores.iter_mut().zip(bias).for_each(|(score, bias)| *score += bias);
        }
    }
}

/// Turns the scores `seen` of row `r` into weights eˢ⁻ᵐᵃˣ, the rest of the row into zeros, and returns
/// 1/Σ weights: dividing the few averages is cheaper than dividing the weights. A `sink` takes part in the
/// maximum and in the sum.
#[inline(always)]
fn exponentiate<const FMA: bool>(tiles: &mut [Tile], r: usize, seen: Range<usize>, sink: Option<f32>) -> f32 {
    let (first, last) = (seen.start / KEYS, (seen.end - 1) / KEYS);
    let (from, to) = (seen.start - first * KEYS, seen.end - last * KEYS);
    tiles[..first].iter_mut().for_each(|tile| tile[r] = [0.0; KEYS]);
    tiles[last + 1..].iter_mut().for_each(|tile| tile[r] = [0.0; KEYS]);
    let tiles = &mut tiles[first..=last];
    let last = tiles.len() - 1;
    tiles[0][r][..from].fill(f32::NEG_INFINITY);
    tiles[last][r][to..].fill(f32::NEG_INFINITY);
    let mut tops = [f32::NEG_INFINITY; KEYS];
    for tile in tiles.iter() {
        for (top, &x) in tops.iter_mut().zip(&tile[r]) {
            *top = if x > *top { x } else { *top };
        }
    }
    let top = largest(&tops);
    let top = sink.map_or(top, |sink| if sink > top { sink } else { top });
    let mut totals = [0.0f32; KEYS];
    for tile in tiles.iter_mut() {
        for (total, x) in totals.iter_mut().zip(&mut tile[r]) {
            *x = exp::<FMA>(*x - top);
            *total += *x;
        }
    }
    tiles[0][r][..from].fill(0.0);
    tiles[last][r][to..].fill(0.0);
    1.0 / (sum(&totals, |x| x) + sink.map_or(0.0, |sink| exp::<FMA>(sink - top)))
}

/// Weighted averages of two parts of the values, for `ROWS` queries.
#[inline(always)]
fn average_two<const FMA: bool>(tiles: &[Tile], low: &[Vector], high: &[Vector]) -> [[Vector; 2]; ROWS] {
    let [mut a0, mut a1, mut b0, mut b1] = [[0.0; LANES]; 4];
    let [mut c0, mut c1, mut d0, mut d1] = [[0.0; LANES]; 4];
    for ((tile, low), high) in tiles.iter().zip(low.chunks(KEYS)).zip(high.chunks(KEYS)) {
        let [a, b, c, d] = tile;
        for (i, (x0, x1)) in low.iter().zip(high).enumerate().take(KEYS) {
            add_scaled::<FMA>(&mut a0, a[i], x0);
            add_scaled::<FMA>(&mut a1, a[i], x1);
            add_scaled::<FMA>(&mut b0, b[i], x0);
            add_scaled::<FMA>(&mut b1, b[i], x1);
            add_scaled::<FMA>(&mut c0, c[i], x0);
            add_scaled::<FMA>(&mut c1, c[i], x1);
            add_scaled::<FMA>(&mut d0, d[i], x0);
            add_scaled::<FMA>(&mut d1, d[i], x1);
        }
    }
    [[a0, a1], [b0, b1], [c0, c1], [d0, d1]]
}

/// Weighted averages of one part of an even number of values, for `ROWS` queries. Sums over even and over odd
/// keys, so that enough of them are under way to hide the latency of an addition.
#[inline(always)]
fn average_one<const FMA: bool>(tiles: &[Tile], values: &[Vector]) -> [Vector; ROWS] {
    let [mut a0, mut a1, mut b0, mut b1] = [[0.0; LANES]; 4];
    let [mut c0, mut c1, mut d0, mut d1] = [[0.0; LANES]; 4];
    for (tile, values) in tiles.iter().zip(values.chunks(KEYS)) {
        let [a, b, c, d] = tile;
        for (i, pair) in values.chunks_exact(2).enumerate().take(KEYS / 2) {
            let (x0, x1) = (&pair[0], &pair[1]);
            add_scaled::<FMA>(&mut a0, a[2 * i], x0);
            add_scaled::<FMA>(&mut a1, a[2 * i + 1], x1);
            add_scaled::<FMA>(&mut b0, b[2 * i], x0);
            add_scaled::<FMA>(&mut b1, b[2 * i + 1], x1);
            add_scaled::<FMA>(&mut c0, c[2 * i], x0);
            add_scaled::<FMA>(&mut c1, c[2 * i + 1], x1);
            add_scaled::<FMA>(&mut d0, d[2 * i], x0);
            add_scaled::<FMA>(&mut d1, d[2 * i + 1], x1);
        }
    }
    for (even, odd) in [(&mut a0, a1), (&mut b0, b1), (&mut c0, c1), (&mut d0, d1)] {
        add_scaled::<FMA>(even, 1.0, &odd);
    }
    [a0, b0, c0, d0]
}

/// A matrix seen through strides: entry (row, col) is `data[row · row_stride + col · col_stride]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct MatrixView<'a> {
    /// Entries, the first of which is (0, 0).
    pub data: &'a [f32],
    /// Number of rows and columns.
    pub dims: [usize; 2],
    /// Entries from one row to the next, and from one column to the next.
    pub strides: [usize; 2],
}

impl MatrixView<'_> {
    /// True where every entry lies in `data`.
    pub fn is_inside(&self) -> bool {
        let reach = |(dim, stride): (usize, usize)| dim.saturating_sub(1) * stride;
        self.dims.contains(&0)
            || self.dims.into_iter().zip(self.strides).map(reach).sum::<usize>() < self.data.len()
    }
}

impl StoredRows for MatrixView<'_> {
    fn dims(&self) -> [usize; 2] {
        self.dims
    }

    fn read(&self, row: usize, columns: Range<usize>, out: &mut [f32]) {
        let [row_stride, col_stride] = self.strides;
        let entries = &self.data[row * row_stride + columns.start * col_stride..];
        if col_stride == 1 {
            out.copy_from_slice(&entries[..columns.len()]);
        } else {
            out.iter_mut().zip(entries.iter().step_by(col_stride)).for_each(|(slot, entry)| *slot = *entry);
        }
    }
}

dispatched! {
    /// Causal attention of every head: `out` is `[batch · queries, n_heads · d_head]`.
    attend = attention_loop(
        out: &mut [f32], q: HeadView<'_>, k: HeadView<'_>, v: HeadView<'_>, shape: &AttentionShape<'_>)
}

dispatched! {
    /// The next positions of one head of one sequence join the keys and values that were laid out before.
    lay_out = lay_out_loop(k: HeadView<'_>, v: HeadView<'_>, laid_out: &mut LaidOut, shape: &AttentionShape<'_>)
}

dispatched! {
    /// Causal attention of some positions of one sequence, for the query heads that one head of keys and values
    /// serves: `out` is `[queries, n_heads · d_head]`. Keys and values beyond those of `shape` are not seen.
    attend_on = attention_on_loop(
        out: &mut [f32], q: HeadView<'_>, laid_out: &LaidOut, shape: &AttentionShape<'_>)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worst(reference: impl Fn(f64) -> f64, got: impl Fn(f32) -> f32, range: std::ops::Range<i32>) -> f64 {
        range
            .map(|i| {
                let x = i as f32 / 64.0;
                let expected = reference(f64::from(x));
                (f64::from(got(x)) - expected).abs() / expected.abs().max(1.0)
            })
            .fold(0.0, f64::max)
    }

    #[test]
    fn elementary_functions_agree_with_the_standard_library() {
        assert!(worst(f64::exp, exp::<false>, -80 * 64..88 * 64) < 3e-7);
        assert!(worst(f64::exp, exp::<true>, -80 * 64..88 * 64) < 3e-7);
        let silu64 = |x: f64| x / (1.0 + (-x).exp());
        assert!(worst(silu64, silu::<true>, -2000..2000) < 1e-6);
        let gelu_tanh64 = |x: f64| {
            0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh())
        };
        assert!(worst(gelu_tanh64, gelu_tanh::<true>, -640..640) < 1e-6);
        assert!(worst(statrs::function::erf::erf, erf::<true>, -640..640) < 6e-7);
        assert!(exp::<true>(f32::NAN).is_nan() && erf::<true>(f32::NAN).is_nan());
    }

    #[test]
    fn a_row_of_losses_is_the_log_of_the_softmax() {
        let logits = [0.5f32, -1.0, 3.0, 100.0, 99.0, -100.0];
        let mut out = [0.0; 2];
        cross_entropies(&mut out, &logits, &[2, 1]);
        let first = (0.5f64.exp() + (-1f64).exp() + 3f64.exp()).ln() - 3.0;
        let second = 1.0 + (1.0 + (-1f64).exp()).ln();
        assert!((f64::from(out[0]) - first).abs() < 1e-6);
        assert!((f64::from(out[1]) - second).abs() < 1e-5);
    }
}
