//! Activations at the last tokens of many short sequences, with shared prefixes computed once.

use candle_core::Tensor;

use super::pass::{Pass, TreePass};
use super::request::{Output, Request};
use super::{Transformer, matrix_of};
use crate::base::{HookPoint, Matrix, Site};
use crate::nn::error::Result;
use crate::nn::token_tree::TokenTree;

impl Transformer {
    /// Activations at a hook point at the last token of each sequence of a tree, `[sequences, width]`. Shared prefixes
    /// are computed once, and the last block computes only the last tokens.
    ///
    /// Fails on ids outside the vocabulary, on sequences that are too long and on hook points that the model lacks.
    pub fn last_token_activations(&self, tree: &TokenTree, hook: HookPoint) -> Result<Matrix> {
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
