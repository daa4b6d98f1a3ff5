//! Activations at the last tokens of many short sequences.

use candle_core::Tensor;

use super::{Output, Pass, Request, Taps, Transformer, matrix_of};
use crate::base::{HookPoint, Matrix, Site};
use crate::nn::error::NnError;
use crate::nn::ops::{self, AttentionRule, Heads, PositionTables};
use crate::nn::token_tree::TokenTree;

/// What a pass over a [`TokenTree`] needs to know of it, as tensors where its weights are.
pub(super) struct TreePass {
    /// Of each group of equally long paths, how many they are and their nodes (u32).
    paths: Vec<(usize, Tensor)>,
    /// Where each node first stands among those (u32).
    places: Tensor,
    /// Last node of each sequence (u32).
    ends: Tensor,
    /// The block after whose attention only `ends` are needed.
    last_layer: Option<usize>,
}

impl TreePass {
    /// Heads' outputs of each node side by side, `[nodes, n_heads · d_head]`, from queries, keys and values of the
    /// nodes: each node sees its path.
    pub fn attention(
        &self,
        heads: [&Heads; 3],
        d_head: usize,
        rule: AttentionRule<'_>,
        tables: &[&PositionTables],
    ) -> candle_core::Result<Tensor> {
        let mut parts = Vec::with_capacity(self.paths.len());
        for ((count, nodes), tables) in self.paths.iter().zip(tables) {
            let on_paths =
                |heads: &Heads| heads.rows.index_select(nodes, 0).map(|rows| heads.with_rows(rows));
            let [q, k, v] = [on_paths(heads[0])?, on_paths(heads[1])?, on_paths(heads[2])?];
            parts.push(ops::attention([&q, &k, &v], *count, d_head, rule, tables)?);
        }
        Tensor::cat(&parts, 0)?.index_select(&self.places, 0)
    }

    /// The rows of `x` `[nodes, width]` that are still needed after attention in this block.
    pub fn needed(&self, layer: usize, x: Tensor) -> candle_core::Result<Tensor> {
        if self.last_layer == Some(layer) { x.index_select(&self.ends, 0) } else { Ok(x) }
    }
}

/// The block whose attention is the last operation that mixes positions before a hook point.
fn last_layer(hook: HookPoint) -> Option<usize> {
    match hook {
        HookPoint::Embed | HookPoint::Block { site: Site::ResidPre, .. } => None,
        HookPoint::Block { layer, .. } => Some(layer),
    }
}

impl Transformer {
    /// Activations at a hook point at the last token of each sequence of a tree, `[sequences, width]`. What sequences
    /// share is computed once, and in the last block only what those tokens need.
    ///
    /// Fails on ids outside the vocabulary, sequences that are too long and hook points that do not exist.
    pub fn activations_at_ends(&self, tree: &TokenTree, hook: HookPoint) -> Result<Matrix, NnError> {
        self.check_hook(hook)?;
        let longest = tree.paths().map(|(length, _)| length).max().unwrap_or(0);
        self.check_ids(tree.ids(), longest, |at| [0, tree.positions()[at] as usize])?;
        let indices = |indices: &[u32]| Tensor::from_slice(indices, indices.len(), self.device());
        let mut paths = Vec::new();
        let mut tables = Vec::new();
        for (length, nodes) in tree.paths() {
            paths.push((nodes.len() / length, indices(nodes)?));
            tables.push(self.tables(length));
        }
        let ends = indices(tree.ends())?;
        let last_layer = last_layer(hook);
        let tree_pass = TreePass { paths, places: indices(&tree.places())?, ends: ends.clone(), last_layer };
        let request = Request { hooks: &[hook], edit: None, output: Output::Nothing };
        let pass = Pass { batch: 1, tables, past: None, tree: Some(tree_pass), taps: Taps::new(request) };
        let found = self.run(&indices(tree.ids())?, Some(tree.positions().to_vec()), pass)?;
        let rows = found.activations.into_iter().next();
        match (rows, last_layer) {
            (Some(rows), None) => matrix_of(Some(rows.index_select(&ends, 0)?)),
            (rows, _) => matrix_of(rows),
        }
    }
}
