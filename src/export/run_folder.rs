//! The run folder: its dictionaries, and what the run knows about them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::error::ExportError;
use crate::base::{FileError, FileName, HookPoint, HookSelector, Sealed, read};
use crate::report::{Layout, Place, QualityRow, ReportError, Summary, check_data, dictionary_name, visible};

/// The dictionaries to export. An empty list selects all.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Methods, or single trainings of them.
    pub methods: Vec<String>,
    /// Hook points; `*` and `{0,2}` work as in a suite.
    pub hooks: Vec<String>,
}

/// More trainings of a method than any suite has: a summary that claims more is broken.
const MOST_TRAININGS: usize = 1_000;

/// A finished run.
pub struct RunFolder {
    pub layout: Layout,
    pub summary: Summary,
    pub facts: Facts,
    /// Every dictionary, in the order of the tables.
    entries: Vec<Entry>,
    /// Stored rows with the dictionary that each measured.
    rows: Vec<(PathBuf, RowKey)>,
}

/// One dictionary of the run.
pub struct Entry {
    pub place: Place,
    /// The method, the same for all of its trainings.
    pub method: String,
    /// None if the hook point is not one of this program's.
    pub hook: Option<HookPoint>,
    /// The row of its method in the summary.
    pub quality: QualityRow,
}

/// What is read from `manifest.json`. Fields of older runs may be missing.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Facts {
    #[serde(deserialize_with = "or_default")]
    pub suite: SuiteFacts,
    #[serde(deserialize_with = "or_default")]
    pub subject: SubjectFacts,
    #[serde(deserialize_with = "or_default")]
    pub bos: BosFacts,
    /// By `HOOK/DICTIONARY`.
    dictionaries: BTreeMap<String, DictionaryFacts>,
    /// By explainer, simulator and judge; only those with a language model.
    pub prompts: BTreeMap<String, Value>,
}

/// Null as the default.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct SuiteFacts {
    #[serde(deserialize_with = "or_default")]
    pub corpus: CorpusFacts,
    pub protocol: ProtocolFacts,
    /// Explainers, simulators and judges.
    pub pairs: Value,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct CorpusFacts {
    pub source: Option<String>,
    /// Tokens of a fitting context.
    pub ctx_tokens: Option<usize>,
}

impl CorpusFacts {
    /// The data set's id on the hub; none for text from elsewhere.
    pub fn dataset(&self) -> Option<&str> {
        self.source.as_deref()?.strip_prefix("hub:")
    }

    /// The data set's id, or the name of the file.
    pub fn label(&self) -> &str {
        let source = self.source.as_deref().unwrap_or_default();
        self.dataset().unwrap_or_else(|| source.rsplit(['/', '\\']).next().unwrap_or(source))
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ProtocolFacts {
    /// Tokens of an evaluation fragment, without prefix.
    pub fragment_tokens: Option<usize>,
    /// Whether the first token of a fragment counts where there is no prefix.
    pub score_first_position: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct SubjectFacts {
    pub name: Option<String>,
    pub n_layers: Option<usize>,
    pub d_model: Option<usize>,
    pub d_mlp: Option<usize>,
    pub processing: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct BosFacts {
    /// Tokens in front of every context and fragment.
    pub ids: Vec<u32>,
}

/// What identifies a dictionary and its activations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
struct DictionaryFacts {
    #[serde(default)]
    digest: String,
    #[serde(default)]
    fitted_on: String,
}

/// The part of a stored row that says what it measured.
#[derive(Debug, Deserialize)]
struct RowKey {
    name: String,
    dictionary: DictionaryFacts,
}

/// Measurements of one dictionary.
#[derive(Debug, Deserialize)]
pub struct Measured {
    pub quality: Quality,
    /// Mean losses in nats per token; none where they were not measured.
    pub losses: Option<Losses>,
    /// Mean loss with the reconstruction in place; none if it does not reconstruct.
    pub spliced: Option<f64>,
}

#[derive(Debug, Deserialize)]
pub struct Quality {
    pub n_tokens: usize,
    pub l0: f64,
    /// Share of tokens on which each feature fires.
    pub density: Vec<f64>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Losses {
    pub clean: f64,
    /// With the activation replaced by zero.
    pub zero: f64,
    pub n_tokens: usize,
}

impl Entry {
    /// Why the dictionary cannot be exported in any form.
    pub fn problem(&self) -> Option<String> {
        if let Some(control) = &self.place.control {
            return Some(format!("it belongs to the control `{}`", visible(control)));
        }
        self.hook.is_none().then(|| "its hook point is not known".into())
    }

    /// Names for its files: hook point, dictionary.
    pub fn names(&self) -> [&str; 2] {
        [&self.place.hook, &self.place.dictionary]
    }

    /// The folder in an export that these names become.
    pub fn exported_path(&self) -> String {
        self.names().map(|name| FileName::of(name).to_string()).join("/")
    }

    /// Index of its block; 0 for the embedding; none for an unknown hook point.
    pub fn layer(&self) -> Option<usize> {
        self.hook.map(|hook| match hook {
            HookPoint::Embed => 0,
            HookPoint::Block { layer, .. } => layer,
        })
    }

    /// Its folder in the run folder.
    pub fn folder(&self, run: &RunFolder) -> PathBuf {
        run.layout.dictionary(&self.place)
    }

    fn is_called(&self, method: &str) -> bool {
        self.method == method || self.place.dictionary == method
    }

    fn is_at(&self, hook: &str) -> bool {
        if self.place.hook == hook {
            return true;
        }
        match (hook.parse::<HookSelector>(), self.hook) {
            (Ok(HookSelector::EveryLayer(wanted)), Some(HookPoint::Block { site, .. })) => wanted == site,
            (Ok(HookSelector::Layers { layers, site: wanted }), Some(HookPoint::Block { layer, site })) => {
                wanted == site && layers.contains(&layer)
            }
            _ => false,
        }
    }
}

impl RunFolder {
    /// Reads summary and manifest, and finds the stored measurements.
    pub fn read(folder: &Path) -> Result<Self, ExportError> {
        let layout = Layout::new(folder);
        let path = layout.summary();
        if !path.exists() {
            return Err(ReportError::NoSummary(folder.to_path_buf()).into());
        }
        check_data(folder)?;
        let summary = Summary::read(&path)?;
        let path = layout.manifest();
        let unreadable = |source| ReportError::Json { path: path.clone(), line: None, source };
        let facts = match path.exists() {
            true => serde_json::from_slice(&read(&path)?).map_err(unreadable)?,
            false => Facts::default(),
        };
        let (entries, rows) = (entries(&summary), stored_rows(&layout.stages())?);
        Ok(Self { layout, summary, facts, entries, rows })
    }

    /// Every dictionary, in the order of the tables.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The dictionaries that the filters select. A filter that selects none is an error.
    pub fn select(&self, wanted: &Wanted) -> Result<Vec<&Entry>, ExportError> {
        let known = |name: fn(&Entry) -> &str| -> String {
            let names: BTreeSet<&str> = self.entries.iter().map(name).collect();
            names.iter().map(|name| format!("`{}`", visible(name))).collect::<Vec<_>>().join(", ")
        };
        for (flag, names, matches, known) in [
            (
                "--method",
                &wanted.methods,
                Entry::is_called as fn(&Entry, &str) -> bool,
                known(|entry| &entry.method),
            ),
            ("--hook", &wanted.hooks, Entry::is_at, known(|entry| &entry.place.hook)),
        ] {
            if let Some(name) =
                names.iter().find(|name| !self.entries.iter().any(|entry| matches(entry, name)))
            {
                return Err(ExportError::Unknown { flag, name: visible(name), known });
            }
        }
        let selected = |entry: &&Entry| {
            (wanted.methods.is_empty() || wanted.methods.iter().any(|name| entry.is_called(name)))
                && (wanted.hooks.is_empty() || wanted.hooks.iter().any(|name| entry.is_at(name)))
        };
        Ok(self.entries.iter().filter(selected).collect())
    }

    /// The measurements of a dictionary; none if the run stored none. They are matched by digests, because the folder
    /// may hold rows of earlier versions of the suite.
    pub fn measured(&self, entry: &Entry) -> Result<Option<Measured>, ExportError> {
        #[derive(Deserialize)]
        struct Row {
            measured: Measured,
        }
        let name = &entry.place.dictionary;
        let Some(facts) = self.facts.dictionaries.get(&format!("{}/{name}", entry.place.hook)) else {
            return Ok(None);
        };
        let of_it = |key: &RowKey| key.name == *name && key.dictionary == *facts;
        for (path, _) in self.rows.iter().filter(|(_, key)| of_it(key)) {
            // A row of another version of the program counts as missing.
            let Some(Row { measured }) = stage_value(path) else { continue };
            let one = entry.quality.trainings.is_none_or(|n| n == 1);
            let same = measured.quality.n_tokens == entry.quality.n_tokens
                && (!one || entry.quality.l0 == Some(measured.quality.l0));
            if same {
                return Ok(Some(measured));
            }
        }
        Ok(None)
    }

    /// Evaluation fragments behind a number of counted tokens; none if the manifest does not say.
    pub fn fragments_of(&self, n_tokens: usize) -> Option<usize> {
        let protocol = &self.facts.suite.protocol;
        let skipped = usize::from(self.facts.bos.ids.is_empty() && !protocol.score_first_position);
        n_tokens.checked_div(protocol.fragment_tokens?.checked_sub(skipped)?)
    }

    /// The language model of an explainer, simulator or judge by its name in tables; none if it has none.
    pub fn model_of(&self, name: &str) -> Option<&str> {
        let pairs = self.facts.suite.pairs.as_array()?;
        let roles = pairs.iter().flat_map(|pair| [&pair["explainer"], &pair["simulator"]]);
        roles.filter(|role| role["name"] == name).find_map(|role| role["llm"]["model"].as_str())
    }
}

/// One entry for each dictionary of the summary's quality rows.
fn entries(summary: &Summary) -> Vec<Entry> {
    let mut entries = Vec::new();
    for row in &summary.quality {
        for nth in 0..row.trainings.unwrap_or(1).min(MOST_TRAININGS) {
            let dictionary = dictionary_name(&row.method, u32::try_from(nth).ok());
            entries.push(Entry {
                place: Place { hook: row.hook.clone(), dictionary, control: row.control.clone() },
                method: row.method.clone(),
                hook: row.hook.parse().ok(),
                quality: row.clone(),
            });
        }
    }
    entries
}

/// The stored rows of a run by what they measured. Unreadable ones count as missing.
fn stored_rows(stages: &Path) -> Result<Vec<(PathBuf, RowKey)>, ExportError> {
    let mut paths = Vec::new();
    if let Ok(files) = std::fs::read_dir(stages) {
        for file in files {
            let failed = |source| FileError { action: "read", path: stages.to_path_buf(), source };
            paths.push(file.map_err(failed)?.path());
        }
    }
    paths.sort();
    let is_row = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("row-") && name.ends_with(".json")
    };
    let mut rows = Vec::new();
    for path in paths.into_iter().filter(is_row) {
        if let Some(key) = stage_value(&path) {
            rows.push((path, key));
        }
    }
    Ok(rows)
}

/// What a stage stored; none if it is damaged. Stages of earlier versions are plain JSON.
fn stage_value<T: DeserializeOwned>(path: &Path) -> Option<T> {
    match Sealed::read(path).ok()? {
        Some(sealed) => sealed.value(),
        None => serde_json::from_slice(&read(path).ok()?).ok(),
    }
}
