//! Activations at the last tokens of many short sequences, with shared prefixes computed once.

use candle_core::Tensor;

use super::{Output, Pass, Request, Transformer, matrix_of};
use crate::base::{HookPoint, Matrix, Site};
use crate::nn::attention::{AttentionRule, Heads, PositionTables, attention};
use crate::nn::error::Result;
use crate::nn::token_tree::TokenTree;

/// The structure of a [`TokenTree`], as index tensors (u32) on the model's device.
pub(super) struct TreePass {
    /// Each group of equally long paths: their number, and their nodes path after path.
    paths: Vec<(usize, Tensor)>,
    /// Index of each node's first occurrence in the concatenated paths.
    places: Tensor,
    /// Last node of each sequence.
    ends: Tensor,
    /// The block after whose attention only `ends` are needed.
    last_layer: Option<usize>,
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

impl Transformer {
    /// Activations at a hook point at the last token of each sequence of a tree, `[sequences, width]`. Shared prefixes
    /// are computed once, and the last block computes only the last tokens.
    ///
    /// Fails on ids outside the vocabulary, on sequences that are too long and on hook points that the model lacks.
    pub fn activations_at_ends(&self, tree: &TokenTree, hook: HookPoint) -> Result<Matrix> {
        self.check_hook(hook)?;
        let longest = tree.paths.keys().copied().max().unwrap_or(0);
        self.check_ids(&tree.ids, longest, |at| [0, tree.positions[at] as usize])?;
        let indices = |indices: &[u32]| Tensor::from_slice(indices, indices.len(), self.device());
        let mut paths = Vec::new();
        let mut tables = Vec::new();
        for (&length, nodes) in &tree.paths {
            paths.push((nodes.len() / length, indices(nodes)?));
            tables.push(self.tables(length));
        }
        let ends = indices(&tree.ends)?;
        // The block whose attention is the last operation that mixes positions before the hook point.
        let last_layer = match hook {
            HookPoint::Embed | HookPoint::Block { site: Site::ResidPre, .. } => None,
            HookPoint::Block { layer, .. } => Some(layer),
        };
        let request = Request { hooks: &[hook], ..Request::of_output(Output::Nothing) };
        let mut pass = Pass::new(1, tables, request);
        pass.tree =
            Some(TreePass { paths, places: indices(&tree.places())?, ends: ends.clone(), last_layer });
        pass.places = Some(tree.positions.clone());
        let found = self.run(&indices(&tree.ids)?, pass)?;
        match (found.activations.into_iter().next(), last_layer) {
            (Some(rows), None) => matrix_of(Some(rows.index_select(&ends, 0)?)),
            (rows, _) => matrix_of(rows),
        }
    }
}
