//! The suite file as written: every field with its meaning, default, range and allowed words, declared once.
//!
//! The published schema, the field reference, the reader's checks and its suggestions are derived from these types.
//! Names of kinds (methods, explainers, simulators, scorers) come from their catalogues. `x-default` describes a
//! default that is not a single value. `x-main` names the field that a bare value for a section most likely means.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Number;

use super::controls::ControlEntry;
use super::features::{Examples, Features, QualityPass, quality};
use super::limits::Limits;
use super::task::TaskSpec;
use super::{names, schema};
use crate::causal::ErasureParams;
use crate::causal::effects::EffectSettings;
use crate::explain::catalog::ATTEMPTS;
use crate::features::Deviation;
use crate::llm::LlmSpec;
use crate::subject::{Bos, Processing};

/// An experiment.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(title = "autointerp suite", extend("required" = ["hooks", "methods"]))]
#[serde(default)]
pub struct SuiteFile {
    /// Name of the suite and of its folder under `results/`. All names consist of at most 100 letters, digits, `-`, `_`
    /// and `.`, and differ by more than case.
    #[schemars(schema_with = "names::schema", extend("x-default" = "the file's name"))]
    pub name: Option<String>,
    /// Root of all random streams. Two runs with the same seed give identical bytes.
    #[schemars(range(min = 0, max = i64::MAX))]
    pub seed: u64,
    /// The language model that is interpreted.
    #[schemars(extend("x-default" = "`{model: embedded}`"))]
    pub subject: SubjectSpec,
    /// The text that activations come from.
    #[schemars(extend("x-default" = "`{source: embedded}`"))]
    pub corpus: CorpusSpec,
    /// Hook points, spelled as in TransformerLens. `*` means every layer, `{0,2}` means layers 0 and 2.
    #[schemars(schema_with = "schema::hooks")]
    pub hooks: Vec<Option<String>>,
    /// The methods to compare, one entry each, in the order of the tables.
    #[schemars(schema_with = "schema::methods")]
    pub methods: Vec<Option<serde_json::Map<String, serde_json::Value>>>,
    /// The features that are scored: a random sample of a size, or chosen ones. A method can have its own.
    #[schemars(extend("x-default" = "`{per_cell: 40}`"))]
    pub features: Features,
    /// Examples of each scored feature, for its page and `inspect`. `steering`: text written with the feature's code at ten
    /// times its maximum activation, beside unsteered text and a random direction of the same size. It changes no score.
    #[schemars(extend("x-default" = "none"))]
    pub examples: Option<Examples>,
    /// Tokens on which L0, FVU, dead features and loss recovered are measured. A method can have its own. With `sample`
    /// or `false`, chosen features are evaluated without encoding the others.
    #[schemars(schema_with = "quality")]
    pub quality: QualityPass,
    /// `standard`, `cunningham2023`, or a mapping with `base` and the constants that differ from it.
    #[schemars(schema_with = "schema::protocol", extend("x-default" = "`standard`"))]
    pub protocol: serde_json::Value,
    /// The explainer, which describes features: name of a kind, or a mapping.
    #[schemars(schema_with = "schema::explainer", extend("x-default" = "`neuron_to_graph`"))]
    pub explainer: Option<KindOrFields<ExplainerFields>>,
    /// The simulator, which predicts activations from explanations: name of a kind, or a mapping.
    #[schemars(schema_with = "schema::simulator", extend("x-default" = "the explainer's kind"))]
    pub simulator: Option<KindOrFields<SimulatorFields>>,
    /// Further explainers: the name of an offline kind, or `{explainer: …, simulator: …}`. The explanations of an
    /// offline kind are read by its own simulator.
    #[schemars(schema_with = "schema::pairs", extend("x-default" = "`[]`"))]
    pub pairs: Vec<Option<PairEntry>>,
    /// Scores to compute. For `detection`, `fuzzing`, `surprisal`, `specificity` and `intervention`, a language model
    /// judges fragments or written texts by the explanation.
    #[schemars(schema_with = "schema::scorers")]
    pub scorers: Vec<Option<String>>,
    /// The judge for `detection`, `fuzzing`, `surprisal`, `specificity` and `intervention`.
    #[schemars(extend("x-default" = "the simulator's model, else the explainer's"))]
    pub judge: JudgeFields,
    /// Constants of the output scores, `ablation_effect`, `steering_effect`, `effect_agreement`, `damage` and
    /// `intervention`, and of the explainer `output_explanation`.
    pub effects: EffectSettings,
    /// Controls that run beside the methods. `oracle` explains each feature by the best concept that the embedded
    /// corpus is labelled with.
    #[schemars(schema_with = "schema::controls", extend("x-default" = "`[shuffled]`"))]
    pub controls: Option<Vec<Option<ControlEntry>>>,
    /// Prompts in pairs. For each dictionary, features of the run on one prompt are patched into the run on the other. Of
    /// several trainings of a method, the first is patched; controls on permuted weights are not.
    #[schemars(schema_with = "schema::task")]
    pub task: Option<TaskSpec>,
    /// Erasure of concepts: for each dictionary, features that separate the two labels of a concept are removed, beside LEACE
    /// and the projection along the difference of class means. For the same dictionaries as in `task`.
    #[schemars(extend("x-default" = "none"))]
    pub erasure: Option<ErasureParams>,
    /// Confidence intervals and tests.
    pub statistics: Statistics,
    /// Limits on failures, disk space and bad lines of the corpus.
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
            examples: None,
            quality: QualityPass::Full,
            protocol: "standard".into(),
            explainer: None,
            simulator: None,
            pairs: Vec::new(),
            scorers: Vec::new(),
            judge: JudgeFields::default(),
            effects: EffectSettings::default(),
            controls: None,
            task: None,
            erasure: None,
            statistics: Statistics::default(),
            limits: Limits::default(),
        }
    }
}

/// The subject model.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-main" = "model"))]
#[serde(default)]
pub struct SubjectSpec {
    /// `embedded`, a local folder in Hugging Face layout, a GGUF file (`….gguf`, its weights unpacked to f32), or a
    /// hub id, `OWNER/NAME`. GPT-2 is known without an owner: `gpt2`, `gpt2-xl`, `distilgpt2`.
    pub model: String,
    /// Activations made elsewhere, in the place of a model: a safetensors file that `harvest` wrote, a data set of cached
    /// activations that SAELens wrote (a folder), or an Arrow file. Texts, contexts and `*` in `hooks` are those of the
    /// file. Losses, effects on logits, neuron-to-graph and controls on permuted weights need a model.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "none: the model is run"))]
    pub activations: Option<String>,
    /// The tokenizer of the model that made `activations`: a `tokenizer.json`, a model's folder or a GGUF file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "the one that `harvest` recorded, else a `tokenizer.json` beside the activations"))]
    pub tokenizer: Option<String>,
    /// Commit, tag or branch of a hub id. The resolved commit is recorded.
    pub revision: Option<String>,
    /// Round both factors of matrix products inside the model's blocks to bf16, on processors with bf16 products
    /// (AVX-512 BF16, AMX). This is faster and changes activations by a few thousandths of their size. Sums,
    /// residual stream, norms, attention and logits stay in f32.
    pub half_products: bool,
    /// BOS token in front of every context, fragment and probe. It counts towards `ctx_tokens`. It is never fitted
    /// on, scored or shown as text.
    #[serde(skip_serializing_if = "Bos::is_auto")]
    #[schemars(extend("x-default" = "`auto`"))]
    pub bos: Bos,
    /// TransformerLens's processing of the weights, for dictionaries that were trained on a processed model. It
    /// changes the model's digest.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub processing: Vec<Processing>,
}

impl Default for SubjectSpec {
    fn default() -> Self {
        Self {
            model: "embedded".into(),
            activations: None,
            tokenizer: None,
            revision: None,
            half_products: false,
            bos: Bos::Auto,
            processing: Vec::new(),
        }
    }
}

/// The corpus and its size.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-main" = "source"))]
#[serde(default)]
pub struct CorpusSpec {
    /// `embedded`, a path (a file of text, JSON lines or a JSON array, plain or compressed with gzip or zstd; or a folder
    /// of such files), or `hub:ID`. The content of a file decides what it is.
    pub source: String,
    /// Field of a JSON object that holds the text; `data.text` is the field `text` of the object in `data`. If it is
    /// given, every file is read as JSON.
    #[schemars(extend("x-default" = "`text`"))]
    pub field: Option<String>,
    /// Line that separates the documents of a plain text file; `""` separates at blank lines. If it is given, a file that
    /// is not named as JSON is plain text, whatever it begins with.
    #[schemars(extend("x-default" = "`<|endoftext|>`"))]
    pub separator: Option<String>,
    /// Commit, tag or branch of a hub data set.
    pub revision: Option<String>,
    /// Glob over the files of a hub data set.
    #[schemars(extend("x-default" = "all text and JSONL files"))]
    pub files: Option<String>,
    /// Number of tokens that dictionaries are fitted on.
    #[schemars(range(min = 1_000, max = 100_000_000_000u64))]
    pub fit_tokens: usize,
    /// Tokens per context of the fit split. Position 0 is excluded from fitting.
    #[schemars(range(min = 2, max = 1_048_576))]
    pub ctx_tokens: usize,
    /// Number of evaluation fragments, on which features are explained and scored. The protocol sets their length,
    /// 64 tokens by default.
    #[schemars(range(min = 40, max = 100_000_000))]
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

/// Fields common to all methods. Each kind adds its own.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MethodFields {
    /// Name of the method's rows.
    #[schemars(schema_with = "names::schema", extend("x-default" = "the kind"))]
    pub name: Option<String>,
    /// Kind of dictionary.
    #[schemars(schema_with = "schema::method_kinds", extend("x-default" = "required"))]
    pub kind: String,
    /// A file in `baselines/`. Fields beside `use` override the file's.
    #[serde(rename = "use")]
    #[schemars(regex(pattern = r"\.ya?ml$"))]
    pub uses: Option<String>,
    /// `{k: [4, 8, 16]}`: one method per value of a field of its kind, named `NAME_VALUE`. Charts join them by a
    /// line.
    #[schemars(schema_with = "schema::sweep")]
    pub sweep: Option<BTreeMap<String, Vec<Number>>>,
    /// Number of trainings, with the same order of rows and different initial weights. All trainings share a row.
    /// It shows means over trainings. Its intervals resample trainings first and features second. Each training has
    /// `per_cell` features.
    #[schemars(range(min = 1, max = 100))]
    pub seeds: u32,
    /// The features of its rows that are scored, in place of the suite's: a mapping as `features` of the suite. Some
    /// kinds also have a number of this name.
    #[schemars(extend("x-default" = "the suite's"))]
    pub features: Option<Features>,
    /// See `quality` of the suite.
    #[schemars(schema_with = "quality", extend("x-default" = "the suite's"))]
    pub quality: Option<QualityPass>,
    /// What the method controls for. A remark that changes no number.
    pub controls_for: Option<String>,
    /// Source of the method. A remark that changes no number.
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
            features: None,
            quality: None,
            controls_for: None,
            source: None,
        }
    }
}

/// Fields of a protocol other than its constants.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ProtocolFields {
    /// The protocol whose constants are overridden.
    pub base: ProtocolName,
    /// Departures from `cunningham2023`. They are printed with the results.
    pub deviations: Vec<Deviation>,
}

/// A named protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProtocolName {
    /// This project's protocol: disjoint fragments, and a random sample of the eligible features.
    #[default]
    Standard,
    /// The protocol of Cunningham et al. 2023.
    Cunningham2023,
}

/// An explainer or a simulator: the name of its kind, or its fields.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum KindOrFields<F> {
    /// The kind.
    Kind(String),
    /// The fields.
    Fields(F),
}

impl<F> KindOrFields<F> {
    /// The fields; `of_kind` gives those of a kind alone.
    pub fn fields(self, of_kind: impl FnOnce(String) -> F) -> F {
        match self {
            Self::Kind(kind) => of_kind(kind),
            Self::Fields(fields) => fields,
        }
    }
}

/// An explainer.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ExplainerFields {
    /// Kind of explainer.
    #[schemars(schema_with = "schema::explainer_kinds", extend("x-default" = "`neuron_to_graph`"))]
    pub kind: String,
    /// Name in tables. It distinguishes two models of one kind.
    #[schemars(schema_with = "names::schema", extend("x-default" = "the kind"))]
    pub name: Option<String>,
    /// The language model; see `llm`. Required for kinds that ask one.
    pub llm: Option<LlmSpec>,
    /// Maximum number of requests until an answer can be read. After that the feature counts as failed.
    #[schemars(range(min = 1, max = 100))]
    pub attempts: usize,
    /// Number of explanations requested per feature. The one from which the simulator predicts best on calibration
    /// fragments is kept. Calibration fragments are every other top and random fragment of the evidence; the
    /// explainer does not see them.
    #[schemars(range(min = 1, max = 100))]
    pub best_of: usize,
    /// Worked examples in the prompt. Fewer make it shorter.
    #[schemars(range(min = 0, max = 100), extend("x-default" = "all"))]
    pub shots: Option<usize>,
    /// Temperature of the first answer. 0 always takes the most likely token; later attempts then use 0.7.
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
    /// Kind of simulator. None is needed or asked if all scorers are judged.
    #[schemars(schema_with = "schema::simulator_kinds", extend("x-default" = "the explainer's kind"))]
    pub kind: String,
    /// Name in tables.
    #[schemars(schema_with = "names::schema", extend("x-default" = "the kind"))]
    pub name: Option<String>,
    /// The language model; see `llm`.
    #[schemars(extend("x-default" = "the explainer's"))]
    pub llm: Option<LlmSpec>,
    /// Maximum number of requests per fragment until an answer can be read.
    #[schemars(range(min = 1, max = 100))]
    pub attempts: usize,
    /// Worked examples in the prompt.
    #[schemars(range(min = 0, max = 100), extend("x-default" = "all"))]
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
    /// Explainer and simulator.
    Both(Box<PairFields>),
    /// An explainer alone. Its simulator has the same kind.
    Alone(Box<KindOrFields<ExplainerFields>>),
}

/// An explainer and its simulator.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(extend("required" = ["explainer"]))]
pub struct PairFields {
    /// The explainer.
    #[schemars(schema_with = "schema::explainer")]
    pub explainer: KindOrFields<ExplainerFields>,
    /// The simulator.
    #[schemars(schema_with = "schema::simulator", extend("x-default" = "the explainer's kind"))]
    pub simulator: Option<KindOrFields<SimulatorFields>>,
}

/// The judge.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default)]
pub struct JudgeFields {
    /// The language model; see `llm`. For `surprisal` its endpoint must return the log-probabilities of a prompt.
    #[schemars(extend("x-default" = "the simulator's, else the explainer's"))]
    pub llm: Option<LlmSpec>,
    /// Maximum number of requests until an answer can be read.
    #[schemars(range(min = 1, max = 100))]
    pub attempts: usize,
    /// Fragments per question of `detection`, `fuzzing` and `specificity`.
    #[schemars(range(min = 1, max = 1_000))]
    pub per_question: usize,
    /// Whether to request the probabilities of verdicts. The AUROC of `detection` and `fuzzing` needs them. Some
    /// endpoints refuse such requests.
    pub probabilities: bool,
    /// Intervals of activation of `specificity`, of equal width between 0 and the feature's maximum.
    #[schemars(range(min = 1, max = 20))]
    pub intervals: usize,
    /// Most fragments that `specificity` grades in each interval.
    #[schemars(range(min = 1, max = 100))]
    pub per_interval: usize,
}

impl Default for JudgeFields {
    fn default() -> Self {
        Self {
            llm: None,
            attempts: ATTEMPTS,
            per_question: 5,
            probabilities: true,
            intervals: 5,
            per_interval: 4,
        }
    }
}

/// Confidence intervals and tests.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Statistics {
    /// Confidence level of the intervals.
    #[schemars(range(min = 0.5, max = 0.999))]
    pub confidence: f64,
    /// Method of the intervals.
    #[schemars(schema_with = "schema::intervals", extend("x-default" = "`bca`; `cunningham2023`: `normal`"))]
    pub interval: String,
    /// Number of bootstrap resamples.
    #[schemars(range(min = 100, max = 1_000_000))]
    pub resamples: usize,
    /// Number of permutations per test.
    #[schemars(range(min = 100, max = 100_000_000))]
    pub permutations: usize,
    /// The score whose tests are Holm-adjusted as a family.
    #[schemars(schema_with = "schema::scores", extend("x-default" = "the first scorer"))]
    pub primary: String,
    /// The method that this family compares with every other method.
    #[schemars(extend("x-default" = "the first method"))]
    pub reference: String,
    /// A difference whose 90 % interval lies within ± this value counts as within the margin.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub margin: f64,
}

/// `interval`, `primary` and `reference` are empty until the check fills in their defaults.
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
