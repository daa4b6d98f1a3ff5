//! Fills a page with fragments up to its size limit.

use std::collections::HashMap;

use serde::Serialize;

use super::candidates::Candidate;
use super::context::{Explainer, Feature};
use super::data::{Data, FragmentData, ShownFragment};
use crate::report::escape::{self, inert_json};
use crate::report::pages::packed::{base64, varints};

/// Numbers tokens in order of first appearance, so that the most frequent ones tend to have small numbers.
#[derive(Default)]
pub struct Tokens<'a> {
    /// Text of every token by id, if known.
    texts: Option<&'a [String]>,
    numbers: HashMap<u32, usize>,
    /// The texts shown, by number.
    pub shown: Vec<String>,
    /// Bytes of the texts on the page.
    bytes: usize,
}

impl<'a> Tokens<'a> {
    pub fn new(texts: Option<&'a [String]>) -> Self {
        Self { texts, ..Self::default() }
    }

    pub fn number(&mut self, id: u32) -> usize {
        let next = self.shown.len();
        let number = *self.numbers.entry(id).or_insert(next);
        if number == next {
            let text = self.texts.and_then(|texts| texts.get(id as usize));
            let shown = text.map_or_else(|| format!("<{id}>"), |text| escape::token(text));
            self.bytes += json_bytes(&shown) + 1;
            self.shown.push(shown);
        }
        number
    }

    /// Removes the tokens from number `n` on, after a fragment turned out not to fit.
    fn truncate(&mut self, n: usize) {
        self.shown.truncate(n);
        self.numbers.retain(|_, number| *number < n);
    }
}

/// Bytes of a value as JSON on the page.
pub fn json_bytes<T: Serialize + ?Sized>(value: &T) -> usize {
    serde_json::to_string(value).map_or(0, |json| inert_json(&json).len())
}

/// Adds fragments until `room` bytes are spent: the first candidate of every feature, then the second ones, and so
/// on. Returns the number added.
pub fn add_fragments(
    data: &mut Data,
    features: &[Feature<'_>],
    explainers: &[Explainer<'_>],
    tokens: &mut Tokens<'_>,
    room: usize,
) -> usize {
    let deepest = features.iter().map(|feature| feature.candidates.len()).max().unwrap_or(0);
    let mut numbers: HashMap<usize, usize> = HashMap::new();
    // The tokens of profiles are already on the page.
    let mut spent = tokens.bytes;
    let mut shown = 0;
    for nth in 0..deepest {
        for (place, feature) in features.iter().enumerate() {
            let Some(candidate) = feature.candidates.get(nth) else { continue };
            let (before, known) = (tokens.bytes, tokens.shown.len());
            let fragment = candidate.fragment;
            let number = numbers.get(&fragment.fragment).copied();
            let new: Option<FragmentData> = number.is_none().then(|| {
                let numbers = fragment.tokens.iter().map(|&id| tokens.number(id));
                (fragment.fragment, fragment.document, base64(&varints(numbers)))
            });
            let number = number.unwrap_or(data.fragments.len());
            let one = shown_fragment(number, candidate, feature, explainers);
            let cost = json_bytes(&one) + 1 + new.as_ref().map_or(0, |new| json_bytes(new) + 1);
            spent += cost + (tokens.bytes - before);
            if spent > room {
                tokens.truncate(known);
                return shown;
            }
            if let Some(new) = new {
                numbers.insert(fragment.fragment, number);
                data.fragments.push(new);
            }
            data.features[place].shown.push(one);
            shown += 1;
        }
    }
    shown
}

fn shown_fragment(
    number: usize,
    candidate: &Candidate<'_>,
    feature: &Feature<'_>,
    explainers: &[Explainer<'_>],
) -> ShownFragment {
    let fragment = candidate.fragment;
    let truths = fragment.activations.iter().map(|&value| f64::from(value));
    let max = feature.record.and_then(|record| record.max_activation);
    let simulated = |explainer: &Explainer<'_>| {
        let mut own = feature.simulations.iter().filter(|line| explainer.simulated(line));
        let line = own.find(|line| line.fragment == fragment.fragment)?;
        let unit = explainer.unit(max);
        let values = line.predicted.iter().map(|&value| f64::from(value.unwrap_or(0.0)) * unit);
        Some(feature.bytes.pack(values))
    };
    let mut simulated: Vec<Option<String>> = explainers.iter().map(simulated).collect();
    while simulated.last().is_some_and(Option::is_none) {
        simulated.pop();
    }
    ShownFragment(number, candidate.members.clone(), feature.bytes.pack(truths), simulated)
}
