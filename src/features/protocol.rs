use serde::{Deserialize, Serialize};

use super::FeatureError;

/// Every n-th rank of a list: `start, start + step, …`, `n` of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stride {
    /// First rank, from 0.
    pub start: usize,
    /// Distance between ranks; at least 1.
    pub step: usize,
    /// How many.
    pub n: usize,
}

impl Stride {
    /// Takes nothing.
    pub const NONE: Self = Self { start: 0, step: 1, n: 0 };

    /// The ranks taken.
    pub fn ranks(self) -> impl Iterator<Item = usize> {
        (0..self.n).map(move |nth| self.start + nth * self.step)
    }

    /// Length that a list must have.
    pub fn needs(self) -> usize {
        self.ranks().last().map_or(0, |rank| rank + 1)
    }
}

/// Which ranks of a feature's three lists one purpose takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Picks {
    /// From the top list, by falling maximum.
    pub top: Stride,
    /// From the random list, in the order drawn.
    pub random: Stride,
    /// From the non-firing list, in the order drawn.
    pub non_firing: Stride,
}

/// When a fragment counts as one the feature fires on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FiringRule {
    /// Its largest activation is positive.
    MaxPositive,
    /// Its largest activation is not exactly zero: a signed feature then fires nearly everywhere.
    MaxNonzero,
}

impl FiringRule {
    /// Whether a fragment of this maximum counts.
    pub fn fires(self, max: f32) -> bool {
        match self {
            Self::MaxPositive => max > 0.0,
            Self::MaxNonzero => max != 0.0,
        }
    }
}

/// In which order features are walked, and when to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WalkOrder {
    /// A seeded permutation of all features until as many as asked for are eligible.
    Permutation,
    /// The first so many in dictionary order, eligible or not.
    First(usize),
}

/// One departure from the published habits of `cunningham2023`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Deviation {
    /// Random fragments come from outside the top's documents.
    Disjoint,
    /// Dictionaries with a mean take it off before encoding.
    Centred,
    /// Features are walked by a seeded permutation.
    Sampled,
}

/// Every constant that decides which fragments explain and score a feature, and which features.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Protocol {
    /// As results show it.
    pub name: String,
    /// Tokens of a fragment.
    pub fragment_tokens: usize,
    /// Whether position 0 of a fragment counts: for maxima, density, explaining and scoring.
    pub score_first_position: bool,
    /// Which fragments count as firing.
    pub firing: FiringRule,
    /// Whether the random list may repeat fragments of the top list.
    pub overlap_allowed: bool,
    /// Whether dictionaries with a mean take it off before encoding.
    pub centred: bool,
    /// Whether fragments with an undecodable token are rejected; otherwise such a token is shown by its bytes.
    pub reject_undecodable: bool,
    /// Firing fragments, in different documents, that make a feature eligible.
    pub min_firing_fragments: usize,
    /// Features walked.
    pub walk: WalkOrder,
    /// Length of the top list.
    pub n_top: usize,
    /// Length of the random list that `explain` and `score` take from.
    pub n_random: usize,
    /// Further random firing fragments kept, for scores that need many.
    pub n_more_random: usize,
    /// Length of the non-firing list.
    pub n_non_firing: usize,
    /// Groups of equal size into which firing fragments are cut by rank of their maximum.
    pub n_quantiles: usize,
    /// Fragments kept of each group.
    pub per_quantile: usize,
    /// What the explainer gets.
    pub explain: Picks,
    /// What the scorer gets.
    pub score: Picks,
    /// Most random fragments, outside those explained on, that `beyond_token` takes.
    pub n_beyond_token: usize,
    /// Departures asked for, printed with every result.
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

    /// The constants and habits of Cunningham et al. 2023 and of the code they used: 5 top fragments
    /// explain, 5 top and 5 random ones score; the first 150 features; position 0 counts.
    pub fn cunningham2023(deviations: &[Deviation]) -> Self {
        let stride = |start, step| Stride { start, step, n: 5 };
        let mut deviations = deviations.to_vec();
        deviations.sort_unstable();
        deviations.dedup();
        let has = |deviation| deviations.contains(&deviation);
        Self {
            name: "cunningham2023".into(),
            fragment_tokens: 64,
            score_first_position: true,
            firing: FiringRule::MaxNonzero,
            overlap_allowed: !has(Deviation::Disjoint),
            centred: has(Deviation::Centred),
            reject_undecodable: true,
            min_firing_fragments: if has(Deviation::Disjoint) { 40 } else { 20 },
            walk: if has(Deviation::Sampled) { WalkOrder::Permutation } else { WalkOrder::First(150) },
            n_top: 20,
            n_random: 20,
            n_more_random: 200,
            n_non_firing: 50,
            n_quantiles: 10,
            per_quantile: 5,
            explain: Picks { top: stride(0, 4), random: Stride::NONE, non_firing: Stride::NONE },
            score: Picks { top: stride(2, 4), random: stride(1, 3), non_firing: Stride::NONE },
            n_beyond_token: 200,
            deviations,
        }
    }

    /// First position of a fragment that counts.
    pub fn first_scored(&self) -> usize {
        usize::from(!self.score_first_position)
    }

    /// Shortest non-firing list that can be split.
    pub(super) fn non_firing_needed(&self) -> usize {
        self.explain.non_firing.needs().max(self.score.non_firing.needs())
    }

    /// Refuses constants that contradict each other, all problems in one message.
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
            if let Some(rank) = explain.ranks().find(|rank| score.ranks().any(|other| other == *rank)) {
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
