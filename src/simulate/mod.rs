//! Activations predicted from an explanation and tokens alone.
//!
//! In: an explanation, tokens; for sentences, a language model.
//! Out: simulations.
//! Never: sees an activation.

pub mod language_model;
mod offline;
mod simulator;

pub use offline::Offline;
pub use simulator::{Simulation, Simulator};

#[cfg(test)]
mod tests;
