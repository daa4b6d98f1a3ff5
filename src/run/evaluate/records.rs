//! Collects the records of the eligible features and the distribution of their codes.

use crate::base::Matrix;
use crate::features::{ChosenActivations, CodeShape, FeatureRecord, ShapeSurvey, Walk};
use crate::linalg::SparseCodes;
use crate::run::RunError;
use crate::run::evaluate::Evaluation;
use crate::run::evaluate::code_cache::CodeCache;
use crate::run::evaluate::survey::{BLOCK_FRAGMENTS, Survey};

impl Evaluation<'_> {
    /// Records of the chosen fragments, encoded again unless their codes are cached. Also, except in controls, the
    /// distribution of each feature's codes over all fragments, ordered by feature.
    pub fn records(
        &self,
        walk: &Walk,
        survey: &Survey,
    ) -> Result<(Vec<FeatureRecord>, Option<Vec<CodeShape>>), RunError> {
        let fragments = self.fragments()?;
        let (positions, first_scored) = (fragments.positions(), self.pass.run.suite.protocol.first_scored());
        let mut chosen = ChosenActivations::new(walk.summaries(&survey.summaries), positions);
        let features = chosen.features();
        let codes_of = |fragments: &[usize]| -> Result<Matrix, RunError> {
            let Some(kept) = &survey.codes else {
                return Ok(self
                    .dictionary
                    .encode_features(&self.rows_of(fragments, positions)?, &features)?);
            };
            Ok(kept.of(fragments, positions, &features))
        };
        let all: Vec<usize> = (0..if features.is_empty() { 0 } else { fragments.len() }).collect();
        let mut shapes =
            self.pass.control.is_none().then(|| ShapeSurvey::new(fragments, first_scored, features.len()));
        let needed = if shapes.is_some() { all.clone() } else { chosen.fragments() };
        let n_needed = needed.len();
        // The chosen features may have few enough codes to cache, even if all features have too many.
        let firing = walk.summaries(&survey.summaries).map(|summary| summary.firing_tokens).sum();
        let mut few =
            CodeCache::for_about(firing, BLOCK_FRAGMENTS * positions).filter(|_| survey.codes.is_none());
        for (nth, needed) in needed.chunks(BLOCK_FRAGMENTS).enumerate() {
            self.pass.run.stop.check()?;
            self.tell("records", nth * BLOCK_FRAGMENTS, n_needed, "fragments");
            let codes = codes_of(needed)?;
            chosen.add_block(needed, &codes)?;
            if let Some(shapes) = &mut shapes {
                shapes.add_block(needed[0], &codes)?;
                few = few.and_then(|few| few.with(SparseCodes::from_dense(&codes)));
            }
        }
        self.tell("records", n_needed, n_needed, "fragments");
        let columns: Vec<usize> = (0..features.len()).collect();
        let count = |shapes: ShapeSurvey<'_>| -> Result<Vec<CodeShape>, RunError> {
            let mut counter = shapes.finish();
            for block in all.chunks(BLOCK_FRAGMENTS) {
                self.pass.run.stop.check()?;
                let codes = match &few {
                    Some(few) => few.of(block, positions, &columns),
                    None => codes_of(block)?,
                };
                counter.add_block(block[0], &codes)?;
            }
            Ok(counter.finish())
        };
        let shapes = shapes.map(count).transpose()?;
        let complete = |summary| {
            FeatureRecord::assemble(summary, fragments, first_scored, |feature, fragment| {
                chosen.get(feature, fragment)
            })
        };
        Ok((walk.summaries(&survey.summaries).map(complete).collect::<Result<_, _>>()?, shapes))
    }

    /// Activations of whole fragments `[fragments · positions, width]`, concatenated.
    pub(super) fn rows_of(&self, fragments: &[usize], positions: usize) -> Result<Matrix, RunError> {
        if let [first, .., last] = fragments
            && fragments.is_sorted_by(|a, b| a < b)
            && last - first + 1 == fragments.len()
        {
            return Ok(self.activations.evaluate.read(first * positions, fragments.len() * positions)?);
        }
        let mut block = Matrix::zeros(fragments.len() * positions, self.activations.evaluate.width());
        for (nth, fragment) in fragments.iter().enumerate() {
            let rows = self.activations.evaluate.read(fragment * positions, positions)?;
            let start = nth * positions * rows.cols();
            block.data_mut()[start..start + rows.data().len()].copy_from_slice(rows.data());
        }
        Ok(block)
    }
}
