//! Inference loops over plain slices, compiled once for each vector width and chosen at run time.
//!
//! They run on one thread each; callers spread independent sequences over threads, so results do not depend on
//! the number of threads. Sums run in a fixed number of lanes, so they do not depend on the vector width
//! either, save for the rounding of fused multiply-adds.

use super::architecture::Activation;

/// Lanes of every reduction: one 512-bit vector of f32.
const LANES: usize = 16;

/// Compiles `$body` for AVX-512, for AVX2 and for any processor, and calls the best one this processor has.
macro_rules! dispatched {
    ($(#[$doc:meta])* $name:ident = $body:ident($($arg:ident: $ty:ty),* $(,)?)) => {
        $(#[$doc])*
        #[allow(unsafe_code, reason = "calls a function compiled for features that were just detected")]
        pub(super) fn $name($($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
                fn widest($($arg: $ty),*) {
                    $body::<true>($($arg),*);
                }
                #[target_feature(enable = "avx2,fma")]
                fn wide($($arg: $ty),*) {
                    $body::<true>($($arg),*);
                }
                let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
                let avx512 = is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq");
                if avx2 && avx512 {
                    // SAFETY: every feature that `widest` is compiled for was detected above.
                    return unsafe { widest($($arg),*) };
                }
                if avx2 {
                    // SAFETY: both features that `wide` is compiled for were detected above.
                    return unsafe { wide($($arg),*) };
                }
            }
            // On other processors a fused multiply-add is only cheap where it is part of the base set.
            $body::<{ cfg!(target_arch = "aarch64") }>($($arg),*);
        }
    };
}

/// a·b + c, fused where `FMA`.
#[inline(always)]
fn mul_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

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
    lanes.into_iter().fold(f32::NEG_INFINITY, f32::max)
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
        Some(Activation::Relu) => each(rows, bias, width, |x| if x < 0.0 { 0.0 } else { x }),
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
fn sum_loop<const FMA: bool>(out: &mut Vec<f32>, x: &[f32], a: &[f32], b: Option<&[f32]>) {
    match b {
        Some(b) => out.extend(x.iter().zip(a).zip(b).map(|((x, a), b)| x + a + b)),
        None => out.extend(x.iter().zip(a).map(|(x, a)| x + a)),
    }
}

dispatched! {
    /// Appends x + a (+ b) to `out`, entry by entry.
    append_sum = sum_loop(out: &mut Vec<f32>, x: &[f32], a: &[f32], b: Option<&[f32]>)
}

#[inline(always)]
fn norm_loop<const FMA: bool>(out: &mut [f32], x: &[f32], weight: &[f32], bias: Option<&[f32]>, eps: f32) {
    let width = weight.len();
    for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
        match bias {
            Some(bias) => {
                let mean = sum(x, |v| v) / width as f32;
                let variance = sum(x, |v| (v - mean) * (v - mean)) / width as f32;
                let scale = 1.0 / (variance + eps).sqrt();
                for i in 0..width {
                    out[i] = mul_add::<FMA>((x[i] - mean) * scale, weight[i], bias[i]);
                }
            }
            None => {
                let scale = 1.0 / (sum(x, |v| v * v) / width as f32 + eps).sqrt();
                for i in 0..width {
                    out[i] = x[i] * scale * weight[i];
                }
            }
        }
    }
}

dispatched! {
    /// Layer norm of each row where there is a bias, RMS norm where there is none.
    normalise = norm_loop(out: &mut [f32], x: &[f32], weight: &[f32], bias: Option<&[f32]>, eps: f32)
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
    /// Cosines then sines, each `[keys, pairs]`; empty without rotary positions.
    pub cos: &'a [f32],
    /// See `cos`.
    pub sin: &'a [f32],
    /// Rotated pairs.
    pub pairs: usize,
}

/// Queries that share one pass over keys or values.
const ROWS: usize = 4;
/// Keys whose scores are kept in registers at once.
const KEYS: usize = 2 * LANES;

/// One vector register. Named variables of this type stay in registers where arrays of arrays do not.
#[derive(Clone, Copy)]
struct Vector([f32; LANES]);

impl Vector {
    const ZERO: Self = Self([0.0; LANES]);

    #[inline(always)]
    fn read(xs: &[f32]) -> Self {
        let mut vector = [0.0; LANES];
        vector.copy_from_slice(&xs[..LANES]);
        Self(vector)
    }

    #[inline(always)]
    fn add_scaled<const FMA: bool>(&mut self, scale: f32, x: Self) {
        for lane in 0..LANES {
            self.0[lane] = mul_add::<FMA>(scale, x.0[lane], self.0[lane]);
        }
    }
}

/// Σᵢ coefficients[r][i] · rows[i] for `ROWS` r at once, over the first two vectors of each row.
#[inline(always)]
fn weigh_two<const FMA: bool>(
    coefficients: [&[f32]; ROWS],
    rows: &[f32],
    stride: usize,
) -> [[Vector; 2]; ROWS] {
    let [mut a0, mut a1, mut b0, mut b1] = [Vector::ZERO; 4];
    let [mut c0, mut c1, mut d0, mut d1] = [Vector::ZERO; 4];
    let n = coefficients[0].len();
    let [a, b, c, d] = coefficients.map(|row| &row[..n]);
    for i in 0..n {
        let row = &rows[i * stride..][..2 * LANES];
        let (x0, x1) = (Vector::read(row), Vector::read(&row[LANES..]));
        a0.add_scaled::<FMA>(a[i], x0);
        a1.add_scaled::<FMA>(a[i], x1);
        b0.add_scaled::<FMA>(b[i], x0);
        b1.add_scaled::<FMA>(b[i], x1);
        c0.add_scaled::<FMA>(c[i], x0);
        c1.add_scaled::<FMA>(c[i], x1);
        d0.add_scaled::<FMA>(d[i], x0);
        d1.add_scaled::<FMA>(d[i], x1);
    }
    [[a0, a1], [b0, b1], [c0, c1], [d0, d1]]
}

/// The same over the first vector of each row.
#[inline(always)]
fn weigh_one<const FMA: bool>(
    coefficients: [&[f32]; ROWS],
    rows: &[f32],
    stride: usize,
) -> [[Vector; 1]; ROWS] {
    let [mut a0, mut b0, mut c0, mut d0] = [Vector::ZERO; 4];
    let n = coefficients[0].len();
    let [a, b, c, d] = coefficients.map(|row| &row[..n]);
    for i in 0..n {
        let x = Vector::read(&rows[i * stride..][..LANES]);
        a0.add_scaled::<FMA>(a[i], x);
        b0.add_scaled::<FMA>(b[i], x);
        c0.add_scaled::<FMA>(c[i], x);
        d0.add_scaled::<FMA>(d[i], x);
    }
    [[a0], [b0], [c0], [d0]]
}

/// `ROWS` rows of `stride` entries, each cut to its first `n`.
#[inline(always)]
fn rows_of(data: &[f32], stride: usize, n: usize) -> [&[f32]; ROWS] {
    [0, 1, 2, 3].map(|r| &data[r * stride..][..n])
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
        for i in 0..pairs {
            let (a, b) = (head[i] * scale, head[i + pairs] * scale);
            out[i] = a * cos[i] - b * sin[i];
            out[i + pairs] = b * cos[i] + a * sin[i];
        }
    }
}

/// Scores of `ROWS` queries (`[ROWS, d_head]`) with keys `0..n` of the transposed keys (`[d_head, padded]`).
#[inline(always)]
fn scores<const FMA: bool>(
    out: &mut [f32],
    queries: &[f32],
    keys: &[f32],
    padded: usize,
    d_head: usize,
    n: usize,
) {
    for start in (0..n).step_by(KEYS) {
        let found = weigh_two::<FMA>(rows_of(queries, d_head, d_head), &keys[start..], padded);
        for (r, [low, high]) in found.iter().enumerate() {
            let into = &mut out[r * padded + start..][..KEYS];
            into[..LANES].copy_from_slice(&low.0);
            into[LANES..].copy_from_slice(&high.0);
        }
    }
}

/// Softmax of the first `n` scores; the rest, up to a whole number of vectors, become zero.
#[inline(always)]
fn softmax<const FMA: bool>(scores: &mut [f32], n: usize) {
    scores[n..].fill(f32::NEG_INFINITY);
    let top = largest(scores);
    for score in scores.iter_mut() {
        *score = exp::<FMA>(*score - top);
    }
    scores[n..].fill(0.0);
    let scale = 1.0 / sum(scores, |v| v);
    for score in scores.iter_mut() {
        *score *= scale;
    }
}

/// Working memory of one head of one sequence.
struct Scratch {
    /// Transposed keys `[d_head, padded]`.
    keys: Vec<f32>,
    /// Values `[keys, width]`, the width rounded up to whole vectors.
    values: Vec<f32>,
    queries: Vec<f32>,
    rotated: Vec<f32>,
    scores: Vec<f32>,
    padded: usize,
    width: usize,
}

#[inline(always)]
fn attention_loop<const FMA: bool>(
    out: &mut [f32],
    q: HeadView<'_>,
    k: HeadView<'_>,
    v: HeadView<'_>,
    shape: &AttentionShape<'_>,
) {
    let padded = shape.keys.next_multiple_of(KEYS);
    let width = shape.d_head.next_multiple_of(LANES);
    let mut scratch = Scratch {
        keys: vec![0.0; shape.d_head * padded],
        values: vec![0.0; shape.keys * width],
        queries: vec![0.0; ROWS * shape.d_head],
        rotated: vec![0.0; shape.d_head],
        scores: vec![0.0; ROWS * padded],
        padded,
        width,
    };
    let group = shape.n_heads / shape.n_kv_heads;
    for sequence in 0..shape.batch {
        for kv_head in 0..shape.n_kv_heads {
            load_keys_and_values(&mut scratch, sequence, kv_head, k, v, shape);
            for head in kv_head * group..(kv_head + 1) * group {
                one_head::<FMA>(out, &mut scratch, sequence, head, q, shape);
            }
        }
    }
}

#[inline(always)]
fn load_keys_and_values(
    scratch: &mut Scratch,
    sequence: usize,
    head: usize,
    k: HeadView<'_>,
    v: HeadView<'_>,
    shape: &AttentionShape<'_>,
) {
    for position in 0..shape.keys {
        let row = sequence * shape.keys + position;
        rotate(&mut scratch.rotated, k.head(row, head, shape.d_head), position, 1.0, shape);
        for d in 0..shape.d_head {
            scratch.keys[d * scratch.padded + position] = scratch.rotated[d];
        }
        scratch.values[position * scratch.width..][..shape.d_head].copy_from_slice(v.head(
            row,
            head,
            shape.d_head,
        ));
    }
}

#[inline(always)]
fn one_head<const FMA: bool>(
    out: &mut [f32],
    scratch: &mut Scratch,
    sequence: usize,
    head: usize,
    q: HeadView<'_>,
    shape: &AttentionShape<'_>,
) {
    let Scratch { keys, values, queries, scores: weights, padded, width, .. } = scratch;
    let (padded, width) = (*padded, *width);
    let past = shape.keys - shape.queries;
    let mut start = 0;
    while start < shape.queries {
        let rows = ROWS.min(shape.queries - start);
        for r in 0..rows {
            let row = sequence * shape.queries + start + r;
            let into = &mut queries[r * shape.d_head..][..shape.d_head];
            rotate(into, q.head(row, head, shape.d_head), past + start + r, shape.scale, shape);
        }
        let seen = past + start + rows;
        scores::<FMA>(weights, queries, keys, padded, shape.d_head, seen);
        for r in 0..rows {
            softmax::<FMA>(&mut weights[r * padded..][..seen.next_multiple_of(KEYS)], past + start + r + 1);
        }
        let weights = rows_of(weights, padded, seen);
        let mut write = |r: usize, from: usize, average: &Vector| {
            if r < rows && from < shape.d_head {
                let row = (sequence * shape.queries + start + r) * shape.n_heads + head;
                let count = LANES.min(shape.d_head - from);
                out[row * shape.d_head + from..][..count].copy_from_slice(&average.0[..count]);
            }
        };
        for from in (0..width).step_by(2 * LANES) {
            if width - from > LANES {
                let averages = weigh_two::<FMA>(weights, &values[from..], width);
                for (r, [low, high]) in averages.iter().enumerate() {
                    write(r, from, low);
                    write(r, from + LANES, high);
                }
            } else {
                let averages = weigh_one::<FMA>(weights, &values[from..], width);
                for (r, [average]) in averages.iter().enumerate() {
                    write(r, from, average);
                }
            }
        }
        start += ROWS;
    }
}

dispatched! {
    /// Causal attention of every head: `out` is `[batch · queries, n_heads · d_head]`.
    attend = attention_loop(
        out: &mut [f32], q: HeadView<'_>, k: HeadView<'_>, v: HeadView<'_>, shape: &AttentionShape<'_>)
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
