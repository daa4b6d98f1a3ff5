use serde::{Deserialize, Serialize};

use crate::base::{Missing, Stream};

use super::{FeatureSummary, Protocol, WalkOrder};

/// Why a walked feature is not explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// It fires on no token.
    Dead,
    /// It fires in fewer documents than the protocol asks for.
    TooFewFiringFragments,
    /// The corpus has too few documents for a non-firing list beside the firing ones.
    TooFewNonFiringFragments,
}

impl SkipReason {
    /// The reason as results spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::TooFewFiringFragments => "too_few_firing_fragments",
            Self::TooFewNonFiringFragments => "too_few_non_firing_fragments",
        }
    }

    /// As tallies count it.
    pub fn missing(self) -> Missing {
        Missing::Skipped(self.name().into())
    }
}

/// A feature that was looked at, and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalkedFeature {
    /// Its number in the dictionary.
    pub feature: usize,
    /// Why it is left out; none where it is eligible.
    pub skipped: Option<SkipReason>,
}

/// The features of one dictionary that were looked at, in the order walked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walk {
    /// All of them: requested = eligible + skipped.
    pub walked: Vec<WalkedFeature>,
}

impl Walk {
    /// Those to explain and score, in the order walked.
    pub fn eligible(&self) -> impl Iterator<Item = usize> {
        self.walked.iter().filter(|walked| walked.skipped.is_none()).map(|walked| walked.feature)
    }

    /// Their summaries, in the order walked.
    pub fn summaries<'a>(
        &'a self,
        summaries: &'a [FeatureSummary],
    ) -> impl Iterator<Item = &'a FeatureSummary> {
        self.eligible().filter_map(|feature| summaries.get(feature))
    }

    /// Eligible of walked; none where nothing was walked.
    pub fn eligible_share(&self) -> Option<f64> {
        let n = self.walked.len();
        (n > 0).then(|| self.eligible().count() as f64 / n as f64)
    }

    /// Every fragment that the eligible features use, ascending, each once.
    pub fn needed_fragments(&self, summaries: &[FeatureSummary]) -> Vec<usize> {
        let mut needed: Vec<usize> = self.summaries(summaries).flat_map(FeatureSummary::fragments).collect();
        needed.sort_unstable();
        needed.dedup();
        needed
    }
}

/// Chooses features of a dictionary (`summaries[i]` is feature `i`). By permutation: all features in
/// an order drawn from `stream` until `per_cell` are eligible or none is left. In dictionary order:
/// the protocol's first ones, whatever `per_cell` says.
pub fn walk(summaries: &[FeatureSummary], per_cell: usize, protocol: &Protocol, stream: &mut Stream) -> Walk {
    let (order, enough) = match protocol.walk {
        WalkOrder::Permutation => (stream.permutation(summaries.len()), per_cell),
        WalkOrder::First(n) => ((0..summaries.len().min(n)).collect(), usize::MAX),
    };
    let mut walked = Vec::new();
    let mut eligible = 0;
    for feature in order {
        if eligible >= enough {
            break;
        }
        let skipped = skip_reason(&summaries[feature], protocol);
        eligible += usize::from(skipped.is_none());
        walked.push(WalkedFeature { feature, skipped });
    }
    Walk { walked }
}

fn skip_reason(summary: &FeatureSummary, protocol: &Protocol) -> Option<SkipReason> {
    let random_needed = protocol.explain.random.needs().max(protocol.score.random.needs());
    if summary.firing_tokens == 0 {
        Some(SkipReason::Dead)
    } else if summary.firing_documents < protocol.min_firing_fragments || summary.random.len() < random_needed
    {
        Some(SkipReason::TooFewFiringFragments)
    } else if summary.non_firing.len() < protocol.non_firing_needed() {
        Some(SkipReason::TooFewNonFiringFragments)
    } else {
        None
    }
}
