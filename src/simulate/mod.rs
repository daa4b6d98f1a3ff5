//! Activations predicted from an explanation and tokens alone.
//!
//! In: an explanation, tokens.
//! Out: simulations.
//! Never: sees an activation.
