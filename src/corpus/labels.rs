use std::collections::HashMap;

use super::Encode;
use super::generator::{ConceptSet, Span, label};

/// The concepts of every token of both splits. Sets that occur are few, so each token names one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TokenLabels {
    /// Every set that occurs, the empty one first.
    pub sets: Vec<ConceptSet>,
    /// Set of each token of the fit contexts, in their order.
    pub fit: Vec<u32>,
    /// Set of each token of the evaluate fragments, in their order.
    pub evaluate: Vec<u32>,
}

/// The sets that occurred so far.
#[derive(Debug)]
pub(super) struct LabelSets {
    sets: Vec<ConceptSet>,
    places: HashMap<ConceptSet, u32>,
}

impl LabelSets {
    /// Place of the empty set: what a token between documents has.
    pub(super) const NONE: u32 = 0;

    pub(super) fn new() -> Self {
        let none = ConceptSet::default();
        Self { sets: vec![none], places: HashMap::from([(none, Self::NONE)]) }
    }

    /// The place of a set, which is added where it is new.
    pub(super) fn place(&mut self, set: ConceptSet) -> u32 {
        let next = self.sets.len() as u32;
        let place = *self.places.entry(set).or_insert(next);
        if place == next {
            self.sets.push(set);
        }
        place
    }

    pub(super) fn finish(self) -> Vec<ConceptSet> {
        self.sets
    }
}

/// The concepts of each token of a text; none where the tokens' bytes are not the text. One space before
/// it, which some tokenizers put there, covers nothing.
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
    let before = bytes.len().checked_sub(text.len()).filter(|more| *more <= 1)?;
    if bytes[..before] != *b" " && before > 0 || bytes[before..] != *text.as_bytes() {
        return None;
    }
    ends.iter_mut().for_each(|end| *end = end.saturating_sub(before));
    Some(label(spans, &ends))
}
