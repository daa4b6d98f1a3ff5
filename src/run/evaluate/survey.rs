//! First pass of a dictionary over all evaluation fragments: statistics of its features, and its quality.
//!
//! If the features to walk are known and quality is not measured on all fragments, only these features are encoded. TopK
//! dictionaries are encoded whole, because a feature's code depends on all others.

use crate::base::{Matrix, Stream};
use crate::dictionary::{Codes, Quality, QualityCounter};
use crate::features::{FeatureSummary, FragmentSet, RecordBuilder};
use crate::linalg::SparseCodes;
use crate::run::RunError;
use crate::run::evaluate::Evaluation;
use crate::run::evaluate::code_cache::CodeCache;
use crate::suite::QualityPass;

/// Fragments per batch.
pub const BLOCK_FRAGMENTS: usize = 64;

/// Blocks with a larger share of non-zero codes are processed densely.
const SPARSE_SHARE: f64 = 0.25;

/// Fragments of `quality: sample`, from the first one on.
const SAMPLE_FRAGMENTS: usize = 64;

/// Result of the pass.
pub struct Survey {
    /// Of all features, or of those to walk; ordered by feature.
    pub summaries: Vec<FeatureSummary>,
    /// None if it is not measured.
    pub quality: Option<Quality>,
    /// Cached codes, if they are few.
    pub(super) codes: Option<CodeCache>,
}

impl Evaluation<'_> {
    pub(super) fn fragments(&self) -> Result<FragmentSet<'_>, RunError> {
        Ok(FragmentSet::new(&self.pass.run.tokens.evaluate, &self.pass.run.documents)?)
    }

    /// Encodes all fragments once: statistics of every feature that may be walked, and the dictionary's quality.
    pub fn survey(&self) -> Result<Survey, RunError> {
        let alone = self.spec.quality != QualityPass::Full && !self.dictionary.couples_features();
        let mut survey = match self.known_features().filter(|_| alone) {
            Some(features) => self.survey_of(features)?,
            None => self.survey_all()?,
        };
        if self.spec.quality == QualityPass::Sample {
            survey.quality = Some(self.sample_quality()?);
        }
        Ok(survey)
    }

    /// Encodes some features, ascending, on all fragments.
    fn survey_of(&self, features: Vec<usize>) -> Result<Survey, RunError> {
        let positions = self.fragments()?.positions();
        let mut builder = self.builder(features.clone())?;
        let mut kept = Some(CodeCache::of_features(BLOCK_FRAGMENTS * positions, features.clone()));
        self.for_each_block(|first, block| {
            let codes = self.dictionary.encode_features(block, &features)?;
            builder.add_block(first, &codes)?;
            kept = kept.take().and_then(|kept| kept.with(SparseCodes::from_dense(&codes)));
            Ok(())
        })?;
        Ok(Survey { summaries: builder.finish()?, quality: None, codes: kept })
    }

    /// Encodes all features on all fragments. Quality is measured only with `quality: full`.
    fn survey_all(&self) -> Result<Survey, RunError> {
        let n_features = self.dictionary.info().n_features;
        let full = self.spec.quality == QualityPass::Full;
        let reconstructs = full && self.dictionary.info().reconstructs_input();
        let mut builder = self.builder((0..n_features).collect())?;
        let mut counter = QualityCounter::new(self.dictionary, self.activations.fit.mean());
        let counts = self.is_scored()?;
        let mut kept = Some(CodeCache::new(BLOCK_FRAGMENTS * self.fragments()?.positions()));
        let mut sparse = true;
        self.for_each_block(|first, block| {
            if sparse {
                // What a transcoder predicts is measured at its output.
                let (codes, estimate) = match reconstructs {
                    true => self.dictionary.encode_and_reconstruct(block)?,
                    false => (self.dictionary.encode_sparse(block)?, None),
                };
                if full {
                    counter.add_coded(block, Codes::Sparse(&codes), estimate.as_ref(), &counts);
                }
                builder.add_sparse_block(first, &codes)?;
                let entries = (codes.rows() * n_features).max(1) as f64;
                sparse = (codes.n_entries() as f64) < SPARSE_SHARE * entries;
                kept = kept.take().and_then(|kept| kept.with(codes));
            } else {
                let codes = self.dictionary.encode(block)?;
                let estimate =
                    if reconstructs { Some(self.dictionary.decode_of(block, &codes)?) } else { None };
                if full {
                    counter.add_coded(block, Codes::Dense(&codes), estimate.as_ref(), &counts);
                }
                builder.add_block(first, &codes)?;
                kept = None;
            }
            Ok(())
        })?;
        let quality = full.then(|| counter.finish());
        Ok(Survey { summaries: builder.finish()?, quality, codes: kept })
    }

    /// Quality on the first fragments, with a note that says on how many tokens.
    fn sample_quality(&self) -> Result<Quality, RunError> {
        let positions = self.fragments()?.positions();
        let mut counter = QualityCounter::new(self.dictionary, self.activations.fit.mean());
        let block = self.activations.evaluate.read(0, SAMPLE_FRAGMENTS * positions)?;
        let (codes, estimate) = match self.dictionary.info().reconstructs_input() {
            true => self.dictionary.encode_and_reconstruct(&block)?,
            false => (self.dictionary.encode_sparse(&block)?, None),
        };
        counter.add_coded(&block, Codes::Sparse(&codes), estimate.as_ref(), self.is_scored()?);
        let mut quality = counter.finish();
        let sample = format!("measured on {} tokens (`quality: sample`)", quality.n_tokens);
        quality.note = Some(quality.note.map_or(sample.clone(), |note| format!("{note}; {sample}")));
        Ok(quality)
    }

    fn builder(&self, features: Vec<usize>) -> Result<RecordBuilder, RunError> {
        let suite = self.pass.run.suite;
        let mut stream = Stream::named(suite.seed, &["records", &self.place()]);
        let n_features = self.dictionary.info().n_features;
        Ok(RecordBuilder::of_features(features, n_features, self.fragments()?, &suite.protocol, &mut stream)?)
    }

    /// Whether a row of whole fragments is a scored position.
    fn is_scored(&self) -> Result<impl Fn(usize) -> bool + Sync + use<>, RunError> {
        let positions = self.fragments()?.positions();
        let first_scored = self.pass.run.suite.protocol.first_scored();
        Ok(move |row: usize| row % positions >= first_scored)
    }

    /// Calls `work` with the number of the first fragment and the activations of each block, in order.
    fn for_each_block(
        &self,
        mut work: impl FnMut(usize, &Matrix) -> Result<(), RunError>,
    ) -> Result<(), RunError> {
        let fragments = self.fragments()?;
        let positions = fragments.positions();
        for first in (0..fragments.len()).step_by(BLOCK_FRAGMENTS) {
            self.pass.run.stop.check()?;
            self.tell("encode", first, fragments.len(), "fragments");
            work(first, &self.activations.evaluate.read(first * positions, BLOCK_FRAGMENTS * positions)?)?;
        }
        self.tell("encode", fragments.len(), fragments.len(), "fragments");
        Ok(())
    }
}
