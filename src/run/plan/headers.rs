//! What the headers of a suite's local files say, before any work: subject, corpus, dictionaries. A task's prompts are read
//! whole.
//!
//! Weights are not read. Files on the hub are left to the run.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::base::HookPoint;
use crate::corpus::{CorpusError, Source};
use crate::dictionary::{DictionaryPath, FileParams, MethodParams, Shape, Stated, hook_of};
use crate::run::inputs::check_stored::{StoredHeader, check_stored};
use crate::run::inputs::dictionaries::on_disk;
use crate::run::inputs::erasure::ConceptSource;
use crate::run::inputs::prepare::{hub_id, no_model, no_such_layer};
use crate::run::inputs::task::TaskSource;
use crate::run::plan::sizes::{check_sizes, memory};
use crate::run::{Places, RunError};
use crate::subject::{SubjectHeader, SubjectModel, embedded};
use crate::suite::{MethodSpec, Suite, resolve};

/// What a look at the headers found.
#[derive(Debug, Default)]
pub struct Headers {
    /// Reasons why the suite cannot run, with the field of each.
    pub problems: Vec<(String, RunError)>,
    /// Differences that change results.
    pub warnings: Vec<String>,
    /// Methods whose dictionaries are applied at one of the run's hook points alone: the one that their files name.
    pub only_at: Vec<(String, HookPoint)>,
    /// Methods whose dictionaries were trained on another model, where the suite applies them all the same.
    pub other_models: Vec<String>,
    /// Which of `problems` are sizes that this machine lacks the room for.
    pub of_size: Range<usize>,
}

/// What is known of the subject.
#[derive(Debug, Default)]
struct Subject {
    /// Its own names: hub id, name in its configuration, folder.
    names: Vec<String>,
    /// Whether one of the names is a hub id, so that another model can be told from it.
    is_named: bool,
    /// Hook points of the run with their widths.
    hooks: Vec<(HookPoint, usize)>,
}

/// Reads the headers of all local files of a suite.
pub fn read_headers(suite: &Suite, places: &Places) -> Headers {
    let mut found = Headers::default();
    match check_stored(suite, places) {
        Ok(None) => {}
        Ok(Some(StoredHeader { name, hooks })) => {
            read_dictionaries(suite, places, &Subject { hooks, ..stored(&name) }, &mut found);
            return found;
        }
        Err(error) => {
            found.problems.push(("subject.activations".into(), error));
            return found;
        }
    }
    let path = resolve(&suite.subject.model, &places.suite_folder);
    let header = match suite.subject.model.as_str() {
        "embedded" => embedded::header().map(Some),
        _ if path.exists() => SubjectHeader::of_path(&path),
        model if hub_id(model).is_some() => Ok(None),
        model if !model.contains(['/', '\\']) => Err(no_model(model)),
        _ => SubjectHeader::of_path(&path),
    };
    let header = header.unwrap_or_else(|error| {
        found.problems.push(("subject.model".into(), error.into()));
        None
    });
    let mut subject = named(suite, &path, header.as_ref());
    if let Some(header) = &header {
        for (text, selector) in &suite.hooks {
            let expanded = selector.expand(header.architecture.n_layers).unwrap_or_else(|layer| {
                let error = no_such_layer(text, layer, header.architecture.n_layers);
                found.problems.push(("hooks".into(), error));
                Vec::new()
            });
            for hook in expanded {
                match header.width(hook) {
                    Ok(width) => subject.hooks.push((hook, width)),
                    Err(error) => found.problems.push(("hooks".into(), error.into())),
                }
            }
        }
    }
    let source = &suite.corpus.source;
    let path = resolve(source, &places.suite_folder);
    if source != "embedded" && !source.starts_with("hub:") {
        match look_at_corpus(suite, &path) {
            Ok(warning) => found.warnings.extend(warning),
            Err(error) => found.problems.push(("corpus.source".into(), error.into())),
        }
    }
    if let Some(Err(error)) = suite.task.as_ref().map(|task| TaskSource::open(task, places)) {
        found.problems.push(("task.prompts".into(), error));
    }
    if let Some(Err(error)) = suite.erasure.as_ref().map(|erasure| ConceptSource::open(erasure, places)) {
        found.problems.push(("erasure.concepts".into(), error));
    }
    read_dictionaries(suite, places, &subject, &mut found);
    found
}

/// Looks at the beginning of a local corpus.
fn look_at_corpus(suite: &Suite, path: &Path) -> Result<Option<String>, CorpusError> {
    if !path.exists() {
        return Err(CorpusError::missing(path));
    }
    Source::from_path(path, suite.corpus.field.as_deref(), suite.corpus.separator.as_deref())?.look()
}

/// Compares dictionaries trained elsewhere with the open subject.
pub fn check_places(
    suite: &Suite,
    places: &Places,
    model: &dyn SubjectModel,
    hooks: &[HookPoint],
) -> Result<Headers, RunError> {
    let mut subject = match suite.subject.activations {
        Some(_) => stored(&model.info().name),
        None => {
            let path = resolve(&suite.subject.model, &places.suite_folder);
            let header = if path.exists() { SubjectHeader::of_path(&path).ok().flatten() } else { None };
            named(suite, &path, header.as_ref())
        }
    };
    for &hook in hooks {
        subject.hooks.push((hook, model.width(hook)?));
    }
    let mut found = Headers::default();
    read_dictionaries(suite, places, &subject, &mut found);
    found.checked()
}

/// Stored activations by the model's name, which tells models apart only if it is a hub id.
fn stored(name: &str) -> Subject {
    let names: Vec<String> = hub_id(name).map(String::from).into_iter().collect();
    Subject { is_named: !names.is_empty(), names, hooks: Vec::new() }
}

/// The subject's names. A GGUF file has only that of the file.
fn named(suite: &Suite, path: &Path, header: Option<&SubjectHeader>) -> Subject {
    let stated = header.and_then(|header| header.stated_name.clone()).filter(|name| hub_id(name).is_some());
    let is_local = header.is_some() || path.exists();
    let written = hub_id(&suite.subject.model).filter(|_| !is_local).map(String::from);
    let is_named = stated.is_some() || written.is_some();
    let stem = || path.file_stem().filter(|_| is_local).map(|stem| stem.to_string_lossy().into_owned());
    let local = header.map(|header| header.name.clone()).or_else(stem);
    Subject { names: [written, stated, local].into_iter().flatten().collect(), is_named, hooks: Vec::new() }
}

/// Where the files of a dictionary trained elsewhere are, if they are on this disk; none for a method that is fitted here.
fn path_of(method: &MethodSpec, places: &Places) -> Option<Result<PathBuf, RunError>> {
    match (&method.located, method.params.path()) {
        (Some(located), _) => Some(Ok(located.path.clone())),
        (None, Some(Ok(DictionaryPath::Local(written)))) => Some(on_disk(&written, places)),
        _ => None,
    }
}

/// The parameters of a method, with the path at which its files are; none if they are not on this disk.
pub fn params_here(method: &MethodSpec, places: &Places) -> Option<MethodParams> {
    match path_of(method, places) {
        Some(path) => Some(method.params.with_path(&path.ok()?)),
        None => method.params.path().is_none().then(|| method.params.clone()),
    }
}

/// Number of features that a dictionary trained elsewhere has by its files; none if they are not on this disk.
pub fn features_in_files(method: &MethodSpec, hook: HookPoint, places: &Places) -> Option<usize> {
    let MethodParams::File(params) = params_here(method, places)? else { return None };
    Some(params.open_at(Some(hook)).ok()?.shape().ok()?.features)
}

fn read_dictionaries(suite: &Suite, places: &Places, subject: &Subject, found: &mut Headers) {
    for method in &suite.methods {
        let field = format!("methods.{}.path", method.name);
        let Some(path) = path_of(method, places) else { continue };
        let params = match path {
            Ok(path) => method.params.with_path(&path),
            Err(error) => {
                found.problems.push((field, error));
                continue;
            }
        };
        let MethodParams::File(params) = &params else { continue };
        match params
            .open_at(subject.hooks.first().map(|(hook, _)| *hook))
            .and_then(|blueprint| Ok((blueprint.shape()?, blueprint.stated.clone())))
        {
            Ok((shape, stated)) => {
                let beyond = method.ids().into_iter().flatten().find(|id| **id >= shape.features);
                if let (Some(&id), Some((hook, _))) = (beyond, subject.hooks.first()) {
                    let (method, hook) = (method.name.clone(), hook.to_string());
                    let error = RunError::NoFeature { method, hook, id, n_features: shape.features };
                    found.problems.push((field.clone(), error));
                }
                Row { name: &method.name, field, params, shape, stated: &stated }.compare(subject, found);
            }
            Err(error) => found.problems.push((field, error.into())),
        }
    }
    check_matched(suite, found);
    let before = found.problems.len();
    found.problems.extend(check_sizes(suite, &subject.hooks, memory()));
    found.of_size = before..found.problems.len();
    check_recipes(suite, subject, found);
}

/// A method cannot have more active features than features, which is known once the width is.
fn check_recipes(suite: &Suite, subject: &Subject, found: &mut Headers) {
    let Some((hook, width)) = subject.hooks.iter().min_by_key(|(_, width)| *width) else { return };
    for method in &suite.methods {
        let recipe = method.params.check().ok().and_then(|fit| fit.recipe(*width, &method.name));
        if let Some(Err(source)) = recipe {
            let (field, hook) = (format!("methods.{}", method.name), hook.to_string());
            found.problems.push((field, RunError::Fit { method: method.name.clone(), hook, source }));
        }
    }
}

/// A method that is matched to one with rows at fewer hook points has no reference at the others.
fn check_matched(suite: &Suite, found: &mut Headers) {
    for method in &suite.methods {
        let matched = method.params.matched();
        if let Some((name, own)) = found.only_at.iter().find(|(name, _)| Some(name.as_str()) == matched) {
            let field = format!("methods.{}.match", method.name);
            let problem = format!(
                "is `{name}`, which is applied at `{own}` alone: keep that hook point only, or set `k` in place of `match`"
            );
            found.problems.push((field.clone(), RunError::Setting { field, problem }));
        }
    }
}

impl Headers {
    /// Sets what was found of dictionaries trained elsewhere: the only hook point of each, and whether it is of another
    /// model.
    pub fn mark(&self, methods: &mut [MethodSpec]) {
        for method in methods {
            let own = self.only_at.iter().find(|(name, _)| *name == method.name);
            method.only_at = own.map(|(_, hook)| *hook);
            method.of_other_model = self.other_models.contains(&method.name);
        }
    }

    /// The same for a run on another machine: what this one lacks the room for is no problem.
    pub fn for_another_machine(mut self) -> Self {
        self.problems.drain(std::mem::take(&mut self.of_size));
        self
    }

    /// What was found, or all problems as one error.
    pub fn checked(mut self) -> Result<Self, RunError> {
        match self.problems.len() {
            0 => Ok(self),
            1 => Err(self.problems.remove(0).1),
            _ => Err(RunError::Several(self.problems)),
        }
    }
}

/// A dictionary from files.
struct Row<'a> {
    name: &'a str,
    field: String,
    params: &'a FileParams,
    shape: Shape,
    stated: &'a Stated,
}

impl Row<'_> {
    fn compare(&self, subject: &Subject, found: &mut Headers) {
        let own = self.own_place(subject);
        let applied = subject.hooks.iter().filter(|(hook, _)| own.is_none_or(|own| own == *hook));
        let unfit = applied.filter(|(_, width)| *width != self.shape.d_in);
        for (hook, width) in unfit {
            let problem =
                format!("is a dictionary of width {}, and `{hook}` has width {width}", self.shape.d_in);
            found.problems.push((self.field.clone(), self.setting(problem)));
        }
        if let Some(own) = own.filter(|_| subject.hooks.len() > 1) {
            found.only_at.push((self.name.to_string(), own));
            found.warnings.push(format!(
                "{}: applied at `{own}` alone, where it was trained, and not at the run's other hook points; \
                 `elsewhere: true` applies it there too, and marks its rows",
                self.name
            ));
        }
        let misplaced = misplaced(self.stated, &subject.hooks).filter(|_| own.is_none());
        // Without a hub id the subject may be the same model under another name.
        let (certain, possible) = match other_model(self.stated, &subject.names) {
            other if subject.is_named => (other, None),
            other => (None, other),
        };
        if self.params.elsewhere && (certain.is_some() || possible.is_some()) {
            found.other_models.push(self.name.to_string());
        }
        let problems = misplaced.into_iter().chain(certain);
        for problem in problems {
            match self.params.elsewhere {
                true => found.warnings.push(format!("{}: {problem}", self.name)),
                false => {
                    let problem =
                        format!("{problem}; `elsewhere: true` applies it all the same, and marks its rows");
                    found.problems.push((self.field.clone(), self.setting(problem)));
                }
            }
        }
        found.warnings.extend(possible.map(|other| format!("{}: {other}", self.name)));
    }

    /// The hook point that the files name, if the run has it and the suite does not ask for others.
    fn own_place(&self, subject: &Subject) -> Option<HookPoint> {
        let named = self.stated.hook.as_deref().and_then(hook_of).filter(|_| !self.params.elsewhere);
        named.filter(|named| subject.hooks.iter().any(|(hook, _)| hook == named))
    }

    fn setting(&self, problem: String) -> RunError {
        RunError::Setting { field: self.field.clone(), problem }
    }
}

/// Hook points of the run at which the dictionary was not trained.
fn misplaced(stated: &Stated, hooks: &[(HookPoint, usize)]) -> Option<String> {
    let name = stated.hook.as_deref()?;
    let trained = hook_of(name);
    let wrong: Vec<String> = hooks
        .iter()
        .map(|(hook, _)| *hook)
        .filter(|hook| Some(*hook) != trained)
        .map(|hook| hook.to_string())
        .collect();
    let shown = match trained {
        Some(hook) => hook.to_string(),
        None => format!("{name}, which is no hook point here"),
    };
    (!wrong.is_empty()).then(|| format!("was trained at `{shown}`, and this run has {}", wrong.join(", ")))
}

/// The model that the dictionary names, if it is none of the subject's.
fn other_model(stated: &Stated, names: &[String]) -> Option<String> {
    let model = stated.model.as_deref()?;
    let same = names.iter().any(|name| plain_name(name) == plain_name(model));
    let here = names.first().map_or("another one", String::as_str);
    (!names.is_empty() && !same)
        .then(|| format!("was trained on the model `{model}`, and the subject is `{here}`"))
}

/// A model's name without owner, in lower case, by the spelling of its hub id.
fn plain_name(name: &str) -> String {
    let name = name.trim_end_matches('/').rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    let name = name.replace(['_', '.'], "-");
    // TransformerLens's short names.
    match name.as_str() {
        "gpt2-small" => "gpt2".into(),
        _ => name.strip_prefix("meta-").map_or(name.clone(), String::from),
    }
}
