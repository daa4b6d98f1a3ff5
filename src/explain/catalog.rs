//! Catalogue of explainers. A new explainer needs a file and a row here.

use std::cell::OnceCell;

use super::language_model::{
    Contrastive, Highlighted, LanguageExplainer, OutputExplanation, Strongest, TokenActivation, contrastive,
    highlighted, output_explanation, strongest, token_activation,
};
use super::{
    Activate, Choice, ExplainError, NamedConcept, NeuronToGraph, NeuronToGraphParams, TypeMeans,
    best_concepts, token_lookup, token_lookup_fit,
};
use crate::base::{Attempt, Of, Row};
use crate::features::{Evidence, Explanation, Pattern};
use crate::llm::Prompt;

/// The explainer of a suite that names none.
pub const DEFAULT_EXPLAINER: &str = "neuron_to_graph";

/// Default maximum number of requests to a language model until its answer can be read.
pub const ATTEMPTS: usize = 3;

/// A row of [`EXPLAINERS`].
pub type ExplainerKind = Of<ExplainerRow>;

/// Inputs that explainers may use.
pub struct Inputs<'a> {
    /// Evidence of each feature.
    pub evidence: &'a [Evidence],
    /// The features' activations on new texts.
    pub activate: &'a Activate<'a>,
    /// Filler token that replaces a token.
    pub pad: u32,
    /// Mean activations by token type over the fit split, if a kind needs them.
    pub type_means: Option<&'a TypeMeans>,
    /// Labelled concepts, if the corpus has them.
    pub concepts: Option<Concepts<'a>>,
    /// Neuron-to-graph's patterns of each feature, found once and shared by both of its kinds.
    pub patterns: &'a OnceCell<Vec<Vec<Pattern>>>,
}

/// The concepts that tokens are labelled with.
#[derive(Clone, Copy)]
pub struct Concepts<'a> {
    /// Mean activations by set of concepts over the fit split.
    pub means: &'a TypeMeans,
    /// The concepts.
    pub named: &'a [NamedConcept],
    /// Whether a set (by number) contains a concept (by number).
    pub holds: &'a (dyn Fn(u32, usize) -> bool + Sync),
}

/// Explanations of all features of a row.
pub struct Explained {
    /// One attempt per feature, in the order of the evidence.
    pub explanations: Vec<Attempt<Explanation>>,
    /// With best-of-n: the candidates and the choice.
    pub choices: Option<Vec<Choice>>,
}

/// Explains features with a language model.
pub trait AskModel {
    /// One explanation per feature.
    fn explain(&self, evidence: &[Evidence]) -> Result<Explained, ExplainError>;
}

/// An explainer.
pub struct ExplainerRow {
    /// Name in suites and results.
    pub name: &'static str,
    /// Description.
    pub words: &'static str,
    /// Implementation.
    work: Work,
}

enum Work {
    /// Computed by this program.
    Offline {
        explain: fn(&Inputs<'_>) -> Result<Vec<Attempt<Explanation>>, ExplainError>,
        /// Whether it runs the subject on new texts.
        probes: bool,
        /// Whether it reads means by token type from the fit split.
        reads_fit: bool,
    },
    /// Control: computed from the corpus's labels.
    Oracle,
    /// A language model.
    Model {
        question: fn(f64, Option<usize>) -> Box<dyn LanguageExplainer>,
        prompt: Prompt,
        /// Whether it is shown what the feature does to the output, and not the text on which it fires.
        reads_output: bool,
    },
}

impl Row for ExplainerRow {
    const ALL: &'static [Self] = EXPLAINERS;

    fn name(&self) -> &'static str {
        self.name
    }
}

/// Every explainer, offline kinds first.
pub const EXPLAINERS: &[ExplainerRow] = &[
    ExplainerRow {
        name: "neuron_to_graph",
        words: "Token patterns found by running the subject; unmatched tokens at their mean.",
        work: Work::Offline { explain: |inputs| graphs(inputs, false), probes: true, reads_fit: false },
    },
    ExplainerRow {
        name: "neuron_to_graph_backoff",
        words: "The same patterns; unmatched tokens at their type's mean.",
        work: Work::Offline { explain: |inputs| graphs(inputs, true), probes: true, reads_fit: false },
    },
    ExplainerRow {
        name: "token_lookup",
        words: "A table of mean activations by token type, from the explain fragments.",
        work: Work::Offline {
            explain: |inputs| Ok(token_lookup(inputs.evidence)),
            probes: false,
            reads_fit: false,
        },
    },
    ExplainerRow {
        name: "token_lookup_fit",
        words: "A table of mean activations by token type, from the fit split.",
        work: Work::Offline {
            explain: |inputs| {
                let tables = inputs.type_means.map(TypeMeans::tables).unwrap_or_default();
                token_lookup_fit(tables, inputs.evidence)
            },
            probes: false,
            reads_fit: true,
        },
    },
    ExplainerRow {
        name: ORACLE,
        words: "The labelled concept that fits a feature best.",
        work: Work::Oracle,
    },
    ExplainerRow {
        name: "token_activation",
        words: "A language model is shown every token with its activation on a scale of 0 to 10.",
        work: Work::Model {
            question: |temperature, shots| {
                Box::new(TokenActivation { temperature, shots, ..TokenActivation::default() })
            },
            prompt: token_activation::PROMPT,
            reads_output: false,
        },
    },
    ExplainerRow {
        name: "highlighted",
        words: "A language model is shown running text with the strong tokens marked.",
        work: Work::Model {
            question: |temperature, shots| {
                Box::new(Highlighted { temperature, shots, ..Highlighted::default() })
            },
            prompt: highlighted::PROMPT,
            reads_output: false,
        },
    },
    ExplainerRow {
        name: "contrastive",
        words: "The same, with fragments on which the feature does not fire.",
        work: Work::Model {
            question: |temperature, shots| {
                Box::new(Contrastive { temperature, shots, ..Contrastive::default() })
            },
            prompt: contrastive::PROMPT,
            reads_output: false,
        },
    },
    ExplainerRow {
        name: "strongest",
        words: "A language model is shown the strongest token of each fragment: a short question, for small models.",
        work: Work::Model {
            question: |temperature, shots| Box::new(Strongest { temperature, shots, ..Strongest::default() }),
            prompt: strongest::PROMPT,
            reads_output: false,
        },
    },
    ExplainerRow {
        name: "output_explanation",
        words: "A language model is shown what the feature does: tokens that it raises and lowers, and text written with it \
                clamped.",
        work: Work::Model {
            question: |temperature, shots| {
                Box::new(OutputExplanation { temperature, shots, ..OutputExplanation::default() })
            },
            prompt: output_explanation::PROMPT,
            reads_output: true,
        },
    },
];

/// Name of the control that explains with labelled concepts.
pub const ORACLE: &str = "oracle";

/// The kinds that suites can request.
pub fn explainers() -> impl Iterator<Item = ExplainerKind> {
    ExplainerKind::all().filter(|row| row.name != ORACLE)
}

impl ExplainerRow {
    /// Whether it asks a language model.
    pub fn asks_model(&self) -> bool {
        matches!(self.work, Work::Model { .. })
    }

    /// Whether it runs the subject on new texts.
    pub fn probes(&self) -> bool {
        matches!(self.work, Work::Offline { probes: true, .. })
    }

    /// Whether it reads means by token type from the fit split.
    pub fn reads_fit(&self) -> bool {
        matches!(self.work, Work::Offline { reads_fit: true, .. })
    }

    /// Whether it is shown what features do to the subject's output. Then the subject must be a model.
    pub fn reads_output(&self) -> bool {
        matches!(self.work, Work::Model { reads_output: true, .. })
    }

    /// Number of worked examples in its prompt; 0 for offline kinds.
    pub fn n_examples(&self) -> usize {
        if let Work::Model { prompt, .. } = &self.work { prompt.n_examples() } else { 0 }
    }

    /// Its prompt and reader, if it asks a language model.
    pub fn question(&self, temperature: f64, shots: Option<usize>) -> Option<Box<dyn LanguageExplainer>> {
        if let Work::Model { question, .. } = self.work { Some(question(temperature, shots)) } else { None }
    }

    /// Explains all features of a row. `model` serves kinds that ask a language model.
    ///
    /// # Errors
    /// [`ExplainError`] if no feature can be explained. A failure of one feature is its `Attempt`.
    pub fn explain(
        &self,
        inputs: &Inputs<'_>,
        model: Option<&dyn AskModel>,
    ) -> Result<Explained, ExplainError> {
        let explanations = match self.work {
            Work::Offline { explain, .. } => explain(inputs)?,
            Work::Oracle => {
                let Concepts { means, named, holds } = inputs.concepts.ok_or(ExplainError::NoLabels)?;
                best_concepts(means, named, holds)
            }
            Work::Model { .. } => return model.ok_or(ExplainError::NoModel)?.explain(inputs.evidence),
        };
        Ok(Explained { explanations, choices: None })
    }
}

/// Neuron-to-graph. Patterns found by its other kind are reused.
fn graphs(inputs: &Inputs<'_>, backoff: bool) -> Result<Vec<Attempt<Explanation>>, ExplainError> {
    let explainer = NeuronToGraph { params: NeuronToGraphParams::default(), pad: inputs.pad, backoff };
    let patterns = match inputs.patterns.get() {
        Some(found) => found,
        None => {
            let found = explainer.patterns(inputs.evidence, inputs.activate)?;
            inputs.patterns.get_or_init(|| found)
        }
    };
    Ok(explainer.complete(inputs.evidence, patterns))
}
