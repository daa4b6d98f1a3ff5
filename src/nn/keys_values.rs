use super::Transformer;
use super::kernels::LaidOut;

/// Keys and values of one sequence's positions, for reading on where an earlier pass stopped.
///
/// A clone is a copy: several texts with the same beginning can go on from it.
#[derive(Debug, Clone, Default)]
pub struct KeysValues {
    /// Of each layer, the heads of keys and values.
    layers: Vec<Vec<LaidOut>>,
    /// The tokens that were read.
    ids: Vec<u32>,
    /// Length of the sequence that the latest keys were rotated for.
    rotated_for: usize,
}

impl KeysValues {
    /// Of no position yet.
    pub fn new(model: &Transformer) -> Self {
        let a = model.architecture();
        let layers = vec![vec![LaidOut::new(a.d_head, 0); a.n_kv_heads]; a.n_layers];
        Self { layers, ids: Vec::new(), rotated_for: 0 }
    }

    /// Positions that were read.
    pub fn positions(&self) -> usize {
        self.ids.len()
    }

    /// The tokens that were read.
    pub(super) fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Length of the sequence that the latest keys were rotated for.
    pub(super) fn rotated_for(&self) -> usize {
        self.rotated_for
    }

    /// Bytes that the keys and values take.
    pub fn bytes(&self) -> usize {
        self.layers.iter().flatten().map(LaidOut::bytes).sum()
    }

    /// Forgets all but the first `positions`.
    pub fn truncate(&mut self, positions: usize) {
        self.ids.truncate(positions);
        self.layers.iter_mut().flatten().for_each(|head| head.truncate(positions));
    }

    /// A copy of the first `positions`, or of all where there are fewer.
    pub fn beginning(&self, positions: usize) -> Self {
        let of_layer = |heads: &Vec<LaidOut>| heads.iter().map(|head| head.beginning(positions)).collect();
        Self {
            layers: self.layers.iter().map(of_layer).collect(),
            ids: self.ids[..positions.min(self.ids.len())].to_vec(),
            rotated_for: self.rotated_for,
        }
    }

    /// The heads of a layer.
    pub(super) fn layer(&mut self, layer: usize) -> &mut [LaidOut] {
        &mut self.layers[layer]
    }

    /// After a pass over more tokens.
    pub(super) fn advance(&mut self, ids: &[u32]) {
        self.ids.extend_from_slice(ids);
        self.rotated_for = self.ids.len();
    }
}
