//! The saved schema, and tables, charts and pages drawn from it.
//!
//! In: a run folder.
//! Out: tables, charts, pages.
//! Never: needs a model, a key or the network.
