use crate::base::{Attempt, Missing};
use crate::features::Explanation;

use super::Simulation;

/// Reads a concept's two means where the corpus's own labels say where it holds: the best that anyone
/// could do with this explanation. Any other explanation fails with `needs_a_concept`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Oracle;

impl Oracle {
    /// One expected activation per token of a fragment; `holds` says, token by token, which concepts do.
    pub fn simulate<L: Copy>(
        self,
        explanation: &Explanation,
        labels: &[L],
        holds: impl Fn(L, usize) -> bool,
    ) -> Attempt<Simulation> {
        let Explanation::Concept(means) = explanation else {
            return Attempt::Missing(Missing::Failed("needs_a_concept".into()));
        };
        let expected = |&label: &L| if holds(label, means.concept) { means.on } else { means.off };
        Attempt::Done(Simulation::told(labels.iter().map(expected)))
    }
}
