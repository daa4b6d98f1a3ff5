//! Opens what a finished run was made of: its subject and the dictionary of a feature.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::base::{Digest, read};
use crate::dictionary::{DICTIONARY_FILES, Dictionary, load};
use crate::report::{Layout, Place, check_listed, visible};
use crate::run::inputs::kept::manifest;
use crate::run::inputs::prepare::open_subject;
use crate::run::{Places, RunError};
use crate::subject::{LoadedSubject, SubjectError};
use crate::suite::SubjectSpec;

/// Dictionaries that a message names, at most.
const NAMED: usize = 12;

/// The folder of a finished run.
pub struct FinishedRun {
    folder: PathBuf,
    manifest: Value,
}

/// A feature of a finished run.
pub struct RunFeature {
    /// Hook point and dictionary.
    pub place: Place,
    /// The feature.
    pub feature: usize,
    /// The dictionary.
    pub dictionary: Box<dyn Dictionary>,
}

impl FinishedRun {
    /// Reads the manifest.
    pub fn open(folder: &Path) -> Result<Self, RunError> {
        check_listed(folder, &[Layout::new(folder).manifest()])?;
        Ok(Self { folder: folder.to_path_buf(), manifest: manifest(folder)? })
    }

    /// The subject as the suite describes it.
    pub fn subject_spec(&self) -> Result<SubjectSpec, RunError> {
        let stated = self.manifest.pointer("/suite/subject").map(SubjectSpec::deserialize);
        let mut spec = stated
            .transpose()
            .map_err(|error| self.unusable(format!("describes no subject of a suite: {error}")))?
            .ok_or_else(|| self.unusable("does not say which model the run was made with".into()))?;
        // The commit, where the suite names a branch or nothing.
        if let Some(commit) = self.manifest.pointer("/subject/revision").and_then(Value::as_str) {
            spec.revision = Some(commit.to_string());
        }
        Ok(spec)
    }

    /// Opens the model for `what`, at `model` if it lies elsewhere now. Fails for a run on stored activations and for
    /// another model than that of the run.
    pub fn open_model(
        &self,
        what: &'static str,
        model: Option<&str>,
        places: &Places,
    ) -> Result<LoadedSubject, RunError> {
        let mut spec = self.subject_spec()?;
        if let Some(path) = spec.activations {
            return Err(SubjectError::WithoutModel { what, path: path.into() }.into());
        }
        if let Some(model) = model {
            spec.model = model.to_string();
        }
        let subject = open_subject(&spec, places)?.loaded;
        let found = subject.model().info().weights_digest;
        let recorded = self.manifest.pointer("/subject/weights_digest").map(Digest::deserialize);
        match recorded.and_then(Result::ok) {
            Some(recorded) if recorded != found => Err(self.unusable(format!(
                "names a model with digest {recorded}, but `{}` has {found}: it is not the model of the run",
                visible(&spec.model)
            ))),
            _ => Ok(subject),
        }
    }

    /// The feature at `HOOK/DICTIONARY/FEATURE`.
    pub fn feature(&self, address: &str) -> Result<RunFeature, RunError> {
        let setting = |problem: String| RunError::Setting { field: "FEATURE".into(), problem };
        let known = self.dictionaries();
        let parts = address.rsplit_once('/').and_then(|(name, feature)| Some((name, feature.parse().ok()?)));
        let parts = parts.filter(|(name, _)| known.contains(name));
        let Some(((name, feature), (hook, dictionary))) =
            parts.and_then(|parts: (&str, usize)| Some((parts, parts.0.split_once('/')?)))
        else {
            let more = if known.len() > NAMED { ", …" } else { "" };
            return Err(setting(format!(
                "`{address}` matches no feature of `{}`: give HOOK/METHOD/FEATURE; its dictionaries: {}{more}",
                self.folder.display(),
                known[..known.len().min(NAMED)].join(", ")
            )));
        };
        let place = Place { hook: hook.into(), dictionary: dictionary.into(), control: None };
        let dictionary = self.dictionary(&place)?;
        let n_features = dictionary.info().n_features;
        if feature >= n_features {
            let last = n_features.saturating_sub(1);
            return Err(setting(format!("is {feature}, but `{name}` has features 0 to {last}")));
        }
        if dictionary.as_affine().kept().is_some_and(|kept| kept.binary_search(&feature).is_err()) {
            let problem = format!("is {feature}, but the run stored only the chosen features of `{name}`");
            return Err(setting(problem));
        }
        Ok(RunFeature { place, feature, dictionary })
    }

    /// A dictionary of the run.
    pub fn dictionary(&self, place: &Place) -> Result<Box<dyn Dictionary>, RunError> {
        let folder = self.layout().dictionary(place);
        check_listed(&self.folder, &DICTIONARY_FILES.map(|file| folder.join(file)))?;
        Ok(load(&folder)?)
    }

    /// Where its files lie.
    pub fn layout(&self) -> Layout {
        Layout::new(&self.folder)
    }

    /// What the manifest holds at a JSON pointer.
    pub fn fact(&self, pointer: &str) -> Option<&Value> {
        self.manifest.pointer(pointer)
    }

    /// Text of every token id.
    pub fn token_texts(&self) -> Result<Vec<String>, RunError> {
        let path = self.layout().token_texts();
        check_listed(&self.folder, &[&path])?;
        let unreadable =
            |error| RunError::Input { path: path.clone(), why: format!("is no list of texts: {error}") };
        serde_json::from_slice(&read(&path)?).map_err(unreadable)
    }

    /// The subject's own dictionaries as `HOOK/DICTIONARY`. Names of a control's end with `(CONTROL)`.
    pub fn dictionaries(&self) -> Vec<&str> {
        let all = self.manifest.get("dictionaries").and_then(Value::as_object);
        all.into_iter().flatten().map(|(name, _)| name.as_str()).filter(|name| !name.ends_with(')')).collect()
    }

    fn unusable(&self, why: String) -> RunError {
        RunError::Input { path: Layout::new(&self.folder).manifest(), why }
    }
}
