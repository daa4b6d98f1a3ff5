//! Inputs of all later stages: subject, corpus and activations.

pub mod harvest;
pub mod outliers;
pub mod prepare;
