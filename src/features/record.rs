use serde::{Deserialize, Serialize, Serializer};

use super::draw::{Chosen, FeatureSummary, QuantilePick};
use super::{FeatureError, FragmentSet};

/// Which draw a fragment of a feature comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stratum {
    /// The largest maxima.
    Top,
    /// A uniform draw of firing fragments, short and split between explaining and scoring.
    Random,
    /// A second uniform draw of firing fragments, of those that remain.
    MoreRandom,
    /// A uniform draw of fragments on which the feature does not fire.
    NonFiring,
    /// Firing fragments of the smallest maxima, where non-firing ones are too few.
    LowestMaximum,
}

/// One fragment with one feature's activation per token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActivationRecord {
    /// Number of the fragment.
    pub fragment: usize,
    /// The document that the fragment comes from.
    pub document: usize,
    /// Which draw it comes from.
    pub stratum: Stratum,
    /// Probability of being in its list, under the draw that was made.
    pub probability: f64,
    /// Token ids.
    pub tokens: Vec<u32>,
    /// The feature's code on each token; raw units, signed where the dictionary is.
    #[serde(serialize_with = "short_zeros")]
    pub activations: Vec<f32>,
}

/// Zeros, which are most of the values, as one digit.
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

/// A feature's statistics and the fragments drawn for it, one line of a record file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureRecord {
    /// The feature's number in its dictionary.
    pub feature: usize,
    /// First position of a fragment that counts: 0 or 1.
    pub first_scored: usize,
    /// Tokens looked at.
    pub n_tokens: usize,
    /// Those on which the feature fires (code > 0).
    pub firing_tokens: usize,
    /// `firing_tokens / n_tokens`.
    pub density: f64,
    /// Fragments on which it fires, by the protocol's rule.
    pub firing_fragments: usize,
    /// Documents of those fragments.
    pub firing_documents: usize,
    /// Largest code.
    pub max_activation: f32,
    /// By falling maximum.
    pub top: Vec<ActivationRecord>,
    /// Firing fragments outside the top (if the protocol says so), uniformly, in the order drawn.
    pub random: Vec<ActivationRecord>,
    /// Further ones. `random` and `more_random` together are one uniform sample.
    pub more_random: Vec<ActivationRecord>,
    /// Fragments on which it does not fire, or hardly.
    pub non_firing: Vec<ActivationRecord>,
    /// Groups by falling rank of the maximum; members of `random` and `more_random`.
    pub quantiles: Vec<Vec<QuantilePick>>,
}

impl FeatureRecord {
    /// Completes a summary with tokens and with the activations that `activations(feature, fragment)`
    /// returns, one per token of the fragment.
    pub fn assemble(
        summary: &FeatureSummary,
        fragments: FragmentSet<'_>,
        first_scored: usize,
        activations: impl Fn(usize, usize) -> Vec<f32>,
    ) -> Result<Self, FeatureError> {
        let complete = |list: &[Chosen]| -> Result<Vec<ActivationRecord>, FeatureError> {
            list.iter().map(|chosen| complete(summary.feature, chosen, fragments, &activations)).collect()
        };
        Ok(Self {
            feature: summary.feature,
            first_scored,
            n_tokens: summary.n_tokens,
            firing_tokens: summary.firing_tokens,
            density: summary.density(),
            firing_fragments: summary.firing_fragments,
            firing_documents: summary.firing_documents,
            max_activation: summary.max_activation,
            top: complete(&summary.top)?,
            random: complete(&summary.random)?,
            more_random: complete(&summary.more_random)?,
            non_firing: complete(&summary.non_firing)?,
            quantiles: summary.quantiles.clone(),
        })
    }
}

fn complete(
    feature: usize,
    chosen: &Chosen,
    fragments: FragmentSet<'_>,
    activations: &impl Fn(usize, usize) -> Vec<f32>,
) -> Result<ActivationRecord, FeatureError> {
    let fragment = chosen.fragment as usize;
    let (tokens, values) = (fragments.tokens(fragment), activations(feature, fragment));
    if values.len() != tokens.len() {
        return Err(FeatureError::ActivationCount {
            feature,
            fragment,
            expected: tokens.len(),
            got: values.len(),
        });
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
}
