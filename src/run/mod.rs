//! The flow from a plan to a run folder, resumable.
//!
//! In: a plan.
//! Out: a run folder.
//! Never: prints.
