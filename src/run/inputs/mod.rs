//! Inputs of all later stages: subject, corpus, activations, and dictionaries trained elsewhere.

pub mod check_stored;
pub mod dictionaries;
pub mod erasure;
pub mod finished;
pub mod harvest;
pub mod kept;
pub mod opened;
pub mod outliers;
pub mod prepare;
mod prompt_file;
pub mod repositories;
pub mod shape;
pub mod stored;
pub mod task;
