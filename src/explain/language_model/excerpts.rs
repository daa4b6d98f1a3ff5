//! The fragments of a feature as prompts show them.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::features::{
    ActivationRecord, Evidence, Stratum, TokenTexts, marked_text, quoted, strong_marks, ten_point_scale,
};

/// Number of fragments that a prompt shows, from the start of each list of the evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shown {
    /// Fragments with the largest activations.
    pub top: usize,
    /// Random fragments on which the feature fires.
    pub random: usize,
    /// Fragments on which the feature does not fire, or fires least.
    pub non_firing: usize,
}

impl Shown {
    /// The top fragments, then the random ones.
    pub(super) fn firing<'a>(&self, evidence: &'a Evidence) -> Vec<&'a ActivationRecord> {
        let of = |stratum, n| evidence.records().iter().filter(move |r| r.stratum == stratum).take(n);
        of(Stratum::Top, self.top).chain(of(Stratum::Random, self.random)).collect()
    }

    pub(super) fn silent<'a>(&self, evidence: &'a Evidence) -> Vec<&'a ActivationRecord> {
        let silent = |r: &&ActivationRecord| matches!(r.stratum, Stratum::NonFiring | Stratum::LowestMaximum);
        evidence.records().iter().filter(silent).take(self.non_firing).collect()
    }
}

/// One fragment.
pub(super) struct Excerpt {
    pub texts: Vec<String>,
    /// Activations from 0 to 10 on the scale of all fragments shown; `None` before the first scored position.
    pub levels: Vec<Option<u8>>,
    /// Whether a token is strong within this fragment.
    pub marked: Vec<bool>,
}

/// Scales the activations of fragments: 10 is the largest one at a scored position.
pub(super) fn excerpts(
    records: &[&ActivationRecord],
    first_scored: usize,
    texts: &TokenTexts<'_>,
) -> Vec<Excerpt> {
    let scored = records.iter().flat_map(|record| record.activations.iter().skip(first_scored));
    let max = scored.copied().fold(0.0, f32::max);
    let excerpt = |record: &&ActivationRecord| {
        let levels = ten_point_scale(&record.activations, max).into_iter().enumerate();
        Excerpt {
            texts: record.tokens.iter().map(|&token| texts(token)).collect(),
            levels: levels.map(|(place, level)| (place >= first_scored).then_some(level)).collect(),
            marked: strong_marks(&record.activations, first_scored),
        }
    };
    records.iter().map(excerpt).collect()
}

impl Excerpt {
    /// One token per line, `"token"<TAB>level`, with a dash before the first scored position. Without `with_zeros`,
    /// only levels above 0.
    pub fn listing(&self, with_zeros: bool) -> String {
        let mut lines = String::new();
        for (text, level) in self.texts.iter().zip(&self.levels) {
            let _ = match level {
                Some(0) | None if !with_zeros => Ok(()),
                Some(level) => writeln!(lines, "{}\t{level}", quoted(text)),
                None => writeln!(lines, "{}\t-", quoted(text)),
            };
        }
        lines
    }

    /// Running text with marks, and below it each marked token with its level. Level 0, in a fragment that is weak
    /// throughout, is shown as `<1`.
    pub fn running(&self) -> String {
        let level = |level: Option<u8>| match level {
            None | Some(0) => "<1".to_string(),
            Some(level) => level.to_string(),
        };
        let places = (0..self.texts.len()).filter(|&place| self.marked[place]);
        let one = |place: usize| format!("{} {}", quoted(&self.texts[place]), level(self.levels[place]));
        let listed: Vec<String> = places.map(one).collect();
        let listed = if listed.is_empty() { "nothing".to_string() } else { listed.join(", ") };
        format!("{}\nmarked: {listed}\n", marked_text(&self.texts, &self.marked))
    }
}

/// Joins fragments under numbered headings.
pub(super) fn numbered(parts: impl IntoIterator<Item = String>) -> String {
    let parts = parts.into_iter().enumerate();
    let parts: Vec<String> = parts.map(|(nth, part)| format!("Excerpt {}\n{part}", nth + 1)).collect();
    parts.join("\n")
}
