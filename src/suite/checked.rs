//! The checked suite: what a suite file means, with every default filled in and every reference resolved.

use serde::Serialize;

use super::spec::{CorpusSpec, Limits, Statistics, SubjectSpec};
use crate::base::HookSelector;
use crate::dictionary::{MethodParams, Variant};
use crate::explain::catalog::{ATTEMPTS, ExplainerKind, ORACLE};
use crate::explain::language_model::LanguageExplainer;
use crate::features::Protocol;
use crate::llm::{ClientKind, LlmSpec};
use crate::report::dictionary_name;
use crate::score::Judging;
use crate::simulate::catalog::SimulatorKind;

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
    pub fn offline(kind: ExplainerKind) -> Self {
        Self { explainer: ExplainerSpec::Offline(kind), simulator: SimulatorSpec::Offline(kind), judge: None }
    }

    /// The control whose explanations are concepts that the corpus is labelled with.
    pub fn oracle() -> Option<Self> {
        ExplainerKind::named(ORACLE).map(Self::offline)
    }

    /// The language models that it asks.
    pub fn models(&self) -> impl Iterator<Item = &LlmSpec> {
        let explainer = self.explainer.model().map(|explainer| &explainer.llm);
        let simulator = self.simulator.model().map(|simulator| &simulator.llm);
        explainer.into_iter().chain(simulator).chain(self.judge.as_ref().map(|judge| &judge.llm))
    }
}

/// Who describes a feature.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum ExplainerSpec {
    /// Without a language model.
    Offline(ExplainerKind),
    /// A language model.
    Model(Box<ModelExplainer>),
}

impl ExplainerSpec {
    /// Its name in tables.
    pub fn name(&self) -> &str {
        match self {
            Self::Offline(kind) => kind.name,
            Self::Model(explainer) => &explainer.name,
        }
    }

    /// Its kind.
    pub fn kind(&self) -> ExplainerKind {
        match self {
            Self::Offline(kind) => *kind,
            Self::Model(explainer) => explainer.kind,
        }
    }

    /// The language model that explains, where one does.
    pub fn model(&self) -> Option<&ModelExplainer> {
        if let Self::Model(explainer) = self { Some(explainer) } else { None }
    }
}

/// A language model that describes features.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct ModelExplainer {
    /// Name in tables: the kind's unless the suite says otherwise.
    pub name: String,
    /// What it is shown, and how.
    pub kind: ExplainerKind,
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
    pub fn of(kind: ExplainerKind, llm: LlmSpec) -> Self {
        let temperature = if llm.client == ClientKind::Local { 0.0 } else { 1.0 };
        Self {
            name: kind.name.to_string(),
            kind,
            llm,
            attempts: ATTEMPTS,
            best_of: 1,
            shots: None,
            temperature,
        }
    }

    /// Its question; none for a kind that asks no model.
    pub fn question(&self) -> Option<Box<dyn LanguageExplainer>> {
        self.kind.question(self.temperature, self.shots)
    }
}

/// Who predicts activations from a description.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum SimulatorSpec {
    /// Without a language model.
    Offline(ExplainerKind),
    /// A language model.
    Model(Box<ModelSimulator>),
    /// Nobody: every score that is asked for is judged.
    Nobody,
}

impl SimulatorSpec {
    /// Its name in tables.
    pub fn name(&self) -> &str {
        match self {
            Self::Offline(kind) => kind.name,
            Self::Model(simulator) => &simulator.name,
            Self::Nobody => "none",
        }
    }

    /// The language model that simulates, where one does.
    pub fn model(&self) -> Option<&ModelSimulator> {
        if let Self::Model(simulator) = self { Some(simulator) } else { None }
    }
}

/// A language model that predicts activations.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct ModelSimulator {
    /// Name in tables: the kind's unless the suite says otherwise.
    pub name: String,
    /// How it is asked.
    pub kind: SimulatorKind,
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
    pub fn of(kind: SimulatorKind, llm: LlmSpec) -> Self {
        Self { name: kind.name.to_string(), kind, llm, attempts: ATTEMPTS, shots: None }
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
    pub const ORACLE: &'static str = ORACLE;
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
