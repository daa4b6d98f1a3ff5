//! Causal attention with rotary positions, forward and backward.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::ops::{entries, exp, read, tensor};

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

/// Causal attention on the joint projection `[batch · positions, 3 · heads · d_head]`; heads' outputs side by side.
pub(super) fn attention(qkv: &Tensor, heads: Heads, rotary_base: f64) -> Result<Tensor> {
    let parts = qkv.apply_op1(Split { heads, angles: heads.angles(rotary_base) })?;
    let (q, k, v) = (parts.get(0)?, parts.get(1)?, parts.get(2)?);
    let scores = q.matmul(&k.t()?)?;
    let weights = scores.apply_op1(CausalSoftmax(heads.positions))?;
    weights.matmul(&v)?.apply_op1(Merge(heads))
}
