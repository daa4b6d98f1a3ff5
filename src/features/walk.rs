//! Chooses the features of a dictionary to explain and score.

use serde::{Deserialize, Serialize};

use crate::base::{Missing, Stream};

use super::{FeatureSummary, Protocol, WalkOrder};

/// Why a walked feature is not explained.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, strum::IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum SkipReason {
    /// It fires on no token.
    Dead,
    /// It fires in fewer documents than the protocol requires.
    TooFewFiringFragments,
    /// There are too few documents for its non-firing list.
    TooFewNonFiringFragments,
}

impl SkipReason {
    /// The reason as spelled in results.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The reason as counted in tallies.
    pub fn missing(self) -> Missing {
        Missing::Skipped(self.name().into())
    }
}

/// A feature that was considered, and the outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalkedFeature {
    /// Index of the feature in its dictionary.
    pub feature: usize,
    /// Why it is skipped; none if it is eligible.
    pub skipped: Option<SkipReason>,
}

/// The features of one dictionary that were considered, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walk {
    /// Eligible and skipped features together.
    pub walked: Vec<WalkedFeature>,
}

impl Walk {
    /// Features to explain and score, in the order walked.
    pub fn eligible(&self) -> impl Iterator<Item = usize> {
        self.walked.iter().filter(|walked| walked.skipped.is_none()).map(|walked| walked.feature)
    }

    /// Summaries of the eligible features, in the order walked.
    pub fn summaries<'a>(
        &'a self,
        summaries: &'a [FeatureSummary],
    ) -> impl Iterator<Item = &'a FeatureSummary> {
        self.eligible().filter_map(|feature| summary_of(summaries, feature))
    }

    /// Share of walked features that are eligible; none if no feature was walked.
    pub fn eligible_share(&self) -> Option<f64> {
        let n = self.walked.len();
        (n > 0).then(|| self.eligible().count() as f64 / n as f64)
    }

    /// Fragments that the eligible features use, ascending, each once.
    #[cfg(test)]
    pub fn needed_fragments(&self, summaries: &[FeatureSummary]) -> Vec<usize> {
        let mut needed: Vec<usize> = self.summaries(summaries).flat_map(FeatureSummary::fragments).collect();
        needed.sort_unstable();
        needed.dedup();
        needed
    }
}

/// The summary of a feature, from summaries that are ordered by feature; none if it is not among them.
pub fn summary_of(summaries: &[FeatureSummary], feature: usize) -> Option<&FeatureSummary> {
    let place = summaries.binary_search_by_key(&feature, |summary| summary.feature).ok()?;
    summaries.get(place)
}

/// Walks exactly the features `ids`, in this order. `summaries` are ordered by feature and include them all.
pub fn walk_chosen(summaries: &[FeatureSummary], ids: &[usize], protocol: &Protocol) -> Walk {
    let walked = ids.iter().filter_map(|&feature| {
        let skipped = skip_reason(summary_of(summaries, feature)?, protocol);
        Some(WalkedFeature { feature, skipped })
    });
    Walk { walked: walked.collect() }
}

/// Chooses features. `summaries` are ordered by feature: all of the dictionary, or at least the protocol's first ones
/// with [`WalkOrder::First`].
///
/// With [`WalkOrder::Permutation`], features come in an order drawn from `stream` until `per_cell` are
/// eligible or none is left. With [`WalkOrder::First`], they are the protocol's first ones, whatever
/// `per_cell` is.
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
        let Some(summary) = summary_of(summaries, feature) else { continue };
        let skipped = skip_reason(summary, protocol);
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
