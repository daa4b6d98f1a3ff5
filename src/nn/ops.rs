//! The operations of a forward pass on rows `[batch · positions, width]`.
//!
//! Each is written twice: fused over slices, for weights that do not track gradients on the CPU, and composed
//! of candle's differentiable operations for everything else. A test holds the two together.

use std::borrow::Cow;
use std::cell::Cell;

use candle_core::{CpuStorage, D, Device, InplaceOp1, Layout, Storage, Tensor};
use rayon::prelude::*;

use super::architecture::{Activation, NormKind, Positions};
use super::kernels::{self, AttentionShape, HeadView, LaidOut, MatrixView};
use super::keys_values::KeysValues;
use super::packed::Packed;
use super::rows::Rows;
use super::transformer::{Linear, Norm};
use crate::linalg::{HalfPanels, multiply_stored};

type Result<T> = candle_core::Result<T>;

fn fused(tensors: &[&Tensor]) -> bool {
    tensors.iter().all(|tensor| tensor.device().is_cpu() && !tensor.track_op())
}

/// Entries of rows that one task works on.
const PART: usize = 1 << 15;

thread_local! {
    /// Whether what this thread works on may use all threads although it is one of the pool's.
    static HAS_ALL_THREADS: Cell<bool> = const { Cell::new(false) };
}

/// Does a whole pass on the pool, whose threads share each of its operations: one hand-over instead of one for every
/// product.
pub(super) fn on_all_threads<T: Send>(pass: impl FnOnce() -> T + Send) -> T {
    rayon::scope(|_| {
        let before = HAS_ALL_THREADS.replace(true);
        let done = pass();
        HAS_ALL_THREADS.set(before);
        done
    })
}

/// Whether the calling thread shares the work of a batch with others, and so does its part alone.
fn is_alone() -> bool {
    rayon::current_thread_index().is_some() && !HAS_ALL_THREADS.get()
}

/// Works on parts of `rows`, whole rows of `width`, given with the place of their first entry: on all threads, or on
/// the calling one alone where it already shares the work of a batch.
fn in_parts(rows: &mut [f32], width: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    if rows.len() <= PART || is_alone() {
        return work(0, rows);
    }
    let part = PART.next_multiple_of(width.max(1));
    rows.par_chunks_mut(part).enumerate().for_each(|(nth, rows)| work(nth * part, rows));
}

/// The entries of a contiguous f32 tensor in main memory.
fn entries<'a>(storage: &'a Storage, layout: &Layout) -> Result<&'a [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        candle_core::bail!("a kernel needs contiguous rows, got {layout:?}");
    };
    match storage {
        Storage::Cpu(storage) => Ok(&storage.as_slice::<f32>()?[start..end]),
        _ => candle_core::bail!("a kernel needs a tensor in main memory"),
    }
}

/// Rows and columns of a tensor, however they are laid out.
fn view<'a>(storage: &'a Storage, layout: &Layout) -> Result<MatrixView<'a>> {
    let Storage::Cpu(storage) = storage else { candle_core::bail!("a kernel needs a tensor in main memory") };
    let (rows, cols) = layout.shape().dims2()?;
    Ok(MatrixView {
        data: &storage.as_slice::<f32>()?[layout.start_offset()..],
        dims: [rows, cols],
        strides: [layout.stride()[0], layout.stride()[1]],
    })
}

/// act(x·Wᵀ + b).
pub(super) fn linear(x: &Tensor, map: &Linear, activation: Option<Activation>) -> Result<Tensor> {
    let bias_is_plain = map.bias.as_ref().is_none_or(|bias| fused(&[bias]));
    if let Some(half) = &map.half
        && fused(&[x])
        && bias_is_plain
    {
        return linear_half(x, half, map.bias.as_ref(), activation);
    }
    let weight = match &map.weight {
        Rows::Packed(weight) => {
            return Ok(linear_packed(x, &[(weight, map.bias.as_ref(), activation)])?.swap_remove(0));
        }
        Rows::Plain(weight) => weight,
    };
    if fused(&[x, weight]) && bias_is_plain {
        return linear_fused(x, weight, map.bias.as_ref(), activation);
    }
    let product = x.matmul(&weight.t()?)?;
    let sum = match &map.bias {
        Some(bias) => product.broadcast_add(bias)?,
        None => product,
    };
    match activation {
        None => Ok(sum),
        Some(Activation::Gelu) => sum.gelu_erf(),
        Some(Activation::GeluTanh) => sum.gelu(),
        Some(Activation::Silu) => sum.silu(),
        // x·σ(1.702 x)
        Some(Activation::QuickGelu) => (&sum * 1.702)?.silu()? / 1.702,
        Some(Activation::Relu) => sum.relu(),
        Some(Activation::ReluSquared) => sum.relu()?.sqr(),
    }
}

/// [`linear`] of the same rows through several maps, in one hand-over to the threads where their weights are packed.
pub(super) fn linear_each<const N: usize>(
    x: &Tensor,
    maps: [(&Linear, Option<Activation>); N],
) -> Result<[Tensor; N]> {
    let packed = maps.iter().map(|(map, activation)| match &map.weight {
        Rows::Packed(weight) if map.half.is_none() => Some((weight, map.bias.as_ref(), *activation)),
        _ => None,
    });
    let outputs = match packed.collect::<Option<Vec<_>>>() {
        Some(maps) => linear_packed(x, &maps)?,
        None => maps.iter().map(|(map, activation)| linear(x, map, *activation)).collect::<Result<_>>()?,
    };
    match outputs.try_into() {
        Ok(outputs) => Ok(outputs),
        Err(_) => candle_core::bail!("each map has one output"),
    }
}

fn linear_half(
    x: &Tensor,
    weight: &HalfPanels,
    bias: Option<&Tensor>,
    activation: Option<Activation>,
) -> Result<Tensor> {
    let x = x.contiguous()?;
    let ((rows, got), [width, d_in]) = (x.dims2()?, weight.dims());
    if got != d_in {
        candle_core::bail!("rows {:?} do not fit the map {:?}", x.dims(), weight.dims());
    }
    let mut out = vec![0.0; rows * width];
    {
        let (xs, x_layout) = x.storage_and_layout();
        let x = entries(&xs, x_layout)?;
        let bias = bias.map(Tensor::storage_and_layout);
        let none = vec![0.0; if bias.is_some() { 0 } else { width }];
        let bias = match &bias {
            Some((storage, layout)) => entries(storage, layout)?,
            None => &none,
        };
        in_parts(&mut out, width, |at, out| {
            let (first, count) = (at / width, out.len() / width);
            weight.multiply(&x[first * d_in..][..count * d_in], bias, out);
        });
    }
    finish_rows(&mut out, None, width, activation)?;
    Tensor::from_vec(out, (rows, width), x.device())
}

/// The outputs of maps with packed weights, each with its bias and activation.
fn linear_packed(x: &Tensor, maps: &[(&Packed, Option<&Tensor>, Option<Activation>)]) -> Result<Vec<Tensor>> {
    let x = x.contiguous()?;
    let (rows, got) = x.dims2()?;
    if let Some((weight, ..)) = maps.iter().find(|(weight, ..)| weight.dims()[1] != got) {
        candle_core::bail!("rows {:?} do not fit the map {:?}", x.dims(), weight.dims());
    }
    let weights: Vec<&Packed> = maps.iter().map(|(weight, ..)| *weight).collect();
    let (xs, x_layout) = x.storage_and_layout();
    let Some(products) = Packed::multiply_each(entries(&xs, x_layout)?, &weights, is_alone()) else {
        candle_core::bail!("rows {:?} do not fit a map without columns", x.dims());
    };
    let outputs = products.into_iter().zip(maps).map(|(mut product, &(weight, bias, activation))| {
        let [width, _] = weight.dims();
        finish_rows(&mut product, bias, width, activation)?;
        Tensor::from_vec(product, (rows, width), x.device())
    });
    outputs.collect()
}

/// Rows of `width` with the bias added and the activation applied.
fn finish_rows(
    rows: &mut [f32],
    bias: Option<&Tensor>,
    width: usize,
    activation: Option<Activation>,
) -> Result<()> {
    let bias = bias.map(Tensor::storage_and_layout);
    let bias = match &bias {
        Some((storage, layout)) => Some(entries(storage, layout)?),
        None => None,
    };
    if bias.is_some() || activation.is_some() {
        in_parts(rows, width, |_, rows| kernels::add_bias_and_activate(rows, bias, width, activation));
    }
    Ok(())
}

fn linear_fused(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    activation: Option<Activation>,
) -> Result<Tensor> {
    let x = x.contiguous()?;
    let (rows, width) = (x.dim(0)?, weight.dim(0)?);
    let mut out = {
        let (xs, x_layout) = x.storage_and_layout();
        let (storage, layout) = weight.storage_and_layout();
        let weight_view = view(&storage, layout)?;
        if x.dim(1)? != weight_view.dims[1] || !weight_view.is_inside() {
            candle_core::bail!("rows {:?} do not fit the map {:?}", x.dims(), weight.dims());
        }
        multiply_stored(entries(&xs, x_layout)?, &weight_view, is_alone())
    };
    finish_rows(&mut out, bias, width, activation)?;
    Tensor::from_vec(out, (rows, width), x.device())
}

/// Entrywise product; `gate` must be fresh, nobody else may hold it.
pub(super) fn gated(gate: Tensor, up: &Tensor) -> Result<Tensor> {
    struct MultiplyBy<'a>(&'a [f32]);
    impl InplaceOp1 for MultiplyBy<'_> {
        fn name(&self) -> &'static str {
            "gate"
        }
        fn cpu_fwd(&self, storage: &mut CpuStorage, _: &Layout) -> Result<()> {
            let CpuStorage::F32(gate) = storage else { candle_core::bail!("expected f32 rows") };
            in_parts(gate, 1, |at, gate| kernels::multiply_into(gate, &self.0[at..at + gate.len()]));
            Ok(())
        }
    }
    if !fused(&[&gate, up]) {
        return &gate * up;
    }
    let (storage, layout) = up.storage_and_layout();
    gate.inplace_op1(&MultiplyBy(entries(&storage, layout)?))?;
    Ok(gate)
}

/// Norm of each row. A weight `[heads, width]` norms every `width` entries of a row by themselves.
pub(super) fn norm(x: &Tensor, norm: &Norm, kind: NormKind, eps: f64) -> Result<Tensor> {
    let bias_is_plain = norm.bias.as_ref().is_none_or(|bias| fused(&[bias]));
    if fused(&[x, &norm.weight]) && bias_is_plain {
        let x = x.contiguous()?;
        let mut out = vec![0.0; x.elem_count()];
        {
            let (x, x_layout) = x.storage_and_layout();
            let (weight, weight_layout) = norm.weight.storage_and_layout();
            let bias = norm.bias.as_ref().map(Tensor::storage_and_layout);
            let bias = match &bias {
                Some((storage, layout)) => Some(entries(storage, layout)?),
                None => None,
            };
            let (x, weight) = (entries(&x, x_layout)?, entries(&weight, weight_layout)?);
            let width = norm.weight.dim(D::Minus1)?;
            in_parts(&mut out, weight.len(), |at, out| {
                kernels::normalise(out, &x[at..at + out.len()], width, kind, weight, bias, eps as f32);
            });
        }
        return Tensor::from_vec(out, x.shape(), x.device());
    }
    let shape = x.shape();
    let x = x.reshape([&[x.elem_count() / norm.weight.elem_count()], norm.weight.dims()].concat())?;
    let centred = match kind {
        NormKind::Layer => x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?,
        NormKind::Rms => x,
    };
    let scale = (centred.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?;
    let scaled = centred.broadcast_div(&scale)?.broadcast_mul(&norm.weight)?;
    let normed = match &norm.bias {
        Some(bias) => scaled.broadcast_add(bias)?,
        None => scaled,
    };
    normed.reshape(shape)
}

/// x + a (+ b).
pub(super) fn add(x: &Tensor, a: &Tensor, b: Option<&Tensor>) -> Result<Tensor> {
    let b_is_plain = b.is_none_or(|b| fused(&[b]));
    if !(fused(&[x, a]) && b_is_plain && x.is_contiguous() && a.is_contiguous()) {
        let sum = (x + a)?;
        return match b {
            Some(b) => sum + b,
            None => Ok(sum),
        };
    }
    let mut out = vec![0.0; x.elem_count()];
    {
        let (xs, x_layout) = x.storage_and_layout();
        let (a, a_layout) = a.storage_and_layout();
        let b = b.map(Tensor::storage_and_layout);
        let b = match &b {
            Some((storage, layout)) => Some(entries(storage, layout)?),
            None => None,
        };
        let (x, a) = (entries(&xs, x_layout)?, entries(&a, a_layout)?);
        in_parts(&mut out, 1, |at, out| {
            let part = at..at + out.len();
            kernels::write_sum(out, &x[part.clone()], &a[part.clone()], b.map(|b| &b[part]));
        });
    }
    Tensor::from_vec(out, x.shape(), x.device())
}

/// Where the heads of queries, keys or values lie in the rows of a tensor.
#[derive(Debug, Clone)]
pub(super) struct Heads {
    /// `[batch · positions, stride]`.
    pub rows: Tensor,
    /// Column of head 0.
    pub first: usize,
    /// Columns from one head to the next.
    pub step: usize,
    /// Number of heads.
    pub count: usize,
}

impl Heads {
    /// Heads side by side that fill the rows.
    pub fn whole(rows: Tensor, d_head: usize) -> Result<Self> {
        let count = rows.dim(1)? / d_head;
        Ok(Self { rows, first: 0, step: d_head, count })
    }

    /// Heads at the same columns of other rows.
    pub fn with_rows(&self, rows: Tensor) -> Self {
        Self { rows, ..*self }
    }

    /// The heads alone, `[batch · positions, count · d_head]`.
    pub fn alone(&self, d_head: usize) -> Result<Tensor> {
        let (n, _) = self.rows.dims2()?;
        if self.step == d_head {
            return self.rows.narrow(1, self.first, self.count * d_head)?.contiguous();
        }
        let by_head = self.rows.reshape((n, self.count, self.step))?;
        by_head.narrow(2, self.first, d_head)?.reshape((n, self.count * d_head))
    }

    fn view<'a>(&self, storage: &'a Storage, layout: &Layout) -> Result<HeadView<'a>> {
        Ok(HeadView {
            data: entries(storage, layout)?,
            stride: self.rows.dim(1)?,
            first: self.first,
            step: self.step,
        })
    }

    /// `[batch, n_heads, positions, d_head]`, each head repeated for the query heads it serves.
    fn spread(&self, batch: usize, d_head: usize, n_heads: usize) -> Result<Tensor> {
        let heads = self.alone(d_head)?.reshape((batch, (), self.count, d_head))?.transpose(1, 2)?;
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

/// What positions do inside attention: rotary angles, cosines and sines `[positions, pairs]`, and what is added to
/// the score of a key, `[n_heads, positions]`. By default they do nothing.
#[derive(Debug, Clone, Default)]
pub(super) struct PositionTables {
    cos: Vec<f32>,
    sin: Vec<f32>,
    pairs: usize,
    key_bias: Vec<f32>,
    positions: usize,
}

impl PositionTables {
    /// Of positions `0..room` in sequences of `length` positions, which rotations may depend on.
    pub fn new(kind: &Positions, length: usize, room: usize) -> Self {
        let (frequencies, amplitude, key_bias) = match kind {
            Positions::Learned => (Cow::default(), 1.0, Vec::new()),
            Positions::Rotary(rotary) => (rotary.frequencies_of(length), rotary.amplitude, Vec::new()),
            Positions::Alibi(alibi) => (Cow::default(), 1.0, alibi.key_bias(room)),
        };
        let angles = (0..room)
            .flat_map(|position| frequencies.iter().map(move |&f| f64::from(position as f32 * f as f32)));
        let turned = |angle: f64| ((angle.cos() * amplitude) as f32, (angle.sin() * amplitude) as f32);
        let (cos, sin) = angles.map(turned).unzip();
        Self { cos, sin, pairs: frequencies.len(), key_bias, positions: room }
    }

    /// How many positions there are tables for.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// What is added to the scores of `keys` keys, `[1, n_heads, 1, keys]`; nothing without ALiBi.
    fn key_bias(&self, n_heads: usize, keys: usize, device: &Device) -> Result<Option<Tensor>> {
        if self.key_bias.is_empty() {
            return Ok(None);
        }
        let table = Tensor::from_slice(&self.key_bias, (1, n_heads, 1, self.positions), device)?;
        table.narrow(3, 0, keys).map(Some)
    }

    /// `x` `[batch, heads, positions, d_head]` at positions from `first` on, rotated.
    fn rotate(&self, x: &Tensor, first: usize) -> Result<Tensor> {
        if self.pairs == 0 {
            return Ok(x.clone());
        }
        let (_, _, positions, d_head) = x.dims4()?;
        let table = |angles: &[f32]| {
            let range = first * self.pairs..(first + positions) * self.pairs;
            Tensor::from_slice(&angles[range], (positions, self.pairs), x.device())
        };
        let (cos, sin) = (table(&self.cos)?, table(&self.sin)?);
        let a = x.narrow(3, 0, self.pairs)?;
        let b = x.narrow(3, self.pairs, self.pairs)?;
        let turned_a = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
        let turned_b = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
        let rest = d_head - 2 * self.pairs;
        if rest == 0 {
            return Tensor::cat(&[turned_a, turned_b], 3);
        }
        Tensor::cat(&[turned_a, turned_b, x.narrow(3, 2 * self.pairs, rest)?], 3)
    }
}

/// Which keys a query sees, and how its scores are made.
#[derive(Debug, Clone, Copy)]
pub(super) struct AttentionRule<'a> {
    /// Factor on query·key.
    pub scale: f64,
    /// Positions back that are seen, the query's own included.
    pub window: Option<usize>,
    /// c in c·tanh(score/c).
    pub cap: Option<f64>,
    /// Of each query head, a learnt score `[n_heads]` that joins the softmax and whose weight goes nowhere.
    pub sinks: Option<&'a Tensor>,
}

impl AttentionRule<'_> {
    /// The sink of each query head; empty where there are none.
    fn sinks(&self) -> Result<Vec<f32>> {
        self.sinks.map_or(Ok(Vec::new()), |sinks| sinks.to_vec1())
    }
}

/// Causal attention. `q` has the last positions of those that `k` and `v` have. Returns the heads' outputs side
/// by side, `[batch · queries, n_heads · d_head]`.
pub(super) fn attention(
    [q, k, v]: [&Heads; 3],
    batch: usize,
    d_head: usize,
    rule: AttentionRule<'_>,
    tables: &PositionTables,
) -> Result<Tensor> {
    let (queries, keys) = (q.rows.dim(0)? / batch, k.rows.dim(0)? / batch);
    if fused(&[&q.rows, &k.rows, &v.rows]) {
        let mut out = vec![0.0; batch * queries * q.count * d_head];
        {
            let (q_rows, q_layout) = q.rows.storage_and_layout();
            let (k_rows, k_layout) = k.rows.storage_and_layout();
            let (v_rows, v_layout) = v.rows.storage_and_layout();
            let heads = [q.count, k.count, d_head];
            let sinks = rule.sinks()?;
            let shape = shape_of([batch, queries, keys], heads, rule, &sinks, tables);
            let views = (q.view(&q_rows, q_layout)?, k.view(&k_rows, k_layout)?, v.view(&v_rows, v_layout)?);
            kernels::attend(&mut out, views.0, views.1, views.2, &shape);
        }
        return Tensor::from_vec(out, (batch * queries, q.count * d_head), q.rows.device());
    }
    let past = keys - queries;
    let queries_at = tables.rotate(&q.spread(batch, d_head, q.count)?, past)?;
    let keys_at = tables.rotate(&k.spread(batch, d_head, q.count)?, 0)?;
    let scores = (queries_at.contiguous()?.matmul(&keys_at.transpose(2, 3)?.contiguous()?)? * rule.scale)?;
    let scores = match tables.key_bias(q.count, keys, scores.device())? {
        Some(bias) => scores.broadcast_add(&bias)?,
        None => scores,
    };
    let scores = match rule.cap {
        Some(cap) => ((scores / cap)?.tanh()? * cap)?,
        None => scores,
    };
    let weights = causal_softmax(&scores, past, rule.window.unwrap_or(usize::MAX), rule.sinks)?;
    let z = weights.matmul(&v.spread(batch, d_head, q.count)?)?; // [B, H, T, D]
    z.transpose(1, 2)?.reshape((batch * queries, q.count * d_head))
}

fn shape_of<'a>(
    [batch, queries, keys]: [usize; 3],
    [n_heads, n_kv_heads, d_head]: [usize; 3],
    rule: AttentionRule<'_>,
    sinks: &'a [f32],
    tables: &'a PositionTables,
) -> AttentionShape<'a> {
    AttentionShape {
        batch,
        queries,
        keys,
        n_heads,
        n_kv_heads,
        d_head,
        scale: rule.scale as f32,
        window: rule.window.unwrap_or(usize::MAX),
        cap: rule.cap.map(|cap| cap as f32),
        sinks,
        cos: &tables.cos,
        sin: &tables.sin,
        pairs: tables.pairs,
        key_bias: &tables.key_bias,
    }
}

/// Queries of a head that one task works on.
const QUERIES_AT_ONCE: usize = 64;

/// Causal attention of the next positions of sequences, each with as many as the others, over those and the
/// earlier ones in `past`, which the new keys and values of `layer` are added to. Each sequence has tables of
/// its own, for they may depend on its length. Returns the heads' outputs side by side,
/// `[sequences · new, n_heads · d_head]`.
pub(super) fn attention_with_past(
    [q, k, v]: [&Heads; 3],
    d_head: usize,
    rule: AttentionRule<'_>,
    tables: &[&PositionTables],
    past: &mut [KeysValues],
    layer: usize,
) -> Result<Tensor> {
    let (q_count, kv_count) = (q.count, k.count);
    let group = q_count / kv_count;
    let queries = q.rows.dim(0)? / past.len().max(1);
    let alone = |heads: &Heads| heads.alone(d_head)?.flatten_all()?.to_vec1::<f32>();
    let (queries_of_all, keys, values) = (alone(q)?, alone(k)?, alone(v)?);
    let (width, kv_width) = (q_count * d_head, kv_count * d_head);
    let sequences = past.len();
    let sinks = rule.sinks()?;
    let mut heads: Vec<&mut LaidOut> = past.iter_mut().flat_map(|past| past.layer(layer)).collect();
    let view = |data, stride, first| HeadView { data, stride, first, step: d_head };
    // Keys and values of one head of one sequence.
    let lay_out = |(task, laid_out): (usize, &mut &mut LaidOut)| {
        let (nth, head) = (task / kv_count, task % kv_count);
        let k = view(&keys[nth * queries * kv_width..], kv_width, head * d_head);
        let v = view(&values[nth * queries * kv_width..], kv_width, head * d_head);
        let seen = laid_out.positions() + queries;
        let shape = shape_of([1, queries, seen], [group, 1, d_head], rule, &[], tables[nth]);
        kernels::lay_out(k, v, laid_out, &shape);
    };
    heads.par_iter_mut().enumerate().for_each(lay_out);
    // Some of the queries that this head serves.
    let parts_of_head = queries.div_ceil(QUERIES_AT_ONCE);
    let of_part = |part: usize| {
        let (task, from) = (part / parts_of_head, part % parts_of_head * QUERIES_AT_ONCE);
        let (nth, head) = (task / kv_count, task % kv_count);
        let count = QUERIES_AT_ONCE.min(queries - from);
        let q = view(&queries_of_all[(nth * queries + from) * width..], width, head * group * d_head);
        let mut out = vec![0.0; count * group * d_head];
        let seen = heads[task].positions() - queries + from + count;
        let sinks = sinks.get(head * group..(head + 1) * group).unwrap_or_default();
        let tables = tables[nth];
        let shape = shape_of([1, count, seen], [group, 1, d_head], rule, sinks, tables);
        let of_group = group * tables.key_bias.len() / q_count;
        let shape = AttentionShape { key_bias: &shape.key_bias[head * of_group..][..of_group], ..shape };
        kernels::attend_on(&mut out, q, heads[task], &shape);
        out
    };
    let parts: Vec<Vec<f32>> = (0..heads.len() * parts_of_head).into_par_iter().map(of_part).collect();
    let mut out = vec![0.0; sequences * queries * width];
    for (row, out) in out.chunks_exact_mut(width).enumerate() {
        let (nth, query) = (row / queries, row % queries);
        for (head, out) in out.chunks_exact_mut(group * d_head).enumerate() {
            let part = &parts[(nth * kv_count + head) * parts_of_head + query / QUERIES_AT_ONCE];
            out.copy_from_slice(&part[query % QUERIES_AT_ONCE * group * d_head..][..group * d_head]);
        }
    }
    Tensor::from_vec(out, (sequences * queries, width), q.rows.device())
}

/// Softmax of scores `[batch, heads, queries, keys]` over the keys that each query may see, and over the sink of
/// its head where there are `sinks` `[heads]`.
fn causal_softmax(scores: &Tensor, past: usize, window: usize, sinks: Option<&Tensor>) -> Result<Tensor> {
    let (_, heads, queries, keys) = scores.dims4()?;
    let seen = |i: usize, j: usize| j <= i + past && i + past - j < window;
    let mask: Vec<f32> = (0..queries)
        .flat_map(|i| (0..keys).map(move |j| if seen(i, j) { 0.0 } else { f32::NEG_INFINITY }))
        .collect();
    let masked = scores.broadcast_add(&Tensor::from_vec(mask, (queries, keys), scores.device())?)?;
    let top = masked.detach().max_keepdim(D::Minus1)?;
    let Some(sinks) = sinks else {
        let raised = masked.broadcast_sub(&top)?.exp()?;
        return raised.broadcast_div(&raised.sum_keepdim(D::Minus1)?);
    };
    let sinks = sinks.reshape((1, heads, 1, 1))?;
    let top = top.broadcast_maximum(&sinks.detach())?; // [batch, heads, queries, 1]
    let raised = masked.broadcast_sub(&top)?.exp()?;
    let lost = sinks.broadcast_sub(&top)?.exp()?;
    raised.broadcast_div(&(raised.sum_keepdim(D::Minus1)? + lost)?)
}

/// −ln softmax(logits)[target] in nats for each row of logits `[rows, vocab]`.
pub(super) fn cross_entropies(logits: &Tensor, targets: &[u32]) -> Result<Vec<f32>> {
    let logits = logits.contiguous()?;
    if !logits.device().is_cpu() {
        let targets = Tensor::from_slice(targets, (targets.len(), 1), logits.device())?;
        let below = logits.broadcast_sub(&logits.max_keepdim(1)?)?;
        let total = below.exp()?.sum_keepdim(1)?.log()?;
        return (total - below.gather(&targets, 1)?)?.flatten_all()?.to_vec1();
    }
    let (storage, layout) = logits.storage_and_layout();
    let mut out = vec![0.0; targets.len()];
    kernels::cross_entropies(&mut out, entries(&storage, layout)?, targets);
    Ok(out)
}

/// Copies the entries of a tensor, row after row, to `out`, which must be as long.
pub fn copy_entries(tensor: &Tensor, out: &mut [f32]) -> Result<()> {
    #[cfg(feature = "cuda")]
    if let Device::Cuda(device) = tensor.device() {
        return copy_from_gpu(&tensor.contiguous()?, device, out);
    }
    let tensor = tensor.to_device(&Device::Cpu)?.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    let entries = entries(&storage, layout)?;
    if entries.len() != out.len() {
        candle_core::bail!("expected {} entries, got {}", out.len(), entries.len());
    }
    out.copy_from_slice(entries);
    Ok(())
}

/// Entries in one page of memory.
#[cfg(feature = "cuda")]
const PAGE: usize = 1024;

/// [`copy_entries`] without a copy between: straight into `out`, whose pages all threads fetch first, for the one that
/// copies would wait for every one of them.
#[cfg(feature = "cuda")]
fn copy_from_gpu(tensor: &Tensor, device: &candle_core::CudaDevice, out: &mut [f32]) -> Result<()> {
    use candle_core::backend::BackendDevice;
    use candle_core::cuda_backend::WrapErr;
    out.par_chunks_mut(PAGE).for_each(|page| page[0] = 0.0);
    let (storage, layout) = tensor.storage_and_layout();
    let Some((start, end)) = layout.contiguous_offsets() else {
        candle_core::bail!("a copy needs contiguous rows, got {layout:?}");
    };
    let Storage::Cuda(storage) = &*storage else { candle_core::bail!("a copy needs a tensor on a GPU") };
    if end - start != out.len() {
        candle_core::bail!("expected {} entries, got {}", out.len(), end - start);
    }
    let entries = storage.as_cuda_slice::<f32>()?.slice(start..end);
    device.cuda_stream().memcpy_dtoh(&entries, out).w()?;
    device.synchronize()
}
