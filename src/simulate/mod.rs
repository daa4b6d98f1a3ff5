//! Predicts activations from an explanation and tokens alone.
//!
//! In: an explanation and tokens; for sentences, a language model; for concepts, the tokens' labels.
//! Out: simulations.
//! Never: sees an activation.

pub mod catalog;
pub mod language_model;
mod offline;
mod oracle;
mod simulator;

pub use offline::Offline;
pub use oracle::Oracle;
pub use simulator::Simulation;

#[cfg(test)]
mod tests;
