//! Every way to decompose activations, and how good a decomposition is.
//!
//! In: activations.
//! Out: dictionaries, fit reports, quality.
//! Never: imports corpus, features or an LLM client.
