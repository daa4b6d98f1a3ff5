//! How well a simulation matches the truth: pure functions.
//!
//! In: truth and prediction.
//! Out: scores, or the reason why there is none.
//! Never: draws, runs a model or touches the network.
