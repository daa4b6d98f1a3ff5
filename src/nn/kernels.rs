//! Elementwise and row kernels for inference: activations, norms, sums, cross-entropies.
//!
//! Each is compiled for several vector widths and selected at run time. A kernel runs on one thread; callers
//! distribute rows over threads, so results do not depend on the number of threads. Sums use [`LANES`] accumulators,
//! so apart from the rounding of fused multiply-adds they do not depend on the vector width either.

use super::architecture::{Activation, NormKind};
use crate::linalg::{dispatched, mul_add};

/// Accumulators of every reduction: one 512-bit vector of f32.
pub(super) const LANES: usize = 16;

/// eˣ to a few units in the last place, with x clamped to −87..88.
///
/// x = n·ln 2 + r with |r| ≤ ln 2/2; eʳ is a polynomial of degree 6 with minimal relative error, and 2ⁿ is built from
/// its bits.
#[inline(always)]
pub(super) fn exp<const FMA: bool>(x: f32) -> f32 {
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

/// erf(x) to 4·10⁻⁷: the minimax fit x·P(x²)/Q(x²) on |x| ≤ 3.95. Beyond, erf is ±1 in f32.
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

/// Reduces the entries to one accumulator per lane: entry i updates accumulator i mod [`LANES`].
#[inline(always)]
fn reduce(xs: &[f32], start: f32, step: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    let mut lanes = [start; LANES];
    let chunks = xs.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = step(lanes[lane], chunk[lane]);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane = step(*lane, x);
    }
    lanes
}

/// Σ value(x).
#[inline(always)]
pub(super) fn sum(xs: &[f32], value: impl Fn(f32) -> f32) -> f32 {
    reduce(xs, 0.0, |lane, x| lane + value(x)).iter().sum()
}

/// The larger number; `a` if `b` is NaN.
#[inline(always)]
pub(super) fn larger(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

#[inline(always)]
pub(super) fn largest(xs: &[f32]) -> f32 {
    reduce(xs, f32::NEG_INFINITY, larger).into_iter().fold(f32::NEG_INFINITY, larger)
}

#[inline(always)]
fn bias_loop<const FMA: bool>(rows: &mut [f32], bias: Option<&[f32]>, width: usize, act: Option<Activation>) {
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
    add_bias_and_activate = bias_loop(
        rows: &mut [f32], bias: Option<&[f32]>, width: usize, act: Option<Activation>)
}

#[inline(always)]
fn gate_loop<const FMA: bool>(gate: &mut [f32], up: &[f32]) {
    for (g, u) in gate.iter_mut().zip(up) {
        *g *= u;
    }
}

dispatched! {
    /// gate ← gate · up, elementwise.
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
    /// out ← x + a (+ b), elementwise.
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
    /// Norm of each group of `width` entries. `weight` and `bias` `[rows, width]` apply to the groups in rotation.
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
    /// −ln softmax(logits)[target] in nats, per row of logits.
    cross_entropies = losses_loop(out: &mut [f32], logits: &[f32], targets: &[u32])
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
