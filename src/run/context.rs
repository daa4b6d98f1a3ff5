//! What every stage of a run reads: the suite, the tokens, what is stored and who is asked.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::base::{HookPoint, write_atomic};
use crate::corpus::TokenSets;
use crate::llm::Usage;
use crate::nn::Tokenizer;
use crate::report::Summary;
use crate::run::evaluate::models::Models;
use crate::run::inputs::prepare::{Fillers, fillers};
use crate::run::plan::bill::Beside;
use crate::run::stage::StageStore;
use crate::run::{AllFailed, Places, RowCount, RunError, Stop};
use crate::subject::SubjectModel;
use crate::suite::{MethodSpec, Suite};

/// What every stage of a run reads; borrowed whole.
pub struct RunContext<'a> {
    /// The suite.
    pub suite: &'a Suite,
    /// Where things are.
    pub places: &'a Places,
    /// Tokens of both splits.
    pub tokens: &'a TokenSets,
    /// Document of each evaluation fragment.
    pub documents: Vec<usize>,
    /// Tokens that neuron-to-graph puts where text should be.
    pub fillers: Fillers,
    /// Text of every token id.
    pub token_texts: Vec<String>,
    /// Stored stages.
    pub store: StageStore,
    /// The suite's language models, if it asks any.
    pub models: Option<Models>,
    /// Rows done over all hook points and subjects.
    pub rows: RowCount,
    /// Whether to go on.
    pub stop: Stop,
}

impl<'a> RunContext<'a> {
    /// Connects the suite's language models and writes the text of every token id, by which the evidence is read.
    /// `fresh` ignores stored stages.
    pub fn new(
        suite: &'a Suite,
        places: &'a Places,
        (model, tokenizer): (&dyn SubjectModel, &Tokenizer),
        tokens: &'a TokenSets,
        n_hooks: usize,
        (fresh, stop): (bool, Stop),
    ) -> Result<Self, RunError> {
        let ids: Vec<u32> = (0..tokenizer.vocab_size() as u32).collect();
        let context = Self {
            suite,
            places,
            tokens,
            documents: tokens.fragment_documents.iter().map(|&document| document as usize).collect(),
            fillers: fillers(model, tokenizer, &tokens.fit),
            token_texts: tokenizer.token_texts(&ids),
            store: StageStore::new(&places.out, fresh, places.device),
            models: Models::connect(suite, places)?,
            rows: RowCount::new(n_hooks * rows_of_all_subjects(suite)),
            stop,
        };
        let texts = serde_json::to_vec(&context.token_texts).unwrap_or_default();
        write_atomic(&places.out.join("records/tokens.json"), &texts)?;
        Ok(context)
    }

    /// A token's text.
    pub fn text(&self, id: u32) -> String {
        self.token_texts.get(id as usize).cloned().unwrap_or_else(|| format!("<id {id}>"))
    }
}

/// One subject of a run, real or a control, with the methods that are fitted on it.
pub struct SubjectPass<'a> {
    /// The run.
    pub run: &'a RunContext<'a>,
    /// The subject.
    pub subject: &'a dyn SubjectModel,
    /// The methods, in the suite's order.
    pub methods: Vec<&'a MethodSpec>,
    /// Name of the control, if it is one.
    pub control: Option<&'static str>,
}

impl SubjectPass<'_> {
    /// Tells a control's stages from the real ones: empty, or ` (random weights)`.
    pub fn label(&self) -> String {
        self.control.map_or(String::new(), |control| format!(" ({})", control.replace('_', " ")))
    }

    /// Folder of the subject's evidence in the run folder.
    pub fn folder(&self) -> PathBuf {
        let out = self.run.places.out.clone();
        self.control.map_or(out.clone(), |control| out.join("controls").join(control))
    }

    /// Folder of the dictionaries of a hook point, each in a folder named by its row.
    pub fn dictionary_folder(&self, hook: HookPoint) -> PathBuf {
        self.folder().join("dictionaries").join(hook.to_string())
    }

    /// Whether features are also explained by labelled concepts: those of the real subject alone.
    pub fn has_oracle(&self) -> bool {
        self.control.is_none() && self.run.suite.controls.oracle
    }
}

/// The methods that go by these names.
pub fn called<'a>(suite: &'a Suite, names: &[String]) -> Vec<&'a MethodSpec> {
    suite.methods.iter().filter(|method| names.iter().any(|name| method.is_called(name))).collect()
}

/// Rows at each hook point: those of the real subject and of every control that is a subject.
fn rows_of_all_subjects(suite: &Suite) -> usize {
    let rows = |method: &MethodSpec| method.row_names().len();
    let permuted = suite.controls.on_permuted_weights().flat_map(|(_, names)| called(suite, names));
    suite.methods.iter().chain(permuted).map(rows).sum()
}

/// How a run ended.
#[derive(Debug)]
pub struct Finished {
    /// What tables and charts are drawn from.
    pub summary: Summary,
    /// The run folder.
    pub folder: PathBuf,
    /// What the reader of the results must know.
    pub warnings: Vec<String>,
    /// Features walked, and how many of them failed.
    pub failed: (usize, usize),
    /// What language models were asked and what it cost.
    pub llm: LanguageModels,
    /// Files that the report wrote.
    pub report_files: Vec<PathBuf>,
}

/// What language models were asked and what it cost.
#[derive(Debug, Clone, Default)]
pub struct LanguageModels {
    /// By model.
    pub usage: BTreeMap<String, Usage>,
    /// By explainer, simulator and scorer, beside what was planned.
    pub steps: Vec<Beside>,
    /// How they had to be asked, and what failed.
    pub warnings: Vec<String>,
    /// A purpose for which an endpoint refused everything that it was asked.
    pub unanswered: Option<AllFailed>,
}
