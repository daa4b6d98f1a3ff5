//! The language model being interpreted.
//!
//! In: tokens; or stored activations in the place of a model.
//! Out: activations at hook points, logits, losses with and without edits, gradients with respect to activations,
//! continuations of text; the same for a copy with permuted weights,
//! the control on which scores should be at chance.
//! Never: knows a dictionary or a feature.
//!
//! Sources: TransformerLens for the names of hook points, Hugging Face transformers for the numbers.

pub mod embedded;
mod error;
mod given;
mod header;
mod loaded;
mod model;
mod prefix;
mod processing;
pub mod stored;

pub use error::SubjectError;
pub use given::{Wanted, Writing};
pub use header::SubjectHeader;
pub use loaded::LoadedSubject;
pub use model::{SubjectInfo, SubjectModel, TransformerSubject};
pub use prefix::{Bos, Prefix, WithPrefix};
pub use processing::Processing;
pub use stored::StoredSubject;

pub use crate::nn::{Edit, Pullback};
