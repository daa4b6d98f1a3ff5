//! Causal attention with rotary positions, forward and backward.
//!
//!   out_h = softmax(q_h k_hᵀ / √d_head + causal mask) v_h    per head h; q and k rotated by position

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::ops::{entries, exp, read, tensor};

/// Sizes of the joint projection `[batch · positions, heads, (q k v), d_head]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heads {
    pub batch: usize,
    pub positions: usize,
    pub count: usize,
    pub width: usize,
    /// Rotated pairs of each head, entries `i` and `i + pairs`.
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

    /// Copies every head's row between the layouts `[batch · positions, heads, parts, d_head]` (joint) and
    /// `[parts, batch · heads, positions, d_head]` (split); `each` changes the copy.
    fn copied(
        &self,
        from: &[f32],
        parts: usize,
        to_joint: bool,
        each: impl Fn(usize, usize, &mut [f32]),
    ) -> Vec<f32> {
        let Heads { batch, positions, count, width, .. } = *self;
        let mut out = vec![0.0; from.len()];
        for row in 0..batch * positions {
            let (b, position) = (row / positions, row % positions);
            for head in 0..count {
                for part in 0..parts {
                    let joint = ((row * count + head) * parts + part) * width;
                    let split = ((part * batch * count + b * count + head) * positions + position) * width;
                    let (source, target) = if to_joint { (split, joint) } else { (joint, split) };
                    let target = &mut out[target..target + width];
                    target.copy_from_slice(&from[source..source + width]);
                    each(part, position, target);
                }
            }
        }
        out
    }
}

/// Splits the joint projection into queries, keys and values `[3, batch · heads, positions, d_head]`, rotates queries and
/// keys by position, and multiplies queries by 1/√d_head.
struct Split {
    heads: Heads,
    angles: Vec<(f32, f32)>,
}

impl Split {
    fn run(&self, from: &[f32], forward: bool) -> Vec<f32> {
        let pairs = self.heads.pairs;
        let scale = 1.0 / (self.heads.width as f32).sqrt();
        self.heads.copied(from, 3, !forward, |part, position, row| {
            if part < 2 {
                rotate(row, &self.angles[position * pairs..][..pairs], forward);
            }
            if part == 0 {
                row.iter_mut().for_each(|x| *x *= scale);
            }
        })
    }
}

fn rotate(row: &mut [f32], angles: &[(f32, f32)], forward: bool) {
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
        Ok(Some(tensor(read([g], |[g]| self.run(g, false))?, x.shape().clone())?))
    }
}

/// Concatenates heads: `[batch · heads, positions, d_head]` to `[batch · positions, heads · d_head]`.
struct Merge(Heads);

impl Merge {
    fn run(&self, from: &[f32], forward: bool) -> Vec<f32> {
        self.0.copied(from, 1, forward, |_, _, _| {})
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
        Ok(Some(tensor(read([g], |[g]| self.run(g, false))?, x.shape().clone())?))
    }
}

/// Softmax of scores `[.., positions, positions]` over the keys up to the query's position.
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
        read([p, g], |[p, g]| {
            for ((dx, p), g) in dx.chunks_mut(n * n).zip(p.chunks(n * n)).zip(g.chunks(n * n)) {
                for query in 0..n {
                    let at = query * n..query * n + query + 1;
                    let (p, g, dx) = (&p[at.clone()], &g[at.clone()], &mut dx[at]);
                    let mean: f32 = p.iter().zip(g).map(|(p, g)| p * g).sum();
                    for i in 0..p.len() {
                        dx[i] = p[i] * (g[i] - mean);
                    }
                }
            }
        })?;
        Ok(Some(tensor(dx, x.shape().clone())?))
    }
}

/// Causal attention on the joint projection `[batch · positions, 3 · heads · d_head]`, with concatenated outputs.
pub(super) fn attention(qkv: &Tensor, heads: Heads, rotary_base: f64) -> Result<Tensor> {
    let parts = qkv.apply_op1(Split { heads, angles: heads.angles(rotary_base) })?;
    let (q, k, v) = (parts.get(0)?, parts.get(1)?, parts.get(2)?);
    let scores = q.matmul(&k.t()?)?;
    let weights = scores.apply_op1(CausalSoftmax(heads.positions))?;
    weights.matmul(&v)?.apply_op1(Merge(heads))
}
