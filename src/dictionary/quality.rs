use serde::{Deserialize, Serialize};

use crate::activations::ActivationSet;
use crate::base::Matrix;

use super::{Dictionary, DictionaryError, FitError};

/// Why random directions and neurons have no FVU.
pub const NOT_A_RECONSTRUCTION: &str = "not a reconstruction";
/// A feature that fires on a smaller share of tokens is near-dead.
pub const NEAR_DEAD_DENSITY: f64 = 1e-3;
/// Rows read at once where a whole set is passed through a dictionary.
const BLOCK_ROWS: usize = 4096;

/// How good a decomposition is over the tokens it was shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Number of features.
    pub n_features: usize,
    /// Tokens counted.
    pub n_tokens: usize,
    /// Mean number of codes that are not zero on a token.
    pub l0: f64,
    /// `Σ‖x − x̂‖² / Σ‖x − x̄‖²`; none where the dictionary reconstructs nothing or `x` is constant.
    pub fvu: Option<f64>,
    /// Features that fire (code above 0) on at least one of the tokens.
    pub alive: usize,
    /// Features that fire on none.
    pub dead: usize,
    /// Features that fire on less than one token in a thousand, dead ones included.
    pub near_dead: usize,
    /// Median over all features of the share of tokens on which they fire.
    pub density_median: f64,
    /// That share for every feature.
    pub density: Vec<f64>,
    /// Why a number is missing.
    pub note: Option<String>,
}

/// Adds up [`Quality`] over batches; all sums in f64.
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
        let (codes, reconstruction) = self.dictionary.encode_and_reconstruct(x)?;
        self.tokens += x.rows();
        self.active += codes.n_entries() as u64;
        for row in 0..codes.rows() {
            for (feature, code) in codes.iter_row(row) {
                self.fires[feature] += u64::from(code > 0.0);
            }
        }
        if let Some(reconstruction) = reconstruction {
            for (row, estimate) in x.iter_rows().zip(reconstruction.iter_rows()) {
                for ((&value, &estimate), mean) in row.iter().zip(estimate).zip(self.mean) {
                    let value = f64::from(value);
                    self.error += (value - f64::from(estimate)).powi(2);
                    self.deviation += (value - mean).powi(2);
                }
            }
        }
        Ok(())
    }

    /// The numbers over everything added.
    pub fn finish(self) -> Quality {
        let tokens = self.tokens.max(1) as f64;
        let density: Vec<f64> = self.fires.iter().map(|&fires| fires as f64 / tokens).collect();
        let dead = self.fires.iter().filter(|&&fires| fires == 0).count();
        let reconstructs = self.dictionary.info().is_reconstruction;
        let fvu = (reconstructs && self.deviation > 0.0).then(|| self.error / self.deviation);
        let note = match (reconstructs, fvu) {
            (false, _) => Some(NOT_A_RECONSTRUCTION.to_string()),
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

/// [`Quality`] over a whole set.
pub fn quality(dictionary: &dyn Dictionary, set: &ActivationSet, mean: &[f64]) -> Result<Quality, FitError> {
    let mut counter = QualityCounter::new(dictionary, mean);
    for block in set.blocks(BLOCK_ROWS) {
        counter.add(&block?)?;
    }
    Ok(counter.finish())
}

/// Mean number of codes that are not zero over a whole set: what baselines are matched to.
pub fn mean_l0(dictionary: &dyn Dictionary, set: &ActivationSet) -> Result<f64, FitError> {
    let mut active = 0u64;
    for block in set.blocks(BLOCK_ROWS) {
        active += dictionary.encode_sparse(&block?)?.n_entries() as u64;
    }
    Ok(active as f64 / set.rows().max(1) as f64)
}

/// `(CE_ablated − CE_spliced) / (CE_ablated − CE_clean)` of mean losses in nats: 1 where splicing
/// costs nothing, 0 where it costs as much as ablation. None where ablation costs nothing.
pub fn loss_recovered(clean: f64, spliced: f64, ablated: f64) -> Option<f64> {
    let share = (ablated - spliced) / (ablated - clean);
    (ablated != clean && share.is_finite()).then_some(share)
}

/// An edit of activations `[tokens, d]` that puts the reconstruction in their place.
pub fn splice(
    dictionary: &dyn Dictionary,
) -> impl Fn(&mut Matrix) -> Result<(), DictionaryError> + Sync + '_ {
    |x| {
        *x = dictionary.reconstruct(x)?;
        Ok(())
    }
}

/// An edit that puts one row, such as zeros or the mean, in the place of every token.
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
