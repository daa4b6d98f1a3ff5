use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::base::Matrix;
use crate::features::TokenTable;

/// Running means of some features' activations per token type, for `token_lookup_fit`.
///
/// Memory: eight bytes per feature and token type seen.
#[derive(Debug, Clone)]
pub struct TypeMeans {
    /// Row of `sums` of each token type.
    rows: BTreeMap<u32, usize>,
    counts: Vec<usize>,
    /// Per feature, per token type.
    sums: Vec<Vec<f64>>,
}

impl TypeMeans {
    /// For `n_features` features.
    pub fn new(n_features: usize) -> Self {
        Self { rows: BTreeMap::new(), counts: Vec::new(), sums: vec![Vec::new(); n_features] }
    }

    /// Adds tokens with their codes: row `i` of `codes` belongs to `tokens[i]`, and feature `j` is column
    /// `columns[j]`. Tokens without a row, or features without a column, are not counted.
    pub fn add(&mut self, tokens: &[u32], codes: &Matrix, columns: &[usize]) {
        let mut places = Vec::with_capacity(tokens.len());
        for token in tokens.iter().take(codes.rows()) {
            let next = self.counts.len();
            let place = *self.rows.entry(*token).or_insert(next);
            if place == next {
                self.counts.push(0);
            }
            self.counts[place] += 1;
            places.push(place);
        }
        let n_types = self.counts.len();
        self.sums.par_iter_mut().zip(columns).for_each(|(sums, &column)| {
            sums.resize(n_types, 0.0);
            if column < codes.cols() {
                for (row, &place) in places.iter().enumerate() {
                    sums[place] += f64::from(codes.at(row, column));
                }
            }
        });
    }

    /// A table per feature; types never seen get the feature's overall mean.
    pub fn tables(&self) -> Vec<TokenTable> {
        let n: usize = self.counts.iter().sum();
        self.sums
            .par_iter()
            .map(|sums| {
                let overall = if n == 0 { 0.0 } else { sums.iter().sum::<f64>() / n as f64 };
                let mean =
                    |place: usize| sums.get(place).map_or(0.0, |sum| sum / self.counts[place].max(1) as f64);
                TokenTable::new(self.rows.iter().map(|(&token, &place)| (token, mean(place))), overall)
            })
            .collect()
    }
}
