//! `autointerp` measures which decomposition of a language model's activations a person can understand.
//!
//! # The flow
//!
//! Data flow in one direction. Each arrow is a stored result; its key is a digest of everything it depends on.
//! `run/pipeline.rs` follows the same order.
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
//! A folder imports only from lower layers. `tests/it/house.rs` checks this.
//!
//! | layer | folders |
//! |---|---|
//! | 0 | [`base`] |
//! | 1 | [`stats`], [`linalg`], [`hub`], [`remote`] |
//! | 2 | [`nn`] |
//! | 3 | [`corpus`], [`subject`], [`llm`], [`report`] |
//! | 4 | [`activations`], [`gate`] |
//! | 5 | [`dictionary`] |
//! | 6 | [`features`], [`causal`], [`export`] |
//! | 7 | [`explain`], [`simulate`], [`score`] |
//! | 8 | [`suite`] |
//! | 9 | [`run`], [`mod@bench`], [`cluster`] |
//! | 10 | [`cli`] |
//! | 11 | `python`, with the feature of this name |
//!
//! # Invariants
//!
//! - *Identical activations*: all dictionaries of a hook point were fitted on the same activations. Otherwise the
//!   run ends with [`run::RunError::MixedActivations`].
//! - *No leakage*: explainers get [`features::Evidence`], scorers get [`features::Held`]. These are different
//!   types, made by one function. A simulator gets tokens, never activations. Choosing among explanations uses
//!   [`features::Calibration`], which comes from evidence only.
//! - *No silent loss*: in every cell, walked = scored + undefined + failed + Σ skipped(reason).
//! - *Reproducible draws*: every random draw comes from a named [`base::Stream`]. Results do not depend on the
//!   number of threads.
//! - *No guessing*: stored files carry a kind and a version. An unknown one is an error with a hint.
//! - *Undefined numbers*: an undefined number is stored as null with a reason, never as 0 or NaN.

pub mod activations;
pub mod base;
pub mod bench;
pub mod causal;
pub mod cli;
pub mod cluster;
pub mod corpus;
pub mod dictionary;
pub mod explain;
pub mod export;
pub mod features;
pub mod gate;
pub mod hub;
pub mod linalg;
pub mod llm;
pub mod nn;
#[cfg(feature = "python")]
mod python;
pub mod remote;
pub mod report;
pub mod run;
pub mod score;
pub mod simulate;
pub mod stats;
pub mod subject;
pub mod suite;
