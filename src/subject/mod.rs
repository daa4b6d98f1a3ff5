//! The language model being interpreted.
//!
//! In: tokens.
//! Out: activations at hook points, logits, losses with and without an edit; the same of a copy with permuted
//! weights, the control that a score should not survive.
//! Never: knows a dictionary or a feature.
//!
//! Sources: hook points as TransformerLens names them, on the model as Hugging Face transformers runs it.

pub mod embedded;
mod error;
mod loaded;
mod model;
mod prefix;
mod processing;

pub use error::SubjectError;
pub use loaded::LoadedSubject;
pub use model::{SubjectInfo, SubjectModel, TransformerSubject};
pub use prefix::{Bos, Prefix, WithPrefix};
pub use processing::Processing;

pub use crate::nn::Edit;
