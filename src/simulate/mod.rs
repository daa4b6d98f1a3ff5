//! Activations predicted from an explanation and tokens alone.
//!
//! In: an explanation, tokens.
//! Out: simulations.
//! Never: sees an activation.

mod offline;
mod simulator;

pub use offline::Offline;
pub use simulator::{Simulation, Simulator};

#[cfg(test)]
mod tests;
