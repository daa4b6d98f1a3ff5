//! What features do: activations are changed along a feature, and the rest of the model is run again.
//!
//! In: a subject, dictionaries, tokens.
//! Out: edits of activations by changes of codes; what such edits do to the model's output.
//! Never: knows a suite or a run folder; describes or scores an explanation.
//!
//! Every edit has the delta form, so the reconstruction error stays as it is (Cunningham et al. 2023, arXiv
//! 2309.08600, §4; Templeton et al. 2024):
//!
//! ```text
//! x′ = x + Σ_j (c′_j − c_j) · d_j
//! ```

mod direction;
mod divergence;
mod edit;
pub mod effects;
mod erasure;
mod error;
mod patching;
mod steering;
mod trace;
mod writer;

pub use direction::random_direction;
pub use edit::{Change, FeatureEdit, FeatureEdits, failure_of};
pub use erasure::{
    ConceptPrompts, ErasedConcept, ErasedCurve, ErasedPoint, ErasureParams, FEATURES, LEACE, MEAN_PROJECTION,
    Positions, erase,
};
pub use error::CausalError;
pub use patching::{
    Attributed, Divergence, MeasuredCurve, MeasuredPoint, NO_FEATURE_DIFFERS, Order, PatchParams,
    PatchedPairs, TaskPairs, patch,
};
pub use steering::{Steer, WhatToWrite};
pub use trace::{
    Cause, Found, NoCauses, Pool, TraceError, TraceFeature, TraceParams, Traced, TracedFeature, Tracer,
};
pub use writer::Writer;
