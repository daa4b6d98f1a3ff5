//! What each feature fires on: records, eligibility, the features to walk, and explanations as data.
//!
//! In: codes of evaluation fragments, block by block; then the activations of the chosen fragments.
//! Out: feature records with sampling probabilities, split into `Evidence` (for explainers; part of it can
//! become `Calibration`, on which explanations are chosen) and `Held` (for scorers); `Explanation`, which
//! predicts from tokens alone; distributions of codes.
//! Never: explains or scores; runs a model.
//!
//! One streaming pass (`RecordBuilder`) draws the fragments of each feature, and `walk` chooses the features.
//! Only the fragments of those features are encoded again (`FeatureRecord::assemble`).
//!
//! Sources: Bills et al. 2023 (slices of top and random records, 0–10 scale); Cunningham et al. 2023, arXiv
//! 2309.08600 (constants of `Protocol::cunningham2023`); Horvitz and Thompson 1952 (weights from sampling
//! probabilities); Foote et al. 2023 and Gao et al. 2024 (token patterns).

mod blocks;
mod builder;
mod census;
mod chosen;
mod draw;
mod error;
mod explanation;
mod extremes;
mod fragments;
mod graded;
mod pattern_trie;
mod priority;
mod protocol;
mod record;
mod rendering;
mod scale;
mod shape;
mod split;
mod token_table;
mod walk;
mod written;

pub use builder::RecordBuilder;
pub use chosen::ChosenActivations;
pub use draw::{Chosen, FeatureSummary, QuantilePick, Stratum};
pub use error::FeatureError;
pub use explanation::{ConceptMeans, Explanation};
pub use fragments::FragmentSet;
pub use pattern_trie::{Pattern, PatternTrie};
pub use protocol::{Deviation, FiringRule, Picks, Protocol, Stride, WalkOrder};
pub use record::{ActivationRecord, FeatureRecord};
pub use rendering::{
    MARK_END, MARK_START, TokenTexts, decoy_marks, index_text, indexed, marked_text, one_line, quoted,
    strong_marks, strongest_mark,
};
pub use scale::ten_point_scale;
pub use shape::{
    CodeHistogram, CodeShape, HISTOGRAM_BINS, HISTOGRAM_TOKENS, ShapeCounter, ShapeSurvey, TokenCounts,
};
pub use split::{Calibration, Evidence, Held, HeldFragment, JudgedFragment, Pick, split};
pub use token_table::TokenTable;
pub use walk::{SkipReason, Walk, WalkedFeature, summary_of, walk, walk_chosen};
pub use written::{Output, OutputEvidence, TokenChange, TokenChanges, WrittenPair};

#[cfg(test)]
mod tests;
