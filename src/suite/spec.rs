//! The checked suite: what a suite file means, every default filled in.

use serde::Serialize;

use crate::base::HookSelector;
use crate::dictionary::{MethodParams, Variant};
use crate::features::Protocol;
use crate::llm::{ClientKind, LlmSpec};
use crate::report::dictionary_name;
use crate::score::Judging;
use crate::subject::{Bos, Processing};

/// What the schema of results leaves open, as `suite.schema.json` describes it field by field.
type Open = serde_json::Map<String, serde_json::Value>;

/// A whole experiment. Its JSON form is what the manifest records and what the run's digest is
/// made from, so it holds no path of this machine except those the user wrote.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct Suite {
    /// Name of the suite and of its run folder.
    pub name: String,
    /// Root of every seed stream.
    pub seed: u64,
    /// The model being interpreted.
    pub subject: SubjectSpec,
    /// The text.
    pub corpus: CorpusSpec,
    /// Hook points as written, `blocks.*.hook_resid_post`.
    #[serde(serialize_with = "as_written")]
    #[schemars(with = "Vec<String>")]
    pub hooks: Vec<(String, HookSelector)>,
    /// Methods in the order of the tables.
    pub methods: Vec<MethodSpec>,
    /// Features to score in each (hook point, method).
    pub per_cell: usize,
    /// Which fragments explain, which score, and how.
    #[schemars(with = "Open")]
    pub protocol: Protocol,
    /// Explainer and simulator side by side; the first is the suite's own, the rest from `pairs`.
    pub pairs: Vec<Pair>,
    /// Scores, in the order of the tables; a judged scorer with each of its scores.
    pub scorers: Vec<&'static str>,
    /// What a meaningless method would score.
    pub controls: Controls,
    /// Intervals and tests.
    pub statistics: Statistics,
    /// When to stop or complain.
    pub limits: Limits,
}

impl Suite {
    /// The judged scorers that are asked for.
    pub fn judgings(&self) -> Vec<Judging> {
        Judging::ALL.into_iter().filter(|judging| self.scorers.contains(&judging.name())).collect()
    }
}

fn as_written<S: serde::Serializer>(
    hooks: &[(String, HookSelector)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(hooks.iter().map(|(text, _)| text))
}

/// Which model.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct SubjectSpec {
    /// `embedded`, a local folder, or a hub id.
    pub model: String,
    /// Branch, tag or commit of a hub id.
    pub revision: Option<String>,
    /// Make products inside the model's blocks of numbers rounded to bf16.
    pub half_products: bool,
    /// Whether BOS stands in front of every sequence; left out where it is `auto`. The manifest's `bos` has what it
    /// came to.
    #[serde(skip_serializing_if = "Bos::is_auto")]
    pub bos: Bos,
    /// What is done to its weights first; left out where it is nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub processing: Vec<Processing>,
}

/// Which text, and how much of it.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct CorpusSpec {
    /// `embedded`, a path, or `hub:ID`.
    pub source: String,
    /// Field of a JSONL line that holds the text.
    pub field: Option<String>,
    /// A line that separates documents of a plain text file.
    pub separator: Option<String>,
    /// Revision of a hub data set.
    pub revision: Option<String>,
    /// Files of a hub data set, as a glob.
    pub files: Option<String>,
    /// Tokens to fit on.
    pub fit_tokens: usize,
    /// Tokens of a fitting context.
    pub ctx_tokens: usize,
    /// Fragments to evaluate on.
    pub eval_fragments: usize,
}

/// One method: a dictionary to fit, with the variants that one fit serves.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct MethodSpec {
    /// Names its dictionary; no other has it. Variants other than `fitted` add theirs.
    pub name: String,
    /// Checked parameters of its kind.
    #[schemars(with = "Open")]
    pub params: MethodParams,
    /// Where it is trained several times: which of them this is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub training: Option<TrainingSpec>,
    /// Name that the methods of one `sweep` have in common. It decides what charts join by lines, and no number.
    #[serde(skip)]
    pub sweep: Option<String>,
}

/// One of several trainings of a method, which differ in what is drawn and share a row of the table.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct TrainingSpec {
    /// Name in tables.
    pub method: String,
    /// From 0.
    pub nth: u32,
}

impl MethodSpec {
    /// Which readings of the fit are compared: one row each.
    pub fn variants(&self) -> &[Variant] {
        match self.params.variants() {
            [] => &[Variant::Fitted],
            variants => variants,
        }
    }

    /// Names of all dictionaries that its fit gives.
    pub fn row_names(&self) -> Vec<String> {
        let nth = self.training.as_ref().map(|training| training.nth);
        self.row_methods().iter().map(|method| dictionary_name(method, nth)).collect()
    }

    /// Name in tables: the same for all trainings of a method.
    pub fn method(&self) -> &str {
        self.training.as_ref().map_or(&self.name, |training| &training.method)
    }

    /// Names in tables of all rows that it gives or has a share in.
    pub fn row_methods(&self) -> Vec<String> {
        self.variants().iter().map(|variant| variant.method_name(self.method())).collect()
    }

    /// Which of several trainings this is.
    pub fn nth_training(&self) -> u32 {
        self.training.as_ref().map_or(0, |training| training.nth)
    }

    /// Whether a suite means this by `name`: its own, that of its trainings, or that of its sweep.
    pub fn is_called(&self, name: &str) -> bool {
        [Some(self.name.as_str()), Some(self.method()), self.sweep.as_deref()].contains(&Some(name))
    }
}

/// An explainer with the simulator that reads its explanations.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Pair {
    /// Who describes.
    pub explainer: ExplainerSpec,
    /// Who predicts.
    pub simulator: SimulatorSpec,
    /// Who judges, where a judged score is asked for and the explainer writes sentences.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judge: Option<Box<JudgeSpec>>,
}

/// A language model that is told an explanation and judges fragments by it.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct JudgeSpec {
    /// The model.
    #[schemars(with = "Open")]
    pub llm: LlmSpec,
    /// Times that an unreadable answer is asked for again, the first included.
    pub attempts: usize,
    /// Fragments that share a question of detection and fuzzing.
    pub per_question: usize,
    /// Whether the probabilities of verdicts are asked for, which some endpoints refuse.
    pub probabilities: bool,
}

impl Pair {
    /// An offline explainer with the simulator of its kind.
    pub fn offline(kind: OfflineKind) -> Self {
        Self { explainer: ExplainerSpec::Offline(kind), simulator: SimulatorSpec::Offline(kind), judge: None }
    }

    /// The control whose explanations are concepts that the corpus is labelled with.
    pub fn oracle() -> Self {
        Self { explainer: ExplainerSpec::Oracle, simulator: SimulatorSpec::Oracle, judge: None }
    }

    /// The language models that it asks.
    pub fn models(&self) -> impl Iterator<Item = &LlmSpec> {
        let explainer = match &self.explainer {
            ExplainerSpec::Offline(_) | ExplainerSpec::Oracle => None,
            ExplainerSpec::Model(explainer) => Some(&explainer.llm),
        };
        let simulator = match &self.simulator {
            SimulatorSpec::Offline(_) | SimulatorSpec::Oracle | SimulatorSpec::Nobody => None,
            SimulatorSpec::Model(simulator) => Some(&simulator.llm),
        };
        explainer.into_iter().chain(simulator).chain(self.judge.as_ref().map(|judge| &judge.llm))
    }
}

/// Who describes a feature.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum ExplainerSpec {
    /// Without a language model.
    Offline(OfflineKind),
    /// A language model.
    Model(Box<ModelExplainer>),
    /// The concept that fits best, where the corpus is labelled: a control, in no suite's `pairs`.
    Oracle,
}

impl ExplainerSpec {
    /// Its name in tables.
    pub fn name(&self) -> &str {
        match self {
            Self::Offline(kind) => kind.name(),
            Self::Model(explainer) => &explainer.name,
            Self::Oracle => Controls::ORACLE,
        }
    }
}

/// A language model that describes features.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct ModelExplainer {
    /// Name in tables: the kind's unless the suite says otherwise.
    pub name: String,
    /// What it is shown, and how.
    pub kind: ModelExplainerKind,
    /// The model.
    #[schemars(with = "Open")]
    pub llm: LlmSpec,
    /// Times that an unreadable answer is asked for again, the first included.
    pub attempts: usize,
    /// Explanations asked for, of which the one that simulates best on calibration fragments is kept.
    pub best_of: usize,
    /// Worked examples in the question; none: all there are.
    pub shots: Option<usize>,
    /// Temperature of the first answer; 0 takes the likeliest token each time.
    pub temperature: f64,
}

impl ModelExplainer {
    /// One with everything else as it is where a suite says nothing: a model in this process takes the likeliest
    /// token each time, as small ones lose their way when tokens are drawn.
    pub fn of(kind: ModelExplainerKind, llm: LlmSpec) -> Self {
        let temperature = if llm.client == ClientKind::Local { 0.0 } else { 1.0 };
        let name = name_of(&ModelExplainerKind::ALL, kind);
        Self { name, kind, llm, attempts: ATTEMPTS, best_of: 1, shots: None, temperature }
    }
}

/// Times that an unreadable answer is asked for, the first included.
pub(super) const ATTEMPTS: usize = 3;

fn name_of<K: PartialEq>(all: &[(&str, K)], kind: K) -> String {
    all.iter().find(|(_, other)| *other == kind).map_or_else(String::new, |(name, _)| (*name).to_string())
}

/// What a language model is shown of a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ModelExplainerKind {
    /// Every token with its activation on a scale of 0 to 10.
    TokenActivation,
    /// Running text with the strong tokens marked.
    Highlighted,
    /// The same, and fragments on which the feature does not fire.
    Contrastive,
    /// The strongest token of each fragment alone: a short question, for small models.
    Strongest,
}

impl ModelExplainerKind {
    /// Every kind with its name in a suite.
    pub const ALL: [(&'static str, Self); 4] = [
        ("token_activation", Self::TokenActivation),
        ("highlighted", Self::Highlighted),
        ("contrastive", Self::Contrastive),
        ("strongest", Self::Strongest),
    ];
}

/// Who predicts activations from a description.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum SimulatorSpec {
    /// Without a language model.
    Offline(OfflineKind),
    /// A language model.
    Model(Box<ModelSimulator>),
    /// Nobody: every score that is asked for is judged.
    Nobody,
    /// The labels themselves: a control, in no suite's `pairs`.
    Oracle,
}

impl SimulatorSpec {
    /// Its name in tables.
    pub fn name(&self) -> &str {
        match self {
            Self::Offline(kind) => kind.name(),
            Self::Model(simulator) => &simulator.name,
            Self::Nobody => "none",
            Self::Oracle => Controls::ORACLE,
        }
    }
}

/// A language model that predicts activations.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct ModelSimulator {
    /// Name in tables: the kind's unless the suite says otherwise.
    pub name: String,
    /// How it is asked.
    pub kind: ModelSimulatorKind,
    /// The model.
    #[schemars(with = "Open")]
    pub llm: LlmSpec,
    /// Times that an unreadable answer is asked for again, the first included.
    pub attempts: usize,
    /// Worked examples in the question; none: all there are.
    pub shots: Option<usize>,
}

impl ModelSimulator {
    /// One with everything else as it is where a suite says nothing.
    pub fn of(kind: ModelSimulatorKind, llm: LlmSpec) -> Self {
        let name = name_of(&ModelSimulatorKind::ALL, kind);
        Self { name, kind, llm, attempts: ATTEMPTS, shots: None }
    }
}

/// How a language model is asked for activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ModelSimulatorKind {
    /// One answer with a whole number for each token.
    Generated,
    /// The same, each number replaced by what the answer's probabilities expect of it.
    GeneratedExpected,
    /// One prompt that holds every token; what the model expects at each place.
    PromptLogprobs,
    /// One question for each token.
    PerToken,
    /// No numbers: how much likelier the explanation makes each token of the text.
    Likelihood,
    /// The same, and how much likelier as an example of what the explanation names; of a model in this process.
    Exemplar,
}

impl ModelSimulatorKind {
    /// Every kind with its name in a suite.
    pub const ALL: [(&'static str, Self); 6] = [
        ("generated", Self::Generated),
        ("generated_expected", Self::GeneratedExpected),
        ("prompt_logprobs", Self::PromptLogprobs),
        ("per_token", Self::PerToken),
        ("likelihood", Self::Likelihood),
        ("exemplar", Self::Exemplar),
    ];
}

/// Explainers and simulators that need no language model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OfflineKind {
    /// Token patterns, unmatched tokens at their mean.
    NeuronToGraph,
    /// Token patterns, unmatched tokens at their type's mean.
    NeuronToGraphBackoff,
    /// Type means from the explain fragments.
    TokenLookup,
    /// Type means from the fit split.
    TokenLookupFit,
}

impl OfflineKind {
    /// Every kind with its name in a suite.
    pub const ALL: [(&'static str, Self); 4] = [
        ("neuron_to_graph", Self::NeuronToGraph),
        ("neuron_to_graph_backoff", Self::NeuronToGraphBackoff),
        ("token_lookup", Self::TokenLookup),
        ("token_lookup_fit", Self::TokenLookupFit),
    ];

    /// Its name in a suite and in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::NeuronToGraph => "neuron_to_graph",
            Self::NeuronToGraphBackoff => "neuron_to_graph_backoff",
            Self::TokenLookup => "token_lookup",
            Self::TokenLookupFit => "token_lookup_fit",
        }
    }
}

/// Controls to run beside the methods.
#[derive(Debug, Clone, Default, Serialize, schemars::JsonSchema)]
pub struct Controls {
    /// Every feature scored with another feature's explanation.
    pub shuffled: bool,
    /// Every feature scored with the concept of the labelled corpus that fits it best.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub oracle: bool,
    /// Methods repeated on the subject with permuted weights.
    pub random_weights: Vec<String>,
    /// Methods repeated on the subject with permuted weights, embeddings and unembedding among them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub random_weights_and_embeddings: Vec<String>,
}

impl Controls {
    /// Name of the control that explains with labelled concepts.
    pub const ORACLE: &'static str = "oracle";
    /// Name of the control that repeats methods on permuted weights.
    pub const RANDOM_WEIGHTS: &'static str = "random_weights";
    /// Name of the same with permuted embeddings.
    pub const RANDOM_WEIGHTS_AND_EMBEDDINGS: &'static str = "random_weights_and_embeddings";

    /// The controls on another subject, each with its methods; none that has no method.
    pub fn on_permuted_weights(&self) -> impl Iterator<Item = (&'static str, &[String])> {
        let all = [
            (Self::RANDOM_WEIGHTS, &self.random_weights[..]),
            (Self::RANDOM_WEIGHTS_AND_EMBEDDINGS, &self.random_weights_and_embeddings[..]),
        ];
        all.into_iter().filter(|(_, methods)| !methods.is_empty())
    }
}

/// Intervals and tests.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct Statistics {
    /// Confidence of the intervals.
    pub confidence: f64,
    /// `bca`, `percentile` or `normal`.
    pub interval: String,
    /// Bootstrap resamples.
    pub resamples: usize,
    /// Permutations of a test.
    pub permutations: usize,
    /// The score that the adjusted family tests.
    pub primary: &'static str,
    /// The method that the family compares with every other; the first one if not given.
    pub reference: String,
    /// Differences inside ± this are called within the margin.
    pub margin: f64,
}

/// When to stop or complain.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct Limits {
    /// Share of walked features that may fail before the run exits 3.
    pub failed_allowed: f64,
    /// Disk for activations, in GB.
    pub disk_gb: f64,
}
