//! The JSON of a feature page, as `feature.js` reads it. Repeated texts and tokens are numbers into lists.

use serde::Serialize;

use crate::report::schema::ScoreStatus;

#[derive(Serialize)]
pub struct Data {
    pub hook: String,
    pub dictionary: String,
    /// The method of the dictionary, which several trainings share.
    pub method: String,
    pub control: Option<String>,
    pub scorers: Vec<String>,
    pub chance_is_half: Vec<usize>,
    pub explainers: Vec<ExplainerData>,
    pub reasons: Vec<String>,
    /// The dictionaries of neighbours: name, and file of the page if there is one.
    pub dictionaries: Vec<(String, Option<String>)>,
    /// Features left out: a reason, and its features.
    pub skipped: Vec<(usize, Vec<usize>)>,
    pub bins: usize,
    pub tokens: Vec<String>,
    pub fragments: Vec<FragmentData>,
    pub features: Vec<FeatureData>,
}

/// Number, document, packed tokens.
pub type FragmentData = (usize, Option<usize>, String);

#[derive(Serialize)]
pub struct ExplainerData {
    pub name: String,
    pub simulator: String,
    pub label: String,
    /// Whether it simulates on the scale 0–10, of which 10 is drawn as the feature's largest activation.
    pub ten_point: bool,
    /// (explainer or simulator, digest of its prompt).
    pub prompts: Vec<(String, String)>,
}

#[derive(Serialize)]
pub struct FeatureData {
    pub feature: usize,
    pub density: Option<f64>,
    pub max_activation: Option<f64>,
    #[serde(flatten)]
    pub record: Option<RecordData>,
    pub lines: Vec<LineData>,
    /// Scorer, and the place of the first line's score in its cell.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub standings: Vec<(usize, String)>,
    /// What the first line's label leaves out, such as `8 more rules`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub more: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub judged: Vec<JudgedData>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub questions: Vec<QuestionData>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<ProfileData>,
    /// In the same dictionary, then in others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub neighbours: Option<[Vec<NeighbourData>; 2]>,
    /// Address of the page of its causes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    pub shown: Vec<ShownFragment>,
}

/// Dictionary, feature, cosine, and 1 if it is on a page.
pub type NeighbourData = (usize, usize, f64, u8);

#[derive(Serialize)]
pub struct RecordData {
    pub n_tokens: usize,
    pub firing_tokens: usize,
    pub firing_fragments: Option<usize>,
    pub firing_documents: Option<usize>,
    pub first_scored: usize,
    /// The byte of the value 0, and the step between bytes.
    pub scale: (u8, f64),
    /// Fragments in the run folder.
    pub n_fragments: usize,
    pub n_quantiles: usize,
    pub joint: Vec<Joint>,
}

/// Joint histogram of true and simulated activations over the scored tokens of the top and random lists.
#[derive(Serialize)]
pub struct Joint {
    pub explainer: usize,
    pub n_fragments: usize,
    pub n_tokens: usize,
    /// Predictions beyond the scale, counted in its outermost bin.
    pub n_beyond: usize,
    /// Packed pairs of (distance from the previous cell, count). Cell = true bin · bins + simulated bin.
    pub cells: String,
}

#[derive(Serialize)]
pub struct LineData {
    pub explainer: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control: Option<String>,
    pub status: ScoreStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The label; none where it is the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
    pub scores: Vec<Option<f64>>,
    /// Scorer, and why its score is missing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub why: Vec<(usize, usize)>,
}

/// A language model's verdicts on the fragments of a feature.
#[derive(Serialize)]
pub struct JudgedData {
    pub explainer: usize,
    pub judging: String,
    pub reason: Option<usize>,
    /// For firing fragments, then for the others: their number, and how many the model said to fire.
    pub said: [(usize, usize); 2],
    /// For firing fragments, then for the others: mean gain in nats.
    pub gain: Option<[Option<f64>; 2]>,
    /// Fragments with grade 0, 1, 2 and 3 by interval of activation, the weakest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub grades: Vec<[usize; 4]>,
    /// Choices between two texts: right ones, wrong ones, and those between equal texts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choices: Option<[usize; 3]>,
}

/// A question of `intervention`.
#[derive(Serialize)]
pub struct QuestionData {
    pub prompt: String,
    pub steered: String,
    pub other: String,
    /// What the other text is written with.
    pub control: String,
    /// Explainer, and whether the judge chose the steered text by its explanation; none if nothing was asked.
    pub answers: Vec<(usize, Option<bool>)>,
}

#[derive(Serialize)]
pub struct ProfileData {
    pub n_tokens: Option<usize>,
    pub kurtosis: Option<f64>,
    pub histogram: Option<HistogramData>,
    pub raised: Vec<(usize, f64)>,
    pub lowered: Vec<(usize, f64)>,
    pub logits_note: Option<String>,
    pub ablation: Option<(f64, Option<usize>, Option<usize>)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steering: Option<SteeringData>,
}

/// Texts of one seed, steered and not.
#[derive(Serialize)]
pub struct SteeringData {
    pub prompt: String,
    pub change: f64,
    pub times_max: Option<f64>,
    pub seed: u64,
    /// KL of the next token in nats.
    pub kl: Option<f64>,
    /// Tokens most raised after the prompt.
    pub raised: Vec<usize>,
    /// Unsteered, steered, along a random direction: text, perplexity, and mean size of the edit of the prompt.
    pub texts: [(String, Option<f64>, Option<f64>); 3],
}

#[derive(Serialize)]
pub struct HistogramData {
    pub low: f64,
    pub high: f64,
    pub bins: usize,
    pub n_firing: Option<usize>,
    pub tokens: Vec<usize>,
    /// Packed counts: of each token, then of the rest.
    pub counts: String,
}

/// A fragment of a feature: index in [`Data::fragments`], its memberships, packed activations, packed simulations by
/// explainer.
#[derive(Serialize)]
pub struct ShownFragment(pub usize, pub Vec<Member>, pub String, pub Vec<Option<String>>);

/// A fragment's list, its place there, and its role: see `candidates.rs`.
pub type Member = (u8, usize, u8);
