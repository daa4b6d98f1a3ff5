//! Patches features of each dictionary on the suite's task.
//!
//! Controls on permuted weights are not patched: such a subject does not solve the task, so there is no answer to
//! restore. Random features and random directions are the controls of patching.

use crate::causal::{CausalError, PatchedPairs, Writer, patch};
use crate::run::inputs::task::Task;
use crate::run::results::experiment::{Experiment, ExperimentRow};
use crate::run::{StageKey, SubjectPass};
use crate::suite::TaskSpec;

/// What patching with one dictionary gave.
pub type PatchedRow = ExperimentRow<PatchedPairs>;

/// Patching on the suite's task.
pub struct Patcher<'a> {
    pub spec: &'a TaskSpec,
    pub task: &'a Task,
}

impl Experiment for Patcher<'_> {
    type Found = PatchedPairs;
    const STAGE: &'static str = "patch";
    const NAME: &'static str = "patching";
    const VERSION: u32 = 1;
    const UNIT: &'static str = "passes of each pair";

    fn keyed(&self, key: StageKey, pass: &SubjectPass<'_>) -> StageKey {
        let params = (&self.spec.patching, pass.subject.prefix(), pass.run.suite.seed);
        key.input(self.task.digest).params(&params)
    }

    fn measure(
        &self,
        pass: &SubjectPass<'_>,
        writer: &Writer<'_>,
        place: &str,
        told: &dyn Fn(usize, usize),
    ) -> Result<PatchedPairs, CausalError> {
        let (params, seed) = (&self.spec.patching, (pass.run.suite.seed, place));
        patch(pass.subject, writer, &self.task.pairs, params, seed, told, &|| pass.run.stop.asked())
    }
}
