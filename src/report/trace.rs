//! Causes of a feature across layers, as `trace.json` records them.

mod dot;
#[cfg(test)]
mod tests;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::label::quoted_token;
use super::number::fixed;

pub use dot::dot;

/// Number of [`FeatureTrace::schema`].
pub const TRACE_SCHEMA: u32 = 1;

/// Which earlier features, ablated one at a time, change a feature's activation; and the causes of those, recursively.
///
/// The effect of an ablation is the drop of the activation at its strongest position of a fragment: positive if the
/// earlier feature supports the later one. Shares are the drop over the activation without an ablation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FeatureTrace {
    /// Schema of this file.
    pub schema: u32,
    /// Digest of the run.
    pub run: String,
    /// Name of the suite.
    pub suite: String,
    /// Name of the subject model.
    pub subject: String,
    /// How the causes were searched.
    pub settings: TraceSettings,
    /// The traced feature first, then its causes, step by step.
    pub nodes: Vec<TraceNode>,
    /// One for each of the strongest causes of a node, strongest first.
    pub edges: Vec<TraceEdge>,
}

/// How causes were searched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TraceSettings {
    /// Steps back from the traced feature.
    pub depth: usize,
    /// Causes kept of each feature.
    pub top: usize,
    /// Fragments wanted of each feature.
    pub fragments: usize,
    /// Earlier features ablated of each feature: the best ones by attribution.
    pub max_exact: usize,
    /// Random directions of each control.
    pub random_directions: usize,
    /// Stored fragments of the run among which each feature's are chosen.
    pub pool_fragments: usize,
    /// Root of the seed streams.
    pub seed: u64,
    /// Nominal coverage of the intervals.
    pub confidence: f64,
}

/// A feature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TraceNode {
    /// Hook point.
    pub hook: String,
    /// Dictionary: its method, with the training if there are several.
    pub dictionary: String,
    /// Index of the feature.
    pub feature: usize,
    /// Steps back from the traced feature.
    pub step: usize,
    /// The label of its explanation; null if the run has not explained it.
    pub label: Option<String>,
    /// The tokens that hold most of its activation on the stored fragments, strongest first.
    pub tokens: Vec<String>,
    /// Its non-zero codes on the stored fragments.
    pub histogram: TraceHistogram,
    /// How its causes were found; null if they were not searched.
    pub causes: Option<TraceCauses>,
    /// Why its causes were not searched; null if they were.
    pub reason: Option<String>,
}

/// Counts of non-zero codes in bins of equal width.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TraceHistogram {
    /// Lower end of the first bin: 0, or the smallest code.
    pub low: f64,
    /// Upper end of the last bin: the largest code.
    pub high: f64,
    /// Positions in each bin.
    pub counts: Vec<u64>,
}

/// The search for the causes of one feature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TraceCauses {
    /// Hook point whose activations were changed.
    pub hook: String,
    /// Dictionaries whose features were tried.
    pub dictionaries: Vec<String>,
    /// Fragments on which effects are measured.
    pub n_fragments: usize,
    /// Those whose strongest activation is at least half of the feature's largest.
    pub n_upper_half: usize,
    /// Mean activation at the strongest position, without an ablation.
    pub activation: f64,
    /// Features of the dictionaries.
    pub n_features: usize,
    /// Those that are active in a fragment, up to its strongest position. All got an attribution.
    pub n_active: usize,
    /// Those that were ablated.
    pub n_tried: usize,
}

/// The effect of one earlier feature on a later one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TraceEdge {
    /// Index of the earlier feature in the nodes.
    pub from: usize,
    /// Index of the later feature.
    pub to: usize,
    /// Estimated effect by the gradient, in units of the later feature's activation: mean over fragments.
    pub attribution: f64,
    /// Drop of the activation when the earlier feature is ablated, in its units.
    pub effect: TracedMean,
    /// The same as a share of the activation.
    pub share: TracedMean,
    /// Share under edits of the same norm in random directions: mean over directions.
    pub random: TracedMean,
    /// Size of the share under a random direction: mean over directions of |mean over fragments|.
    pub random_size: f64,
    /// Fragments in which the earlier feature is active.
    pub n_active_fragments: usize,
}

/// A mean over fragments with its bootstrap interval.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TracedMean {
    /// The mean.
    pub mean: f64,
    /// Lower end of the interval.
    pub ci_low: Option<f64>,
    /// Upper end of the interval.
    pub ci_high: Option<f64>,
    /// Why there is no interval; null if there is one.
    pub reason: Option<String>,
}

impl TracedMean {
    /// Whether the interval excludes 0; false without an interval.
    pub fn is_clear(&self) -> bool {
        self.ci_low.is_some_and(|low| low > 0.0) || self.ci_high.is_some_and(|high| high < 0.0)
    }
}

impl TracedMean {
    /// A share in percent with its interval: `12.0 % [8.1, 15.3]`.
    pub fn percent(&self) -> String {
        let percent = |share: f64| fixed(Some(100.0 * share), 1);
        match (self.ci_low, self.ci_high) {
            (Some(low), Some(high)) => {
                format!("{} % [{}, {}]", percent(self.mean), percent(low), percent(high))
            }
            _ => format!(
                "{} % (no interval: {})",
                percent(self.mean),
                self.reason.as_deref().unwrap_or("unknown")
            ),
        }
    }
}

impl TraceNode {
    /// `HOOK/METHOD/FEATURE`.
    pub fn address(&self) -> String {
        format!("{}/{}/{}", self.hook, self.dictionary, self.feature)
    }

    /// One line: the label, else the strongest tokens.
    pub fn line(&self) -> String {
        match &self.label {
            Some(label) => label.clone(),
            None if self.tokens.is_empty() => "not explained".to_string(),
            None => {
                let tokens: Vec<String> = self.tokens.iter().map(|token| quoted_token(token)).collect();
                format!("on {}", tokens.join(", "))
            }
        }
    }
}

impl FeatureTrace {
    /// `HOOK/METHOD/FEATURE` of the traced feature.
    pub fn address(&self) -> String {
        self.nodes.first().map(TraceNode::address).unwrap_or_default()
    }

    /// How to read the graph, and the conditions of its numbers.
    pub fn caption(&self) -> String {
        let TraceSettings { max_exact, random_directions, pool_fragments, confidence, fragments, .. } =
            &self.settings;
        format!(
            "A box is a feature: its label, and its non-zero codes on {pool_fragments} stored fragments (log counts). A \
             band goes from an earlier feature to a later one. Its width is the share of the later feature's activation \
             that is lost when the earlier one is ablated, a mean over up to {fragments} fragments: solid up to the near \
             end of the {:.0} % interval, shaded up to the far end. Blue: the earlier feature supports the later one. \
             Orange: it suppresses it. Grey: the interval includes 0. Of each feature the {max_exact} causes with the \
             largest attribution were ablated, and those with the largest effects are shown; they were chosen on the same \
             fragments, so the largest effects are overestimated. Controls are edits of the same norm in \
             {random_directions} random directions.",
            100.0 * confidence
        )
    }
}
