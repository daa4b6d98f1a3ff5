//! `autointerp`: which decomposition of a language model's activations can a person understand?

pub mod activations;
pub mod base;
pub mod cli;
pub mod corpus;
pub mod dictionary;
pub mod explain;
pub mod features;
pub mod hub;
pub mod linalg;
pub mod nn;
pub mod report;
pub mod run;
pub mod score;
pub mod simulate;
pub mod stats;
pub mod subject;
pub mod suite;
