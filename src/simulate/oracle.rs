//! Simulation of labelled concepts.

use crate::base::{Attempt, Missing};
use crate::features::Explanation;

use super::Simulation;

/// Simulates a concept from the corpus's labels: the mean on the concept where it holds, and the mean off it
/// elsewhere. This is the best possible prediction from the explanation. Other explanations fail with
/// `needs_a_concept`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Oracle;

impl Oracle {
    /// One expected activation per token of a fragment. `holds(label, concept)` says whether a token has the
    /// concept.
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
