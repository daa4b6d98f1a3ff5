//! Draws the fragments of a feature, one list after the other.
//!
//! A feature uses at most one fragment per document, unless the protocol lets the random list repeat the top
//! one. F is the number of firing documents left. A is the number of documents left with a silent fragment.
//! One of a document's `choices` eligible fragments is drawn uniformly.
//!
//! 1. *Top*: documents with the largest maxima, each by its best fragment. P = 1.
//! 2. *Lowest maximum*: firing documents with the smallest maxima. They fill the non-firing list if there are
//!    too few silent documents. P = 1.
//! 3. *Random*: `n_random` firing documents, uniformly. P = n_random / F / choices.
//! 4. *Non-firing*: k silent documents, uniformly. P = k / A / choices. If the document also has firing
//!    fragments, step 3 may have used it: P is multiplied by 1 − n_random / F.
//! 5. *More random*: n further firing documents, uniformly. P = q · n / left / choices, where q is the
//!    probability that steps 3 and 4 did not use the document. `left` is the realised number of documents
//!    left.
//!
//! With weights 1 / P, sums over a list are unbiased for its population (Horvitz and Thompson 1952). In step
//! 5 this is approximate if documents hold both kinds of fragment, as `left` is then random.

use std::cmp::Reverse;
use std::collections::HashSet;

use super::census::Census;
use super::extremes::{Candidate, Extremes};
use super::priority::{Drawn, Purpose};
use super::protocol::Protocol;

/// The draw that a fragment comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stratum {
    /// The largest maxima.
    Top,
    /// A uniform sample of firing fragments, divided between explaining and scoring.
    Random,
    /// A second uniform sample of the remaining firing fragments.
    MoreRandom,
    /// A uniform sample of fragments on which the feature does not fire.
    NonFiring,
    /// Firing fragments with the smallest maxima, if non-firing ones are too few.
    LowestMaximum,
}

/// A fragment drawn for a feature.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Chosen {
    /// Index of the fragment.
    pub fragment: u32,
    /// The feature's maximum on it, over scored positions.
    pub max: f32,
    /// The draw it comes from.
    pub stratum: Stratum,
    /// Probability that this fragment enters its list.
    pub probability: f64,
}

/// A firing fragment of a rank group.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct QuantilePick {
    /// Index of the fragment; it is in the random or the more-random list.
    pub fragment: usize,
    /// Probability of entering either list, times the share of its group that is kept.
    pub probability: f64,
}

/// A feature's statistics from one pass, and the fragments drawn for it.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureSummary {
    /// Index of the feature in its dictionary.
    pub feature: usize,
    /// Scored positions of all fragments.
    pub n_tokens: usize,
    /// Scored positions with a positive code.
    pub firing_tokens: usize,
    /// Fragments on which the feature fires, by the protocol's rule.
    pub firing_fragments: usize,
    /// Documents with a firing fragment.
    pub firing_documents: usize,
    /// Largest code; 0 if there are no tokens.
    pub max_activation: f32,
    /// Top list, by descending maximum.
    pub top: Vec<Chosen>,
    /// Random list, in the order drawn.
    pub random: Vec<Chosen>,
    /// More-random list, in the order drawn.
    pub more_random: Vec<Chosen>,
    /// Non-firing list, in an order that is random over both of its strata.
    pub non_firing: Vec<Chosen>,
    /// Members of `random` and `more_random`, grouped by descending rank of the maximum.
    pub quantiles: Vec<Vec<QuantilePick>>,
}

impl FeatureSummary {
    /// Share of tokens on which the feature fires.
    pub fn density(&self) -> f64 {
        share(self.firing_tokens, self.n_tokens)
    }

    /// Fragments of all lists; with `overlap_allowed` one may come twice.
    pub fn fragments(&self) -> impl Iterator<Item = usize> {
        let lists = [&self.top, &self.random, &self.more_random, &self.non_firing];
        lists.into_iter().flatten().map(|chosen| chosen.fragment as usize)
    }
}

/// Numbers of documents behind the probabilities, named as in the file head.
#[derive(Debug, Clone, Copy)]
struct Counts {
    firing: usize,
    random: usize,
    silent: usize,
    non_firing: usize,
    firing_left: usize,
    more_random: usize,
}

fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

impl Counts {
    fn of_random(&self, drawn: &Drawn) -> f64 {
        share(self.random, self.firing) / f64::from(drawn.choices)
    }

    fn of_non_firing(&self, drawn: &Drawn, also_fires: bool) -> f64 {
        let left = if also_fires { 1.0 - share(self.random, self.firing) } else { 1.0 };
        left * share(self.non_firing, self.silent) / f64::from(drawn.choices)
    }

    fn of_more_random(&self, drawn: &Drawn, also_silent: bool) -> f64 {
        let left = if also_silent { 1.0 - share(self.non_firing, self.silent) } else { 1.0 };
        let left = left * (1.0 - share(self.random, self.firing));
        left * share(self.more_random, self.firing_left) / f64::from(drawn.choices)
    }
}

/// Draws all lists of one feature.
pub(super) fn summarise(
    feature: usize,
    census: &Census,
    protocol: &Protocol,
    n_tokens: usize,
) -> FeatureSummary {
    let top = census.top.items();
    let top_documents: HashSet<u32> = top.iter().map(|item| item.document).collect();
    let lowest = lowest_maxima(census, protocol, &top_documents);
    let lists = sample(census, protocol, &top_documents, &lowest);
    let random = |drawn: &Drawn| chosen(Stratum::Random, drawn, lists.counts.of_random(drawn));
    let more_random = |drawn: &Drawn| {
        let probability = lists.counts.of_more_random(drawn, census.silent.has(drawn.document));
        chosen(Stratum::MoreRandom, drawn, probability)
    };
    FeatureSummary {
        feature,
        n_tokens,
        firing_tokens: census.firing_tokens as usize,
        firing_fragments: census.firing_fragments,
        firing_documents: census.fired.count(),
        max_activation: if n_tokens == 0 { 0.0 } else { census.max },
        top: top.iter().map(|item| certain(Stratum::Top, item)).collect(),
        random: lists.random.iter().map(random).collect(),
        more_random: lists.more_random.iter().map(more_random).collect(),
        non_firing: non_firing_list(census, &lists, &lowest),
        quantiles: quantiles(census, &lists, protocol),
    }
}

/// A fragment that was not drawn at random.
fn certain(stratum: Stratum, item: &Candidate) -> Chosen {
    Chosen { fragment: item.fragment, max: item.max, stratum, probability: 1.0 }
}

fn chosen(stratum: Stratum, drawn: &Drawn, probability: f64) -> Chosen {
    Chosen { fragment: drawn.fragment, max: drawn.max, stratum, probability }
}

/// Step 2. Uses documents outside the top without a silent fragment, and leaves enough for the random list.
fn lowest_maxima(census: &Census, protocol: &Protocol, top: &HashSet<u32>) -> Vec<Candidate> {
    let silent = census.silent.count() - top.iter().filter(|&&document| census.silent.has(document)).count();
    let firing = census.fired.count() - top.len();
    let n = protocol.n_non_firing.saturating_sub(silent).min(firing.saturating_sub(protocol.n_random));
    let usable = |item: &&Candidate| !top.contains(&item.document) && !census.silent.has(item.document);
    census.lowest.iter().flat_map(Extremes::items).filter(usable).take(n).copied().collect()
}

struct Lists {
    random: Vec<Drawn>,
    more_random: Vec<Drawn>,
    non_firing: Vec<Drawn>,
    counts: Counts,
}

/// Steps 3 to 5.
fn sample(census: &Census, protocol: &Protocol, top: &HashSet<u32>, lowest: &[Candidate]) -> Lists {
    let lowest: HashSet<u32> = lowest.iter().map(|item| item.document).collect();
    let no_documents = HashSet::new();
    let excluded = if protocol.overlap_allowed { &no_documents } else { top };
    let mut random = census.firing_sample.sorted();
    random.retain(|drawn| !excluded.contains(&drawn.document) && !lowest.contains(&drawn.document));
    let n_firing = census.fired.count() - excluded.len() - lowest.len();

    let mut more_random = random.split_off(protocol.n_random.min(random.len()));
    let used: HashSet<u32> = top.iter().copied().chain(random.iter().map(|drawn| drawn.document)).collect();

    let mut non_firing = census.silent_sample.sorted();
    non_firing.retain(|drawn| !used.contains(&drawn.document));
    non_firing.truncate(protocol.n_non_firing - lowest.len());
    let n_silent =
        census.silent.count() - used.iter().filter(|&&document| census.silent.has(document)).count();

    let taken: HashSet<u32> = non_firing.iter().map(|drawn| drawn.document).collect();
    more_random.retain(|drawn| !taken.contains(&drawn.document));
    more_random.truncate(protocol.n_more_random);
    let taken_from_firing =
        taken.iter().filter(|&&document| census.fired.has(document) && !excluded.contains(&document)).count();
    let counts = Counts {
        firing: n_firing,
        random: random.len(),
        silent: n_silent,
        non_firing: non_firing.len(),
        firing_left: n_firing - random.len() - taken_from_firing,
        more_random: more_random.len(),
    };
    Lists { random, more_random, non_firing, counts }
}

fn non_firing_list(census: &Census, lists: &Lists, lowest: &[Candidate]) -> Vec<Chosen> {
    let silent = lists.non_firing.iter().map(|drawn| {
        let probability = lists.counts.of_non_firing(drawn, census.fired.has(drawn.document));
        (drawn.priority, chosen(Stratum::NonFiring, drawn, probability))
    });
    let lowest = lowest.iter().map(|item| {
        let priority = census.priorities.of(Purpose::SilentDocument, item.document);
        (priority, certain(Stratum::LowestMaximum, item))
    });
    let mut list: Vec<(u64, Chosen)> = silent.chain(lowest).collect();
    list.sort_by_key(|(priority, chosen)| (*priority, chosen.fragment));
    list.into_iter().map(|(_, chosen)| chosen).collect()
}

/// Groups of equal size by rank. Within a group the last drawn come first: they neither explain nor score.
fn quantiles(census: &Census, lists: &Lists, protocol: &Protocol) -> Vec<Vec<QuantilePick>> {
    let mut ranked: Vec<(usize, &Drawn)> =
        lists.random.iter().chain(&lists.more_random).enumerate().collect();
    ranked.sort_by(|(_, a), (_, b)| b.max.total_cmp(&a.max).then(a.fragment.cmp(&b.fragment)));
    let (n, counts) = (ranked.len(), lists.counts);
    let bound = |group: usize| group * n / protocol.n_quantiles;
    let group = |group: usize| {
        let mut members = ranked[bound(group)..bound(group + 1)].to_vec();
        members.sort_by_key(|(nth_drawn, _)| Reverse(*nth_drawn));
        let kept = share(members.len().min(protocol.per_quantile), members.len());
        let pick = |(_, drawn): (usize, &Drawn)| {
            let also_silent = census.silent.has(drawn.document);
            let probability = counts.of_random(drawn) + counts.of_more_random(drawn, also_silent);
            QuantilePick { fragment: drawn.fragment as usize, probability: probability * kept }
        };
        members.into_iter().take(protocol.per_quantile).map(pick).collect()
    };
    (0..protocol.n_quantiles).map(group).collect()
}
