//! Caches sparse codes of one pass over the fragments for a second pass.

use crate::base::Matrix;
use crate::linalg::SparseCodes;

/// Maximum number of cached codes (8 bytes each, 32 MB), so that memory does not grow with the corpus.
const MAX_CODES: usize = 4 << 20;

/// Sparse codes of all fragments, in blocks.
pub struct CodeCache {
    block_rows: usize,
    /// The features of the columns, ascending; none if there is a column for each feature.
    features: Option<Vec<usize>>,
    blocks: Vec<SparseCodes>,
    n_codes: usize,
}

impl CodeCache {
    /// An empty cache with blocks of `block_rows` tokens. The last block may be shorter.
    pub fn new(block_rows: usize) -> Self {
        Self { block_rows, features: None, blocks: Vec::new(), n_codes: 0 }
    }

    /// An empty cache whose blocks have a column for each of `features`, ascending.
    pub fn of_features(block_rows: usize, features: Vec<usize>) -> Self {
        Self { features: Some(features), ..Self::new(block_rows) }
    }

    /// An empty cache, or none if about `n_codes` codes exceed the limit.
    pub fn for_about(n_codes: usize, block_rows: usize) -> Option<Self> {
        (n_codes <= MAX_CODES).then(|| Self::new(block_rows))
    }

    /// Adds a block. Returns none if the limit is exceeded.
    pub fn with(mut self, codes: SparseCodes) -> Option<Self> {
        self.n_codes += codes.n_entries();
        self.blocks.push(codes);
        (self.n_codes <= MAX_CODES).then_some(self)
    }

    /// Codes of `features` (ascending) on the tokens of `fragments`: `[fragments · positions, features]`.
    pub fn of(&self, fragments: &[usize], positions: usize, features: &[usize]) -> Matrix {
        let n_columns = self.blocks.first().map_or(0, SparseCodes::cols);
        let mut columns = vec![None; n_columns];
        for (column, feature) in features.iter().enumerate() {
            let place = self.features.as_ref().map_or(Ok(*feature), |all| all.binary_search(feature));
            if let Some(slot) = place.ok().and_then(|place| columns.get_mut(place)) {
                *slot = Some(column);
            }
        }
        let mut codes = Matrix::zeros(fragments.len() * positions, features.len());
        for (nth, fragment) in fragments.iter().enumerate() {
            for position in 0..positions {
                let token = fragment * positions + position;
                let row = codes.row_mut(nth * positions + position);
                for (feature, code) in self.blocks[token / self.block_rows].iter_row(token % self.block_rows)
                {
                    if let Some(column) = columns[feature] {
                        row[column] = code;
                    }
                }
            }
        }
        codes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(rows: &[&[(u32, f32)]]) -> SparseCodes {
        let mut codes = SparseCodes::new(5);
        rows.iter().for_each(|row| codes.push_row(row.iter().copied()));
        codes
    }

    #[test]
    fn chosen_features_of_chosen_fragments_come_back() {
        let first = block(&[&[(0, 1.0), (3, 2.0)], &[], &[(4, 3.0)], &[(3, 4.0)]]);
        let second = block(&[&[(3, 5.0)], &[(0, 6.0)]]);
        let kept = CodeCache::new(4).with(first).and_then(|kept| kept.with(second)).expect("few codes");
        let codes = kept.of(&[0, 2], 2, &[0, 3]);
        assert_eq!(codes.into_vec(), vec![1.0, 2.0, 0.0, 0.0, 0.0, 5.0, 6.0, 0.0]);
        assert_eq!(kept.of(&[1], 2, &[4]).into_vec(), vec![3.0, 0.0]);
    }

    #[test]
    fn columns_can_be_those_of_some_features() {
        let codes = block(&[&[(0, 1.0), (3, 2.0)], &[(2, 3.0)]]);
        let kept = CodeCache::of_features(4, vec![10, 20, 30, 40, 50]).with(codes).expect("few codes");
        assert_eq!(kept.of(&[0], 2, &[30, 40]).into_vec(), vec![0.0, 2.0, 3.0, 0.0]);
    }
}
