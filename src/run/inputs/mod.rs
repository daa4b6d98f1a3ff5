//! Inputs of all later stages: subject, corpus and activations.

pub mod check_stored;
pub mod harvest;
pub mod outliers;
pub mod prepare;
pub mod stored;
