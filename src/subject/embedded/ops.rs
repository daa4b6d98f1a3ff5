//! The operations of a training step that candle would compose of many: forward and backward over slices.
//!
//! They run on the calling thread: training gives each thread a share of the batch instead.

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, DType, Device, Layout, Result, Shape, Storage, Tensor,
};

fn entries<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => candle_core::bail!("a training step needs contiguous rows, got {layout:?}"),
    }
}

/// Calls `work` with the entries of a tensor.
fn read<T>(tensor: &Tensor, work: impl FnOnce(&[f32]) -> Result<T>) -> Result<T> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => work(entries(storage, layout)?),
        _ => candle_core::bail!("training runs in main memory only"),
    }
}

fn tensor(data: Vec<f32>, shape: impl Into<Shape>) -> Result<Tensor> {
    Tensor::from_vec(data, shape.into(), &Device::Cpu)
}

/// Sums of columns.
fn column_sums(rows: &[f32], width: usize) -> Vec<f32> {
    let mut sums = vec![0.0; width];
    for row in rows.chunks_exact(width) {
        sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
    }
    sums
}

/// eˣ for x ≤ 80, to about 1e-7 relative; written without branches so that it runs in vector lanes.
#[inline(always)]
fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5·2²³: the sum's low bits are the rounded integer
    let x = x.max(-87.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let p = 1.0
        + r * (1.0
            + r * (0.5 + r * (0.166_666_67 + r * (0.041_666_56 + r * (0.008_333_68 + r * 0.001_394_0)))));
    let scale = f32::from_bits(shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23);
    p * scale
}

/// The normal distribution function and density, to about 1e-7 (Abramowitz and Stegun 7.1.26).
#[inline(always)]
fn normal(x: f32) -> (f32, f32) {
    let t = 1.0 / (1.0 + 0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2 * x.abs());
    let e = exp(-0.5 * x * x);
    let series =
        t * (0.254_829_6 + t * (-0.284_496_72 + t * (1.421_413_8 + t * (-1.453_152_1 + t * 1.061_405_4))));
    let upper = 0.5 * series * e; // mass beyond |x|
    let below = if x > 0.0 { 1.0 - upper } else { upper };
    (below, e * 0.398_942_3)
}

/// x + b for every row.
struct AddBias;

impl CustomOp2 for AddBias {
    fn name(&self) -> &'static str {
        "add-bias"
    }
    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        b: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, b) = (entries(x, lx)?, entries(b, lb)?);
        let mut out = Vec::with_capacity(x.len());
        for row in x.chunks_exact(b.len()) {
            out.extend(row.iter().zip(b).map(|(x, b)| x + b));
        }
        Ok((CpuStorage::F32(out), lx.shape().clone()))
    }
    fn bwd(
        &self,
        _: &Tensor,
        b: &Tensor,
        _: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let width = b.elem_count();
        let sums = read(g, |g| Ok(column_sums(g, width)))?;
        Ok((Some(g.clone()), Some(tensor(sums, width)?)))
    }
}

/// gelu(x + b), the exact one.
struct BiasGelu;

impl CustomOp2 for BiasGelu {
    fn name(&self) -> &'static str {
        "bias-gelu"
    }
    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        b: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, b) = (entries(x, lx)?, entries(b, lb)?);
        let mut out = Vec::with_capacity(x.len());
        for x in x.chunks_exact(b.len()) {
            out.extend(x.iter().zip(b).map(|(x, b)| {
                let u = x + b;
                u * normal(u).0
            }));
        }
        Ok((CpuStorage::F32(out), lx.shape().clone()))
    }
    fn bwd(
        &self,
        x: &Tensor,
        b: &Tensor,
        _: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let width = b.elem_count();
        let mut dx = vec![0.0; x.elem_count()];
        read(x, |x| {
            read(b, |b| {
                read(g, |g| {
                    for (row, dx) in dx.chunks_exact_mut(width).enumerate() {
                        let (x, g) = (&x[row * width..][..width], &g[row * width..][..width]);
                        for i in 0..width {
                            let u = x[i] + b[i];
                            let (below, density) = normal(u);
                            dx[i] = g[i] * (below + u * density);
                        }
                    }
                    Ok(())
                })
            })
        })?;
        let db = column_sums(&dx, width);
        Ok((Some(tensor(dx, x.shape().clone())?), Some(tensor(db, width)?)))
    }
}

/// Layer norm of each row, with weight and bias.
struct LayerNorm {
    eps: f32,
}

impl LayerNorm {
    /// Mean of the row and one over its deviation.
    fn moments(&self, x: &[f32]) -> (f32, f32) {
        let n = x.len() as f32;
        let mean = x.iter().sum::<f32>() / n;
        let variance = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / n;
        (mean, 1.0 / (variance + self.eps).sqrt())
    }

    /// Gradient of one row; adds to the gradients of weight and bias.
    fn row_bwd(&self, [x, w, g]: [&[f32]; 3], dx: &mut [f32], dw: &mut [f32], db: &mut [f32]) {
        let n = x.len() as f32;
        let (mean, scale) = self.moments(x);
        let (mut sum, mut along) = (0.0, 0.0);
        for i in 0..x.len() {
            let unit = (x[i] - mean) * scale;
            let pull = g[i] * w[i];
            dw[i] += g[i] * unit;
            db[i] += g[i];
            sum += pull;
            along += pull * unit;
        }
        for i in 0..x.len() {
            let unit = (x[i] - mean) * scale;
            dx[i] = scale * (g[i] * w[i] - (sum + unit * along) / n);
        }
    }
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer-norm"
    }
    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
        b: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, w, b) = (entries(x, lx)?, entries(w, lw)?, entries(b, lb)?);
        let mut out = Vec::with_capacity(x.len());
        for row in x.chunks_exact(w.len()) {
            let (mean, scale) = self.moments(row);
            out.extend(row.iter().zip(w).zip(b).map(|((x, w), b)| (x - mean) * scale * w + b));
        }
        Ok((CpuStorage::F32(out), lx.shape().clone()))
    }
    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _: &Tensor,
        _: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let width = w.elem_count();
        let (mut dx, mut dw, mut db) = (vec![0.0; x.elem_count()], vec![0.0; width], vec![0.0; width]);
        read(x, |x| {
            read(w, |w| {
                read(g, |g| {
                    for (row, dx) in dx.chunks_exact_mut(width).enumerate() {
                        let at = row * width..(row + 1) * width;
                        self.row_bwd([&x[at.clone()], w, &g[at]], dx, &mut dw, &mut db);
                    }
                    Ok(())
                })
            })
        })?;
        Ok((Some(tensor(dx, x.shape().clone())?), Some(tensor(dw, width)?), Some(tensor(db, width)?)))
    }
}

/// How heads lie in the rows of the joint projection: `[batch · positions, heads, (q k v), d_head]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heads {
    pub batch: usize,
    pub positions: usize,
    pub count: usize,
    pub width: usize,
    /// Rotated pairs of each head: entry `i` turns with entry `i + pairs`.
    pub pairs: usize,
}

impl Heads {
    /// Cosine and sine for each position and pair.
    fn angles(&self, base: f64) -> Vec<(f32, f32)> {
        (0..self.positions)
            .flat_map(|position| {
                (0..self.pairs).map(move |pair| {
                    let frequency = base.powf(-(pair as f64) / self.pairs as f64);
                    let angle = position as f64 * frequency;
                    (angle.cos() as f32, angle.sin() as f32)
                })
            })
            .collect()
    }
}

/// Takes queries, keys and values apart into `[3, batch · heads, positions, d_head]`, turns queries and keys by
/// their position and scales queries by one over the root of the head's width.
struct Split {
    heads: Heads,
    angles: Vec<(f32, f32)>,
}

impl Split {
    /// Moves every head's row between the two orders; `forward` says which way.
    fn run(&self, from: &[f32], forward: bool) -> Vec<f32> {
        let Heads { batch, positions, count, width, pairs } = self.heads;
        let scale = 1.0 / (width as f32).sqrt();
        let mut out = vec![0.0; from.len()];
        for row in 0..batch * positions {
            let (b, position) = (row / positions, row % positions);
            for head in 0..count {
                for part in 0..3 {
                    let joint = ((row * count + head) * 3 + part) * width;
                    let apart = ((part * batch * count + b * count + head) * positions + position) * width;
                    let (source, target) = if forward { (joint, apart) } else { (apart, joint) };
                    let source = &from[source..source + width];
                    let target = &mut out[target..target + width];
                    target.copy_from_slice(source);
                    if part < 2 {
                        turn(target, &self.angles[position * pairs..][..pairs], forward);
                    }
                    if part == 0 {
                        target.iter_mut().for_each(|x| *x *= scale);
                    }
                }
            }
        }
        out
    }
}

fn turn(row: &mut [f32], angles: &[(f32, f32)], forward: bool) {
    let pairs = angles.len();
    for (i, &(cos, sin)) in angles.iter().enumerate() {
        let sin = if forward { sin } else { -sin };
        let (a, b) = (row[i], row[i + pairs]);
        row[i] = a * cos - b * sin;
        row[i + pairs] = b * cos + a * sin;
    }
}

impl CustomOp1 for Split {
    fn name(&self) -> &'static str {
        "split-heads"
    }
    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let Heads { batch, positions, count, width, .. } = self.heads;
        let out = self.run(entries(x, layout)?, true);
        Ok((CpuStorage::F32(out), Shape::from((3, batch * count, positions, width))))
    }
    fn bwd(&self, x: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(tensor(read(g, |g| Ok(self.run(g, false)))?, x.shape().clone())?))
    }
}

/// `[batch · heads, positions, d_head]` to heads side by side, `[batch · positions, heads · d_head]`.
struct Merge(Heads);

impl Merge {
    fn run(&self, from: &[f32], forward: bool) -> Vec<f32> {
        let Heads { batch, positions, count, width, .. } = self.0;
        let mut out = vec![0.0; from.len()];
        for b in 0..batch {
            for head in 0..count {
                for position in 0..positions {
                    let apart = ((b * count + head) * positions + position) * width;
                    let joint = ((b * positions + position) * count + head) * width;
                    let (source, target) = if forward { (apart, joint) } else { (joint, apart) };
                    out[target..target + width].copy_from_slice(&from[source..source + width]);
                }
            }
        }
        out
    }
}

impl CustomOp1 for Merge {
    fn name(&self) -> &'static str {
        "merge-heads"
    }
    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let Heads { batch, positions, count, width, .. } = self.0;
        let out = self.run(entries(x, layout)?, true);
        Ok((CpuStorage::F32(out), Shape::from((batch * positions, count * width))))
    }
    fn bwd(&self, x: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(tensor(read(g, |g| Ok(self.run(g, false)))?, x.shape().clone())?))
    }
}

/// Softmax over the keys up to the query's position of square scores `[.., positions, positions]`.
struct CausalSoftmax(usize);

impl CustomOp1 for CausalSoftmax {
    fn name(&self) -> &'static str {
        "causal-softmax"
    }
    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, n) = (entries(x, layout)?, self.0);
        let mut out = vec![0.0; x.len()];
        out.chunks_mut(n * n).zip(x.chunks(n * n)).for_each(|(out, x)| {
            for query in 0..n {
                let seen = &x[query * n..query * n + query + 1];
                let out = &mut out[query * n..query * n + query + 1];
                let top = seen.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                out.iter_mut().zip(seen).for_each(|(out, x)| *out = exp(x - top));
                let scale = 1.0 / out.iter().sum::<f32>();
                out.iter_mut().for_each(|out| *out *= scale);
            }
        });
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }
    fn bwd(&self, x: &Tensor, p: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let n = self.0;
        let mut dx = vec![0.0; x.elem_count()];
        read(p, |p| {
            read(g, |g| {
                let all = dx.chunks_mut(n * n).zip(p.chunks(n * n)).zip(g.chunks(n * n));
                all.for_each(|((dx, p), g)| {
                    for query in 0..n {
                        let at = query * n..query * n + query + 1;
                        let (p, g, dx) = (&p[at.clone()], &g[at.clone()], &mut dx[at]);
                        let mean: f32 = p.iter().zip(g).map(|(p, g)| p * g).sum();
                        for i in 0..p.len() {
                            dx[i] = p[i] * (g[i] - mean);
                        }
                    }
                });
                Ok(())
            })
        })?;
        Ok(Some(tensor(dx, x.shape().clone())?))
    }
}

/// Mean loss in nats of logits `[n, vocabulary]` for `n` target ids.
struct CrossEntropy(Vec<u32>);

/// Loss of one row in nats, and the log of the sum of exponentials that it takes.
fn row_loss(logits: &[f32], target: u32) -> (f32, f32) {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut lanes = [0.0f32; 16];
    for chunk in logits.chunks(16) {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += exp(x - top);
        }
    }
    let log_sum = top + lanes.iter().sum::<f32>().ln();
    (log_sum - logits[target as usize], log_sum)
}

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }
    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let losses = losses(entries(x, layout)?, &self.0);
        let mean = losses.iter().map(|loss| f64::from(*loss)).sum::<f64>() / losses.len() as f64;
        Ok((CpuStorage::F32(vec![mean as f32]), Shape::from(())))
    }
    fn bwd(&self, x: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let (n, vocabulary) = x.dims2()?;
        let scale = g.to_scalar::<f32>()? / n as f32;
        let mut dx = vec![0.0; n * vocabulary];
        read(x, |x| {
            dx.chunks_mut(vocabulary).zip(x.chunks(vocabulary)).zip(&self.0).for_each(
                |((dx, x), &target)| {
                    let log_sum = row_loss(x, target).1;
                    dx.iter_mut().zip(x).for_each(|(dx, x)| *dx = exp(x - log_sum) * scale);
                    dx[target as usize] -= scale;
                },
            );
            Ok(())
        })?;
        Ok(Some(tensor(dx, x.shape().clone())?))
    }
}

/// Loss of each row of `logits` in nats.
fn losses(logits: &[f32], targets: &[u32]) -> Vec<f32> {
    let vocabulary = logits.len() / targets.len().max(1);
    logits.chunks(vocabulary.max(1)).zip(targets).map(|(row, &target)| row_loss(row, target).0).collect()
}

/// x + b.
pub(super) fn add_bias(x: &Tensor, b: &Tensor) -> Result<Tensor> {
    x.apply_op2(b, AddBias)
}

/// gelu(x + b).
pub(super) fn bias_gelu(x: &Tensor, b: &Tensor) -> Result<Tensor> {
    x.apply_op2(b, BiasGelu)
}

/// Layer norm of each row.
pub(super) fn layer_norm(x: &Tensor, w: &Tensor, b: &Tensor, eps: f64) -> Result<Tensor> {
    x.apply_op3(w, b, LayerNorm { eps: eps as f32 })
}

/// Causal attention on the joint projection `[batch · positions, 3 · heads · d_head]`; heads' outputs side by side.
pub(super) fn attention(qkv: &Tensor, heads: Heads, rotary_base: f64) -> Result<Tensor> {
    let parts = qkv.apply_op1(Split { heads, angles: heads.angles(rotary_base) })?;
    let (q, k, v) = (parts.get(0)?, parts.get(1)?, parts.get(2)?);
    let scores = q.matmul(&k.t()?)?;
    let weights = scores.apply_op1(CausalSoftmax(heads.positions))?;
    weights.matmul(&v)?.apply_op1(Merge(heads))
}

/// Mean loss in nats.
pub(super) fn cross_entropy(logits: &Tensor, targets: Vec<u32>) -> Result<Tensor> {
    logits.apply_op1(CrossEntropy(targets))
}

/// Loss of each row in nats.
pub(super) fn token_losses(logits: &Tensor, targets: &[u32]) -> Result<Vec<f32>> {
    debug_assert_eq!(logits.dtype(), DType::F32);
    read(logits, |logits| Ok(losses(logits, targets)))
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;
    use crate::base::Stream;

    fn random(stream: &mut Stream, shape: &[usize]) -> Tensor {
        let data: Vec<f32> = (0..shape.iter().product()).map(|_| stream.normal() as f32).collect();
        tensor(data, shape).expect("a tensor")
    }

    /// Compares the gradient of a weighted sum of `f` with central differences.
    fn check(name: &str, inputs: Vec<Tensor>, f: impl Fn(&[Tensor]) -> Result<Tensor>) {
        let mut stream = Stream::new(3, "gradient");
        let out = f(&inputs).expect("forward");
        let weights = random(&mut stream, out.dims());
        let value = |inputs: &[Tensor]| {
            let sum = (f(inputs).expect("forward") * &weights).and_then(|x| x.sum_all()).expect("sum");
            sum.to_scalar::<f32>().expect("scalar")
        };
        let vars: Vec<Var> = inputs.iter().map(|x| Var::from_tensor(x).expect("var")).collect();
        let tensors: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
        let loss = (f(&tensors).expect("forward") * &weights).and_then(|x| x.sum_all()).expect("sum");
        let grads = loss.backward().expect("backward");
        for (which, var) in vars.iter().enumerate() {
            let grad = grads
                .get(var)
                .expect("gradient")
                .flatten_all()
                .and_then(|g| g.to_vec1::<f32>())
                .expect("vec");
            let base = inputs[which].flatten_all().and_then(|x| x.to_vec1::<f32>()).expect("vec");
            for at in (0..base.len()).step_by(base.len().div_ceil(12)) {
                let nudged = |by: f32| {
                    let mut data = base.clone();
                    data[at] += by;
                    let mut inputs = inputs.clone();
                    inputs[which] = tensor(data, inputs[which].shape().clone()).expect("tensor");
                    value(&inputs)
                };
                let expected = (nudged(1e-2) - nudged(-1e-2)) / 2e-2;
                let got = grad[at];
                assert!(
                    (got - expected).abs() < 2e-2 * (1.0 + expected.abs()),
                    "{name} {which} {at}: {got} {expected}"
                );
            }
        }
    }

    #[test]
    fn gradients_agree_with_differences() {
        let mut stream = Stream::new(1, "inputs");
        let mut draw = |shape: &[usize]| random(&mut stream, shape);
        let (x, b) = (draw(&[6, 8]), draw(&[8]));
        check("bias", vec![x.clone(), b.clone()], |t| add_bias(&t[0], &t[1]));
        check("gelu", vec![x.clone(), b.clone()], |t| bias_gelu(&t[0], &t[1]));
        check("norm", vec![x.clone(), draw(&[8]), b], |t| layer_norm(&t[0], &t[1], &t[2], 1e-5));
        check("cross entropy", vec![x], |t| cross_entropy(&t[0], vec![1, 7, 0, 3, 3, 2]));
        let heads = Heads { batch: 2, positions: 5, count: 2, width: 4, pairs: 1 };
        check("attention", vec![draw(&[10, 24])], |t| attention(&t[0], heads, 10_000.0));
    }

    #[test]
    fn exponential_and_normal_are_accurate() {
        for i in -400..400 {
            let x = i as f32 * 0.05;
            let relative = (f64::from(exp(x)) / f64::from(x).exp() - 1.0).abs();
            assert!(relative < 2e-6, "exp({x}): {relative}");
        }
        for (x, below) in [(0.0, 0.5), (1.0, 0.841_344_75), (-2.0, 0.022_750_13), (3.0, 0.998_650_1)] {
            assert!((normal(x).0 - below).abs() < 1e-6, "{x}");
        }
    }
}
