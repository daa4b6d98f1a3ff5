use std::collections::BTreeMap;

use crate::base::Matrix;

use super::{FeatureError, FeatureSummary};

/// Collects the activations that records need while the chosen fragments are encoded again, block by
/// block, and forgets the rest of each block.
#[derive(Debug)]
pub struct ChosenActivations {
    positions: usize,
    /// Features wanted on each fragment.
    wanted: BTreeMap<usize, Vec<usize>>,
    found: BTreeMap<(usize, usize), Vec<f32>>,
}

impl ChosenActivations {
    /// For the summaries of one dictionary's eligible features; fragments have `positions` tokens.
    pub fn new<'a>(summaries: impl IntoIterator<Item = &'a FeatureSummary>, positions: usize) -> Self {
        let mut wanted: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for summary in summaries {
            for fragment in summary.fragments() {
                wanted.entry(fragment).or_default().push(summary.feature);
            }
        }
        Self { positions, wanted, found: BTreeMap::new() }
    }

    /// The fragments to encode, ascending, each once.
    pub fn fragments(&self) -> Vec<usize> {
        self.wanted.keys().copied().collect()
    }

    /// Takes what is needed from the codes `[fragments.len() · positions, features]` of some fragments.
    pub fn add_block(&mut self, fragments: &[usize], codes: &Matrix) -> Result<(), FeatureError> {
        let n_features = codes.cols();
        if codes.rows() != fragments.len() * self.positions {
            return Err(FeatureError::BlockShape {
                rows: codes.rows(),
                cols: n_features,
                n_fragments: fragments.len(),
                positions: self.positions,
                n_features,
            });
        }
        for (nth, fragment) in fragments.iter().enumerate() {
            for &feature in self.wanted.get(fragment).into_iter().flatten() {
                let rows = nth * self.positions..(nth + 1) * self.positions;
                let values: Option<Vec<f32>> = rows.map(|row| codes.row(row).get(feature).copied()).collect();
                if let Some(values) = values {
                    self.found.insert((feature, *fragment), values);
                }
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
