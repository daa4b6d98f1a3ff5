//! Opens subject and corpus.

use std::path::PathBuf;

use serde::Serialize;

use crate::base::{Digest, HookPoint, TokenBatch};
use crate::corpus::generator::Generator;
use crate::corpus::{CorpusCounts, CorpusError, CorpusParams, Encode, Progress, Source, TokenSets, prepare};
use crate::hub::{HubError, LEGACY_IDS};
use crate::nn::{Tokenizer, open_device};
use crate::run::inputs::repositories::{DEFAULT_REVISION, hub};
use crate::run::inputs::stored::{open_stored, stored_tokens};
use crate::run::{Event, Places, RunError};
use crate::subject::{LoadedSubject, Prefix, SubjectError, SubjectModel, embedded};
use crate::suite::{Examples, MethodSpec, SubjectSpec, Suite, resolve};

/// Seed of the generated text that the embedded model is evaluated on. Its training text has another seed.
const EMBEDDED_CORPUS_SEED: u64 = 20_260_101;

/// Fragments on which a plan renders prompts.
pub const SAMPLE_FRAGMENTS: usize = 64;

/// The prompt of every steered text of a run. It is about nothing in particular.
pub const STEERING_PROMPT: &str = "I think that";

/// An open subject with its resolved revision.
pub struct OpenSubject {
    /// Model and tokenizer.
    pub loaded: LoadedSubject,
    /// Commit of a hub model.
    pub revision: Option<String>,
    /// For readers: the hub id that a name without an owner stands for.
    pub note: Option<String>,
}

/// Opens the suite's subject: a model, or stored activations.
pub fn open_subject(spec: &SubjectSpec, places: &Places) -> Result<OpenSubject, RunError> {
    let OpenSubject { loaded, revision, note } = find_subject(spec, places)?;
    let loaded = loaded.processed(&spec.processing)?;
    let loaded = if spec.half_products { loaded.with_half_products()? } else { loaded };
    let device = open_device(places.device).map_err(SubjectError::from)?;
    let loaded = loaded.on_device(&device)?;
    Ok(OpenSubject { loaded, revision, note })
}

/// A name that is neither a path here nor a hub id.
pub fn no_model(name: &str) -> SubjectError {
    let known: Vec<&str> = LEGACY_IDS.iter().map(|(legacy, _)| *legacy).collect();
    SubjectError::NoModel { model: name.escape_debug().to_string(), known: known.join(", ") }
}

fn find_subject(spec: &SubjectSpec, places: &Places) -> Result<OpenSubject, RunError> {
    if let Some(loaded) = open_stored(spec, places, true)? {
        return Ok(OpenSubject { loaded, revision: None, note: None });
    }
    let id = match place_of(&spec.model, places)? {
        ModelPlace::Embedded => {
            return Ok(OpenSubject { loaded: embedded::load()?, revision: None, note: None });
        }
        ModelPlace::Local(path) => {
            return Ok(OpenSubject { loaded: LoadedSubject::from_path(&path)?, revision: None, note: None });
        }
        ModelPlace::Hub(id) => id,
    };
    let revision = spec.revision.as_deref().unwrap_or(DEFAULT_REVISION);
    let hub = hub(places)?;
    // Other programs may have cached the model under its name without an owner.
    let snapshot = hub.model_files(id, revision).or_else(|error| match error {
        HubError::Offline { .. } if id != spec.model => {
            hub.model_files(&spec.model, revision).map_err(|_| error)
        }
        error => Err(error),
    })?;
    let loaded = LoadedSubject::from_folder(&snapshot.folder)?.from_hub(id, &snapshot.commit);
    let note = (id != spec.model).then(|| format!("`{}` is `{id}` on the hub", spec.model));
    Ok(OpenSubject { loaded, revision: Some(snapshot.commit), note })
}

/// Where a model is.
pub enum ModelPlace<'a> {
    /// Compiled in.
    Embedded,
    /// A folder or a GGUF file.
    Local(PathBuf),
    /// A hub id.
    Hub(&'a str),
}

/// Where the model of this name is: a path comes before a hub id.
pub fn place_of<'a>(model: &'a str, places: &Places) -> Result<ModelPlace<'a>, RunError> {
    if model == embedded::NAME {
        return Ok(ModelPlace::Embedded);
    }
    let path = resolve(model, &places.suite_folder);
    match hub_id(model).filter(|_| !path.exists()) {
        Some(id) => Ok(ModelPlace::Hub(id)),
        None if !path.exists() && !model.contains(['/', '\\']) => Err(no_model(model).into()),
        None => Ok(ModelPlace::Local(path)),
    }
}

/// The hub id of a model: `OWNER/NAME` as it is, and today's id of a model that once had a name without an owner.
pub fn hub_id(model: &str) -> Option<&str> {
    let parts: Vec<&str> = model.split('/').collect();
    let named = |part: &&str| !part.is_empty() && *part != "." && *part != "..";
    match parts.as_slice() {
        [name] => LEGACY_IDS.iter().find(|(legacy, _)| legacy == name).map(|(_, id)| *id),
        [_, _] if parts.iter().all(named) => Some(model),
        _ => None,
    }
}

/// A hook point of a layer beyond the model's.
pub fn no_such_layer(text: &str, layer: usize, n_layers: usize) -> RunError {
    let problem =
        format!("names layer {layer} in `{text}`, but the model has layers 0 to {}", n_layers.max(1) - 1);
    RunError::Setting { field: "hooks".into(), problem }
}

/// The suite's hook points, checked against the model, in order and without duplicates. Chosen features are checked
/// too, where a dictionary's size follows from the width of the hook point.
pub fn expand_hooks(suite: &Suite, subject: &dyn SubjectModel) -> Result<Vec<HookPoint>, RunError> {
    let n_layers = subject.info().n_layers;
    let mut hooks = Vec::new();
    for (text, selector) in &suite.hooks {
        let expanded = subject.hooks(selector).map_err(|layer| no_such_layer(text, layer, n_layers))?;
        for hook in expanded {
            subject.check_hook(hook)?;
            if !hooks.contains(&hook) {
                hooks.push(hook);
            }
        }
    }
    check_chosen(suite, subject, &hooks)?;
    Ok(hooks)
}

/// Checks the chosen features against the sizes of dictionaries that are known before they are fitted.
fn check_chosen(suite: &Suite, subject: &dyn SubjectModel, hooks: &[HookPoint]) -> Result<(), RunError> {
    for method in suite.methods.iter().filter(|method| method.ids().is_some()) {
        let Ok(fit) = method.params.check() else { continue };
        for &hook in hooks.iter().filter(|&&hook| method.is_at(hook)) {
            let Some(n) = fit.most_features(subject.width(hook)?) else { continue };
            for (variant, row) in method.variants().iter().zip(method.row_names()) {
                check_ids(method, &row, hook, variant.sides() * n)?;
            }
        }
    }
    Ok(())
}

/// Checks the chosen features of a method's row against its number of features.
pub fn check_ids(method: &MethodSpec, row: &str, hook: HookPoint, n_features: usize) -> Result<(), RunError> {
    match method.ids().into_iter().flatten().find(|&&id| id >= n_features) {
        None => Ok(()),
        Some(&id) => {
            Err(RunError::NoFeature { method: row.to_string(), hook: hook.to_string(), id, n_features })
        }
    }
}

/// The suite as it runs behind `prefix`. If BOS takes the model's position 0, the first token of a text is scored
/// like any other. The contexts of stored activations are as long as they are stored.
pub fn run_with_prefix(subject: &LoadedSubject, prefix: &Prefix, suite: &Suite) -> Suite {
    let mut suite = suite.clone();
    if let Some(stored) = subject.stored() {
        suite.corpus.ctx_tokens = stored.files().positions();
    }
    suite.protocol.score_first_position |= !prefix.is_empty();
    suite
}

/// Tokens of both splits with the resolved revision.
pub struct OpenCorpus {
    /// Contexts and fragments.
    pub tokens: TokenSets,
    /// Commit of a hub data set.
    pub revision: Option<String>,
    /// Warnings for readers of the results.
    pub warnings: Vec<String>,
}

/// Reads as much of the suite's corpus as is needed. Fails if no feature can be scored because plain text was not
/// divided into documents.
pub fn open_corpus(
    suite: &Suite,
    subject: &LoadedSubject,
    places: &Places,
    on: &dyn Fn(Event),
) -> Result<OpenCorpus, RunError> {
    let mut corpus = read_corpus(suite, subject, places, on)?;
    let counts = &corpus.tokens.counts;
    let (found, needed) = (counts.eval_documents, suite.protocol.min_firing_fragments);
    if found < needed && subject.stored().is_none() {
        if let Some(text) = counts.undivided.clone() {
            let name = format!("`{}`", suite.corpus.source);
            return Err(CorpusError::Undivided { name, text, found, needed }.into());
        }
        corpus.warnings.push(format!(
            "corpus: the evaluate split has {found} documents, and a feature is scored on {needed} fragments of \
             different documents: raise `corpus.eval_fragments`, which reads more documents, or give shorter ones"
        ));
    }
    corpus.warnings.iter().for_each(|warning| on(Event::Warning(warning.clone())));
    Ok(corpus)
}

fn read_corpus(
    suite: &Suite,
    subject: &LoadedSubject,
    places: &Places,
    on: &dyn Fn(Event),
) -> Result<OpenCorpus, RunError> {
    let tokenizer = subject.tokenizer()?;
    let prefix = subject.prefix(suite.subject.bos)?;
    let encoder = SubjectEncoder(tokenizer);
    if let Some(stored) = subject.stored() {
        let tokens = stored_tokens(suite, stored, (tokenizer, &encoder), &prefix)?;
        return Ok(OpenCorpus { tokens, revision: None, warnings: Vec::new() });
    }
    let params = corpus_params(suite, subject.model().info().n_ctx, tokenizer, &prefix)?;
    let progress = |progress| on(event(progress));
    let read = |source: &Source<'_>, revision| -> Result<OpenCorpus, RunError> {
        let tokens = prepare(source, &encoder, &params, &progress)?;
        let warnings = tokens.counts.warnings(params.bad_lines);
        Ok(OpenCorpus { tokens, revision, warnings })
    };
    let spec = &suite.corpus;
    let (field, separator) = (spec.field.as_deref(), spec.separator.as_deref());
    if let Some(id) = spec.source.strip_prefix("hub:") {
        let hub = hub(places)?;
        let dataset =
            hub.dataset(id, spec.revision.as_deref().unwrap_or(DEFAULT_REVISION), spec.files.as_deref())?;
        let revision = dataset.commit().to_string();
        return read(&Source::from_dataset(dataset, field, separator)?, Some(revision));
    }
    if spec.source == "embedded" {
        let generator = Generator::new(EMBEDDED_CORPUS_SEED);
        let source = match suite.controls.oracle {
            true => Source::Labelled(Box::new(move |index| generator.document(index as u64))),
            false => Source::Generated(Box::new(move |index| generator.document(index as u64).text)),
        };
        return read(&source, None);
    }
    read(&Source::from_path(&resolve(&spec.source, &places.suite_folder), field, separator)?, None)
}

fn event(progress: Progress) -> Event {
    match progress {
        Progress::Tokens { found, needed } => Event::work("read text", found, needed, "tokens"),
        Progress::Idle(bytes) => Event::Note(format!("{} MiB read without a document", bytes >> 20)),
    }
}

/// The beginning of the suite's corpus for a plan: about `fit_tokens` tokens to fit on, and `fragments` fragments. Hub
/// data sets are not downloaded for a plan: then the text is the embedded corpus, and the flag is true.
pub fn sample_corpus(
    suite: &Suite,
    subject: &LoadedSubject,
    places: &Places,
    [fit_tokens, fragments]: [usize; 2],
) -> Result<(TokenSets, bool), RunError> {
    let mut sample = suite.clone();
    let stands_in = sample.corpus.source.starts_with("hub:");
    if stands_in {
        sample.corpus.source = "embedded".into();
    }
    (sample.corpus.fit_tokens, sample.corpus.eval_fragments) = (fit_tokens, fragments);
    Ok((read_corpus(&sample, subject, places, &|_| ())?.tokens, stands_in))
}

/// The corpus parameters of a suite, checked against the model's context.
pub fn corpus_params(
    suite: &Suite,
    n_ctx: usize,
    tokenizer: &Tokenizer,
    prefix: &Prefix,
) -> Result<CorpusParams, RunError> {
    let refuse = |field: &str, problem: String| Err(RunError::Setting { field: field.into(), problem });
    let in_front = prefix.ids.len();
    let with = match in_front {
        0 => String::new(),
        n => format!(" ({n} of them for {} in front)", prefix.tokens()),
    };
    let (ctx, fragment) = (suite.corpus.ctx_tokens, suite.protocol.fragment_tokens);
    if ctx > n_ctx {
        return refuse(
            "corpus.ctx_tokens",
            format!("is {ctx}, but the model's context has {n_ctx} positions"),
        );
    }
    if ctx < in_front + 2 {
        return refuse("corpus.ctx_tokens", format!("is {ctx}{with}, expected at least {}", in_front + 2));
    }
    if fragment + in_front > n_ctx {
        let problem = format!(
            "is {fragment}, which takes {} positions{with}, but the model's context has {n_ctx}",
            fragment + in_front
        );
        return refuse("protocol.fragment_tokens", problem);
    }
    Ok(CorpusParams {
        fit_tokens: suite.corpus.fit_tokens,
        ctx_tokens: ctx - in_front,
        eval_fragments: suite.corpus.eval_fragments,
        fragment_tokens: fragment,
        seed: suite.seed,
        bad_lines: suite.limits.bad_lines,
        reject_replacement: suite.protocol.reject_undecodable,
        separator_id: tokenizer.bos_token(),
        prefix: prefix.ids.clone(),
    })
}

/// Tokens of [`STEERING_PROMPT`], if the suite asks for steered text.
pub fn steering_prompt(suite: &Suite, tokenizer: &Tokenizer) -> Result<Vec<u32>, RunError> {
    match suite.examples {
        Some(Examples::Steering) => Ok(tokenizer.encode(STEERING_PROMPT).map_err(SubjectError::from)?),
        None => Ok(Vec::new()),
    }
}

/// Fails if a prompt and the text behind it, of features that are changed, exceed the subject's context.
pub fn check_written(suite: &Suite, model: &dyn SubjectModel) -> Result<(), RunError> {
    let writes = suite.explains_output() || suite.compares_written();
    let Some(settings) = suite.effects.as_ref().filter(|_| writes) else { return Ok(()) };
    let (prompt, written, n_ctx) = (settings.prompt_tokens, settings.written_tokens, model.info().n_ctx);
    if model.without_model().is_some() || prompt + written <= n_ctx {
        return Ok(());
    }
    let problem = format!(
        "is {written}, but the model reads {n_ctx} tokens and a prompt has {prompt} (`effects.prompt_tokens`): expected \
         fewer"
    );
    Err(RunError::Setting { field: "effects.written_tokens".into(), problem })
}

/// Adapts the subject's tokenizer to the corpus.
pub struct SubjectEncoder<'a>(pub &'a Tokenizer);

impl Encode for SubjectEncoder<'_> {
    fn encode(&self, text: &str) -> Result<Vec<u32>, String> {
        self.0.encode(text).map_err(|error| error.to_string())
    }

    fn starts_character(&self, id: u32) -> bool {
        self.0.starts_character(id)
    }

    fn push_bytes(&self, id: u32, into: &mut Vec<u8>) {
        into.extend_from_slice(self.0.bytes_of(id));
    }

    fn is_special(&self, id: u32) -> bool {
        self.0.is_special(id)
    }

    fn replacement_token(&self, id: u32) -> bool {
        std::str::from_utf8(self.0.bytes_of(id)).map_or(true, |text| text.contains('\u{fffd}'))
    }
}

/// Filler tokens of neuron-to-graph's probes.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct Fillers {
    /// First token of every probe, for model families that treat position 0 specially and have no BOS.
    pub lead: Option<u32>,
    /// Replaces a token whose importance is measured.
    pub pad: u32,
}

/// Chooses the fillers. `pad` is the pad token, or else the whitespace token that is rarest in the fit split.
/// `lead` is the BOS token, or else `pad`.
pub fn fillers(model: &dyn SubjectModel, tokenizer: &Tokenizer, fit: &TokenBatch) -> Fillers {
    let mut counts = vec![0u64; tokenizer.vocab_size()];
    for &id in fit.ids() {
        if let Some(count) = counts.get_mut(id as usize) {
            *count += 1;
        }
    }
    let ids: Vec<u32> = (0..tokenizer.vocab_size() as u32).collect();
    let texts = tokenizer.token_texts(&ids);
    let is_blank = |text: &str| !text.is_empty() && text.chars().all(char::is_whitespace);
    let rarest =
        ids.iter().filter(|&&id| is_blank(&texts[id as usize])).min_by_key(|&&id| (counts[id as usize], id));
    let pad = tokenizer.pad_token().or_else(|| rarest.copied()).unwrap_or(0);
    let lead = model.info().needs_lead_token.then(|| tokenizer.bos_token().unwrap_or(pad));
    Fillers { lead, pad }
}

/// Record of the corpus for the manifest.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct CorpusRecord {
    /// Digest of both splits' tokens.
    pub digest: Digest,
    /// Counts of documents and tokens.
    pub counts: CorpusCounts,
    /// Commit of a hub data set.
    pub revision: Option<String>,
}
