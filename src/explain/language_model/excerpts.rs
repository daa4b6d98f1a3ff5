use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::features::{
    ActivationRecord, Evidence, Stratum, TokenTexts, marked_text, quoted, strong_marks, ten_point_scale,
};

/// How many fragments of each list of the evidence a prompt shows, the first ones of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shown {
    /// Of the top list.
    pub top: usize,
    /// Of the random list.
    pub random: usize,
    /// Of the list without firing, or with the least.
    pub non_firing: usize,
}

impl Shown {
    /// Top fragments, then random ones.
    pub(super) fn firing<'a>(&self, evidence: &'a Evidence) -> Vec<&'a ActivationRecord> {
        let of = |stratum, n| evidence.records().iter().filter(move |r| r.stratum == stratum).take(n);
        of(Stratum::Top, self.top).chain(of(Stratum::Random, self.random)).collect()
    }

    pub(super) fn silent<'a>(&self, evidence: &'a Evidence) -> Vec<&'a ActivationRecord> {
        let silent = |r: &&ActivationRecord| matches!(r.stratum, Stratum::NonFiring | Stratum::LowestMaximum);
        evidence.records().iter().filter(silent).take(self.non_firing).collect()
    }
}

/// A fragment as a prompt shows it.
pub(super) struct Excerpt {
    pub texts: Vec<String>,
    /// 0–10 on the scale of all fragments shown; none before the first position that counts.
    pub levels: Vec<Option<u8>>,
    /// Tokens that are strong within this fragment.
    pub marked: Vec<bool>,
}

/// Brings fragments to one scale: 10 is the largest activation among them that counts.
pub(super) fn excerpts(
    records: &[&ActivationRecord],
    first_scored: usize,
    texts: &TokenTexts<'_>,
) -> Vec<Excerpt> {
    let max = records.iter().map(|record| maximum(record, first_scored)).fold(0.0, f32::max);
    records.iter().map(|record| excerpt(record, first_scored, max, texts)).collect()
}

fn maximum(record: &ActivationRecord, first_scored: usize) -> f32 {
    record.activations.iter().skip(first_scored).copied().fold(0.0, f32::max)
}

fn excerpt(record: &ActivationRecord, first_scored: usize, max: f32, texts: &TokenTexts<'_>) -> Excerpt {
    let counts = |place: usize| place >= first_scored;
    let levels = ten_point_scale(&record.activations, max).into_iter().enumerate();
    Excerpt {
        texts: record.tokens.iter().map(|&token| texts(token)).collect(),
        levels: levels.map(|(place, level)| counts(place).then_some(level)).collect(),
        marked: strong_marks(&record.activations, first_scored),
    }
}

impl Excerpt {
    /// One token per line, `"token"<TAB>level`, a dash where nothing counts; zeros left out if asked.
    pub fn listing(&self, with_zeros: bool) -> String {
        let mut lines = String::new();
        for (text, level) in self.texts.iter().zip(&self.levels) {
            let _ = match level {
                Some(0) if !with_zeros => Ok(()),
                None if !with_zeros => Ok(()),
                Some(level) => writeln!(lines, "{}\t{level}", quoted(text)),
                None => writeln!(lines, "{}\t-", quoted(text)),
            };
        }
        lines
    }

    /// Running text with marks, and below it each marked token with its level. A marked token below
    /// level 1 (its whole fragment is weak) shows as `<1`.
    pub fn running(&self) -> String {
        let level = |level: Option<u8>| match level {
            None | Some(0) => "<1".to_string(),
            Some(level) => level.to_string(),
        };
        let places = (0..self.texts.len()).filter(|&place| self.marked[place]);
        let listed: Vec<String> = places
            .map(|place| format!("{} {}", quoted(&self.texts[place]), level(self.levels[place])))
            .collect();
        let listed = if listed.is_empty() { "nothing".to_string() } else { listed.join(", ") };
        format!("{}\nmarked: {listed}\n", marked_text(&self.texts, &self.marked))
    }
}

/// Fragments under numbered headings, separated by blank lines.
pub(super) fn numbered(parts: impl IntoIterator<Item = String>) -> String {
    let parts = parts.into_iter().enumerate();
    let parts: Vec<String> = parts.map(|(nth, part)| format!("Excerpt {}\n{part}", nth + 1)).collect();
    parts.join("\n")
}
