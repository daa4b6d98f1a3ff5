//! What the headers of a suite's local files say, before any work: subject, corpus, dictionaries.
//!
//! Weights are not read. Files on the hub are left to the run.

use crate::base::HookPoint;
use crate::dictionary::{DictionaryError, FileParams, MethodParams, Shape, Stated, hook_of};
use crate::run::{Places, RunError};
use crate::subject::{SubjectError, SubjectHeader, embedded};
use crate::suite::{Suite, resolve};

/// What a look at the headers found.
#[derive(Debug, Default)]
pub struct Headers {
    /// Reasons why the suite cannot run, with the field of each.
    pub problems: Vec<(String, RunError)>,
    /// Differences that change results.
    pub warnings: Vec<String>,
}

/// The subject's names and shape, as far as they are known without reading weights.
#[derive(Debug, Default)]
struct Subject {
    /// Its own names: hub id, name in its configuration, folder.
    names: Vec<String>,
    /// Whether one of the names is a hub id, so that another model can be told from it.
    is_named: bool,
    header: Option<SubjectHeader>,
    hooks: Vec<HookPoint>,
}

/// Reads the headers of all local files of a suite.
pub fn read_headers(suite: &Suite, places: &Places) -> Headers {
    let mut found = Headers::default();
    let subject = subject(suite, places, &mut found);
    let source = &suite.corpus.source;
    let path = resolve(source, &places.suite_folder);
    if source != "embedded" && !source.starts_with("hub:") && !path.exists() {
        let why = "does not exist: expected a text, a JSONL file or a folder of them".to_string();
        found.problems.push(("corpus.source".into(), RunError::Missing { path, why }));
    }
    for method in &suite.methods {
        let MethodParams::File(params) = &method.params else { continue };
        let field = format!("methods.{}.path", method.name);
        let mut params = params.clone();
        let Some(path) = params.local_path(&places.suite_folder) else { continue };
        if !path.exists() {
            let why = "does not exist: expected the folder of a dictionary".to_string();
            found.problems.push((field, RunError::Missing { path, why }));
            continue;
        }
        params.set_local_path(&path);
        match params.open().and_then(|blueprint| Ok((blueprint.shape()?, blueprint.stated.clone()))) {
            Ok((shape, stated)) => {
                let row = Row { name: &method.name, field, params: &params, shape, stated: &stated };
                row.compare(&subject, &mut found);
            }
            Err(error) => found.problems.push((field, error.into())),
        }
    }
    found
}

impl Headers {
    /// The warnings, or all problems as one error.
    pub fn checked(mut self) -> Result<Vec<String>, RunError> {
        match self.problems.len() {
            0 => Ok(self.warnings),
            1 => Err(RunError::InField(self.problems.remove(0).into())),
            _ => Err(RunError::Several(self.problems)),
        }
    }
}

fn subject(suite: &Suite, places: &Places, found: &mut Headers) -> Subject {
    let mut subject = Subject::default();
    let model = &suite.subject.model;
    let path = resolve(model, &places.suite_folder);
    if model == "embedded" {
        subject.names.push("embedded".into());
        return with_hooks(suite, subject, found, embedded::header());
    }
    if !path.exists() && model.contains('/') && !model.starts_with('.') && !model.starts_with('/') {
        // An id on the hub: its configuration is read by the run.
        subject.names.push(model.clone());
        subject.is_named = true;
        return subject;
    }
    let header = SubjectHeader::of_path(&path);
    if let Ok(Some(header)) = &header {
        subject.names.extend(header.stated_name.clone());
        subject.is_named = header.stated_name.as_ref().is_some_and(|name| is_hub_id(name));
        subject.names.push(header.name.clone());
    }
    with_hooks(suite, subject, found, header)
}

/// Whether a name has the form OWNER/NAME. Configurations may hold local paths too.
fn is_hub_id(name: &str) -> bool {
    name.split('/').count() == 2 && !name.starts_with(['.', '/', '~'])
}

fn with_hooks(
    suite: &Suite,
    mut subject: Subject,
    found: &mut Headers,
    header: Result<Option<SubjectHeader>, SubjectError>,
) -> Subject {
    match header {
        Ok(Some(header)) => {
            let n_layers = header.architecture.n_layers;
            let expanded = suite.hooks.iter().filter_map(|(_, selector)| selector.expand(n_layers).ok());
            for hook in expanded.flatten() {
                match header.width(hook) {
                    Ok(_) => subject.hooks.push(hook),
                    Err(error) => found.problems.push(("hooks".into(), error.into())),
                }
            }
            subject.header = Some(header);
        }
        Ok(None) => {}
        Err(error) => found.problems.push(("subject.model".into(), error.into())),
    }
    subject
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
        for &hook in &subject.hooks {
            let width = subject.header.as_ref().and_then(|header| header.width(hook).ok());
            if let Some(width) = width.filter(|&width| width != self.shape.d_in) {
                let problem = format!("is a dictionary of width {}, and `{hook}` has width {width}", self.shape.d_in);
                found.problems.push((self.field.clone(), self.setting(problem)));
            }
        }
        let misplaced = misplaced(self.stated, &subject.hooks);
        let other = other_model(self.stated, &subject.names);
        let problems = misplaced.into_iter().chain(other.filter(|_| subject.is_named));
        for problem in problems {
            match self.params.elsewhere {
                true => found.warnings.push(format!("{}: {problem}", self.name)),
                false => {
                    let problem = format!("{problem}; `elsewhere: true` applies it all the same, and marks its rows");
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
fn misplaced(stated: &Stated, hooks: &[HookPoint]) -> Option<String> {
    let name = stated.hook.as_deref()?;
    let trained = hook_of(name);
    let wrong: Vec<String> =
        hooks.iter().filter(|hook| Some(**hook) != trained).map(HookPoint::to_string).collect();
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
    (!names.is_empty() && !same).then(|| format!("was trained on the model `{model}`, and the subject is `{here}`"))
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

impl From<DictionaryError> for Box<RunError> {
    fn from(error: DictionaryError) -> Self {
        Self::new(error.into())
    }
}
