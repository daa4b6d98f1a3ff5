//! Activations, harvested once and read by every method in the same order.
//!
//! In: contexts, a subject.
//! Out: shards on disk with a digest, seeded batches, moments.
//! Never: knows a dictionary.

mod encoding;
mod error;
mod export;
mod harvest;
mod moments;
mod set;
mod shuffle;
mod writer;

pub use encoding::Precision;
pub use error::ActivationError;
pub use export::{Exported, export};
pub use harvest::{HarvestError, Keep, fitted_token_indices, harvest};
pub use set::{ActivationSet, DamagedStore};
pub use shuffle::Batches;
pub use writer::ActivationWriter;
