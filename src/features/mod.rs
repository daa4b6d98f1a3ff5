//! What each feature fires on: records, eligibility, and the features to walk.
//!
//! In: dictionaries, evaluation fragments.
//! Out: feature records with sampling probabilities.
//! Never: explains or scores.
