//! Requests and tokens of language models, without the subject's tokenizer or text.

use crate::base::TokenBatch;
use crate::run::inputs::prepare::SAMPLE_FRAGMENTS;
use crate::run::plan::planned::{planned, walked};
use crate::run::{Places, Planned, RunError};
use crate::suite::Suite;

/// Stand-ins for tokens: English words and word pieces, 4.3 characters on average with the space before them.
const TOKENS: [&str; 17] = [
    " the", " small", " house", " of", " water", " and", " people", " look", "ing", " to", " number",
    " state", ",", " in", " a", ".", " which",
];

/// Planned use of language models.
pub fn questions(suite: &Suite, n_hooks: usize, places: &Places) -> Result<Vec<Planned>, RunError> {
    if suite.pairs.iter().all(|pair| pair.models().next().is_none()) {
        return Ok(Vec::new());
    }
    let positions = suite.protocol.fragment_tokens.clamp(1, MOST_POSITIONS);
    // Steps of a fragment and of a token have no common factor with the number of tokens, so all of them occur.
    let id = |place: usize| ((place / positions * 5 + place % positions * 3) % TOKENS.len()) as u32;
    let ids = (0..SAMPLE_FRAGMENTS * positions).map(id).collect();
    let Some(fragments) = TokenBatch::new(ids, positions) else { return Ok(Vec::new()) };
    let texts = |id: u32| TOKENS[id as usize % TOKENS.len()].to_string();
    planned(suite, walked(suite, n_hooks), &fragments, &texts, &places.suite_folder)
}

/// Longest stand-in fragment.
const MOST_POSITIONS: usize = 4_096;
