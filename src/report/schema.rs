//! The files of a run folder that reports are made from: `summary.json` (schema 1) and the lines of `scores.jsonl`.
//! Other programs read these field names: a field may be added, none is renamed under schema 1.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::ReportError;
use super::erasure::Erasure;
use super::patching::TaskPatching;
use super::quadrants::Quadrants;
use super::ranking::Ranking;
use super::recorded::{ScoreFacts, recorded_scores};
use super::specificity::GradedRow;
use crate::base::{Tally, read_to_string};

/// The schema number this version writes and reads.
pub const SCHEMA: u64 = 1;

/// [`Cell::features`] of a cell whose features are chosen.
pub const CHOSEN: &str = "chosen";

/// `summary.json`: everything tables and charts are drawn from. Missing numbers are `null`, never 0
/// and never NaN; the same run gives the same bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Summary {
    /// [`SCHEMA`].
    pub schema: u64,
    /// The suite's name.
    pub suite: String,
    /// Digest of the resolved suite and of its inputs; holds no time and no path.
    pub run: String,
    /// The scorer that the adjusted tests are about.
    #[serde(default)]
    pub primary: Option<String>,
    /// The method that the adjusted tests compare every other one with.
    #[serde(default)]
    pub reference: Option<String>,
    /// Differences inside ± this are called equal.
    #[serde(default)]
    pub margin: Option<f64>,
    /// Names of the deliberate deviations from the protocol.
    #[serde(default)]
    pub deviations: Vec<String>,
    /// One entry per hook point, method, explainer, simulator, control and scorer.
    pub cells: Vec<Cell>,
    /// One entry per dictionary.
    pub quality: Vec<QualityRow>,
    /// Comparisons of two methods.
    pub differences: Vec<DifferenceRow>,
    /// Methods in the order of their means, one ranking per scorer and explainer; empty in older runs.
    #[serde(default)]
    pub rankings: Vec<Ranking>,
    /// Patching of features on the suite's task; null without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patching: Option<TaskPatching>,
    /// Erasure of concepts; null if the suite erases none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erasure: Option<Erasure>,
    /// Grades by interval of activation; absent unless `specificity` is requested.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub specificity: Vec<GradedRow>,
    /// Features by input and output score; null unless the run has both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quadrants: Option<Quadrants>,
    /// The scores as the manifest records them; no part of this file.
    #[serde(skip)]
    pub scores: Vec<ScoreFacts>,
}

/// One estimate over features.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Cell {
    /// Hook point, for example `blocks.1.hook_resid_post`.
    pub hook: String,
    /// Method, as the suite names it.
    pub method: String,
    /// `standard`, `cunningham2023` or `custom`.
    pub protocol: String,
    /// Who explained.
    pub explainer: String,
    /// Who predicted activations from the explanation.
    pub simulator: String,
    /// None for the method itself, else the control's name (`shuffled`, `random_weights`).
    pub control: Option<String>,
    /// The score, for example `top_and_random`.
    pub scorer: String,
    /// Mean over scored features; a constant prediction counts as 0.
    pub mean: Option<f64>,
    /// Lower end of the interval of `mean`.
    pub ci_low: Option<f64>,
    /// Upper end.
    pub ci_high: Option<f64>,
    /// Confidence of the interval, for example 0.95.
    pub confidence: f64,
    /// `bca`, `percentile` (where BCa is degenerate), `normal`; none where there is no interval.
    pub interval_method: Option<String>,
    /// Mean without the constant predictions.
    pub mean_defined: Option<f64>,
    /// Features in `mean_defined`.
    pub n_defined: usize,
    /// Mean with features weighted by how often they fire.
    pub mean_by_density: Option<f64>,
    /// Features walked.
    pub n_requested: usize,
    /// Features in `mean`.
    pub n_scored: usize,
    /// What became of every feature walked; its parts add up to `n_requested`.
    pub tally: Tally,
    /// Features whose prediction did not vary while the truth did (within token types for
    /// `beyond_token`); each is in `mean` as 0.
    #[serde(default)]
    pub n_constant: usize,
    /// Eligible features / walked features.
    #[serde(default)]
    pub eligible_share: Option<f64>,
    /// `chosen` if the suite lists the features; absent if they are a random sample of the dictionary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<String>,
    /// `beyond_token` only: scored tokens whose type occurs at least twice among the tokens scored
    /// for the feature, mean over scored features. The others cannot contribute.
    #[serde(default)]
    pub tokens_repeating: Option<f64>,
    /// Tokens without a number from the language model, over all features; they are left out of the scores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_untold: Option<usize>,
    /// Lower end of the BCa interval, where the protocol asks for another kind of interval.
    #[serde(default)]
    pub bca_low: Option<f64>,
    /// Upper end of that interval.
    #[serde(default)]
    pub bca_high: Option<f64>,
    /// A remark to print with the row.
    #[serde(default)]
    pub note: Option<String>,
}

/// Size, sparsity and reconstruction quality of a dictionary.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct QualityRow {
    /// Hook point.
    pub hook: String,
    /// Method.
    pub method: String,
    /// Name of the sweep that the method belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep: Option<String>,
    /// What the method is to the comparison; absent in older runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Number of trainings that the numbers are means over, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trainings: Option<usize>,
    /// None for the subject's own dictionary, else the control whose dictionary this is.
    #[serde(default)]
    pub control: Option<String>,
    /// Where the dictionary was trained, if that is not where it is applied: a hook point or a model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elsewhere: Option<String>,
    /// Features in the dictionary.
    pub n_features: usize,
    /// Mean number of codes ≠ 0 per token.
    pub l0: Option<f64>,
    /// Fraction of variance unexplained; none where the method does not reconstruct.
    pub fvu: Option<f64>,
    /// Least and largest of several trainings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fvu_least: Option<f64>,
    /// See `fvu_least`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fvu_largest: Option<f64>,
    /// Share of the loss increase from zero ablation that the reconstruction avoids.
    pub loss_recovered_zero: Option<f64>,
    /// The same against mean ablation.
    pub loss_recovered_mean: Option<f64>,
    /// Features that fire on at least one of `n_tokens`.
    pub alive: Option<usize>,
    /// Features that fire on none.
    pub dead: Option<usize>,
    /// Features that fire on fewer than one token in a thousand; dead ones included.
    pub near_dead: Option<usize>,
    /// Evaluation tokens on which the features were counted.
    pub n_tokens: usize,
    /// Median over features of the share of tokens on which a feature fires.
    pub density_median: Option<f64>,
    /// Mean largest cosine between dictionaries of two training seeds.
    pub mmcs_between_seeds: Option<f64>,
    /// Whether fitting converged, where that means something.
    pub converged: Option<bool>,
    /// For example `under-trained` or `not a reconstruction`.
    pub note: Option<String>,
}

/// What a method is to the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// A decomposition that others are measured against: random directions, neurons, the default basis, PCA, ICA.
    Baseline,
    /// Trained by this run.
    Trained,
    /// Read from files.
    Read,
}

/// Two methods compared on one score.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct DifferenceRow {
    /// Hook point.
    pub hook: String,
    /// The score compared.
    pub scorer: String,
    /// Who explained.
    pub explainer: String,
    /// Who simulated.
    pub simulator: String,
    /// First method; `difference` is its mean minus the second's.
    pub method_a: String,
    /// Second method.
    pub method_b: String,
    /// Features of the first.
    pub n_a: usize,
    /// Features of the second.
    pub n_b: usize,
    /// mean(a) − mean(b).
    pub difference: Option<f64>,
    /// Lower end of its interval.
    pub ci_low: Option<f64>,
    /// Upper end.
    pub ci_high: Option<f64>,
    /// Lower end of the interval that agrees with the adjusted p-value; none where nothing was adjusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adjusted_low: Option<f64>,
    /// Upper end of that interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adjusted_high: Option<f64>,
    /// Permutation p-value, unadjusted.
    pub p: Option<f64>,
    /// Adjusted over the family; none where nothing was adjusted.
    pub p_adjusted: Option<f64>,
    /// Planned before seeing the data, or not.
    pub family: Family,
    /// The verdict; none where a number it needs is missing.
    pub verdict: Option<Verdict>,
    /// A remark to print with the row; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Whether a comparison was planned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Primary scorer, reference against every other method; p-values are Holm-adjusted together.
    Primary,
    /// Everything else; p-values are not adjusted.
    #[default]
    Exploratory,
}

/// The verdict of a comparison, as tables print it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Verdict {
    /// The 90 % interval lies inside ± margin.
    #[serde(rename = "within the margin")]
    WithinMargin,
    /// The first method scores higher, p below 0.05.
    #[serde(rename = "higher")]
    Higher,
    /// The first method scores lower, p below 0.05.
    #[serde(rename = "lower")]
    Lower,
    /// None of these; it does not mean that the two are equal.
    #[serde(rename = "no difference detected")]
    NoDifference,
}

/// One line of `scores.jsonl`: one walked feature with its status.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ScoreLine {
    /// Hook point.
    pub hook: String,
    /// Method.
    pub method: String,
    /// Where the method was trained several times: which training, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<u32>,
    /// Index of the feature in its dictionary.
    pub feature: usize,
    /// Protocol.
    pub protocol: String,
    /// Who explained.
    pub explainer: String,
    /// Who simulated.
    pub simulator: String,
    /// None, or the control's name.
    pub control: Option<String>,
    /// What became of it.
    pub status: ScoreStatus,
    /// Why there is no score; none where there is one.
    pub reason: Option<String>,
    /// The explanation as text.
    pub explanation: Option<String>,
    /// Scores by scorer.
    pub scores: BTreeMap<String, Option<f64>>,
    /// Why a score is `null`, by scorer.
    pub score_reasons: BTreeMap<String, String>,
    /// Share of evaluation tokens on which it fires.
    pub density: Option<f64>,
    /// Largest activation on the evaluation tokens.
    pub max_activation: Option<f64>,
    /// Excess kurtosis of its code over the evaluation tokens; of explained features of the real subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kurtosis: Option<f64>,
    /// Top fragments scored on.
    pub n_top: usize,
    /// Random firing fragments scored on.
    pub n_random: usize,
    /// Tokens of simulated fragments without a number from the language model; they are left out of the scores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_untold: Option<usize>,
    /// Fragments that a language model graded 0, 1, 2 and 3, by interval of activation, the weakest first. Present if
    /// `specificity` was computed for the feature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grades: Option<Vec<[usize; 4]>>,
}

/// Name of a dictionary and of its evidence files: the method, with `.seedN` for the N-th of several trainings, N > 1.
pub fn dictionary_name(method: &str, training: Option<u32>) -> String {
    match training {
        None | Some(0) => method.to_string(),
        Some(nth) => format!("{method}.seed{}", nth + 1),
    }
}

/// What became of a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScoreStatus {
    /// It has scores; some may be `null` with a reason.
    Scored,
    /// No score exists for it.
    Undefined,
    /// Explaining, simulating or scoring failed.
    Failed,
    /// It was not eligible.
    Skipped,
}

impl Cell {
    /// Whether its features are chosen, and not a sample of the dictionary.
    pub fn is_of_chosen(&self) -> bool {
        self.features.as_deref() == Some(CHOSEN)
    }
}

impl Summary {
    /// Reads `summary.json`. The schema number is checked before anything else.
    pub fn read(path: &Path) -> Result<Self, ReportError> {
        let scores = recorded_scores(&path.with_file_name("manifest.json"));
        Ok(Self { scores, ..Self::from_json(&read_to_string(path)?, path)? })
    }

    /// Reads the text of a `summary.json`; `path` is for messages.
    pub fn from_json(text: &str, path: &Path) -> Result<Self, ReportError> {
        #[derive(Deserialize)]
        struct Numbered {
            schema: u64,
        }
        let unreadable = |source| ReportError::Json { path: path.to_path_buf(), line: None, source };
        let Numbered { schema } = serde_json::from_str(text).map_err(unreadable)?;
        if schema != SCHEMA {
            return Err(ReportError::Schema { path: path.to_path_buf(), found: schema });
        }
        serde_json::from_str(text).map_err(unreadable)
    }

    /// The text of `summary.json`: fields in declaration order, a newline at the end.
    pub fn to_json(&self) -> Result<String, ReportError> {
        Ok(serde_json::to_string_pretty(self).map_err(ReportError::Unwritable)? + "\n")
    }
}

impl ScoreLine {
    /// Name of the feature's dictionary.
    pub fn dictionary(&self) -> String {
        dictionary_name(&self.method, self.training)
    }

    /// The line as written to `scores.jsonl`, with its newline.
    pub fn to_json_line(&self) -> Result<String, ReportError> {
        Ok(serde_json::to_string(self).map_err(ReportError::Unwritable)? + "\n")
    }
}
