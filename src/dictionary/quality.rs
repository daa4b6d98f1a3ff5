//! Quality of a dictionary over tokens: L0, FVU, densities, loss recovered.
//!
//! ```text
//! FVU = Σ‖x − x̂‖² / Σ‖x − x̄‖²      over all tokens, x̄ from the fit split
//! loss recovered = (CE_ablated − CE_spliced) / (CE_ablated − CE_clean)
//! ```

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::activations::ActivationSet;
use crate::base::Matrix;
use crate::linalg::SparseCodes;

use super::{Dictionary, DictionaryError, FitError};

/// Features that fire on a smaller share of tokens are near-dead.
const NEAR_DEAD_DENSITY: f64 = 1e-3;
/// Rows encoded at once.
const BLOCK_ROWS: usize = 4096;
/// Rows per partial sum.
const GROUP_ROWS: usize = 256;

/// Quality of a dictionary over some tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Number of features.
    pub n_features: usize,
    /// Tokens counted.
    pub n_tokens: usize,
    /// Mean number of non-zero codes per token.
    pub l0: f64,
    /// Fraction of variance unexplained. None where the method does not reconstruct, or `x` is constant.
    pub fvu: Option<f64>,
    /// Features that fire (code above 0) on at least one token.
    pub alive: usize,
    /// Features that fire on none.
    pub dead: usize,
    /// Features that fire on less than one token in a thousand, dead ones included.
    pub near_dead: usize,
    /// Median over all features of the share of tokens on which they fire.
    pub density_median: f64,
    /// This share for every feature.
    pub density: Vec<f64>,
    /// Why a number is missing.
    pub note: Option<String>,
}

/// Sums [`Quality`] over batches, in f64.
pub struct QualityCounter<'a> {
    dictionary: &'a dyn Dictionary,
    mean: &'a [f64],
    fires: Vec<u64>,
    active: u64,
    tokens: usize,
    error: f64,
    deviation: f64,
}

impl<'a> QualityCounter<'a> {
    /// `mean` is x̄, usually the mean row of the fit split.
    pub fn new(dictionary: &'a dyn Dictionary, mean: &'a [f64]) -> Self {
        let fires = vec![0; dictionary.info().n_features];
        Self { dictionary, mean, fires, active: 0, tokens: 0, error: 0.0, deviation: 0.0 }
    }

    /// Adds tokens.
    pub fn add(&mut self, x: &Matrix) -> Result<(), DictionaryError> {
        let (codes, estimate) = self.dictionary.encode_and_reconstruct(x)?;
        self.add_coded(x, Codes::Sparse(&codes), estimate.as_ref(), |_| true);
        Ok(())
    }

    /// Adds tokens with known codes and reconstruction. Only rows that `counts` accepts are added.
    pub fn add_coded(
        &mut self,
        x: &Matrix,
        codes: Codes<'_>,
        estimate: Option<&Matrix>,
        counts: impl Fn(usize) -> bool + Sync,
    ) {
        for row in (0..x.rows()).filter(|&row| counts(row)) {
            self.tokens += 1;
            match codes {
                Codes::Sparse(codes) => {
                    for (feature, code) in codes.iter_row(row) {
                        self.active += 1;
                        self.fires[feature] += u64::from(code > 0.0);
                    }
                }
                Codes::Dense(codes) => {
                    for (fires, &code) in self.fires.iter_mut().zip(codes.row(row)) {
                        self.active += u64::from(code != 0.0);
                        *fires += u64::from(code > 0.0);
                    }
                }
            }
        }
        if let Some(estimate) = estimate {
            // Partial sums of fixed groups, added in order, do not depend on the number of threads.
            let groups: Vec<usize> = (0..x.rows()).step_by(GROUP_ROWS).collect();
            let sums: Vec<(f64, f64)> = groups
                .into_par_iter()
                .map(|start| {
                    let rows = (start..(start + GROUP_ROWS).min(x.rows())).filter(|&row| counts(row));
                    rows.map(|row| squares(x.row(row), estimate.row(row), self.mean))
                        .fold((0.0, 0.0), |sum, row| (sum.0 + row.0, sum.1 + row.1))
                })
                .collect();
            for (error, deviation) in sums {
                self.error += error;
                self.deviation += deviation;
            }
        }
    }

    /// The quality over all tokens added.
    pub fn finish(self) -> Quality {
        let tokens = self.tokens.max(1) as f64;
        let density: Vec<f64> = self.fires.iter().map(|&fires| fires as f64 / tokens).collect();
        let dead = self.fires.iter().filter(|&&fires| fires == 0).count();
        let reconstructs = self.dictionary.info().is_reconstruction;
        let fvu = (reconstructs && self.deviation > 0.0).then(|| self.error / self.deviation);
        let note = match (reconstructs, fvu) {
            (false, _) => Some("not a reconstruction".to_string()),
            (true, None) => Some("activations do not vary".to_string()),
            _ => None,
        };
        Quality {
            n_features: density.len(),
            n_tokens: self.tokens,
            l0: self.active as f64 / tokens,
            fvu,
            alive: density.len() - dead,
            dead,
            near_dead: density.iter().filter(|share| **share < NEAR_DEAD_DENSITY).count(),
            density_median: median(&density),
            density,
            note,
        }
    }
}

/// Codes of some rows.
#[derive(Debug, Clone, Copy)]
pub enum Codes<'a> {
    /// Every entry.
    Dense(&'a Matrix),
    /// The non-zero entries.
    Sparse(&'a SparseCodes),
}

/// `‖x − x̂‖²` and `‖x − x̄‖²` of one row in f64. Four independent sums avoid waiting on one addition.
fn squares(x: &[f32], estimate: &[f32], mean: &[f64]) -> (f64, f64) {
    let (mut error, mut deviation) = ([0.0f64; 4], [0.0f64; 4]);
    for (start, x) in x.chunks(4).enumerate() {
        let estimate = &estimate[4 * start..];
        let mean = &mean[4 * start..];
        for (lane, &value) in x.iter().enumerate() {
            let value = f64::from(value);
            error[lane] += (value - f64::from(estimate[lane])).powi(2);
            deviation[lane] += (value - mean[lane]).powi(2);
        }
    }
    (error.iter().sum(), deviation.iter().sum())
}

/// The mean row, in f64.
pub fn column_means(x: &Matrix) -> Vec<f64> {
    let mut means = vec![0.0; x.cols()];
    for row in x.iter_rows() {
        let values = means.iter_mut().zip(row);
        values.for_each(|(mean, value)| *mean += f64::from(*value) / x.rows() as f64);
    }
    means
}

/// FVU of estimates of the rows of `x`, with x̄ their own mean. None where the rows do not vary.
pub fn fvu_of_rows(x: &Matrix, estimate: &Matrix) -> Option<f64> {
    let mean = column_means(x);
    let rows = x.iter_rows().zip(estimate.iter_rows()).map(|(x, estimate)| squares(x, estimate, &mean));
    let (error, deviation) = rows.fold((0.0, 0.0), |sum, row| (sum.0 + row.0, sum.1 + row.1));
    (deviation > 0.0).then(|| error / deviation)
}

/// [`Quality`] over a whole set.
pub fn quality(dictionary: &dyn Dictionary, set: &ActivationSet, mean: &[f64]) -> Result<Quality, FitError> {
    let mut counter = QualityCounter::new(dictionary, mean);
    for block in set.blocks(BLOCK_ROWS) {
        counter.add(&block?)?;
    }
    Ok(counter.finish())
}

/// Mean number of non-zero codes over a whole set, to which baselines are matched.
pub fn mean_l0(dictionary: &dyn Dictionary, set: &ActivationSet) -> Result<f64, FitError> {
    let mut active = 0u64;
    for block in set.blocks(BLOCK_ROWS) {
        active += dictionary.encode_sparse(&block?)?.n_entries() as u64;
    }
    Ok(active as f64 / set.rows().max(1) as f64)
}

/// Loss recovered, from mean losses in nats. 1: splicing costs nothing; 0: as much as ablation. None where ablation
/// costs nothing.
pub fn loss_recovered(clean: f64, spliced: f64, ablated: f64) -> Option<f64> {
    let share = (ablated - spliced) / (ablated - clean);
    (ablated != clean && share.is_finite()).then_some(share)
}

/// An edit that replaces activations `[tokens, d]` by their reconstruction.
pub fn splice(
    dictionary: &dyn Dictionary,
) -> impl Fn(&mut Matrix) -> Result<(), DictionaryError> + Sync + '_ {
    |x| {
        *x = dictionary.reconstruct(x)?;
        Ok(())
    }
}

/// An edit that replaces every token's activation by one row, such as zeros or the mean.
pub fn ablate(row: &[f32]) -> impl Fn(&mut Matrix) + Sync + '_ {
    |x| {
        for slot in 0..x.rows() {
            x.row_mut(slot).copy_from_slice(row);
        }
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}
