//! The active features of a batch: found tile by tile, then grouped by feature for the gradients.

/// One active feature of one row, with what its gradients need.
#[derive(Debug, Clone, Copy, Default)]
pub struct Entry {
    pub feature: u32,
    pub row: u32,
    /// Weight of the row's error in the decoder gradient: the code times `2 / (rows · prefixes)`.
    pub code: f32,
    /// Derivative of the loss by the pre-activation.
    pub grad: f32,
    /// Derivative by the parameters that only gated and JumpReLU have: see [`Selection`](super::selection::Selection).
    pub extra_grad: f32,
}

/// Entries sorted by feature, rows rising within each.
#[derive(Debug, Default)]
pub struct ByFeature {
    offsets: Vec<usize>,
    entries: Vec<Entry>,
}

impl ByFeature {
    /// Counting sort of the entries of all tiles.
    pub fn regroup(&mut self, features: usize, tiles: &[Vec<Entry>]) {
        let total = tiles.iter().map(Vec::len).sum();
        self.offsets.clear();
        self.offsets.resize(features + 1, 0);
        for entry in tiles.iter().flatten() {
            self.offsets[entry.feature as usize + 1] += 1;
        }
        for feature in 0..features {
            self.offsets[feature + 1] += self.offsets[feature];
        }
        self.entries.resize(total, Entry::default());
        let mut next = self.offsets.clone();
        for entry in tiles.iter().flatten() {
            let slot = &mut next[entry.feature as usize];
            self.entries[*slot] = *entry;
            *slot += 1;
        }
    }

    pub fn of(&self, feature: usize) -> &[Entry] {
        match self.offsets.get(feature..feature + 2) {
            Some(range) => &self.entries[range[0]..range[1]],
            None => &[],
        }
    }

    pub fn clear(&mut self) {
        self.offsets.clear();
        self.entries.clear();
    }
}
