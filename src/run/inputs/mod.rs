//! The subject, the text and the activations that every later stage reads.

pub mod harvest;
pub mod outliers;
pub mod prepare;
