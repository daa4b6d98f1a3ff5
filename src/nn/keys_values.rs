use super::Transformer;

/// Keys and values of one sequence's positions, for reading on where an earlier pass stopped.
///
/// Keys are kept without rotation. A clone is a copy: several texts with the same beginning can go on from it.
#[derive(Debug, Clone, Default)]
pub struct KeysValues {
    layers: Vec<LayerKeysValues>,
    positions: usize,
}

/// Of one layer, `[positions, n_kv_heads · d_head]` each.
#[derive(Debug, Clone, Default)]
pub(super) struct LayerKeysValues {
    pub keys: Vec<f32>,
    pub values: Vec<f32>,
}

impl KeysValues {
    /// Of no position yet.
    pub fn new(model: &Transformer) -> Self {
        let layers = vec![LayerKeysValues::default(); model.architecture().n_layers];
        Self { layers, positions: 0 }
    }

    /// Positions that were read.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Bytes that the keys and values take.
    pub fn bytes(&self) -> usize {
        let entries = self.layers.iter().map(|layer| layer.keys.len() + layer.values.len());
        entries.sum::<usize>() * size_of::<f32>()
    }

    /// Forgets all but the first `positions`.
    pub fn truncate(&mut self, positions: usize) {
        if positions < self.positions {
            for layer in &mut self.layers {
                let width = layer.keys.len() / self.positions;
                layer.keys.truncate(positions * width);
                layer.values.truncate(positions * width);
            }
            self.positions = positions;
        }
    }

    /// A copy of the first `positions`, or of all where there are fewer.
    pub fn beginning(&self, positions: usize) -> Self {
        let positions = positions.min(self.positions);
        let first = |all: &Vec<f32>| all[..all.len() / self.positions.max(1) * positions].to_vec();
        let layers = self.layers.iter();
        let layers = layers
            .map(|layer| LayerKeysValues { keys: first(&layer.keys), values: first(&layer.values) })
            .collect();
        Self { layers, positions }
    }

    /// Appends what a pass computed for one layer.
    pub(super) fn extend(&mut self, layer: usize, keys: &[f32], values: &[f32]) -> &LayerKeysValues {
        let layer = &mut self.layers[layer];
        layer.keys.extend_from_slice(keys);
        layer.values.extend_from_slice(values);
        layer
    }

    /// After a pass over `positions` more.
    pub(super) fn advance(&mut self, positions: usize) {
        self.positions += positions;
    }
}
