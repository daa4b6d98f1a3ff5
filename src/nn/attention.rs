//! Causal attention: scores and softmax as in `attention_kernel.rs`, over tensors.
//!
//! CPU inference uses the fused kernel, everything else candle's differentiable operations.

use candle_core::{D, Result, Tensor};
use rayon::prelude::*;

use super::attention_kernel::{self as kernel, HeadCache, HeadView, Shape};
use super::attention_rule::{AttentionRule, PositionTables};
use super::ops::{can_fuse, entries};
use super::prefix_cache::PrefixCache;

/// The heads of queries, keys or values inside the rows of a tensor.
#[derive(Debug, Clone)]
pub(super) struct Heads {
    /// `[batch · positions, stride]`
    pub rows: Tensor,
    /// Column of head 0.
    pub first: usize,
    /// Distance in columns between consecutive heads.
    pub step: usize,
    /// Number of heads.
    pub count: usize,
}

impl Heads {
    /// The heads of rows that hold nothing else.
    pub fn of_rows(rows: Tensor, d_head: usize) -> Result<Self> {
        let count = rows.dim(1)? / d_head;
        Ok(Self { rows, first: 0, step: d_head, count })
    }

    /// Heads at the same columns of other rows.
    pub fn with_rows(&self, rows: Tensor) -> Self {
        Self { rows, ..*self }
    }

    /// The heads without other columns, `[batch · positions, count · d_head]`.
    pub fn contiguous(&self, d_head: usize) -> Result<Tensor> {
        let (n, _) = self.rows.dims2()?;
        if self.step == d_head {
            return self.rows.narrow(1, self.first, self.count * d_head)?.contiguous();
        }
        let by_head = self.rows.reshape((n, self.count, self.step))?;
        by_head.narrow(2, self.first, d_head)?.reshape((n, self.count * d_head))
    }

    fn view<'a>(&self, data: &'a [f32], d_head: usize) -> Result<HeadView<'a>> {
        Ok(HeadView { data, stride: self.rows.dim(1)?, first: self.first, step: self.step, d_head })
    }

    /// `[batch, n_heads, positions, d_head]`, with each head repeated for the query heads it serves.
    fn repeated(&self, batch: usize, d_head: usize, n_heads: usize) -> Result<Tensor> {
        let heads = self.contiguous(d_head)?.reshape((batch, (), self.count, d_head))?.transpose(1, 2)?;
        if self.count == n_heads {
            return heads.contiguous();
        }
        let positions = heads.dim(2)?;
        heads
            .unsqueeze(2)?
            .broadcast_as((batch, self.count, n_heads / self.count, positions, d_head))?
            .reshape((batch, n_heads, positions, d_head))
    }
}

/// Causal attention. `q` holds the last positions of those of `k` and `v`. Returns the concatenated outputs of the
/// heads, `[batch · queries, n_heads · d_head]`.
pub(super) fn attention(
    [q, k, v]: [&Heads; 3],
    batch: usize,
    rule: AttentionRule<'_>,
    tables: &PositionTables,
) -> Result<Tensor> {
    let (queries, keys) = (q.rows.dim(0)? / batch, k.rows.dim(0)? / batch);
    let (d_head, width) = (rule.d_head, q.count * rule.d_head);
    if can_fuse([&q.rows, &k.rows, &v.rows]) {
        let mut out = vec![0.0; batch * queries * width];
        let (q_rows, k_rows, v_rows) = (entries(&q.rows)?, entries(&k.rows)?, entries(&v.rows)?);
        let sinks = rule.sinks()?;
        let qkv = [q.view(&q_rows, d_head)?, k.view(&k_rows, d_head)?, v.view(&v_rows, d_head)?];
        let (n_heads, n_kv_heads, key_bias) = (q.count, k.count, &tables.key_bias);
        let shape =
            Shape { batch, queries, keys, n_heads, n_kv_heads, rule, tables, sinks: &sinks, key_bias };
        kernel::attend(&mut out, qkv, &shape);
        return Tensor::from_vec(out, (batch * queries, width), q.rows.device());
    }
    let past = keys - queries;
    let queries_at = tables.rotate(&q.repeated(batch, d_head, q.count)?, past)?;
    let keys_at = tables.rotate(&k.repeated(batch, d_head, q.count)?, 0)?;
    let scores = (queries_at.contiguous()?.matmul(&keys_at.transpose(2, 3)?.contiguous()?)? * rule.scale)?;
    let scores = if tables.key_bias.is_empty() {
        scores
    } else {
        let shape = (1, q.count, 1, tables.positions);
        let bias = Tensor::from_slice(&tables.key_bias, shape, scores.device())?;
        scores.broadcast_add(&bias.narrow(3, 0, keys)?)?
    };
    let scores = match rule.cap {
        Some(cap) => ((scores / cap)?.tanh()? * cap)?,
        None => scores,
    };
    let weights = causal_softmax(&scores, past, rule.window.unwrap_or(usize::MAX), rule.sinks)?;
    let z = weights.matmul(&v.repeated(batch, d_head, q.count)?)?; // [batch, n_heads, queries, d_head]
    z.transpose(1, 2)?.reshape((batch * queries, width))
}

/// Queries of a head per task.
const QUERIES_PER_TASK: usize = 64;

/// Causal attention of the next positions of several sequences, all with the same number of new positions. Their keys
/// and values are appended to the prefix caches `past` first. Each sequence has its own tables, because rotations can
/// depend on its length. Returns the concatenated outputs of the heads, `[sequences · new, n_heads · d_head]`.
pub(super) fn attention_with_past(
    [q, k, v]: [&Heads; 3],
    rule: AttentionRule<'_>,
    tables: &[&PositionTables],
    past: &mut [PrefixCache],
    layer: usize,
) -> Result<Tensor> {
    let (d_head, n_heads, kv_count) = (rule.d_head, q.count, k.count);
    let group = n_heads / kv_count;
    let sequences = past.len();
    let queries = q.rows.dim(0)? / sequences.max(1);
    let to_vec = |heads: &Heads| heads.contiguous(d_head)?.flatten_all()?.to_vec1::<f32>();
    let (q_rows, k_rows, v_rows) = (to_vec(q)?, to_vec(k)?, to_vec(v)?);
    let (width, kv_width) = (n_heads * d_head, kv_count * d_head);
    let sinks = rule.sinks()?;
    let view = |data, stride, first| HeadView { data, stride, first, step: d_head, d_head };
    let shape = |queries, keys, tables, sinks, key_bias| {
        let (batch, n_heads, n_kv_heads) = (1, group, 1);
        Shape { batch, queries, keys, n_heads, n_kv_heads, rule, tables, sinks, key_bias }
    };
    let mut caches: Vec<&mut HeadCache> = past.iter_mut().flat_map(|past| &mut past.layers[layer]).collect();
    // One task per sequence and key-value head.
    caches.par_iter_mut().enumerate().for_each(|(task, cache)| {
        let (sequence, head) = (task / kv_count, task % kv_count);
        let k = view(&k_rows[sequence * queries * kv_width..], kv_width, head * d_head);
        let v = view(&v_rows[sequence * queries * kv_width..], kv_width, head * d_head);
        let shape = shape(queries, cache.positions + queries, tables[sequence], &[], &[]);
        kernel::append(cache, [k, v], &shape);
    });
    // One task per sequence, key-value head and part of the queries.
    let parts_of_head = queries.div_ceil(QUERIES_PER_TASK);
    let attend = |part: usize| {
        let (task, from) = (part / parts_of_head, part % parts_of_head * QUERIES_PER_TASK);
        let (sequence, head) = (task / kv_count, task % kv_count);
        let count = QUERIES_PER_TASK.min(queries - from);
        let q = view(&q_rows[(sequence * queries + from) * width..], width, head * group * d_head);
        let mut out = vec![0.0; count * group * d_head];
        let seen = caches[task].positions - queries + from + count;
        let sinks = sinks.get(head * group..(head + 1) * group).unwrap_or_default();
        let tables = tables[sequence];
        let biases = group * tables.key_bias.len() / n_heads;
        let key_bias = &tables.key_bias[head * biases..][..biases];
        kernel::attend_cached(&mut out, q, caches[task], &shape(count, seen, tables, sinks, key_bias));
        out
    };
    let parts: Vec<Vec<f32>> = (0..caches.len() * parts_of_head).into_par_iter().map(attend).collect();
    let mut out = vec![0.0; sequences * queries * width];
    for (row, out) in out.chunks_exact_mut(width).enumerate() {
        let (sequence, query) = (row / queries, row % queries);
        for (head, out) in out.chunks_exact_mut(group * d_head).enumerate() {
            let part = &parts[(sequence * kv_count + head) * parts_of_head + query / QUERIES_PER_TASK];
            out.copy_from_slice(&part[query % QUERIES_PER_TASK * group * d_head..][..group * d_head]);
        }
    }
    Tensor::from_vec(out, (sequences * queries, width), q.rows.device())
}

/// Softmax of scores `[batch, heads, queries, keys]` over the keys that each query sees, and over the sink of its head
/// if there are `sinks` `[heads]`.
fn causal_softmax(scores: &Tensor, past: usize, window: usize, sinks: Option<&Tensor>) -> Result<Tensor> {
    let (_, heads, queries, keys) = scores.dims4()?;
    let seen = |i: usize, j: usize| j <= i + past && i + past - j < window;
    let mask: Vec<f32> = (0..queries)
        .flat_map(|i| (0..keys).map(move |j| if seen(i, j) { 0.0 } else { f32::NEG_INFINITY }))
        .collect();
    let masked = scores.broadcast_add(&Tensor::from_vec(mask, (queries, keys), scores.device())?)?;
    let top = masked.detach().max_keepdim(D::Minus1)?;
    let Some(sinks) = sinks else {
        let exp = masked.broadcast_sub(&top)?.exp()?;
        return exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?);
    };
    let sinks = sinks.reshape((1, heads, 1, 1))?;
    let top = top.broadcast_maximum(&sinks.detach())?; // [batch, heads, queries, 1]
    let exp = masked.broadcast_sub(&top)?.exp()?;
    let sink = sinks.broadcast_sub(&top)?.exp()?;
    exp.broadcast_div(&(exp.sum_keepdim(D::Minus1)? + sink)?)
}
