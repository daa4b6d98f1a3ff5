//! Fused operations of a training step, forward and backward: bias, gelu, layer norm, cross-entropy.
//!
//! They run on the calling thread, since each thread trains on its share of the batch.

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, DType, Device, Layout, Result, Shape, Storage, Tensor,
};

pub(super) fn entries<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => candle_core::bail!("a training step needs contiguous rows, got {layout:?}"),
    }
}

/// Calls `work` with the entries of each tensor.
pub(super) fn read<const N: usize, T>(
    tensors: [&Tensor; N],
    work: impl FnOnce([&[f32]; N]) -> T,
) -> Result<T> {
    let tensors = tensors.iter().map(|tensor| tensor.contiguous()).collect::<Result<Vec<_>>>()?;
    let stored: Vec<_> = tensors.iter().map(Tensor::storage_and_layout).collect();
    let mut slices = [&[][..]; N];
    for (slice, (storage, layout)) in slices.iter_mut().zip(&stored) {
        *slice = match &**storage {
            Storage::Cpu(storage) => entries(storage, layout)?,
            _ => candle_core::bail!("training runs in main memory only"),
        };
    }
    Ok(work(slices))
}

pub(super) fn tensor(data: Vec<f32>, shape: impl Into<Shape>) -> Result<Tensor> {
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

/// eˣ for x ≤ 80, to about 1e-7 relative; without branches, so that it vectorises.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5·2²³: the low bits of x + ROUND are x rounded to an integer
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

/// Distribution function and density of the standard normal, to about 1e-7 (Abramowitz and Stegun 7.1.26).
#[inline(always)]
fn normal(x: f32) -> (f32, f32) {
    let t = 1.0 / (1.0 + 0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2 * x.abs());
    let e = exp(-0.5 * x * x);
    let series =
        t * (0.254_829_6 + t * (-0.284_496_72 + t * (1.421_413_8 + t * (-1.453_152_1 + t * 1.061_405_4))));
    let upper = 0.5 * series * e; // P(X > |x|)
    let below = if x > 0.0 { 1.0 - upper } else { upper };
    (below, e * 0.398_942_3)
}

/// `f(x, b)` for each entry of rows `x` and the entry of `b` in its column.
fn with_bias(
    (x, lx): (&CpuStorage, &Layout),
    (b, lb): (&CpuStorage, &Layout),
    f: impl Fn(f32, f32) -> f32,
) -> Result<(CpuStorage, Shape)> {
    let (x, b) = (entries(x, lx)?, entries(b, lb)?);
    let mut out = Vec::with_capacity(x.len());
    for row in x.chunks_exact(b.len()) {
        out.extend(row.iter().zip(b).map(|(x, b)| f(*x, *b)));
    }
    Ok((CpuStorage::F32(out), lx.shape().clone()))
}

type Gradients2 = (Option<Tensor>, Option<Tensor>);

/// x + b for every row.
pub(super) struct AddBias;

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
        with_bias((x, lx), (b, lb), |x, b| x + b)
    }
    fn bwd(&self, _: &Tensor, b: &Tensor, _: &Tensor, g: &Tensor) -> Result<Gradients2> {
        let width = b.elem_count();
        let sums = read([g], |[g]| column_sums(g, width))?;
        Ok((Some(g.clone()), Some(tensor(sums, width)?)))
    }
}

/// The exact gelu(x + b) for every row.
pub(super) struct BiasGelu;

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
        with_bias((x, lx), (b, lb), |x, b| {
            let u = x + b;
            u * normal(u).0
        })
    }
    fn bwd(&self, x: &Tensor, b: &Tensor, _: &Tensor, g: &Tensor) -> Result<Gradients2> {
        let width = b.elem_count();
        let mut dx = vec![0.0; x.elem_count()];
        read([x, b, g], |[x, b, g]| {
            for (row, dx) in dx.chunks_exact_mut(width).enumerate() {
                let (x, g) = (&x[row * width..][..width], &g[row * width..][..width]);
                for i in 0..width {
                    let u = x[i] + b[i];
                    let (below, density) = normal(u);
                    dx[i] = g[i] * (below + u * density);
                }
            }
        })?;
        let db = column_sums(&dx, width);
        Ok((Some(tensor(dx, x.shape().clone())?), Some(tensor(db, width)?)))
    }
}

/// Layer norm of each row, with weight and bias.
pub(super) struct LayerNorm {
    pub eps: f32,
}

impl LayerNorm {
    /// Mean of a row, and 1 / √(variance + ε).
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
        read([x, w, g], |[x, w, g]| {
            for (row, dx) in dx.chunks_exact_mut(width).enumerate() {
                let at = row * width..(row + 1) * width;
                self.row_bwd([&x[at.clone()], w, &g[at]], dx, &mut dw, &mut db);
            }
        })?;
        Ok((Some(tensor(dx, x.shape().clone())?), Some(tensor(dw, width)?), Some(tensor(db, width)?)))
    }
}

/// Mean cross-entropy in nats of logits `[n, vocabulary]` and `n` target ids.
pub(super) struct CrossEntropy(pub Vec<u32>);

/// Loss of one row in nats, and its log-sum-exp.
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
        read([x], |[x]| {
            for ((dx, x), &target) in dx.chunks_mut(vocabulary).zip(x.chunks(vocabulary)).zip(&self.0) {
                let log_sum = row_loss(x, target).1;
                dx.iter_mut().zip(x).for_each(|(dx, x)| *dx = exp(x - log_sum) * scale);
                dx[target as usize] -= scale;
            }
        })?;
        Ok(Some(tensor(dx, x.shape().clone())?))
    }
}

/// Loss of each row of `logits` in nats.
fn losses(logits: &[f32], targets: &[u32]) -> Vec<f32> {
    let vocabulary = logits.len() / targets.len().max(1);
    logits.chunks(vocabulary.max(1)).zip(targets).map(|(row, &target)| row_loss(row, target).0).collect()
}

/// Loss of each row in nats.
pub(super) fn token_losses(logits: &Tensor, targets: &[u32]) -> Result<Vec<f32>> {
    debug_assert_eq!(logits.dtype(), DType::F32);
    read([logits], |[logits]| losses(logits, targets))
}

#[cfg(test)]
mod tests;
