//! The state that all stages of a run share: suite, tokens, stored stages, language models.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::base::{HookPoint, write_atomic};
use crate::corpus::TokenSets;
use crate::llm::Usage;
use crate::nn::Tokenizer;
use crate::report::{Place, Summary, remove_digests};
use crate::run::evaluate::models::Models;
use crate::run::inputs::erasure::{Concepts, open_concepts};
use crate::run::inputs::prepare::{Fillers, check_written, fillers, steering_prompt};
use crate::run::inputs::task::{Task, open_task};
use crate::run::plan::pieces::work;
use crate::run::plan::shape::{Shape, pass_label};
use crate::run::{AllFailed, Beside, Places, RowCount, RunError, StageStore, Stop};
use crate::subject::SubjectModel;
use crate::suite::{MethodSpec, Suite};

/// State that all stages share by reference.
pub struct RunContext<'a> {
    pub suite: &'a Suite,
    /// Paths, device and keys.
    pub places: &'a Places,
    pub tokens: &'a TokenSets,
    /// Document number of each evaluation fragment.
    pub documents: Vec<usize>,
    /// Filler tokens of neuron-to-graph's probes.
    pub fillers: Fillers,
    /// Prompts of the suite's task.
    pub task: Option<Task>,
    /// Prompts of the concepts that the suite erases.
    pub concepts: Option<Concepts>,
    /// Text of every token id.
    pub token_texts: Vec<String>,
    /// Tokens of the prompt of steered texts; empty if the suite asks for none.
    pub steering_prompt: Vec<u32>,
    pub store: StageStore,
    /// The suite's language models; none in an offline run.
    pub models: Option<Models>,
    /// Counter of finished rows over all hook points and subjects.
    pub rows: RowCount,
    /// The stop request.
    pub stop: Stop,
}

impl<'a> RunContext<'a> {
    /// Connects the suite's language models, opens its task and its concepts, and writes the text of every token id to `records/tokens.json`. With
    /// `fresh`, stored stages are ignored.
    pub fn new(
        suite: &'a Suite,
        places: &'a Places,
        (model, tokenizer): (&dyn SubjectModel, &Tokenizer),
        tokens: &'a TokenSets,
        hooks: &[HookPoint],
        (fresh, stop): (bool, Stop),
    ) -> Result<Self, RunError> {
        check_written(suite, model)?;
        let ids: Vec<u32> = (0..tokenizer.vocab_size() as u32).collect();
        let shape = Shape::of(suite, model, hooks, model.prefix().len(), places)?;
        let work = work(&shape, &shape.hooks_at_once(suite.limits.disk_gb * 1e9));
        // The subject is open, and the text is read.
        let pieces = work.pieces().skip(work.before.len()).cloned().collect();
        let context = Self {
            suite,
            places,
            tokens,
            documents: tokens.fragment_documents.iter().map(|&document| document as usize).collect(),
            fillers: fillers(model, tokenizer, &tokens.fit),
            task: open_task(suite, places, model, tokenizer)?,
            concepts: open_concepts(suite, places, model, tokenizer)?,
            token_texts: tokenizer.token_texts(&ids),
            steering_prompt: steering_prompt(suite, tokenizer)?,
            store: StageStore::new(&places.layout(), fresh, places.device).with_remote(places.remote.clone()),
            models: Models::connect(suite, places)?,
            rows: RowCount::new(rows_of_all_subjects(suite, hooks), pieces),
            stop,
        };
        // From here on the files change: the list of an earlier run is written again at the end.
        remove_digests(&places.out)?;
        let texts = serde_json::to_vec(&context.token_texts).unwrap_or_default();
        write_atomic(&places.layout().token_texts(), &texts)?;
        Ok(context)
    }

    /// Text of a token id; `<id N>` for an id outside the vocabulary.
    pub fn text(&self, id: u32) -> String {
        self.token_texts.get(id as usize).cloned().unwrap_or_else(|| format!("<id {id}>"))
    }
}

/// One subject of a run (the real one or a control) and the methods fitted on it.
pub struct SubjectPass<'a> {
    pub run: &'a RunContext<'a>,
    pub subject: &'a dyn SubjectModel,
    /// The methods, in the suite's order.
    pub methods: Vec<&'a MethodSpec>,
    /// Name of the control; none for the real subject.
    pub control: Option<&'static str>,
}

impl<'a> SubjectPass<'a> {
    /// Suffix of stage names: empty for the real subject, ` (random weights)` for a control.
    pub fn label(&self) -> String {
        pass_label(self.control)
    }

    /// The methods with rows at a hook point, in the suite's order.
    pub fn methods_at(&self, hook: HookPoint) -> impl Iterator<Item = &'a MethodSpec> + '_ {
        self.methods.iter().copied().filter(move |method| method.is_at(hook))
    }

    /// The place of a row's dictionary in the run folder.
    pub fn place(&self, hook: HookPoint, row: &str) -> Place {
        Place {
            hook: hook.to_string(),
            dictionary: row.to_string(),
            control: self.control.map(str::to_string),
        }
    }

    /// Folder of a row's dictionary.
    pub fn dictionary_folder(&self, hook: HookPoint, row: &str) -> PathBuf {
        self.run.places.layout().dictionary(&self.place(hook, row))
    }

    /// Whether the `oracle` control runs: on the real subject only.
    pub fn has_oracle(&self) -> bool {
        self.control.is_none() && self.run.suite.controls.oracle
    }
}

/// Rows at all hook points, over the real subject and all control subjects.
fn rows_of_all_subjects(suite: &Suite, hooks: &[HookPoint]) -> usize {
    let rows = |method: &MethodSpec| {
        method.row_names().len() * hooks.iter().filter(|&&hook| method.is_at(hook)).count()
    };
    let permuted = suite.on_permuted_weights().flat_map(|(_, methods)| methods);
    suite.methods.iter().chain(permuted).map(rows).sum()
}

/// How a run ended.
#[derive(Debug)]
pub struct Finished {
    /// Data of tables and charts.
    pub summary: Summary,
    /// The run folder, or its local folder.
    pub folder: PathBuf,
    /// Its address in object storage, if it lies there.
    pub address: Option<String>,
    /// Warnings for readers of the results.
    pub warnings: Vec<String>,
    /// Number of walked features, and how many of them failed.
    pub failed: (usize, usize),
    /// Usage of language models.
    pub llm: LanguageModels,
    /// Files of the report.
    pub report_files: Vec<PathBuf>,
}

impl Finished {
    /// The run folder or its address, as other commands take it.
    pub fn place(&self) -> String {
        self.address.clone().unwrap_or_else(|| self.folder.display().to_string())
    }
}

/// Usage of language models in one run.
#[derive(Debug, Clone, Default)]
pub struct LanguageModels {
    /// By model.
    pub usage: BTreeMap<String, Usage>,
    /// By explainer, simulator and judge: planned against used.
    pub steps: Vec<Beside>,
    /// Fallbacks of endpoints, and failures.
    pub warnings: Vec<String>,
    /// A role whose endpoint answered no request.
    pub unanswered: Option<AllFailed>,
}
