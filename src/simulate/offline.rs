//! Simulation of token patterns and token tables.

use crate::base::{Attempt, Missing};
use crate::features::Explanation;

use super::Simulation;

/// Simulates token patterns and token tables without a language model. Sentences fail with
/// `needs_a_language_model`, concepts with `needs_labels`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Offline;

impl Offline {
    /// One expected activation per token.
    pub fn simulate(self, explanation: &Explanation, tokens: &[u32]) -> Attempt<Simulation> {
        let expected = match explanation {
            Explanation::Patterns(trie) => Simulation::told(trie.predict(tokens)),
            Explanation::Lookup(table) => Simulation::told(tokens.iter().map(|&token| table.mean(token))),
            Explanation::Concept(_) => {
                return Attempt::Missing(Missing::Failed("needs_labels".into()));
            }
            Explanation::Sentence(_) => {
                return Attempt::Missing(Missing::Failed("needs_a_language_model".into()));
            }
        };
        Attempt::Done(expected)
    }
}
