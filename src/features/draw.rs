//! Which fragments stand for a feature, drawn one list after the other; no document serves twice
//! (unless the protocol lets the random list repeat the top one).
//!
//! 1. *Top*: the documents of the largest maxima, each by its best fragment.
//! 2. *Lowest maximum*: only where fewer documents with a silent fragment remain than the non-firing
//!    list needs; firing documents of the smallest maxima fill it.
//! 3. *Random*: `n_random` of the `F` firing documents left, uniformly, each by one of its firing
//!    fragments, uniformly: probability `n_random / F / choices`.
//! 4. *Non-firing*: `k` of the `A` documents left that have a silent fragment, each by one of those:
//!    `k / A / choices`, times the chance `1 − n_random / F` of not having been used in step 3 where
//!    the document has firing fragments too.
//! 5. *More random*: further firing documents left after step 4: the chance of being left, times
//!    `n / left / choices`.
//!
//! Weights `1 / probability` make sums over a list unbiased for sums over its population. In step 5,
//! where documents hold both kinds of fragment, the number left is taken as it came out.

use std::collections::HashSet;

use super::census::Census;
use super::extremes::Candidate;
use super::priority::{Drawn, Purpose};
use super::protocol::Protocol;
use super::record::Stratum;

/// A fragment that a feature uses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Chosen {
    /// Number of the fragment.
    pub fragment: u32,
    /// The feature's maximum on it, over the positions that count.
    pub max: f32,
    /// Which draw it comes from.
    pub stratum: Stratum,
    /// Probability, before that draw and those it follows, that this fragment would be in its list.
    pub probability: f64,
}

/// A firing fragment of a rank group.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct QuantilePick {
    /// Number of the fragment; it is in the random or in the more-random list.
    pub fragment: usize,
    /// Probability of being drawn into either list, times the share of its group that is kept.
    pub probability: f64,
}

/// What one pass found out about a feature, and the fragments drawn for it.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureSummary {
    /// The feature's number in its dictionary.
    pub feature: usize,
    /// Tokens looked at: positions that count, of all fragments.
    pub n_tokens: usize,
    /// Those on which the code is positive.
    pub firing_tokens: usize,
    /// Fragments on which it fires, by the protocol's rule.
    pub firing_fragments: usize,
    /// Documents of those fragments: as many fragments a feature can use.
    pub firing_documents: usize,
    /// Largest code; 0 where there are no tokens.
    pub max_activation: f32,
    /// By falling maximum; probability 1.
    pub top: Vec<Chosen>,
    /// In the order drawn.
    pub random: Vec<Chosen>,
    /// In the order drawn.
    pub more_random: Vec<Chosen>,
    /// In an order that is random over both of its strata.
    pub non_firing: Vec<Chosen>,
    /// Groups by falling rank of the maximum, over `random` and `more_random` together.
    pub quantiles: Vec<Vec<QuantilePick>>,
}

impl FeatureSummary {
    /// Share of tokens on which the feature fires.
    pub fn density(&self) -> f64 {
        if self.n_tokens == 0 { 0.0 } else { self.firing_tokens as f64 / self.n_tokens as f64 }
    }

    /// Every fragment of every list; with `overlap_allowed` one may come twice.
    pub fn fragments(&self) -> impl Iterator<Item = usize> {
        let lists = [&self.top, &self.random, &self.more_random, &self.non_firing];
        lists.into_iter().flatten().map(|chosen| chosen.fragment as usize)
    }
}

/// Documents counted for the probabilities; names as in the text above.
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
    mut census: Census,
    protocol: &Protocol,
    n_tokens: usize,
) -> FeatureSummary {
    let top = std::mem::replace(&mut census.top, empty()).into_items();
    let top_documents: HashSet<u32> = top.iter().map(|item| item.document).collect();
    let lowest = lowest_maxima(&mut census, protocol, &top_documents);
    let lowest_documents: HashSet<u32> = lowest.iter().map(|item| item.document).collect();
    let lists = sample(&mut census, protocol, &top_documents, &lowest_documents);
    let non_firing = non_firing_list(&census, &lists, &lowest);
    let quantiles = quantiles(&census, &lists, protocol);
    let (counts, silent) = (lists.counts, &census.silent);
    let random = lists.random.iter().map(|drawn| (drawn, counts.of_random(drawn)));
    let more = lists
        .more_random
        .iter()
        .map(|drawn| (drawn, counts.of_more_random(drawn, silent.has(drawn.document))));
    FeatureSummary {
        feature,
        n_tokens,
        firing_tokens: census.firing_tokens as usize,
        firing_fragments: census.firing_fragments,
        firing_documents: census.fired.count(),
        max_activation: if n_tokens == 0 { 0.0 } else { census.max },
        top: top.iter().map(|item| certain(Stratum::Top, item)).collect(),
        random: random.map(|(drawn, probability)| chosen(Stratum::Random, drawn, probability)).collect(),
        more_random: more
            .map(|(drawn, probability)| chosen(Stratum::MoreRandom, drawn, probability))
            .collect(),
        non_firing,
        quantiles,
    }
}

/// A fragment that no chance was involved in.
fn certain(stratum: Stratum, item: &Candidate) -> Chosen {
    Chosen { fragment: item.fragment, max: item.max, stratum, probability: 1.0 }
}

fn chosen(stratum: Stratum, drawn: &Drawn, probability: f64) -> Chosen {
    Chosen { fragment: drawn.fragment, max: drawn.max, stratum, probability }
}

fn empty() -> super::extremes::Extremes {
    super::extremes::Extremes::new(super::extremes::End::Largest, 0)
}

/// Firing fragments that fill a non-firing list too short, from documents without a silent fragment
/// and outside the top; enough firing documents are left for the random list.
fn lowest_maxima(census: &mut Census, protocol: &Protocol, top: &HashSet<u32>) -> Vec<Candidate> {
    let Some(lowest) = census.lowest.take() else { return Vec::new() };
    let silent = census.silent.count() - top.iter().filter(|&&document| census.silent.has(document)).count();
    let firing = census.fired.count() - top.len();
    let n = protocol.n_non_firing.saturating_sub(silent).min(firing.saturating_sub(protocol.n_random));
    let usable = |item: &Candidate| !top.contains(&item.document) && !census.silent.has(item.document);
    lowest.into_items().into_iter().filter(usable).take(n).collect()
}

struct Lists {
    random: Vec<Drawn>,
    more_random: Vec<Drawn>,
    non_firing: Vec<Drawn>,
    counts: Counts,
}

fn sample(census: &mut Census, protocol: &Protocol, top: &HashSet<u32>, lowest: &HashSet<u32>) -> Lists {
    let no_documents = HashSet::new();
    let passed_over = if protocol.overlap_allowed { &no_documents } else { top };
    let nothing = || super::priority::Reservoir::new(Purpose::FiringDocument, 0);
    let mut firing = std::mem::replace(&mut census.firing_sample, nothing()).into_sorted();
    firing.retain(|drawn| !passed_over.contains(&drawn.document) && !lowest.contains(&drawn.document));
    let n_firing = census.fired.count() - passed_over.len() - lowest.len();

    let mut more_random = firing.split_off(protocol.n_random.min(firing.len()));
    let random = firing;
    let used: HashSet<u32> = top.iter().copied().chain(random.iter().map(|drawn| drawn.document)).collect();

    let mut non_firing = std::mem::replace(&mut census.silent_sample, nothing()).into_sorted();
    non_firing.retain(|drawn| !used.contains(&drawn.document));
    non_firing.truncate(protocol.n_non_firing - lowest.len());
    let n_silent =
        census.silent.count() - used.iter().filter(|&&document| census.silent.has(document)).count();

    let taken: HashSet<u32> = non_firing.iter().map(|drawn| drawn.document).collect();
    more_random.retain(|drawn| !taken.contains(&drawn.document));
    more_random.truncate(protocol.n_more_random);
    let taken_from_firing = taken
        .iter()
        .filter(|&&document| census.fired.has(document) && !passed_over.contains(&document))
        .count();
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

/// Groups by rank; within a group those drawn last go first, as they neither explain nor score.
fn quantiles(census: &Census, lists: &Lists, protocol: &Protocol) -> Vec<Vec<QuantilePick>> {
    let mut ranked: Vec<(usize, &Drawn)> =
        lists.random.iter().chain(&lists.more_random).enumerate().collect();
    ranked.sort_by(|(_, a), (_, b)| b.max.total_cmp(&a.max).then(a.fragment.cmp(&b.fragment)));
    let (n, counts) = (ranked.len(), lists.counts);
    let bound = |group: usize| group * n / protocol.n_quantiles;
    (0..protocol.n_quantiles)
        .map(|group| {
            let mut members = ranked[bound(group)..bound(group + 1)].to_vec();
            members.sort_by_key(|(place, _)| std::cmp::Reverse(*place));
            let size = members.len();
            members.truncate(protocol.per_quantile);
            let kept = share(members.len(), size);
            members
                .iter()
                .map(|(_, drawn)| {
                    let also_silent = census.silent.has(drawn.document);
                    let drawn_at_all = counts.of_random(drawn) + counts.of_more_random(drawn, also_silent);
                    QuantilePick { fragment: drawn.fragment as usize, probability: drawn_at_all * kept }
                })
                .collect()
        })
        .collect()
}
