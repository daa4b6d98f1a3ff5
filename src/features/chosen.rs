use std::collections::BTreeMap;

use crate::base::Matrix;

use super::{FeatureError, FeatureSummary};

/// Collects the activations that records need while the chosen fragments are encoded again, block by
/// block, and forgets the rest of each block.
#[derive(Debug)]
pub struct ChosenActivations {
    positions: usize,
    /// Features wanted anywhere, ascending: the columns of the codes that are fed.
    features: Vec<usize>,
    /// Columns wanted on each fragment.
    wanted: BTreeMap<usize, Vec<usize>>,
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

    /// Takes what is needed from the codes `[fragments.len() · positions, features().len()]` of some
    /// fragments.
    pub fn add_block(&mut self, fragments: &[usize], codes: &Matrix) -> Result<(), FeatureError> {
        let n_features = codes.cols();
        if codes.rows() != fragments.len() * self.positions || n_features != self.features.len() {
            return Err(FeatureError::BlockShape {
                rows: codes.rows(),
                cols: n_features,
                n_fragments: fragments.len(),
                positions: self.positions,
                n_features: self.features.len(),
            });
        }
        for (nth, fragment) in fragments.iter().enumerate() {
            for &column in self.wanted.get(fragment).into_iter().flatten() {
                let rows = nth * self.positions..(nth + 1) * self.positions;
                let values = rows.map(|row| codes.at(row, column)).collect();
                self.found.insert((self.features[column], *fragment), values);
            }
        }
        Ok(())
    }

    /// Activations of a feature on a fragment; empty where they were never fed, which
    /// `FeatureRecord::assemble` refuses.
    pub fn get(&self, feature: usize, fragment: usize) -> Vec<f32> {
        self.found.get(&(feature, fragment)).cloned().unwrap_or_default()
    }
}
