//! The streaming pass that draws each feature's fragments; the draws themselves are in `draw.rs`.

use rayon::prelude::*;

use crate::base::{Matrix, Stream};
use crate::linalg::SparseCodes;

use super::blocks::{BlockShape, FragmentMaxima, dense_maxima, sparse_maxima};
use super::census::Census;
use super::draw::{FeatureSummary, summarise};
use super::extremes::Candidate;
use super::{FeatureError, FragmentSet, Protocol};

/// The streaming pass over one dictionary's codes of all evaluation fragments.
///
/// Memory: about 24 bytes per fragment kept (at most some 500 per feature, far fewer for sparse features) and
/// two bits per feature and document. Results depend neither on block sizes nor on the number of threads.
#[derive(Debug)]
pub struct RecordBuilder {
    protocol: Protocol,
    positions: usize,
    documents: Vec<u32>,
    /// The features of the columns, ascending.
    ids: Vec<usize>,
    features: Vec<Census>,
    next_fragment: usize,
}

impl RecordBuilder {
    /// For a dictionary of `n_features`. `stream` gives each feature one number, which fixes its samples.
    pub fn new(
        n_features: usize,
        fragments: FragmentSet<'_>,
        protocol: &Protocol,
        stream: &mut Stream,
    ) -> Result<Self, FeatureError> {
        Self::of_features((0..n_features).collect(), n_features, fragments, protocol, stream)
    }

    /// For some features of a dictionary of `n_features`, ascending: blocks have one column for each. Their samples
    /// are those that [`RecordBuilder::new`] draws.
    pub fn of_features(
        ids: Vec<usize>,
        n_features: usize,
        fragments: FragmentSet<'_>,
        protocol: &Protocol,
        stream: &mut Stream,
    ) -> Result<Self, FeatureError> {
        use rand::RngCore;
        protocol.check()?;
        if fragments.positions() <= protocol.first_scored() {
            let problem = "fragments have 1 token, but position 0 does not count; expected at least 2".into();
            return Err(FeatureError::Protocol { protocol: protocol.name.clone(), problem });
        }
        let (documents, n_documents) = fragments.dense_documents();
        let keys: Vec<u64> = (0..n_features).map(|_| stream.next_u64()).collect();
        Ok(Self {
            protocol: protocol.clone(),
            positions: fragments.positions(),
            documents,
            features: ids.iter().map(|&id| Census::new(keys[id], n_documents, protocol)).collect(),
            ids,
            next_fragment: 0,
        })
    }

    /// Adds the codes `[n · positions, n_features]` of the next `n` fragments. Blocks come in order, of any
    /// size.
    pub fn add_block(&mut self, first_fragment: usize, codes: &Matrix) -> Result<(), FeatureError> {
        let block = dense_maxima(self.shape(first_fragment)?, codes).map_err(|error| self.named(error))?;
        self.add(block)
    }

    /// [`RecordBuilder::add_block`] for sparse codes, one row per token.
    pub fn add_sparse_block(
        &mut self,
        first_fragment: usize,
        codes: &SparseCodes,
    ) -> Result<(), FeatureError> {
        let block = sparse_maxima(self.shape(first_fragment)?, codes).map_err(|error| self.named(error))?;
        self.add(block)
    }

    /// Replaces the column of an error by its feature.
    fn named(&self, error: FeatureError) -> FeatureError {
        match error {
            FeatureError::NotFinite { feature: column, fragment, value } => {
                FeatureError::NotFinite { feature: self.ids[column], fragment, value }
            }
            other => other,
        }
    }

    fn shape(&self, first_fragment: usize) -> Result<BlockShape, FeatureError> {
        if first_fragment != self.next_fragment {
            return Err(FeatureError::BlockOrder { expected: self.next_fragment, got: first_fragment });
        }
        Ok(BlockShape {
            n_features: self.features.len(),
            positions: self.positions,
            first_scored: self.protocol.first_scored(),
            first_fragment,
        })
    }

    fn add(&mut self, block: FragmentMaxima) -> Result<(), FeatureError> {
        let n_features = self.features.len();
        let n_fragments = block.maxima.len() / n_features.max(1);
        let first = self.next_fragment;
        if first + n_fragments > self.documents.len() {
            let (expected, got) = (self.documents.len(), first + n_fragments);
            return Err(FeatureError::FragmentCount { expected, got });
        }
        let (documents, rule) = (&self.documents, self.protocol.firing);
        self.features.par_iter_mut().with_min_len(16).enumerate().for_each(|(feature, census)| {
            for nth in 0..n_fragments {
                let (cell, fragment) = (nth * n_features + feature, first + nth);
                let max = block.maxima[cell];
                let candidate = Candidate { document: documents[fragment], fragment: fragment as u32, max };
                census.add(candidate, rule.fires(max), block.firing[cell]);
            }
        });
        self.next_fragment += n_fragments;
        Ok(())
    }

    /// Draws every feature's fragments. All fragments must have been added.
    pub fn finish(self) -> Result<Vec<FeatureSummary>, FeatureError> {
        let (expected, got) = (self.documents.len(), self.next_fragment);
        if expected != got && !self.features.is_empty() {
            return Err(FeatureError::FragmentCount { expected, got });
        }
        let n_tokens = expected * self.positions.saturating_sub(self.protocol.first_scored());
        let protocol = &self.protocol;
        Ok(self
            .features
            .into_par_iter()
            .zip(self.ids)
            .with_min_len(16)
            .map(|(census, feature)| summarise(feature, &census, protocol, n_tokens))
            .collect())
    }
}
