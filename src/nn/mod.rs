//! The decoder-only runtime, with hooks, and its tokenizer.
//!
//! In: a Hugging Face folder.
//! Out: activations at hook points, logits, losses.
//! Never: knows a dictionary or a feature.

pub mod tokenizer;
