//! Explains a feature from its evidence.
//!
//! In: evidence; depending on the kind, means per token type or per set of concepts, the feature's activation on
//! new texts, or a language model.
//! Out: explanations that print as text.
//! Never: imports subject, dictionary or corpus.
//!
//! Sources: Foote et al. 2023 and Gao et al. 2024 (neuron-to-graph); Bills et al. 2023 (token lookup).

mod best_concept;
pub mod catalog;
mod choice;
pub mod language_model;
mod neuron_to_graph;
mod probe;
mod shuffled;
mod token_lookup;
mod type_means;

pub use crate::features::{Evidence, Explanation, Pattern, PatternTrie, TokenTable};
pub use best_concept::{NamedConcept, best_concepts};
pub use choice::{Candidate, Choice};
pub use neuron_to_graph::{NeuronToGraph, NeuronToGraphParams};
pub use probe::{Activate, ActivateError, ExplainError, Probe};
pub use shuffled::derangement;
pub use token_lookup::{token_lookup, token_lookup_fit};
pub use type_means::TypeMeans;

#[cfg(test)]
mod tests;
