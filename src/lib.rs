//! `autointerp`: which decomposition of a language model's activations can a person understand?
//!
//! # The flow
//!
//! One way; each arrow is a stored artefact with a key (`run/pipeline.rs` reads the same, top to
//! bottom):
//!
//! ```text
//! suite.yaml ─suite→ Suite ─corpus→ TokenSets {fit, evaluate} ─activations→ ActivationSet (digest A)
//!   A ─dictionary→ Dictionary × row (each carries fitted_on = A) ─quality→ L0, FVU, dead, loss recovered
//!   Dictionary × evaluate ─features→ FeatureRecord ─split→ Evidence | Held
//!   Evidence ─explain→ Attempt<Explanation> ─simulate (tokens only)→ Attempt<Simulation>
//!   Simulation × Held ─score→ score per feature ─stats→ Estimate per cell ─report→ tables, charts, page
//! ```
//!
//! # The layers
//!
//! A folder imports from lower layers only; a test reads the imports and holds them to it.
//!
//! | layer | folders |
//! |---|---|
//! | 0 | [`base`] |
//! | 1 | [`stats`], [`linalg`], [`hub`] |
//! | 2 | [`nn`] |
//! | 3 | [`corpus`], [`subject`], [`llm`], [`report`] |
//! | 4 | [`activations`], [`gate`] |
//! | 5 | [`dictionary`] |
//! | 6 | [`features`] |
//! | 7 | [`explain`], [`simulate`], [`score`] |
//! | 8 | [`suite`] |
//! | 9 | [`run`], [`mod@bench`] |
//! | 10 | [`cli`] |
//!
//! # Invariants
//!
//! - *Identical activations*: dictionaries of one hook point carry one digest, or the run ends with
//!   [`run::RunError::MixedActivations`].
//! - *No leakage*: what explains ([`features::Evidence`]) and what scores ([`features::Held`]) are
//!   different types made by one function; a simulator receives tokens, never activations; what chooses
//!   among explanations ([`features::Calibration`]) is made of evidence alone.
//! - *No silent loss*: walked = scored + undefined + failed + Σ skipped(reason), in every cell.
//! - *No hidden chance*: whatever draws takes a [`base::Stream`] with a name; results do not depend on
//!   the number of threads.
//! - *No guessing*: stored files carry a kind and a version; an unknown one is an error with a hint.
//! - *An undefined number is data*: null with a reason, never 0 and never NaN.

pub mod activations;
pub mod base;
pub mod bench;
pub mod cli;
pub mod corpus;
pub mod dictionary;
pub mod explain;
pub mod features;
pub mod gate;
pub mod hub;
pub mod linalg;
pub mod llm;
pub mod nn;
pub mod report;
pub mod run;
pub mod score;
pub mod simulate;
pub mod stats;
pub mod subject;
pub mod suite;
