//! The checked suite, with all defaults filled in and all references resolved.

use std::borrow::Cow;
use std::path::Path;

use serde::Serialize;

use super::features::{Examples, FeatureChoice, QualityPass};
use super::limits::Limits;
use super::spec::{CorpusSpec, Statistics, SubjectSpec};
use super::task::TaskSpec;
use crate::base::{HookPoint, HookSelector};
use crate::causal::ErasureParams;
use crate::causal::effects::{Effect, EffectSettings};
use crate::dictionary::{Kind, Located, MethodParams, Variant};
use crate::explain::catalog::{ATTEMPTS, ExplainerKind, ORACLE};
use crate::explain::language_model::LanguageExplainer;
use crate::features::Protocol;
use crate::llm::{ClientKind, LlmSpec};
use crate::report::dictionary_name;
use crate::score::Judging;
use crate::simulate::catalog::SimulatorKind;

/// Type of fields that the results' schema leaves open. `suite.schema.json` describes them.
type Open = serde_json::Map<String, serde_json::Value>;

/// An experiment. The manifest records its JSON form, and the run's digest hashes it. It holds no path except those
/// that the user wrote.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct Suite {
    /// Name of the suite and of its run folder.
    pub name: String,
    /// Root of all random streams.
    pub seed: u64,
    /// The subject model.
    pub subject: SubjectSpec,
    /// The corpus.
    pub corpus: CorpusSpec,
    /// Hook points as written, `blocks.*.hook_resid_post`.
    #[serde(serialize_with = "as_written")]
    #[schemars(with = "Vec<String>")]
    pub hooks: Vec<(String, HookSelector)>,
    /// Methods in the order of the tables.
    pub methods: Vec<MethodSpec>,
    /// Features scored per hook point and method, for methods without `features`.
    pub per_cell: usize,
    /// Examples of each scored feature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub examples: Option<Examples>,
    /// Protocol: which fragments explain, which score, and how.
    #[schemars(with = "Open")]
    pub protocol: Protocol,
    /// Explainers with their simulators. The first is the suite's own; the rest come from `pairs`.
    pub pairs: Vec<Pair>,
    /// Scores in the order of the tables. A judged scorer contributes each of its scores.
    pub scorers: Vec<&'static str>,
    /// Constants of the output scores, if one is requested, or an explainer of the output.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Open>")]
    pub effects: Option<EffectSettings>,
    /// Controls.
    pub controls: Controls,
    /// The task that features are patched on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Open>", default)]
    pub task: Option<TaskSpec>,
    /// The erasure of concepts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Open>", default)]
    pub erasure: Option<ErasureParams>,
    /// Confidence intervals and tests.
    pub statistics: Statistics,
    /// Limits on failures, disk space and bad lines of the corpus.
    pub limits: Limits,
}

impl Suite {
    /// The requested kinds of judging.
    pub fn judgings(&self) -> Vec<Judging> {
        Judging::ALL.into_iter().filter(|judging| self.scorers.contains(&judging.name())).collect()
    }

    /// How fragments are drawn for grading; none if no requested score grades.
    pub fn grading(&self) -> Option<Grading> {
        self.pairs.iter().find_map(|pair| pair.judge.as_ref()?.grading)
    }

    /// The requested output scores.
    pub fn effects(&self) -> Vec<Effect> {
        self.scorers.iter().filter_map(|name| Effect::named(name)).collect()
    }

    /// Whether a judge compares texts that the subject writes.
    pub fn compares_written(&self) -> bool {
        self.judgings().into_iter().any(Judging::compares_written)
    }

    /// Whether an explainer is shown what features do to the output.
    pub fn explains_output(&self) -> bool {
        self.pairs.iter().any(|pair| pair.explainer.kind().reads_output())
    }

    /// Number of features to score in each row of a method.
    pub fn n_features(&self, method: &MethodSpec) -> usize {
        match &method.features {
            None => self.per_cell,
            Some(FeatureChoice::PerCell(n)) => *n,
            Some(FeatureChoice::Ids(ids)) => ids.len(),
        }
    }

    /// Whether the features of the rows of this name are chosen, and not a random sample.
    pub fn has_chosen_features(&self, row_method: &str) -> bool {
        let rows = |method: &MethodSpec| method.row_methods().iter().any(|name| name == row_method);
        self.methods.iter().any(|method| method.ids().is_some() && rows(method))
    }

    /// Scores at most `most` features of each row: the first ones of chosen features.
    pub fn limit_features(&mut self, most: usize) {
        self.per_cell = self.per_cell.min(most);
        for method in &mut self.methods {
            match &mut method.features {
                None => {}
                Some(FeatureChoice::PerCell(n)) => *n = most.min(*n),
                Some(FeatureChoice::Ids(ids)) => ids.truncate(most),
            }
        }
    }

    /// The controls on permuted weights that have methods, each with its methods.
    pub fn on_permuted_weights(&self) -> impl Iterator<Item = (&'static str, Vec<&MethodSpec>)> {
        let controls = [
            (Controls::RANDOM_WEIGHTS, &self.controls.random_weights),
            (Controls::RANDOM_WEIGHTS_AND_EMBEDDINGS, &self.controls.random_weights_and_embeddings),
        ];
        controls.into_iter().filter(|(_, names)| !names.is_empty()).map(|(control, names)| {
            let listed = |method: &&MethodSpec| names.iter().any(|name| method.is_called(name));
            (control, self.methods.iter().filter(listed).collect())
        })
    }
}

fn as_written<S: serde::Serializer>(
    hooks: &[(String, HookSelector)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(hooks.iter().map(|(text, _)| text))
}

/// One method: a dictionary to fit, with the variants that share the fit.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct MethodSpec {
    /// Unique name of its dictionary. Variants other than `fitted` add a suffix.
    pub name: String,
    /// Checked parameters of its kind.
    #[schemars(with = "Open")]
    pub params: MethodParams,
    /// Which of several trainings this is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub training: Option<TrainingSpec>,
    /// Common name of the methods of one `sweep`. It controls the lines of charts and no number.
    #[serde(skip)]
    pub sweep: Option<String>,
    /// Where a dictionary trained elsewhere was found. A run sets it; a checked suite has none.
    #[serde(skip)]
    pub located: Option<Located>,
    /// The only hook point at which a dictionary trained elsewhere is applied: the one that its files name. A run sets
    /// it.
    #[serde(skip)]
    pub only_at: Option<HookPoint>,
    /// Whether its files name another model than the subject. A run sets it.
    #[serde(skip)]
    pub of_other_model: bool,
    /// The features of its rows, where they are not a random sample of `per_cell`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<FeatureChoice>,
    /// How the quality of its rows is measured.
    #[serde(skip_serializing_if = "QualityPass::is_full")]
    pub quality: QualityPass,
}

/// One of several trainings of a method. They differ in their random draws and share a row of the table.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct TrainingSpec {
    /// Name in tables.
    pub method: String,
    /// Index from 0.
    pub nth: u32,
}

impl MethodSpec {
    /// The variants of the fit, one row each.
    pub fn variants(&self) -> &[Variant] {
        match self.params.variants() {
            [] => &[Variant::Fitted],
            variants => variants,
        }
    }

    /// Names of the dictionaries of this fit.
    pub fn row_names(&self) -> Vec<String> {
        let nth = self.training.as_ref().map(|training| training.nth);
        self.row_methods().iter().map(|method| dictionary_name(method, nth)).collect()
    }

    /// Name in tables, the same for all trainings of a method.
    pub fn method(&self) -> &str {
        self.training.as_ref().map_or(&self.name, |training| &training.method)
    }

    /// Names in tables of the rows that this method has or shares.
    pub fn row_methods(&self) -> Vec<String> {
        self.variants().iter().map(|variant| variant.method_name(self.method())).collect()
    }

    /// Index of this training; 0 for a single one.
    pub fn nth_training(&self) -> u32 {
        self.training.as_ref().map_or(0, |training| training.nth)
    }

    /// The only features that its rows need, ascending, where nothing is measured over the others.
    pub fn only_features(&self) -> Option<Vec<usize>> {
        let is_file = self.params.kind() == Kind::File;
        let measures = self.quality != QualityPass::Off || self.params.wants_proof();
        let mut only = self.ids().filter(|_| is_file && !measures)?.to_vec();
        only.sort_unstable();
        only.dedup();
        Some(only)
    }

    /// Whether the method has rows at a hook point.
    pub fn is_at(&self, hook: HookPoint) -> bool {
        self.only_at.is_none_or(|only| only == hook)
    }

    /// The parameters to fit with: a dictionary trained elsewhere is read where it was found.
    pub fn fit_params(&self) -> Cow<'_, MethodParams> {
        match &self.located {
            Some(located) => Cow::Owned(self.params.with_path(&located.path)),
            None => Cow::Borrowed(&self.params),
        }
    }

    /// What results depend on: the same method, with a digest of its dictionary's files in place of their path.
    pub fn keyed(&self) -> Cow<'_, Self> {
        match &self.located {
            Some(located) => {
                let params = self.params.with_path(Path::new(&format!("digest:{}", located.digest)));
                Cow::Owned(Self { params, ..self.clone() })
            }
            None => Cow::Borrowed(self),
        }
    }

    /// The chosen features, if they are not a random sample.
    pub fn ids(&self) -> Option<&[usize]> {
        match &self.features {
            Some(FeatureChoice::Ids(ids)) => Some(ids),
            _ => None,
        }
    }

    /// Whether `name` refers to this method: by its own name, that of its trainings, or that of its sweep.
    pub fn is_called(&self, name: &str) -> bool {
        [Some(self.name.as_str()), Some(self.method()), self.sweep.as_deref()].contains(&Some(name))
    }
}

/// An explainer with its simulator and judge.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Pair {
    /// The explainer.
    pub explainer: ExplainerSpec,
    /// The simulator.
    pub simulator: SimulatorSpec,
    /// The judge, if a judged score is requested and the explainer writes sentences.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judge: Option<Box<JudgeSpec>>,
}

/// A language model that judges fragments or written texts by an explanation.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct JudgeSpec {
    /// The model.
    #[schemars(with = "Open")]
    pub llm: LlmSpec,
    /// Maximum number of requests until an answer can be read.
    pub attempts: usize,
    /// Fragments per question of detection, fuzzing and specificity.
    pub per_question: usize,
    /// Whether to request the probabilities of verdicts, which some endpoints refuse.
    pub probabilities: bool,
    /// How fragments are drawn for grading; absent if no requested score grades.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grading: Option<Grading>,
}

/// How fragments are drawn for grading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Grading {
    /// Intervals of activation, of equal width between 0 and the feature's maximum.
    pub intervals: usize,
    /// Most fragments of each interval.
    pub per_interval: usize,
}

impl Pair {
    /// An offline explainer with the simulator of its kind.
    pub fn offline(kind: ExplainerKind) -> Self {
        Self { explainer: ExplainerSpec::Offline(kind), simulator: SimulatorSpec::Offline(kind), judge: None }
    }

    /// The pair of the `oracle` control.
    pub fn oracle() -> Option<Self> {
        ExplainerKind::named(ORACLE).map(Self::offline)
    }

    /// The language models of this pair.
    pub fn models(&self) -> impl Iterator<Item = &LlmSpec> {
        let explainer = self.explainer.model().map(|explainer| &explainer.llm);
        let simulator = self.simulator.model().map(|simulator| &simulator.llm);
        explainer.into_iter().chain(simulator).chain(self.judge.as_ref().map(|judge| &judge.llm))
    }
}

/// An explainer.
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

    /// The language model, if it has one.
    pub fn model(&self) -> Option<&ModelExplainer> {
        if let Self::Model(explainer) = self { Some(explainer) } else { None }
    }
}

/// An explainer with a language model.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct ModelExplainer {
    /// Name in tables; by default the kind.
    pub name: String,
    /// Kind of explainer.
    pub kind: ExplainerKind,
    /// The model.
    #[schemars(with = "Open")]
    pub llm: LlmSpec,
    /// Maximum number of requests until an answer can be read.
    pub attempts: usize,
    /// Number of explanations requested. The one that simulates best on calibration fragments is kept.
    pub best_of: usize,
    /// Worked examples in the prompt; none means all.
    pub shots: Option<usize>,
    /// Temperature of the first answer. 0 always takes the most likely token.
    pub temperature: f64,
}

impl ModelExplainer {
    /// An explainer with default settings. The default temperature of a local model is 0, because small models lose
    /// the thread when tokens are sampled.
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

    /// Its prompt and reader; none for an offline kind.
    pub fn question(&self) -> Option<Box<dyn LanguageExplainer>> {
        self.kind.question(self.temperature, self.shots)
    }
}

/// A simulator.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum SimulatorSpec {
    /// Without a language model.
    Offline(ExplainerKind),
    /// A language model.
    Model(Box<ModelSimulator>),
    /// None: every requested score is judged.
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

    /// The language model, if it has one.
    pub fn model(&self) -> Option<&ModelSimulator> {
        if let Self::Model(simulator) = self { Some(simulator) } else { None }
    }
}

/// A simulator with a language model.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct ModelSimulator {
    /// Name in tables; by default the kind.
    pub name: String,
    /// Kind of simulator.
    pub kind: SimulatorKind,
    /// The model.
    #[schemars(with = "Open")]
    pub llm: LlmSpec,
    /// Maximum number of requests until an answer can be read.
    pub attempts: usize,
    /// Worked examples in the prompt; none means all.
    pub shots: Option<usize>,
}

impl ModelSimulator {
    /// A simulator with default settings.
    pub fn of(kind: SimulatorKind, llm: LlmSpec) -> Self {
        Self { name: kind.name.to_string(), kind, llm, attempts: ATTEMPTS, shots: None }
    }
}

/// Controls to run beside the methods.
#[derive(Debug, Clone, Default, Serialize, schemars::JsonSchema)]
pub struct Controls {
    /// Each feature is scored with another feature's explanation.
    pub shuffled: bool,
    /// Each feature is scored with the labelled concept that fits it best.
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
    /// Name of the control that also permutes embeddings.
    pub const RANDOM_WEIGHTS_AND_EMBEDDINGS: &'static str = "random_weights_and_embeddings";
    /// Name of the control that gives each feature another feature's explanation.
    pub const SHUFFLED: &'static str = "shuffled";
    /// Name of the control of output scores: a random direction in place of each feature's.
    pub const RANDOM_DIRECTION: &'static str = "random_direction";
}
