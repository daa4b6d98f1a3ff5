//! One forward pass: hooks, embedding, blocks, final norm. N is the number of rows, batch · positions.

use std::sync::{Arc, PoisonError};

use candle_core::{Tensor, Var};

use super::parts::{FeedForward, Projections};
use super::request::{Edit, ForwardPass, Output, Request};
use super::{SharedTables, Transformer, scaled};
use crate::base::{HookPoint, Matrix, Site};
use crate::nn::architecture::{Architecture, Positions, Residual};
use crate::nn::attention::{Heads, attention, attention_with_past};
use crate::nn::attention_rule::{AttentionRule, PositionTables};
use crate::nn::error::{NnError, Result};
use crate::nn::linear::forward_each;
use crate::nn::ops::{self, Norm};
use crate::nn::prefix_cache::PrefixCache;

/// Number of cached regimes. Only dynamic scaling, where every length is a regime, has more.
const REGIMES_KEPT: usize = 4;

/// The structure of a [`TokenTree`](crate::nn::TokenTree), as index tensors (u32) on the model's device.
pub(super) struct TreePass {
    /// Each group of equally long paths: their number, and their nodes path after path.
    pub paths: Vec<(usize, Tensor)>,
    /// Index of each node's first occurrence in the concatenated paths.
    pub places: Tensor,
    /// Last node of each sequence.
    pub ends: Tensor,
    /// The block after whose attention only `ends` are needed.
    pub last_layer: Option<usize>,
}

impl TreePass {
    /// Concatenated outputs of the heads `[nodes, n_heads · d_head]`. Each node attends to its path.
    pub fn attention(
        &self,
        heads: [&Heads; 3],
        rule: AttentionRule<'_>,
        tables: &[&PositionTables],
    ) -> candle_core::Result<Tensor> {
        let mut parts = Vec::with_capacity(self.paths.len());
        for ((count, nodes), tables) in self.paths.iter().zip(tables) {
            let on_paths =
                |heads: &Heads| heads.rows.index_select(nodes, 0).map(|rows| heads.with_rows(rows));
            let [q, k, v] = [on_paths(heads[0])?, on_paths(heads[1])?, on_paths(heads[2])?];
            parts.push(attention([&q, &k, &v], *count, rule, tables)?);
        }
        Tensor::cat(&parts, 0)?.index_select(&self.places, 0)
    }

    /// The rows of `x` `[nodes, width]` that later operations need after attention in this block.
    pub fn needed(&self, layer: usize, x: Tensor) -> candle_core::Result<Tensor> {
        if self.last_layer == Some(layer) { x.index_select(&self.ends, 0) } else { Ok(x) }
    }
}

/// The state of one forward pass beside the residual stream.
pub(super) struct Pass<'a> {
    /// Sequences.
    pub batch: usize,
    /// Position of each row `[N]`. The default is that of equally long sequences from their first token.
    pub places: Option<Vec<u32>>,
    /// One table per sequence in `past`, or per length in `tree`, or a single one.
    pub tables: Vec<SharedTables>,
    /// Prefix cache of each sequence.
    pub past: Option<&'a mut [PrefixCache]>,
    /// Layout of the rows, if they form a tree instead of equally long sequences.
    pub tree: Option<TreePass>,
    /// A hook point whose activation is a variable: later operations are recorded, so that gradients can be taken.
    pub variable: Option<HookPoint>,
    request: Request<'a>,
    found: Vec<Option<Tensor>>,
}

impl<'a> Pass<'a> {
    /// A pass over `batch` sequences from their first token.
    pub fn new(batch: usize, tables: Vec<SharedTables>, request: Request<'a>) -> Self {
        let found = vec![None; request.hooks.len()];
        Self { batch, places: None, tables, past: None, tree: None, variable: None, request, found }
    }

    /// Edits an activation `[N, width]` if requested and stores it if requested. `None` if nothing more is needed.
    fn hook(&mut self, hook: HookPoint, x: Tensor) -> Result<Option<Tensor>> {
        let mut x = x;
        for &edit in self.request.edits.iter().filter(|edit| edit.hook == hook) {
            x = edited(&x, edit)?;
        }
        if self.variable == Some(hook) {
            x = Var::from_tensor(&x)?.as_tensor().clone();
        }
        let slots = self.found.iter_mut().zip(self.request.hooks).filter(|(_, wanted)| **wanted == hook);
        slots.for_each(|(slot, _)| *slot = Some(x.clone()));
        let done = self.request.output == Output::Nothing && self.found.iter().all(Option::is_some);
        Ok((!done).then_some(x))
    }

    fn finish(self, output: Option<Tensor>) -> ForwardPass {
        ForwardPass { activations: self.found.into_iter().flatten().collect(), output }
    }
}

fn edited(x: &Tensor, edit: Edit<'_>) -> Result<Tensor> {
    let (rows, cols) = x.dims2()?;
    let wrong = |got| NnError::EditShape { hook: edit.hook, expected: [rows, cols], got };
    let entries = x.flatten_all()?.to_vec1::<f32>()?;
    let mut matrix = Matrix::from_vec(rows, cols, entries).ok_or_else(|| wrong([0, 0]))?;
    (edit.apply)(&mut matrix);
    if (matrix.rows(), matrix.cols()) != (rows, cols) {
        return Err(wrong([matrix.rows(), matrix.cols()]));
    }
    Ok(Tensor::from_vec(matrix.into_vec(), (rows, cols), x.device())?)
}

impl Transformer {
    /// The forward pass of `ids` `[batch, positions]` (u32), which continue the sequences in `past` if given.
    pub(super) fn forward_ids(
        &self,
        ids: &Tensor,
        request: Request<'_>,
        past: Option<&mut [PrefixCache]>,
    ) -> Result<ForwardPass> {
        for hook in request.hooks.iter().copied().chain(request.edits.iter().map(|edit| edit.hook)) {
            self.check_hook(hook)?;
        }
        let (batch, positions) = ids.dims2()?;
        self.run(&ids.flatten_all()?, self.pass_of([batch, positions], past, request))
    }

    /// A pass over the next `positions` of `batch` sequences, which continue those in `past` if given.
    pub(super) fn pass_of<'a>(
        &self,
        [batch, positions]: [usize; 2],
        past: Option<&'a mut [PrefixCache]>,
        request: Request<'a>,
    ) -> Pass<'a> {
        let firsts = match &past {
            Some(past) => past.iter().map(PrefixCache::positions).collect(),
            None => vec![0],
        };
        let tables = firsts.iter().map(|first| self.tables(first + positions)).collect();
        let of_sequence = |&first: &usize| first as u32..(first + positions) as u32;
        let places = past.is_some().then(|| firsts.iter().flat_map(of_sequence).collect());
        Pass { places, past, ..Pass::new(batch, tables, request) }
    }

    /// The forward pass of `ids` `[N]` (u32).
    pub(super) fn run(&self, ids: &Tensor, mut pass: Pass<'_>) -> Result<ForwardPass> {
        let embedded = self.parts.embedding.select(ids)?; // [N, d_model]
        let Some(embedded) = pass.hook(HookPoint::Embed, embedded)? else { return Ok(pass.finish(None)) };
        let embedded = scaled(embedded, self.architecture.embedding_scale)?;
        let placed = self.add_positions(embedded, pass.batch, pass.places.take())?;
        let x = self.normed(&placed, &self.parts.embedding_norm)?; // [N, d_model]
        self.layers_from(0, x, pass)
    }

    /// The forward pass from the residual stream `x` `[N, d_model]` before block `first`.
    pub(super) fn layers_from(&self, first: usize, mut x: Tensor, mut pass: Pass<'_>) -> Result<ForwardPass> {
        for layer in first..self.parts.blocks.len() {
            let Some(next) = self.block(layer, x, &mut pass)? else { return Ok(pass.finish(None)) };
            x = next;
        }
        let normed = self.normed(&x, &self.parts.final_norm)?; // [N, d_model]
        let output = match pass.request.output {
            Output::Nothing => None,
            Output::FinalNorm => Some(normed),
            Output::Logits => Some(self.unembed(&normed)?), // [N, vocab]
        };
        Ok(pass.finish(output))
    }

    /// One block, from the residual stream `x` `[N, d_model]` to the next. `None` if the request is complete.
    fn block(&self, layer: usize, x: Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>> {
        let block = &self.parts.blocks[layer];
        let at = |site| HookPoint::Block { layer, site };
        let residual = self.architecture.residual;
        let Some(x) = pass.hook(at(Site::ResidPre), x)? else { return Ok(None) }; // [N, d_model]
        let normed = self.normed(&x, &block.attention_norm)?; // [N, d_model]
        let x = if residual == Residual::Normed { normed.clone() } else { x };
        let z = self.attention(layer, &normed, pass)?; // [N, n_heads · d_head]
        let (x, z) = match &pass.tree {
            Some(tree) => (tree.needed(layer, x)?, tree.needed(layer, z)?),
            None => (x, z),
        };
        let Some(z) = pass.hook(at(Site::AttnZ), z)? else { return Ok(None) };
        let added = self.scaled_output(block.attention_out.forward(&z, None)?, &block.attention_post_norm)?;
        let Some(attention_out) = pass.hook(at(Site::AttnOut), added)? else { return Ok(None) };
        let middle = if residual == Residual::Parallel {
            x.clone()
        } else {
            let sum = ops::add(&x, &attention_out, None)?;
            let Some(middle) = pass.hook(at(Site::ResidMid), sum)? else { return Ok(None) };
            middle // [N, d_model]
        };
        let normed = self.normed(&middle, &block.mlp_norm)?; // [N, d_model]
        let middle = if residual == Residual::Normed { normed.clone() } else { middle };
        let Some(normed) = pass.hook(at(Site::MlpIn), normed)? else { return Ok(None) };
        let Some(mlp_out) = self.feed_forward(layer, &normed, pass)? else { return Ok(None) };
        let added = self.scaled_output(mlp_out, &block.mlp_post_norm)?;
        let Some(mlp_out) = pass.hook(at(Site::MlpOut), added)? else { return Ok(None) };
        let next = match residual {
            Residual::Parallel => ops::add(&x, &attention_out, Some(&mlp_out))?,
            Residual::Sequential | Residual::Normed => ops::add(&middle, &mlp_out, None)?,
        };
        pass.hook(at(Site::ResidPost), self.normed(&next, &block.stream_norm)?)
    }

    /// Concatenated outputs of the heads `[N, n_heads · d_head]`, from the normed stream `[N, d_model]`.
    fn attention(&self, layer: usize, normed: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        let (a, block) = (&self.architecture, &self.parts.blocks[layer]);
        let [mut q, mut k, mut v] = self.project(&block.projections, normed)?;
        for (heads, norm) in [(&mut q, &block.query_norm), (&mut k, &block.key_norm)] {
            if norm.is_some() {
                *heads = Heads::of_rows(self.normed(&heads.contiguous(a.d_head)?, norm)?, a.d_head)?;
            }
        }
        if let Some(limit) = a.projection_limit {
            for heads in [&mut q, &mut k, &mut v] {
                heads.rows = heads.rows.clamp(-limit, limit)?;
            }
        }
        let (d_head, window, sinks) = (a.d_head, a.window(layer), block.sinks.as_ref());
        let rule = AttentionRule { d_head, scale: a.attention_scale, window, cap: a.attention_cap, sinks };
        let none = PositionTables::default();
        let which = usize::from(window.is_some());
        let tables: Vec<&PositionTables> =
            pass.tables.iter().map(|both| if a.rotates(layer) { &both[which] } else { &none }).collect();
        let heads = [&q, &k, &v];
        Ok(match (&mut pass.past, &pass.tree) {
            (Some(past), _) => attention_with_past(heads, rule, &tables, past, layer)?,
            (None, Some(tree)) => tree.attention(heads, rule, &tables)?,
            (None, None) => attention(heads, pass.batch, rule, tables[0])?,
        })
    }

    /// Queries, keys and values of the normed stream `[N, d_model]`.
    fn project(&self, projections: &Projections, normed: &Tensor) -> Result<[Heads; 3]> {
        let Architecture { d_head: d, n_heads: count, n_kv_heads: kv_count, .. } = self.architecture;
        Ok(match projections {
            Projections::FusedByHead(map) => {
                let rows = map.forward(normed, None)?; // [N, n_heads · (q, k, v)]
                [0, d, 2 * d].map(|first| Heads { rows: rows.clone(), first, step: 3 * d, count })
            }
            Projections::FusedByKind(map) => {
                let rows = map.forward(normed, None)?; // [N, all q, all k, all v]
                [(0, count), (count * d, kv_count), ((count + kv_count) * d, kv_count)]
                    .map(|(first, count)| Heads { rows: rows.clone(), first, step: d, count })
            }
            Projections::Separate { queries, keys, values } => {
                let [q, k, v] = forward_each(normed, [queries, keys, values].map(|map| (map, None)))?;
                [Heads::of_rows(q, d)?, Heads::of_rows(k, d)?, Heads::of_rows(v, d)?]
            }
        })
    }

    /// Output of the MLP `[N, d_model]`, from the normed stream `[N, d_model]`. `None` if the request is complete.
    fn feed_forward(&self, layer: usize, normed: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>> {
        let a = &self.architecture;
        let mlp = match &self.parts.blocks[layer].mlp {
            FeedForward::Dense(mlp) => mlp,
            FeedForward::Mixture(mixture) => return Ok(Some(mixture.forward(normed, a)?)),
        };
        let neurons = mlp.neurons(normed, a)?; // [N, d_mlp]
        let neurons = pass.hook(HookPoint::Block { layer, site: Site::MlpPost }, neurons)?;
        Ok(neurons.map(|neurons| mlp.down.forward(&neurons, None)).transpose()?)
    }

    /// What attention or MLP adds to the residual stream: its output, normed and scaled.
    fn scaled_output(&self, output: Tensor, norm: &Option<Norm>) -> Result<Tensor> {
        Ok(scaled(self.normed(&output, norm)?, self.architecture.residual_scale)?)
    }

    /// The normed rows, or the rows themselves without a norm.
    pub(super) fn normed(&self, x: &Tensor, norm: &Option<Norm>) -> Result<Tensor> {
        let Some(norm) = norm else { return Ok(x.clone()) };
        Ok(ops::norm(x, norm, self.architecture.norm, self.architecture.norm_eps)?)
    }

    /// The position tables of sequences of `positions` positions; they may be longer.
    ///
    /// Frequencies that depend on the length use that of the whole sequence, for all of its positions, as in
    /// transformers. In transformers a short sequence after a longer one also depends on the longer one; here it does
    /// not.
    pub(super) fn tables(&self, positions: usize) -> SharedTables {
        let regime = self.architecture.rotaries().map(|rotary| rotary.map_or(0, |r| r.regime(positions)));
        let mut kept = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = kept.iter().position(|(of, _)| *of == regime) {
            if kept[at].1[0].positions >= positions {
                return kept[at].1.clone();
            }
            kept.remove(at);
        }
        let room = positions.next_power_of_two().min(self.architecture.n_ctx).max(positions);
        let full = PositionTables::new(&self.architecture.positions, positions, room);
        let local = self.architecture.local_rotary.clone();
        let local = local.map(|rotary| PositionTables::new(&Positions::Rotary(rotary), positions, room));
        let tables = Arc::new([full.clone(), local.unwrap_or(full)]);
        kept.truncate(REGIMES_KEPT - 1);
        kept.insert(0, (regime, tables.clone()));
        tables
    }

    /// Adds the learned position embedding, if any, to `[N, d_model]`; see [`Pass::places`].
    fn add_positions(&self, x: Tensor, batch: usize, places: Option<Vec<u32>>) -> Result<Tensor> {
        let Some(table) = &self.parts.position_embedding else { return Ok(x) };
        let (n, width) = x.dims2()?;
        let Some(places) = places else {
            let count = n / batch;
            let positions = table.narrow(0, 0, count)?; // [positions, d_model]
            let sum = x.reshape((batch, count, width))?.broadcast_add(&positions)?;
            return Ok(sum.reshape((n, width))?);
        };
        let places = Tensor::from_vec(places, n, x.device())?;
        Ok((x + table.index_select(&places, 0)?)?)
    }
}
