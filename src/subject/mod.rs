//! The language model being interpreted.
//!
//! In: tokens.
//! Out: activations at hook points, losses with and without an edit.
//! Never: knows a dictionary or a feature.
