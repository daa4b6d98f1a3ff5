//! Catalogue of simulators that ask a language model. A new one needs a file and a row here. Explanations of
//! offline explainers need no language model, see [`super::Offline`].

use super::language_model::{
    Exemplar, Generated, LanguageSimulator, Likelihood, PerToken, PromptLogprobs, exemplar, generated,
    likelihood, per_token, prompt_logprobs,
};
use crate::base::{Of, Row};
use crate::llm::Prompt;

/// A row of [`SIMULATORS`].
pub type SimulatorKind = Of<SimulatorRow>;

/// A simulator that asks a language model.
pub struct SimulatorRow {
    /// Name in suites and results.
    pub name: &'static str,
    /// Description.
    pub words: &'static str,
    prompt: Prompt,
    question: fn(Option<usize>) -> Box<dyn LanguageSimulator>,
    /// Whether it needs the probabilities of all tokens, which only a local model gives.
    pub needs_local_model: bool,
}

impl Row for SimulatorRow {
    const ALL: &'static [Self] = SIMULATORS;

    fn name(&self) -> &'static str {
        self.name
    }
}

/// Every simulator that asks a language model.
pub const SIMULATORS: &[SimulatorRow] = &[
    SimulatorRow {
        name: "generated",
        words: "One answer with a whole number for each token.",
        prompt: generated::PROMPT,
        question: |shots| Box::new(Generated { expected_value: false, shots }),
        needs_local_model: false,
    },
    SimulatorRow {
        name: "generated_expected",
        words: "The same; each number is replaced by its expected value under the answer's probabilities.",
        prompt: generated::PROMPT,
        question: |shots| Box::new(Generated { expected_value: true, shots }),
        needs_local_model: false,
    },
    SimulatorRow {
        name: "prompt_logprobs",
        words: "One prompt with every token; the expected value at each place.",
        prompt: prompt_logprobs::PROMPT,
        question: |shots| Box::new(PromptLogprobs::new(shots)),
        needs_local_model: false,
    },
    SimulatorRow {
        name: "per_token",
        words: "One question for each token.",
        prompt: per_token::PROMPT,
        question: |shots| Box::new(PerToken { shots }),
        needs_local_model: false,
    },
    SimulatorRow {
        name: "likelihood",
        words: "No numbers: how much likelier the explanation makes each token of the text. For small models.",
        prompt: likelihood::PROMPT,
        question: |_| Box::new(Likelihood),
        needs_local_model: false,
    },
    SimulatorRow {
        name: "exemplar",
        words: "The same, and how much likelier each token becomes as an example of what the explanation names. For \
                small models, with `client: local`.",
        prompt: exemplar::PROMPT,
        question: |_| Box::new(Exemplar),
        needs_local_model: true,
    },
];

impl SimulatorRow {
    /// Number of worked examples in its prompt.
    pub fn n_examples(&self) -> usize {
        self.prompt.n_examples()
    }

    /// Its prompt and reader. It may learn about its endpoint, so users of one endpoint share it.
    pub fn question(&self, shots: Option<usize>) -> Box<dyn LanguageSimulator> {
        (self.question)(shots)
    }
}
