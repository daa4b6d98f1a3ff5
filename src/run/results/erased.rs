//! Erases the suite's concepts with each dictionary.
//!
//! Controls on permuted weights are left out: random features, LEACE and the mean projection stand beside each dictionary.

use crate::causal::{CausalError, ErasedConcept, ErasureParams, Writer, erase};
use crate::run::inputs::erasure::Concepts;
use crate::run::results::experiment::{Experiment, ExperimentRow};
use crate::run::{StageKey, SubjectPass};

/// Units of progress of a concept. Concepts differ in their passes, and count alike.
const UNITS: usize = 1000;

/// What erasing with one dictionary gave: one entry per concept.
pub type ErasedRow = ExperimentRow<Vec<ErasedConcept>>;

/// Erasure of the suite's concepts.
pub struct Eraser<'a> {
    pub params: &'a ErasureParams,
    pub concepts: &'a Concepts,
}

impl Experiment for Eraser<'_> {
    type Found = Vec<ErasedConcept>;
    const STAGE: &'static str = "erase";
    const NAME: &'static str = "erasure";
    const VERSION: u32 = 1;
    const UNIT: &'static str = "thousandths of a concept";

    fn keyed(&self, key: StageKey, pass: &SubjectPass<'_>) -> StageKey {
        let params = ErasureParams { concepts: String::new(), ..self.params.clone() };
        key.input(self.concepts.digest).params(&(params, pass.subject.prefix(), pass.run.suite.seed))
    }

    fn measure(
        &self,
        pass: &SubjectPass<'_>,
        writer: &Writer<'_>,
        place: &str,
        told: &dyn Fn(usize, usize),
    ) -> Result<Vec<ErasedConcept>, CausalError> {
        let (seed, stop) = ((pass.run.suite.seed, place), || pass.run.stop.asked());
        let total = UNITS * self.concepts.prompts.len();
        let of_concept = |(nth, prompts)| {
            let told = |done: usize, of: usize| told(UNITS * nth + UNITS * done / of.max(1), total);
            erase((pass.subject, writer), prompts, self.params, seed, &told, &stop)
        };
        let found = self.concepts.prompts.iter().enumerate().map(of_concept).collect::<Result<_, _>>()?;
        told(total, total);
        Ok(found)
    }
}
