//! The suite file as it is written: every field with its meaning, default, range and legal words, declared once.
//!
//! The published schema, the field reference, the reader's checks and its suggestions are derived from these
//! types. Words that belong to a family (kinds of method, explainers, simulators, scorers) come from the family's
//! catalogue. `x-default` describes a default that no single value states; `x-main` names the field of a section
//! that a bare value most likely means.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Number;

use super::schema;
use crate::explain::catalog::ATTEMPTS;
use crate::features::Deviation;
use crate::llm::LlmSpec;
use crate::subject::{Bos, Processing};

/// A whole experiment.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(title = "autointerp suite", extend("required" = ["hooks", "methods"]))]
#[serde(default)]
pub struct SuiteFile {
    /// Name of the suite and of its folder under `results/`.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*$"), extend("x-default" = "the file's name"))]
    pub name: Option<String>,
    /// Root of every seed stream. Two runs with one seed give the same bytes.
    pub seed: u64,
    /// The language model that is interpreted.
    #[schemars(extend("x-default" = "`{model: embedded}`"))]
    pub subject: SubjectSpec,
    /// The text that activations come from.
    #[schemars(extend("x-default" = "`{source: embedded}`"))]
    pub corpus: CorpusSpec,
    /// Hook points, spelled as in TransformerLens; `*` is every layer, `{0,2}` some.
    #[schemars(schema_with = "schema::hooks")]
    pub hooks: Vec<Option<String>>,
    /// What is compared: one entry per method, in the order of the tables.
    #[schemars(schema_with = "schema::methods")]
    pub methods: Vec<Option<serde_json::Map<String, serde_json::Value>>>,
    /// How many features of each method are scored.
    #[schemars(extend("x-default" = "`{per_cell: 40}`"))]
    pub features: Features,
    /// `standard`, `cunningham2023`, or a mapping with `base` and the constants that differ from it.
    #[schemars(schema_with = "schema::protocol", extend("x-default" = "`standard`"))]
    pub protocol: serde_json::Value,
    /// Who describes a feature: the name of a kind, or a mapping.
    #[schemars(schema_with = "schema::explainer", extend("x-default" = "`neuron_to_graph`"))]
    pub explainer: Option<Teller<ExplainerFields>>,
    /// Who predicts activations from the description: the name of a kind, or a mapping.
    #[schemars(schema_with = "schema::simulator", extend("x-default" = "the explainer's kind"))]
    pub simulator: Option<Teller<SimulatorFields>>,
    /// More explainers beside the first: an offline kind, whose explanations its own simulator reads, or
    /// `{explainer: …, simulator: …}`.
    #[schemars(schema_with = "schema::pairs", extend("x-default" = "`[]`"))]
    pub pairs: Vec<Option<PairEntry>>,
    /// Scores to compute. `detection`, `fuzzing` and `surprisal` are judged by a language model that is given the
    /// explanation.
    #[schemars(schema_with = "schema::scorers")]
    pub scorers: Vec<Option<String>>,
    /// Who judges for `detection`, `fuzzing` and `surprisal`.
    #[schemars(extend("x-default" = "the simulator's model, else the explainer's"))]
    pub judge: JudgeFields,
    /// Controls that run beside the methods. `oracle` explains each feature by the best of the embedded corpus's
    /// labelled concepts.
    #[schemars(schema_with = "schema::controls", extend("x-default" = "`[shuffled]`"))]
    pub controls: Option<Vec<Option<ControlEntry>>>,
    /// Intervals and tests.
    pub statistics: Statistics,
    /// When to stop or complain.
    pub limits: Limits,
}

impl Default for SuiteFile {
    fn default() -> Self {
        Self {
            name: None,
            seed: 0,
            subject: SubjectSpec::default(),
            corpus: CorpusSpec::default(),
            hooks: Vec::new(),
            methods: Vec::new(),
            features: Features::default(),
            protocol: "standard".into(),
            explainer: None,
            simulator: None,
            pairs: Vec::new(),
            scorers: Vec::new(),
            judge: JudgeFields::default(),
            controls: None,
            statistics: Statistics::default(),
            limits: Limits::default(),
        }
    }
}

/// Which model.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-main" = "model"))]
#[serde(default)]
pub struct SubjectSpec {
    /// `embedded`, a local folder in Hugging Face layout, a GGUF file (`….gguf`, its weights unpacked to f32), or a
    /// hub id.
    pub model: String,
    /// Commit, tag or branch of a hub id. The commit it resolves to is recorded.
    pub revision: Option<String>,
    /// Round both factors of matrix products inside the model's blocks to bf16, on processors with bf16 products
    /// (AVX-512 BF16, AMX). This is faster; activations differ by a few thousandths of their size. Sums, the
    /// residual stream, norms, attention and logits stay in f32.
    pub half_products: bool,
    /// BOS in front of every context, fragment and probe. It counts as part of `ctx_tokens`; it is never fitted on,
    /// scored or shown as text.
    #[serde(skip_serializing_if = "Bos::is_auto")]
    pub bos: Bos,
    /// TransformerLens's processing of the weights, for dictionaries that were trained on such a model. The digest
    /// of the model changes with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub processing: Vec<Processing>,
}

impl Default for SubjectSpec {
    fn default() -> Self {
        Self {
            model: "embedded".into(),
            revision: None,
            half_products: false,
            bos: Bos::Auto,
            processing: Vec::new(),
        }
    }
}

/// Which text, and how much of it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-main" = "source"))]
#[serde(default)]
pub struct CorpusSpec {
    /// `embedded`, a path (text, `.jsonl`, `.jsonl.gz`, `.jsonl.zst`), or `hub:ID`.
    pub source: String,
    /// Field of a JSONL line that holds the text.
    #[schemars(extend("x-default" = "`text`"))]
    pub field: Option<String>,
    /// Line that separates documents of a plain text file.
    #[schemars(extend("x-default" = "`<|endoftext|>`"))]
    pub separator: Option<String>,
    /// Commit, tag or branch of a hub data set.
    pub revision: Option<String>,
    /// Glob over the files of a hub data set.
    #[schemars(extend("x-default" = "all text and JSONL files"))]
    pub files: Option<String>,
    /// Tokens that dictionaries are fitted on.
    #[schemars(range(min = 1_000))]
    pub fit_tokens: usize,
    /// Tokens of a fitting context. Position 0 is left out of fitting.
    #[schemars(range(min = 2))]
    pub ctx_tokens: usize,
    /// 64-token fragments that features are explained and scored on.
    #[schemars(range(min = 40))]
    pub eval_fragments: usize,
}

impl Default for CorpusSpec {
    fn default() -> Self {
        Self {
            source: "embedded".into(),
            field: None,
            separator: None,
            revision: None,
            files: None,
            fit_tokens: 500_000,
            ctx_tokens: 128,
            eval_fragments: 5_000,
        }
    }
}

/// How many features are scored.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[schemars(extend("x-main" = "per_cell"))]
#[serde(default)]
pub struct Features {
    /// Eligible features scored in each (hook point, method).
    #[schemars(range(min = 2), extend("x-default" = "`40`; `cunningham2023`: `150`"))]
    pub per_cell: Option<usize>,
}

/// Fields of every method. The fields of its kind stand beside them.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MethodFields {
    /// Name of its rows.
    #[schemars(extend("x-default" = "the kind"))]
    pub name: Option<String>,
    /// What kind of dictionary it is.
    #[schemars(schema_with = "schema::method_kinds", extend("x-default" = "required"))]
    pub kind: String,
    /// A file of `baselines/`. Fields beside it override the file's.
    #[serde(rename = "use")]
    #[schemars(regex(pattern = r"\.ya?ml$"))]
    pub uses: Option<String>,
    /// `{k: [4, 8, 16]}`: one method for each value of a field of its kind, named `NAME_VALUE`. Charts join them by
    /// a line.
    #[schemars(schema_with = "schema::sweep")]
    pub sweep: Option<BTreeMap<String, Vec<Number>>>,
    /// How many times it is trained, on rows in the same order, from different initial weights. All trainings share
    /// a row: means over trainings, intervals that draw trainings first and features second, `per_cell` features of
    /// each.
    #[schemars(range(min = 1, max = 100))]
    pub seeds: u32,
    /// What it controls for. No number depends on it.
    pub controls_for: Option<String>,
    /// Where it comes from. No number depends on it.
    pub source: Option<String>,
}

impl Default for MethodFields {
    fn default() -> Self {
        Self {
            name: None,
            kind: String::new(),
            uses: None,
            sweep: None,
            seeds: 1,
            controls_for: None,
            source: None,
        }
    }
}

/// Fields of a protocol beside its constants.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ProtocolFields {
    /// The protocol whose constants are overridden.
    pub base: ProtocolName,
    /// Departures from `cunningham2023`. They are printed with the result.
    pub deviations: Vec<Deviation>,
}

/// A named protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProtocolName {
    /// This project's own: disjoint fragments, a seeded sample of the eligible features.
    #[default]
    Standard,
    /// The published one.
    Cunningham2023,
}

/// An explainer or a simulator: the name of its kind, or its fields.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Teller<F> {
    /// The kind.
    Kind(String),
    /// The fields.
    Fields(F),
}

/// An explainer.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ExplainerFields {
    /// How a feature is described.
    #[schemars(schema_with = "schema::explainer_kinds", extend("x-default" = "`neuron_to_graph`"))]
    pub kind: String,
    /// Name in tables. It tells two models of one kind apart.
    #[schemars(extend("x-default" = "the kind"))]
    pub name: Option<String>,
    /// The language model; see `llm`. Kinds that ask one require it.
    pub llm: Option<LlmSpec>,
    /// Attempts at a feature's question until an answer can be read. Then the feature counts as failed.
    #[schemars(range(min = 1))]
    pub attempts: usize,
    /// Explanations asked for. Of several, the one is kept that the simulator predicts best from on calibration
    /// fragments: every other top and random fragment of the evidence, which the explainer is then not shown.
    #[schemars(range(min = 1))]
    pub best_of: usize,
    /// Worked examples in the question. Fewer make it shorter.
    #[schemars(extend("x-default" = "all"))]
    pub shots: Option<usize>,
    /// Temperature of the first answer. 0 takes the likeliest token each time; later attempts then use 0.7.
    #[schemars(range(min = 0.0, max = 2.0), extend("x-default" = "`1`; `local`: `0`"))]
    pub temperature: Option<f64>,
}

impl Default for ExplainerFields {
    fn default() -> Self {
        Self {
            kind: String::new(),
            name: None,
            llm: None,
            attempts: ATTEMPTS,
            best_of: 1,
            shots: None,
            temperature: None,
        }
    }
}

/// A simulator.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SimulatorFields {
    /// How activations are predicted. None is needed, and none is asked, where all scorers are judged.
    #[schemars(schema_with = "schema::simulator_kinds", extend("x-default" = "the explainer's kind"))]
    pub kind: String,
    /// Name in tables.
    #[schemars(extend("x-default" = "the kind"))]
    pub name: Option<String>,
    /// The language model; see `llm`.
    #[schemars(extend("x-default" = "the explainer's"))]
    pub llm: Option<LlmSpec>,
    /// Attempts at the question about a fragment until an answer can be read.
    #[schemars(range(min = 1))]
    pub attempts: usize,
    /// Worked examples in the question.
    #[schemars(extend("x-default" = "all"))]
    pub shots: Option<usize>,
}

impl Default for SimulatorFields {
    fn default() -> Self {
        Self { kind: String::new(), name: None, llm: None, attempts: ATTEMPTS, shots: None }
    }
}

/// An item of `pairs`: an explainer alone, or with its simulator.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum PairEntry {
    /// Both.
    Both(PairFields),
    /// An explainer whose simulator is of its own kind.
    Alone(Teller<ExplainerFields>),
}

/// An explainer and its simulator.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(extend("required" = ["explainer"]))]
pub struct PairFields {
    /// Who describes a feature.
    #[schemars(schema_with = "schema::explainer")]
    pub explainer: Teller<ExplainerFields>,
    /// Who predicts activations from the description.
    #[schemars(schema_with = "schema::simulator", extend("x-default" = "the explainer's kind"))]
    pub simulator: Option<Teller<SimulatorFields>>,
}

/// Who judges, as far as a suite says.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default)]
pub struct JudgeFields {
    /// The language model; see `llm`. For `surprisal` it has to give the log-probabilities of a prompt.
    #[schemars(extend("x-default" = "the simulator's, else the explainer's"))]
    pub llm: Option<LlmSpec>,
    /// Attempts at a question until an answer can be read.
    #[schemars(range(min = 1))]
    pub attempts: usize,
    /// Fragments that share a question of `detection` and `fuzzing`.
    #[schemars(range(min = 1))]
    pub per_question: usize,
    /// Whether the probabilities of verdicts are asked for. The AUROC of `detection` and `fuzzing` needs them, and
    /// some endpoints refuse the question.
    pub probabilities: bool,
}

impl Default for JudgeFields {
    fn default() -> Self {
        Self { llm: None, attempts: ATTEMPTS, per_question: 5, probabilities: true }
    }
}

/// An item of `controls`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ControlEntry {
    /// A control on the same subject.
    Named(ControlName),
    /// Controls on a subject with permuted weights.
    OnPermuted(PermutedControls),
}

/// A control on the same subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ControlName {
    /// Every feature scored with another feature's explanation.
    Shuffled,
    /// Every feature scored with the concept of the labelled corpus that fits it best.
    Oracle,
}

/// Controls on a subject with permuted weights, each with the methods that it repeats.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PermutedControls {
    /// Weights permuted within each matrix; embeddings stay.
    pub random_weights: Vec<String>,
    /// The same, with embeddings and unembedding permuted too.
    pub random_weights_and_embeddings: Vec<String>,
}

/// Intervals and tests.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Statistics {
    /// Confidence of the intervals.
    #[schemars(range(min = 0.5, max = 0.999))]
    pub confidence: f64,
    /// How intervals are computed.
    #[schemars(schema_with = "schema::intervals", extend("x-default" = "`bca`; `cunningham2023`: `normal`"))]
    pub interval: String,
    /// Bootstrap resamples.
    #[schemars(range(min = 100))]
    pub resamples: usize,
    /// Permutations of a test.
    #[schemars(range(min = 100))]
    pub permutations: usize,
    /// The score that the Holm-adjusted family tests.
    #[schemars(schema_with = "schema::scores", extend("x-default" = "the first scorer"))]
    pub primary: String,
    /// The method that the family compares with every other.
    #[schemars(extend("x-default" = "the first method"))]
    pub reference: String,
    /// A difference whose 90 % interval lies inside ± this is called within the margin.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub margin: f64,
}

/// What a suite leaves out of `interval`, `primary` and `reference` is empty here until it is checked.
impl Default for Statistics {
    fn default() -> Self {
        Self {
            confidence: 0.95,
            interval: String::new(),
            resamples: 10_000,
            permutations: 100_000,
            primary: String::new(),
            reference: String::new(),
            margin: 0.05,
        }
    }
}

/// When to stop or complain.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Limits {
    /// Share of walked features that may fail before the run exits 3.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub failed_allowed: f64,
    /// Disk that harvested activations may take, in GB.
    #[schemars(range(min = 0.001, max = 1e6))]
    pub disk_gb: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { failed_allowed: 0.05, disk_gb: 20.0 }
    }
}
