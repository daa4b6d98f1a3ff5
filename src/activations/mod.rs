//! Activations harvested once and read by every method in the same order.
//!
//! In: contexts, a subject.
//! Out: shards on disk with a digest, seeded batches, moments.
//! Never: knows a dictionary.

mod set;

pub use set::{ActivationError, ActivationSet, ActivationWriter, Batches, Precision};
