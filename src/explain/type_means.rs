//! Mean activations per token type over the fit split.

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::base::Matrix;
use crate::features::TokenTable;

use super::ExplainError;

/// Running means of features' activations per token type, for `token_lookup_fit`. Memory: 8 bytes per feature and
/// token type.
#[derive(Debug, Clone)]
pub struct TypeMeans {
    columns: Vec<usize>,
    /// Index of each token type in `counts` and `sums`.
    rows: BTreeMap<u32, usize>,
    counts: Vec<usize>,
    /// Sums `[features][token types]`.
    sums: Vec<Vec<f64>>,
}

impl TypeMeans {
    /// For the features in these columns of the codes.
    pub fn new(columns: Vec<usize>) -> Self {
        let sums = vec![Vec::new(); columns.len()];
        Self { columns, rows: BTreeMap::new(), counts: Vec::new(), sums }
    }

    /// Adds tokens with their codes: row `i` of `codes` belongs to `tokens[i]`. Rounding depends on the order of
    /// calls, so the order must be the same in every run.
    pub fn add(&mut self, tokens: &[u32], codes: &Matrix) -> Result<(), ExplainError> {
        let cols = self.columns.iter().max().map_or(0, |most| most + 1);
        if codes.rows() != tokens.len() || codes.cols() < cols {
            let (rows, expected) = (codes.rows(), tokens.len());
            return Err(ExplainError::CodeShape { rows, cols: codes.cols(), expected, at_least: cols });
        }
        let mut places = Vec::with_capacity(tokens.len());
        for token in tokens {
            let next = self.counts.len();
            let place = *self.rows.entry(*token).or_insert(next);
            if place == next {
                self.counts.push(0);
            }
            self.counts[place] += 1;
            places.push(place);
        }
        let n_types = self.counts.len();
        self.sums.par_iter_mut().zip(&self.columns).for_each(|(sums, &column)| {
            sums.resize(n_types, 0.0);
            for (row, &place) in places.iter().enumerate() {
                sums[place] += f64::from(codes.at(row, column));
            }
        });
        Ok(())
    }

    /// Every token type with its count, in the order of `sums`.
    pub(super) fn counts(&self) -> impl Iterator<Item = (u32, usize)> {
        self.rows.iter().map(|(&token, &place)| (token, self.counts[place]))
    }

    /// Sums of each feature's activations per type, in the order of `counts`.
    pub(super) fn sums(&self) -> impl IndexedParallelIterator<Item = Vec<f64>> {
        self.sums.par_iter().map(|sums| self.rows.values().map(|&place| sums[place]).collect())
    }

    /// One table per feature, in the order of the columns. Unseen types get the feature's overall mean.
    pub fn tables(&self) -> Vec<TokenTable> {
        let n: usize = self.counts.iter().sum();
        self.sums
            .par_iter()
            .map(|sums| {
                let overall = if n == 0 { 0.0 } else { sums.iter().sum::<f64>() / n as f64 };
                let mean = |place: usize| sums[place] / self.counts[place] as f64;
                TokenTable::new(self.rows.iter().map(|(&token, &place)| (token, mean(place))), overall)
            })
            .collect()
    }
}
