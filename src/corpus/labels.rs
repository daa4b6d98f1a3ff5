//! Concepts of tokens, stored as indices into the list of distinct sets.

use std::collections::HashMap;

use super::Encode;
use super::generator::{ConceptSet, Span, label};

/// The concepts of every token of both splits. Distinct sets are few, so a token holds an index into `sets`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TokenLabels {
    /// Every distinct set; the first one is empty.
    pub sets: Vec<ConceptSet>,
    /// Set of each token of the fit contexts, in their order.
    pub fit: Vec<u32>,
    /// Set of each token of the evaluate fragments, in their order.
    pub evaluate: Vec<u32>,
}

/// The distinct sets so far.
#[derive(Debug)]
pub(super) struct LabelSets {
    pub(super) sets: Vec<ConceptSet>,
    indices: HashMap<ConceptSet, u32>,
}

impl LabelSets {
    /// Index of the empty set: the label of separators.
    pub(super) const NONE: u32 = 0;

    pub(super) fn new() -> Self {
        let none = ConceptSet::default();
        Self { sets: vec![none], indices: HashMap::from([(none, Self::NONE)]) }
    }

    /// Index of a set; a new set is appended.
    pub(super) fn index(&mut self, set: ConceptSet) -> u32 {
        *self.indices.entry(set).or_insert_with(|| {
            self.sets.push(set);
            self.sets.len() as u32 - 1
        })
    }
}

/// The concepts of each token of a text, or `None` if the tokens' bytes are not the text. Some tokenizers add one
/// space before the text; it has no concepts.
pub(super) fn token_concepts(
    text: &str,
    spans: &[Span],
    ids: &[u32],
    encoder: &dyn Encode,
) -> Option<Vec<ConceptSet>> {
    let (mut bytes, mut ends) = (Vec::with_capacity(text.len()), Vec::with_capacity(ids.len()));
    for &id in ids {
        encoder.push_bytes(id, &mut bytes);
        ends.push(bytes.len());
    }
    let before = bytes.strip_suffix(text.as_bytes())?.len();
    if !matches!(&bytes[..before], b"" | b" ") {
        return None;
    }
    ends.iter_mut().for_each(|end| *end = end.saturating_sub(before));
    Some(label(spans, &ends))
}
