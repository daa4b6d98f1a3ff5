//! Activations of the chosen fragments, collected when these are encoded again.

use std::collections::BTreeMap;

use crate::base::Matrix;

use super::{FeatureError, FeatureSummary};

/// Collects the activations that records need while the chosen fragments are encoded again, block by block.
#[derive(Debug)]
pub struct ChosenActivations {
    positions: usize,
    /// Wanted features, ascending: the columns of the codes that are added.
    features: Vec<usize>,
    /// Columns wanted of each fragment.
    wanted: BTreeMap<usize, Vec<usize>>,
    /// Activations by (feature, fragment).
    found: BTreeMap<(usize, usize), Vec<f32>>,
}

impl ChosenActivations {
    /// For the summaries of one dictionary's eligible features; fragments have `positions` tokens.
    pub fn new<'a>(summaries: impl IntoIterator<Item = &'a FeatureSummary>, positions: usize) -> Self {
        let mut summaries: Vec<&FeatureSummary> = summaries.into_iter().collect();
        summaries.sort_unstable_by_key(|summary| summary.feature);
        let mut wanted: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (column, summary) in summaries.iter().enumerate() {
            for fragment in summary.fragments() {
                wanted.entry(fragment).or_default().push(column);
            }
        }
        let features = summaries.iter().map(|summary| summary.feature).collect();
        Self { positions, features, wanted, found: BTreeMap::new() }
    }

    /// The features to encode, ascending.
    pub fn features(&self) -> Vec<usize> {
        self.features.clone()
    }

    /// The fragments to encode, ascending, each once.
    pub fn fragments(&self) -> Vec<usize> {
        self.wanted.keys().copied().collect()
    }

    /// Takes what is needed from codes `[fragments.len() · positions, features().len()]`.
    pub fn add_block(&mut self, fragments: &[usize], codes: &Matrix) -> Result<(), FeatureError> {
        let shape = [codes.rows(), codes.cols()];
        FeatureError::check_shape(shape, fragments.len(), self.positions, self.features.len())?;
        for (nth, fragment) in fragments.iter().enumerate() {
            for &column in self.wanted.get(fragment).into_iter().flatten() {
                let rows = nth * self.positions..(nth + 1) * self.positions;
                let values = rows.map(|row| codes.at(row, column)).collect();
                self.found.insert((self.features[column], *fragment), values);
            }
        }
        Ok(())
    }

    /// Activations of a feature on a fragment; empty if never added, which `FeatureRecord::assemble` rejects.
    pub fn get(&self, feature: usize, fragment: usize) -> Vec<f32> {
        self.found.get(&(feature, fragment)).cloned().unwrap_or_default()
    }
}
