use super::attention_kernel::HeadCache;

/// Prefix cache of one sequence: the keys and values of its positions in every layer.
///
/// A clone is independent, so several texts with the same prefix can continue from it.
#[derive(Debug, Clone, Default)]
pub struct PrefixCache {
    /// `[n_layers][n_kv_heads]`
    pub(super) layers: Vec<Vec<HeadCache>>,
    /// The tokens of the cached positions.
    pub(super) ids: Vec<u32>,
    /// Length of the sequence for which the latest keys were rotated.
    pub(super) rotated_for: usize,
}

impl PrefixCache {
    /// Number of cached positions.
    pub fn positions(&self) -> usize {
        self.ids.len()
    }

    /// Bytes of the keys and values.
    pub fn bytes(&self) -> usize {
        self.layers.iter().flatten().map(HeadCache::bytes).sum()
    }

    /// Keeps the first `positions` only.
    pub fn truncate(&mut self, positions: usize) {
        self.ids.truncate(positions);
        self.layers.iter_mut().flatten().for_each(|head| head.truncate(positions));
    }

    /// A copy of the first `positions`, or of all if there are fewer.
    pub fn beginning(&self, positions: usize) -> Self {
        let of_layer = |heads: &Vec<HeadCache>| heads.iter().map(|head| head.prefix(positions)).collect();
        Self {
            layers: self.layers.iter().map(of_layer).collect(),
            ids: self.ids[..positions.min(self.ids.len())].to_vec(),
            rotated_for: self.rotated_for,
        }
    }

    /// Records the tokens whose keys and values a pass has added.
    pub(super) fn advance(&mut self, ids: &[u32]) {
        self.ids.extend_from_slice(ids);
        self.rotated_for = self.ids.len();
    }
}
