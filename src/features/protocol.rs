//! Protocols: all constants that decide which fragments explain and score a feature.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::FeatureError;

/// `n` equally spaced ranks of a list: `start, start + step, …`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stride {
    /// First rank, from 0.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub start: usize,
    /// Distance between ranks; at least 1.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub step: usize,
    /// How many.
    #[schemars(range(min = 0, max = 10_000))]
    pub n: usize,
}

impl Stride {
    /// No ranks.
    pub const NONE: Self = Self { start: 0, step: 1, n: 0 };

    /// The ranks taken.
    pub fn ranks(self) -> impl Iterator<Item = usize> {
        (0..self.n).map(move |nth| self.start + nth * self.step)
    }

    /// Shortest list that has all ranks.
    pub fn needs(self) -> usize {
        self.ranks().last().map_or(0, |rank| rank + 1)
    }
}

/// The ranks that one purpose takes from a feature's three lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Picks {
    /// From the top list, by descending maximum.
    pub top: Stride,
    /// From the random list, in the order drawn.
    pub random: Stride,
    /// From the non-firing list, in the order drawn.
    pub non_firing: Stride,
}

/// When a feature fires on a fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FiringRule {
    /// Its maximum is positive.
    MaxPositive,
    /// Its maximum is not exactly zero; a signed feature then fires almost everywhere.
    MaxNonzero,
}

impl FiringRule {
    /// Whether a fragment with this maximum counts as firing.
    pub fn fires(self, max: f32) -> bool {
        match self {
            Self::MaxPositive => max > 0.0,
            Self::MaxNonzero => max != 0.0,
        }
    }
}

/// The order in which features are walked, and where the walk stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WalkOrder {
    /// A seeded permutation of all features, until enough are eligible.
    Permutation,
    /// The first so many in dictionary order, eligible or not.
    First(#[schemars(range(min = 1, max = 1_000_000))] usize),
}

/// One departure from the published protocol `cunningham2023`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Deviation {
    /// Random fragments come from outside the top list's documents.
    Disjoint,
    /// Dictionaries with a mean subtract it before encoding.
    Centred,
    /// Features are walked by a seeded permutation.
    Sampled,
}

/// All constants that decide which features are used, and which fragments explain and score them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Protocol {
    /// Name in results.
    pub name: String,
    /// Tokens per fragment.
    #[schemars(range(min = 2, max = 4_096))]
    pub fragment_tokens: usize,
    /// Whether position 0 counts, for maxima, density, explaining and scoring.
    pub score_first_position: bool,
    /// Which fragments count as firing.
    pub firing: FiringRule,
    /// Whether the random list may repeat fragments of the top list.
    pub overlap_allowed: bool,
    /// Whether dictionaries with a mean subtract it before encoding.
    pub centred: bool,
    /// Whether fragments with an undecodable token are rejected; otherwise the token's bytes are shown.
    pub reject_undecodable: bool,
    /// Firing fragments, in different documents, that an eligible feature needs.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub min_firing_fragments: usize,
    /// Order of the walk over features.
    pub walk: WalkOrder,
    /// Length of the top list.
    #[schemars(range(min = 0, max = 100_000))]
    pub n_top: usize,
    /// Length of the random list from which `explain` and `score` take.
    #[schemars(range(min = 0, max = 100_000))]
    pub n_random: usize,
    /// Length of the more-random list, for scores that need many fragments.
    #[schemars(range(min = 0, max = 100_000))]
    pub n_more_random: usize,
    /// Length of the non-firing list.
    #[schemars(range(min = 0, max = 100_000))]
    pub n_non_firing: usize,
    /// Rank groups of equal size into which the drawn firing fragments are divided.
    #[schemars(range(min = 1, max = 100_000))]
    pub n_quantiles: usize,
    /// Fragments kept per group.
    #[schemars(range(min = 0, max = 100_000))]
    pub per_quantile: usize,
    /// Fragments for the explainer.
    pub explain: Picks,
    /// Fragments for the scorer.
    pub score: Picks,
    /// Most random fragments, outside those explained on, that `beyond_token` takes.
    #[schemars(range(min = 0, max = 100_000))]
    pub n_beyond_token: usize,
    /// Departures requested, printed with every result.
    pub deviations: Vec<Deviation>,
}

impl Protocol {
    /// Explains and scores on 10 top, 10 random and 10 non-firing fragments each, all disjoint.
    pub fn standard() -> Self {
        let alternate = |start| Stride { start, step: 2, n: 10 };
        let picks =
            |start| Picks { top: alternate(start), random: alternate(start), non_firing: alternate(start) };
        Self {
            name: "standard".into(),
            fragment_tokens: 64,
            score_first_position: false,
            firing: FiringRule::MaxPositive,
            overlap_allowed: false,
            centred: true,
            reject_undecodable: false,
            min_firing_fragments: 40,
            walk: WalkOrder::Permutation,
            n_top: 20,
            n_random: 20,
            n_more_random: 200,
            n_non_firing: 50,
            n_quantiles: 10,
            per_quantile: 5,
            explain: picks(0),
            score: picks(1),
            n_beyond_token: 200,
            deviations: Vec::new(),
        }
    }

    /// The protocol of Cunningham et al. 2023 (arXiv 2309.08600) and its code: 5 top fragments explain, 5 top
    /// and 5 random ones score; the first 150 features; position 0 counts.
    pub fn cunningham2023(deviations: &[Deviation]) -> Self {
        let stride = |start, step| Stride { start, step, n: 5 };
        let mut deviations = deviations.to_vec();
        deviations.sort_unstable();
        deviations.dedup();
        let has = |deviation| deviations.contains(&deviation);
        Self {
            name: "cunningham2023".into(),
            score_first_position: true,
            firing: FiringRule::MaxNonzero,
            overlap_allowed: !has(Deviation::Disjoint),
            centred: has(Deviation::Centred),
            reject_undecodable: true,
            min_firing_fragments: if has(Deviation::Disjoint) { 40 } else { 20 },
            walk: if has(Deviation::Sampled) { WalkOrder::Permutation } else { WalkOrder::First(150) },
            explain: Picks { top: stride(0, 4), random: Stride::NONE, non_firing: Stride::NONE },
            score: Picks { top: stride(2, 4), random: stride(1, 3), non_firing: Stride::NONE },
            deviations,
            ..Self::standard()
        }
    }

    /// First scored position of a fragment: 0 or 1.
    pub fn first_scored(&self) -> usize {
        usize::from(!self.score_first_position)
    }

    /// Shortest non-firing list that can be split.
    pub(super) fn non_firing_needed(&self) -> usize {
        self.explain.non_firing.needs().max(self.score.non_firing.needs())
    }

    /// Checks the constants for contradictions; one message lists all of them.
    pub fn check(&self) -> Result<(), FeatureError> {
        let mut problems = Vec::new();
        let lists = [
            ("top", self.explain.top, self.score.top, self.n_top),
            ("random", self.explain.random, self.score.random, self.n_random),
            ("non_firing", self.explain.non_firing, self.score.non_firing, self.n_non_firing),
        ];
        for (name, explain, score, n) in lists {
            if explain.step == 0 || score.step == 0 {
                problems.push(format!("`step` of `{name}` is 0, expected at least 1"));
            }
            let needs = explain.needs().max(score.needs());
            if needs > n {
                problems.push(format!("`{name}` takes rank {}, but `n_{name}` is {n}", needs - 1));
            }
            let scored: HashSet<usize> = score.ranks().collect();
            if let Some(rank) = explain.ranks().find(|rank| scored.contains(rank)) {
                problems.push(format!("rank {rank} of `{name}` would both explain and score"));
            }
        }
        if self.explain.top.n == 0 || self.score.top.n == 0 {
            problems.push("`top` of `explain` and of `score` need at least one rank".into());
        }
        let least =
            if self.overlap_allowed { self.n_top.max(self.n_random) } else { self.n_top + self.n_random };
        if self.min_firing_fragments < least {
            problems.push(format!(
                "`min_firing_fragments` is {}, expected at least {least} for the top and random lists",
                self.min_firing_fragments
            ));
        }
        if self.fragment_tokens <= self.first_scored() {
            problems.push(format!("`fragment_tokens` is {}, expected at least 2", self.fragment_tokens));
        }
        if self.n_quantiles == 0 {
            problems.push("`n_quantiles` is 0, expected at least 1".into());
        }
        if problems.is_empty() {
            return Ok(());
        }
        Err(FeatureError::Protocol { protocol: self.name.clone(), problem: problems.join("; ") })
    }
}
