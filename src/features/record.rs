//! Feature records: what the streaming pass found, completed with tokens and activations.

use serde::{Deserialize, Serialize, Serializer};

use super::draw::{Chosen, FeatureSummary, QuantilePick, Stratum};
use super::{FeatureError, FragmentSet};

/// One fragment with one feature's activation per token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActivationRecord {
    /// Index of the fragment.
    pub fragment: usize,
    /// The document it comes from.
    pub document: usize,
    /// The draw it comes from.
    pub stratum: Stratum,
    /// Probability of entering its list.
    pub probability: f64,
    /// Token ids.
    pub tokens: Vec<u32>,
    /// The feature's code per token; raw units, signed if the dictionary is.
    #[serde(serialize_with = "short_zeros")]
    pub activations: Vec<f32>,
}

/// Writes zeros, most of the values, as the single digit 0.
fn short_zeros<S: Serializer>(values: &[f32], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Number {
        Zero(u8),
        Other(f32),
    }
    serializer.collect_seq(
        values.iter().map(|&value| if value == 0.0 { Number::Zero(0) } else { Number::Other(value) }),
    )
}

/// A feature's statistics and fragments: one line of a record file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureRecord {
    /// Index of the feature in its dictionary.
    pub feature: usize,
    /// First scored position of a fragment: 0 or 1.
    pub first_scored: usize,
    /// Scored positions of all fragments.
    pub n_tokens: usize,
    /// Scored positions on which the feature fires (code > 0).
    pub firing_tokens: usize,
    /// `firing_tokens / n_tokens`.
    pub density: f64,
    /// Fragments on which it fires, by the protocol's rule.
    pub firing_fragments: usize,
    /// Documents with a firing fragment.
    pub firing_documents: usize,
    /// Largest code.
    pub max_activation: f32,
    /// Top list, by descending maximum.
    pub top: Vec<ActivationRecord>,
    /// Uniform sample of firing fragments (outside the top, if the protocol says so), in the order drawn.
    pub random: Vec<ActivationRecord>,
    /// Further firing fragments. `random` and `more_random` together are one uniform sample.
    pub more_random: Vec<ActivationRecord>,
    /// Fragments on which it does not fire, or fires least.
    pub non_firing: Vec<ActivationRecord>,
    /// Members of `random` and `more_random`, grouped by descending rank of the maximum.
    pub quantiles: Vec<Vec<QuantilePick>>,
}

impl FeatureRecord {
    /// Completes a summary with tokens and with `activations(feature, fragment)`, one value per token.
    pub fn assemble(
        summary: &FeatureSummary,
        fragments: FragmentSet<'_>,
        first_scored: usize,
        activations: impl Fn(usize, usize) -> Vec<f32>,
    ) -> Result<Self, FeatureError> {
        let feature = summary.feature;
        let complete = |chosen: &Chosen| -> Result<ActivationRecord, FeatureError> {
            let fragment = chosen.fragment as usize;
            let (tokens, values) = (fragments.tokens(fragment), activations(feature, fragment));
            let (expected, got) = (tokens.len(), values.len());
            if got != expected {
                return Err(FeatureError::ActivationCount { feature, fragment, expected, got });
            }
            if let Some(&value) = values.iter().find(|value| !value.is_finite()) {
                return Err(FeatureError::NotFinite { feature, fragment, value });
            }
            Ok(ActivationRecord {
                fragment,
                document: fragments.document(fragment),
                stratum: chosen.stratum,
                probability: chosen.probability,
                tokens: tokens.to_vec(),
                activations: values,
            })
        };
        let list = |chosen: &[Chosen]| chosen.iter().map(complete).collect::<Result<Vec<_>, _>>();
        Ok(Self {
            feature,
            first_scored,
            n_tokens: summary.n_tokens,
            firing_tokens: summary.firing_tokens,
            density: summary.density(),
            firing_fragments: summary.firing_fragments,
            firing_documents: summary.firing_documents,
            max_activation: summary.max_activation,
            top: list(&summary.top)?,
            random: list(&summary.random)?,
            more_random: list(&summary.more_random)?,
            non_firing: list(&summary.non_firing)?,
            quantiles: summary.quantiles.clone(),
        })
    }
}
