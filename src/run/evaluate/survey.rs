//! First pass of a dictionary over all evaluation fragments: statistics of its features, and its quality.

use crate::base::Stream;
use crate::dictionary::{Codes, Quality, QualityCounter};
use crate::features::{FeatureSummary, FragmentSet, RecordBuilder};
use crate::run::RunError;
use crate::run::evaluate::Evaluation;
use crate::run::evaluate::code_cache::CodeCache;

/// Fragments per batch.
pub(super) const BLOCK_FRAGMENTS: usize = 64;

/// Blocks with a larger share of non-zero codes are processed densely.
const SPARSE_SHARE: f64 = 0.25;

/// Result of the pass.
pub struct Survey {
    pub summaries: Vec<FeatureSummary>,
    pub quality: Quality,
    /// Cached codes, if they are few.
    pub(super) codes: Option<CodeCache>,
}

impl Evaluation<'_> {
    pub(super) fn fragments(&self) -> Result<FragmentSet<'_>, RunError> {
        Ok(FragmentSet::new(&self.pass.run.tokens.evaluate, &self.pass.run.documents)?)
    }

    /// Encodes all fragments once: statistics of every feature, and the dictionary's quality.
    pub fn survey(&self) -> Result<Survey, RunError> {
        let fragments = self.fragments()?;
        let n_features = self.dictionary.info().n_features;
        let mut stream = Stream::named(self.pass.run.suite.seed, &["records", &self.place()]);
        let mut builder =
            RecordBuilder::new(n_features, fragments, &self.pass.run.suite.protocol, &mut stream)?;
        let mut counter = QualityCounter::new(self.dictionary, self.activations.fit.mean());
        let (positions, first_scored) = (fragments.positions(), self.pass.run.suite.protocol.first_scored());
        let counts = |row: usize| row % positions >= first_scored;
        let mut kept = Some(CodeCache::new(BLOCK_FRAGMENTS * positions));
        let mut sparse = true;
        for first in (0..fragments.len()).step_by(BLOCK_FRAGMENTS) {
            self.pass.run.stop.check()?;
            self.tell("encode", first, fragments.len(), "fragments");
            let block = self.activations.evaluate.read(first * positions, BLOCK_FRAGMENTS * positions)?;
            if sparse {
                // What a transcoder predicts is measured at its output.
                let (codes, estimate) = match self.dictionary.info().output {
                    Some(_) => (self.dictionary.encode_sparse(&block)?, None),
                    None => self.dictionary.encode_and_reconstruct(&block)?,
                };
                counter.add_coded(&block, Codes::Sparse(&codes), estimate.as_ref(), counts);
                builder.add_sparse_block(first, &codes)?;
                let entries = (codes.rows() * n_features).max(1) as f64;
                sparse = (codes.n_entries() as f64) < SPARSE_SHARE * entries;
                kept = kept.and_then(|kept| kept.with(codes));
            } else {
                let codes = self.dictionary.encode(&block)?;
                let reconstructs = self.dictionary.info().reconstructs_input();
                let estimate =
                    if reconstructs { Some(self.dictionary.decode_of(&block, &codes)?) } else { None };
                counter.add_coded(&block, Codes::Dense(&codes), estimate.as_ref(), counts);
                builder.add_block(first, &codes)?;
                kept = None;
            }
        }
        self.tell("encode", fragments.len(), fragments.len(), "fragments");
        Ok(Survey { summaries: builder.finish()?, quality: counter.finish(), codes: kept })
    }
}
