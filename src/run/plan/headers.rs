//! What the headers of a suite's local files say, before any work: subject, corpus, dictionaries.
//!
//! Weights are not read. Files on the hub are left to the run.

use crate::base::HookPoint;
use crate::corpus::CorpusError;
use crate::dictionary::{DictionaryPath, FileParams, MethodParams, Shape, Stated, hook_of};
use crate::run::inputs::check_stored::{StoredHeader, check_stored};
use crate::run::inputs::dictionaries::on_disk;
use crate::run::inputs::prepare::{hub_id, no_model, no_such_layer};
use crate::run::{Places, RunError};
use crate::subject::{SubjectHeader, SubjectModel, embedded};
use crate::suite::{Suite, resolve};

/// What a look at the headers found.
#[derive(Debug, Default)]
pub struct Headers {
    /// Reasons why the suite cannot run, with the field of each.
    pub problems: Vec<(String, RunError)>,
    /// Differences that change results.
    pub warnings: Vec<String>,
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
    let mut subject = named(suite, header.as_ref());
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
    if source != "embedded" && !source.starts_with("hub:") && !path.exists() {
        found.problems.push(("corpus.source".into(), CorpusError::missing(&path).into()));
    }
    read_dictionaries(suite, places, &subject, &mut found);
    found
}

/// Compares dictionaries trained elsewhere with the open subject.
pub fn check_places(
    suite: &Suite,
    places: &Places,
    model: &dyn SubjectModel,
    hooks: &[HookPoint],
) -> Result<Vec<String>, RunError> {
    let mut subject = match suite.subject.activations {
        Some(_) => stored(&model.info().name),
        None => {
            let path = resolve(&suite.subject.model, &places.suite_folder);
            let header = if path.exists() { SubjectHeader::of_path(&path).ok().flatten() } else { None };
            named(suite, header.as_ref())
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

fn named(suite: &Suite, header: Option<&SubjectHeader>) -> Subject {
    let stated = header.and_then(|header| header.stated_name.clone()).filter(|name| hub_id(name).is_some());
    let written = hub_id(&suite.subject.model).filter(|_| header.is_none()).map(String::from);
    let is_named = stated.is_some() || written.is_some();
    let folder = header.map(|header| header.name.clone());
    Subject { names: [written, stated, folder].into_iter().flatten().collect(), is_named, hooks: Vec::new() }
}

fn read_dictionaries(suite: &Suite, places: &Places, subject: &Subject, found: &mut Headers) {
    for method in &suite.methods {
        let field = format!("methods.{}.path", method.name);
        let path = match (&method.located, method.params.path()) {
            (Some(located), _) => Ok(located.path.clone()),
            (None, Some(Ok(DictionaryPath::Local(written)))) => on_disk(&written, places),
            _ => continue,
        };
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
}

impl Headers {
    /// The warnings, or all problems as one error.
    pub fn checked(mut self) -> Result<Vec<String>, RunError> {
        match self.problems.len() {
            0 => Ok(self.warnings),
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
        let unfit = subject.hooks.iter().filter(|(_, width)| *width != self.shape.d_in);
        for (hook, width) in unfit {
            let problem =
                format!("is a dictionary of width {}, and `{hook}` has width {width}", self.shape.d_in);
            found.problems.push((self.field.clone(), self.setting(problem)));
        }
        let misplaced = misplaced(self.stated, &subject.hooks);
        let other = other_model(self.stated, &subject.names);
        let problems = misplaced.into_iter().chain(other.filter(|_| subject.is_named));
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
        if let Some(other) = other_model(self.stated, &subject.names).filter(|_| !subject.is_named) {
            found.warnings.push(format!("{}: {other}", self.name));
        }
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
pub fn other_model(stated: &Stated, names: &[String]) -> Option<String> {
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
