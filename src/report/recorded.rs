//! What a run folder records of its scores, so that tables and charts guess nothing from a name.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::base::read_to_string;

/// One score of a run, as its scorer declares it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ScoreFacts {
    /// Its name in results.
    pub name: String,
    /// What its scorer measures.
    pub words: String,
    /// Unit of a value.
    pub unit: String,
    /// Whether a larger value is better.
    pub higher_is_better: bool,
    /// Value that an explanation without information has.
    pub chance: f64,
    /// Place in tables and charts, from the left.
    pub order: u32,
}

/// The scores of older runs, whose manifest records none, in their order. The flag says whether
/// chance is 0.5 instead of 0.
const UNRECORDED: [(&str, bool); 10] = [
    ("top_and_random", false),
    ("beyond_token", false),
    ("top_only", false),
    ("random_only", false),
    ("population", false),
    ("detection", true),
    ("detection_auroc", true),
    ("fuzzing", true),
    ("fuzzing_auroc", true),
    ("surprisal", true),
];

/// The scores that the manifest beside a summary records; those of older runs where it records none.
pub fn recorded_scores(manifest: &Path) -> Vec<ScoreFacts> {
    #[derive(Deserialize)]
    struct Recorded {
        scores: Vec<ScoreFacts>,
    }
    let text = read_to_string(manifest).ok();
    let recorded = text.and_then(|text| serde_json::from_str::<Recorded>(&text).ok());
    recorded.map_or_else(unrecorded_scores, |recorded| recorded.scores)
}

/// See [`UNRECORDED`].
pub fn unrecorded_scores() -> Vec<ScoreFacts> {
    let facts = |(order, (name, half)): (usize, &(&str, bool))| ScoreFacts {
        name: (*name).to_string(),
        words: String::new(),
        unit: String::new(),
        higher_is_better: true,
        chance: if *half { 0.5 } else { 0.0 },
        order: order as u32,
    };
    UNRECORDED.iter().enumerate().map(facts).collect()
}
