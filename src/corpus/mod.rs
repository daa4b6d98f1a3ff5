//! Text to tokens: sources, the two splits, contexts and fragments.
//!
//! In: text, a tokenizer.
//! Out: contexts to fit on, fragments to evaluate on.
//! Never: runs a model.

pub mod generator;
