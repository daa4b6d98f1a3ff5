use super::Transformer;
use super::kernels::LaidOut;

/// Keys and values of one sequence's positions, for reading on where an earlier pass stopped.
///
/// A clone is a copy: several texts with the same beginning can go on from it.
#[derive(Debug, Clone, Default)]
pub struct KeysValues {
    /// Of each layer, the heads of keys and values.
    layers: Vec<Vec<LaidOut>>,
    positions: usize,
}

impl KeysValues {
    /// Of no position yet.
    pub fn new(model: &Transformer) -> Self {
        let a = model.architecture();
        Self { layers: vec![vec![LaidOut::new(a.d_head, 0); a.n_kv_heads]; a.n_layers], positions: 0 }
    }

    /// Positions that were read.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Bytes that the keys and values take.
    pub fn bytes(&self) -> usize {
        self.layers.iter().flatten().map(LaidOut::bytes).sum()
    }

    /// Forgets all but the first `positions`.
    pub fn truncate(&mut self, positions: usize) {
        self.positions = self.positions.min(positions);
        self.layers.iter_mut().flatten().for_each(|head| head.truncate(positions));
    }

    /// A copy of the first `positions`, or of all where there are fewer.
    pub fn beginning(&self, positions: usize) -> Self {
        let of_layer = |heads: &Vec<LaidOut>| heads.iter().map(|head| head.beginning(positions)).collect();
        Self { layers: self.layers.iter().map(of_layer).collect(), positions: positions.min(self.positions) }
    }

    /// The heads of a layer.
    pub(super) fn layer(&mut self, layer: usize) -> &mut [LaidOut] {
        &mut self.layers[layer]
    }

    /// After a pass over `positions` more.
    pub(super) fn advance(&mut self, positions: usize) {
        self.positions += positions;
    }
}
