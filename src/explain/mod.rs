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
mod explainer;
pub mod language_model;
mod neuron_to_graph;
mod shuffled;
mod token_lookup;
mod type_means;

pub use crate::features::{Evidence, Explanation, Pattern, PatternTrie, TokenTable};
pub use best_concept::{NamedConcept, best_concepts};
pub use choice::{Candidate, Choice};
pub use explainer::{Activate, ActivateError, ExplainError, Explainer, Probe};
pub use neuron_to_graph::{NeuronToGraph, NeuronToGraphParams};
pub use shuffled::derangement;
pub use token_lookup::{TokenLookup, TokenLookupFit};
pub use type_means::TypeMeans;

#[cfg(test)]
mod tests;
