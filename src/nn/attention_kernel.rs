//! Causal attention of one head, fused over slices:
//!
//!   s_ij = cap(scale · q_i·k_j + bias_j)                 q_i, k_j [d_head], rotated to their positions
//!   w_ij = exp(s_ij − m_i) / Σ_j exp(s_ij − m_i)         over the keys j in the window of i; m_i = max_j s_ij
//!   out_i = Σ_j w_ij v_j
//!
//! A sink adds one more score to the maximum and to the denominator. Scores of [`ROWS`] queries with [`KEYS`] keys
//! form a tile, and all tiles of these queries are kept: unlike FlashAttention, the softmax is computed in one pass.

use std::ops::Range;

use super::attention_rule::{AttentionRule, PositionTables};
use super::kernels::{LANES, exp, larger, largest, sum};
use crate::linalg::{dispatched, mul_add};

/// The heads of queries, keys or values inside the rows of a matrix.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeadView<'a> {
    /// Rows, sequence after sequence.
    pub data: &'a [f32],
    /// Distance in entries between consecutive rows.
    pub stride: usize,
    /// Column of head 0.
    pub first: usize,
    /// Distance in columns between consecutive heads.
    pub step: usize,
    pub d_head: usize,
}

impl<'a> HeadView<'a> {
    #[inline(always)]
    fn head(&self, row: usize, head: usize) -> &'a [f32] {
        let start = row * self.stride + self.first + head * self.step;
        &self.data[start..start + self.d_head]
    }
}

/// Sizes and parameters of an attention call.
#[derive(Clone, Copy)]
pub(super) struct Shape<'a> {
    /// Sequences.
    pub batch: usize,
    /// Query positions per sequence: the last of its `keys` positions.
    pub queries: usize,
    /// Key positions per sequence.
    pub keys: usize,
    pub n_heads: usize,
    pub n_kv_heads: usize,
    pub rule: AttentionRule<'a>,
    pub tables: &'a PositionTables,
    /// The score of the sink of each query head; empty without sinks.
    pub sinks: &'a [f32],
    /// Bias on the scores, `[n_heads, positions]` with `positions ≥ keys`; empty without one.
    pub key_bias: &'a [f32],
}

/// Queries per tile.
const ROWS: usize = 4;
/// Keys per tile; the scores of a tile stay in registers.
const KEYS: usize = 2 * LANES;

/// One vector register.
type Vector = [f32; LANES];

/// Scores, later softmax weights, of `ROWS` queries with `KEYS` keys.
type Tile = [[f32; KEYS]; ROWS];

/// sum ← sum + scale · x
#[inline(always)]
fn add_scaled<const FMA: bool>(sum: &mut Vector, scale: f32, x: &[f32]) {
    for lane in 0..LANES {
        sum[lane] = mul_add::<FMA>(scale, x[lane], sum[lane]);
    }
}

/// Keys and values of one head of one sequence in the kernel's layout. Grows position by position.
#[derive(Debug, Clone)]
pub(super) struct HeadCache {
    d_head: usize,
    /// Number of cached positions.
    pub positions: usize,
    /// Capacity of `values` in positions, an even number.
    room: usize,
    /// `[positions / KEYS, d_head]`: one coordinate of `KEYS` rotated keys.
    keys: Vec<[f32; KEYS]>,
    /// `[d_head / LANES, room]`: `LANES` coordinates of one value.
    values: Vec<Vector>,
}

impl HeadCache {
    /// An empty cache with capacity for `room` positions.
    pub fn new(d_head: usize, room: usize) -> Self {
        let room = room.next_multiple_of(2);
        let values = vec![[0.0; LANES]; d_head.div_ceil(LANES) * room];
        Self { d_head, positions: 0, room, keys: Vec::new(), values }
    }

    /// Bytes of keys and values.
    pub fn bytes(&self) -> usize {
        size_of_val(self.keys.as_slice()) + size_of_val(self.values.as_slice())
    }

    /// Keeps the first `positions` only. Later entries stay in memory, but their weights are 0 until they are
    /// overwritten.
    pub fn truncate(&mut self, positions: usize) {
        self.positions = self.positions.min(positions);
        self.keys.truncate(self.positions.div_ceil(KEYS) * self.d_head);
    }

    /// A copy of the first `positions`.
    pub fn prefix(&self, positions: usize) -> Self {
        let positions = positions.min(self.positions);
        self.copy(positions, positions)
    }

    /// A copy of the first `positions` with capacity for `room` positions.
    fn copy(&self, positions: usize, room: usize) -> Self {
        let keys = self.keys[..positions.div_ceil(KEYS) * self.d_head].to_vec();
        let mut copy = Self { positions, keys, ..Self::new(self.d_head, room) };
        let from = self.values.chunks_exact(self.room.max(1));
        for (to, from) in copy.values.chunks_exact_mut(copy.room.max(1)).zip(from) {
            to[..positions].copy_from_slice(&from[..positions]);
        }
        copy
    }

    /// Ensures capacity for `more` positions.
    fn reserve(&mut self, more: usize) {
        let needed = self.positions + more;
        if needed > self.room {
            *self = self.copy(self.positions, needed.max(2 * self.room));
        }
    }

    /// Appends a position; there must be room for it.
    #[inline(always)]
    fn push(&mut self, key: &[f32], value: &[f32], rotated: &mut [f32], shape: &Shape<'_>) {
        let position = self.positions;
        if position.is_multiple_of(KEYS) {
            self.keys.resize(self.keys.len() + self.d_head, [0.0; KEYS]);
        }
        rotate(rotated, key, position, 1.0, shape.tables);
        let tile = &mut self.keys[position / KEYS * self.d_head..][..self.d_head];
        fill_lane(tile, position % KEYS, rotated);
        for (part, entries) in value.chunks(LANES).enumerate() {
            self.values[part * self.room + position][..entries.len()].copy_from_slice(entries);
        }
        self.positions += 1;
    }
}

/// Buffers for `ROWS` queries.
struct Scratch {
    /// `[d_head]`: one coordinate of `ROWS` queries.
    queries: Vec<[f32; ROWS]>,
    /// `[keys / KEYS]`
    tiles: Vec<Tile>,
    /// One rotated head.
    rotated: Vec<f32>,
}

impl Scratch {
    fn new(shape: &Shape<'_>) -> Self {
        let (d_head, n_tiles) = (shape.rule.d_head, shape.keys.div_ceil(KEYS));
        let (queries, tiles) = (vec![[0.0; ROWS]; d_head], vec![[[0.0; KEYS]; ROWS]; n_tiles]);
        Self { queries, tiles, rotated: vec![0.0; d_head] }
    }
}

/// out ← scale · head, rotated to its position.
#[inline(always)]
fn rotate(out: &mut [f32], head: &[f32], position: usize, scale: f32, tables: &PositionTables) {
    for (out, x) in out.iter_mut().zip(head) {
        *out = x * scale;
    }
    let pairs = tables.pairs;
    if pairs > 0 {
        let cos = &tables.cos[position * pairs..][..pairs];
        let sin = &tables.sin[position * pairs..][..pairs];
        let (first, rest) = out.split_at_mut(pairs);
        for i in 0..pairs {
            let (a, b) = (first[i], rest[i]);
            first[i] = a * cos[i] - b * sin[i];
            rest[i] = b * cos[i] + a * sin[i];
        }
    }
}

/// Writes `xs` to one column of a table. Never inlined: for 512-bit vectors the compiler would emit scatter
/// instructions, which are several times slower than plain stores on most processors.
#[inline(never)]
fn fill_lane<const N: usize>(table: &mut [[f32; N]], lane: usize, xs: &[f32]) {
    for (lanes, x) in table.iter_mut().zip(xs) {
        lanes[lane] = *x;
    }
}

#[inline(always)]
fn attention_loop<const FMA: bool>(out: &mut [f32], [q, k, v]: [HeadView<'_>; 3], shape: &Shape<'_>) {
    let mut scratch = Scratch::new(shape);
    let mut cache = HeadCache::new(shape.rule.d_head, shape.keys);
    let group = shape.n_heads / shape.n_kv_heads;
    for sequence in 0..shape.batch {
        for kv_head in 0..shape.n_kv_heads {
            cache.truncate(0);
            for row in sequence * shape.keys..(sequence + 1) * shape.keys {
                cache.push(k.head(row, kv_head), v.head(row, kv_head), &mut scratch.rotated, shape);
            }
            for head in kv_head * group..(kv_head + 1) * group {
                attend_head::<FMA>(out, &mut scratch, &cache, [sequence, head], q, shape);
            }
        }
    }
}

#[inline(always)]
fn append_loop<const FMA: bool>(cache: &mut HeadCache, [k, v]: [HeadView<'_>; 2], shape: &Shape<'_>) {
    let mut rotated = vec![0.0; shape.rule.d_head];
    cache.reserve(shape.queries);
    for row in 0..shape.queries {
        cache.push(k.head(row, 0), v.head(row, 0), &mut rotated, shape);
    }
}

#[inline(always)]
fn cached_loop<const FMA: bool>(out: &mut [f32], q: HeadView<'_>, cache: &HeadCache, shape: &Shape<'_>) {
    let mut scratch = Scratch::new(shape);
    for head in 0..shape.n_heads {
        attend_head::<FMA>(out, &mut scratch, cache, [0, head], q, shape);
    }
}

/// Attention of one head of one sequence, `ROWS` queries at a time (fewer at the end).
#[inline(always)]
fn attend_head<const FMA: bool>(
    out: &mut [f32],
    Scratch { queries, tiles, rotated }: &mut Scratch,
    cache: &HeadCache,
    [sequence, head]: [usize; 2],
    q: HeadView<'_>,
    shape: &Shape<'_>,
) {
    let d_head = shape.rule.d_head;
    for start in (0..shape.queries).step_by(ROWS) {
        let rows = ROWS.min(shape.queries - start);
        let first = shape.keys - shape.queries + start; // position of the first of these queries
        let first_row = sequence * shape.queries + start;
        for r in 0..rows {
            let query = q.head(first_row + r, head);
            rotate(rotated, query, first + r, shape.rule.scale as f32, shape.tables);
            fill_lane(queries, r, rotated);
        }
        let seen = first + rows;
        let tiles = &mut tiles[..seen.div_ceil(KEYS)];
        for (tile, keys) in tiles.iter_mut().zip(cache.keys.chunks_exact(d_head)) {
            *tile = scores::<FMA>(queries, keys);
        }
        let scales = softmax::<FMA>(tiles, [head, first, rows], shape);
        let mut write = |r: usize, part: usize, average: &Vector| {
            if r < rows {
                let at = ((first_row + r) * shape.n_heads + head) * d_head + part * LANES;
                let into = &mut out[at..][..LANES.min(d_head - part * LANES)];
                for (into, x) in into.iter_mut().zip(average) {
                    *into = x * scales[r];
                }
            }
        };
        let seen = seen.next_multiple_of(2);
        let mut parts = cache.values.chunks_exact(cache.room).enumerate();
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
}

/// Turns the scores of `rows` queries, the first at position `first`, into exp(s_ij − m_i). Returns the factors
/// 1 / Σ_j exp(s_ij − m_i).
#[inline(always)]
fn softmax<const FMA: bool>(
    tiles: &mut [Tile],
    [head, first, rows]: [usize; 3],
    shape: &Shape<'_>,
) -> [f32; ROWS] {
    if !shape.key_bias.is_empty() {
        let positions = shape.key_bias.len() / shape.n_heads;
        add_to_keys(tiles, &shape.key_bias[head * positions..][..first + rows]);
    }
    if let Some(cap) = shape.rule.cap {
        let cap = cap as f32;
        for score in tiles.iter_mut().flatten().flatten() {
            *score = cap * (*score / cap).tanh();
        }
    }
    let mut scales = [0.0; ROWS];
    for r in 0..rows {
        let end = first + r + 1;
        let seen = end.saturating_sub(shape.rule.window.unwrap_or(usize::MAX))..end;
        scales[r] = exponentiate::<FMA>(tiles, r, seen, shape.sinks.get(head).copied());
    }
    scales
}

/// Scores of `ROWS` queries with `KEYS` keys. Each accumulator is a variable of its own, here and in the averages
/// below: the compiler would keep an array of them in memory instead of registers.
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

/// Turns the scores `seen` of row `r` into weights exp(s − m) and the rest of the row into zeros. Returns 1/Σ weights:
/// scaling the few averages is cheaper than scaling the weights. A `sink` enters the maximum and the sum.
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
            *top = larger(*top, x);
        }
    }
    let top = largest(&tops);
    let top = sink.map_or(top, |sink| larger(top, sink));
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

/// Weighted sums of two parts of the values, for `ROWS` queries.
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

/// Weighted sums of one part of an even number of values, for `ROWS` queries. Even and odd keys have separate
/// accumulators, which hides the latency of an addition.
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

dispatched! {
    /// Causal attention of every head: `out` is `[batch · queries, n_heads · d_head]`.
    attend = attention_loop(out: &mut [f32], qkv: [HeadView<'_>; 3], shape: &Shape<'_>)
}

dispatched! {
    /// Appends the next positions of one head of one sequence to its cache.
    append = append_loop(cache: &mut HeadCache, kv: [HeadView<'_>; 2], shape: &Shape<'_>)
}

dispatched! {
    /// Causal attention of some positions of one sequence, for the query heads that one key and value head serves:
    /// `out` is `[queries, n_heads · d_head]`. Only the first `shape.keys` positions of the cache are seen.
    attend_cached = cached_loop(out: &mut [f32], q: HeadView<'_>, cache: &HeadCache, shape: &Shape<'_>)
}
