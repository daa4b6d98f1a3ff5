//! Dictionaries in the files of other programs.
//!
//! In: a folder, or one file of it.
//! Out: a [`Blueprint`]: where the tensors are, what is folded into them, and a card that says so in words.
//! Never: executes pickle; reads a value before it is needed.
//!
//! One file per format. Facts on each: the code of the program that writes it, named there.

mod asked;
mod blueprint;
mod build;
mod card;
mod circuit_tracer;
mod connor_rob;
mod deepseek_r1;
mod dictionary_learning;
mod e2e_sae;
mod folder;
mod gemma_scope;
mod gemma_scope_2;
mod goodfire;
mod llama_scope;
mod llama_scope_r1;
mod llamascopium;
mod names;
mod needed;
mod openai;
mod openmoss;
mod qwen_scope;
mod refused;
mod saelens;
mod settings;
mod sparsify;
mod training_keys;
mod words;

#[cfg(test)]
mod tests;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::base::HookPoint;

use super::{DictionaryError, hook_of};

pub use blueprint::{Blueprint, Scale, Shape};
pub use card::Card;
pub(super) use folder::Folder;
pub use needed::needed;

/// Levels of sub-folders in which a dictionary is looked for.
const DEPTH: usize = 4;
/// Folders that are looked at.
const MOST_FOLDERS: usize = 2000;

/// Program whose files are read.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
    strum::IntoStaticStr,
    strum::EnumString,
    strum::VariantNames,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum FileFormat {
    /// SAELens, versions 2 to 6.
    Saelens,
    /// dictionary_learning.
    DictionaryLearning,
    /// EleutherAI's sparsify.
    Sparsify,
    /// OpenAI's sparse_autoencoder.
    #[serde(rename = "openai")]
    #[strum(serialize = "openai")]
    OpenAi,
    /// Gemma Scope.
    GemmaScope,
    /// Gemma Scope 2.
    #[serde(rename = "gemma_scope_2")]
    #[strum(serialize = "gemma_scope_2")]
    GemmaScope2,
    /// Llama Scope.
    LlamaScope,
    /// Llama Scope for R1-distilled models.
    #[serde(rename = "llama_scope_r1")]
    #[strum(serialize = "llama_scope_r1")]
    LlamaScopeR1,
    /// OpenMOSS's llamascopium (Language-Model-SAEs).
    Llamascopium,
    /// Goodfire's autoencoders.
    Goodfire,
    /// Autoencoders of DeepSeek-R1 models in one torch file.
    #[serde(rename = "deepseek_r1")]
    #[strum(serialize = "deepseek_r1")]
    DeepseekR1,
    /// Qwen-Scope.
    QwenScope,
    /// Attention autoencoders of Kissane, Krzyzanowski and others.
    ConnorRob,
    /// Transcoders of circuit-tracer, among them those of mwhanna.
    #[serde(alias = "mwhanna")]
    #[strum(to_string = "circuit_tracer", serialize = "mwhanna")]
    CircuitTracer,
    /// Cross-layer transcoders of mntss; refused.
    Mntss,
    /// Apollo's e2e_sae.
    #[serde(rename = "e2e_sae")]
    #[strum(serialize = "e2e_sae")]
    E2eSae,
    /// Temporal autoencoders; refused.
    Temporal,
}

impl FileFormat {
    /// Its name in suites.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Fields of a suite, beside `path`, `format` and `ignore`, that this format reads.
    fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Saelens | Self::DictionaryLearning | Self::Sparsify | Self::OpenAi => &["k", "input_scale"],
            Self::LlamaScope | Self::LlamaScopeR1 => &["threshold", "input_scale"],
            Self::Llamascopium => &["input_scale"],
            Self::QwenScope | Self::CircuitTracer => &["k"],
            Self::E2eSae => &["part"],
            _ => &[],
        }
    }
}

/// Units of the thresholds of Llama Scope's JumpReLU; what the file means is disputed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ThresholdUnits {
    /// Units of raw activations: multiplied by the factor on inputs.
    Scaled,
    /// Units of scaled inputs: used as stored.
    Stored,
}

/// What a suite says beside the path.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    /// The format, where the suite names it.
    pub format: Option<FileFormat>,
    /// Settings and tensors to leave out.
    pub ignore: Vec<String>,
    /// Factor on inputs in training.
    pub input_scale: Option<f64>,
    /// Number of codes that are kept, for files that do not say it.
    pub k: Option<usize>,
    /// Units of stored thresholds (Llama Scope).
    pub threshold: Option<ThresholdUnits>,
    /// Which dictionary, where one file holds several.
    pub part: Option<String>,
    /// Where the dictionary is used, if that is known.
    pub hook: Option<HookPoint>,
    /// The whole path as the suite gives it, for formats whose facts stand in names of repositories and folders.
    pub place: String,
}

impl Ask {
    /// Refuses fields that the format does not read.
    fn check(&self, format: FileFormat, path: &Path) -> Result<(), DictionaryError> {
        let given = [
            ("input_scale", self.input_scale.is_some()),
            ("k", self.k.is_some()),
            ("threshold", self.threshold.is_some()),
            ("part", self.part.is_some()),
        ];
        match given.iter().find(|(field, given)| *given && !format.fields().contains(field)) {
            None => Ok(()),
            Some((field, _)) => {
                let problem = format!("`{field}` has no meaning for format {}: leave it out", format.name());
                Err(DictionaryError::unusable(path, problem))
            }
        }
    }
}

/// One format.
pub(super) struct Row {
    pub format: FileFormat,
    /// The program, for people.
    pub words: &'static str,
    /// What recognises it, for people.
    pub recognised_by: &'static str,
    /// Whether a folder holds such a dictionary. Decided by names of files, keys and tensors.
    pub recognises: fn(&Folder) -> bool,
    /// Locates the tensors.
    pub read: fn(&Folder, &Ask) -> Result<Blueprint, DictionaryError>,
}

/// A format, for lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormatRow {
    /// Its name in suites.
    pub name: &'static str,
    /// The program, for people.
    pub words: &'static str,
    /// What recognises it, for people.
    pub recognised_by: &'static str,
    /// Whether its dictionaries are read. The others are recognised and refused with the reason.
    pub supported: bool,
}

/// All formats, in the order of lists.
pub fn rows() -> Vec<FormatRow> {
    let row = |row: &Row| FormatRow {
        name: row.format.name(),
        words: row.words,
        recognised_by: row.recognised_by,
        supported: !matches!(row.format, FileFormat::Mntss | FileFormat::Temporal),
    };
    ROWS.iter().map(row).collect()
}

/// All formats, in the order of lists.
pub(super) const ROWS: &[Row] = &[
    saelens::ROW,
    dictionary_learning::ROW,
    sparsify::ROW,
    openai::ROW,
    gemma_scope::ROW,
    gemma_scope_2::ROW,
    llama_scope::ROW,
    llama_scope_r1::ROW,
    llamascopium::ROW,
    goodfire::ROW,
    deepseek_r1::ROW,
    qwen_scope::ROW,
    connor_rob::ROW,
    circuit_tracer::ROW,
    refused::MNTSS,
    e2e_sae::ROW,
    refused::TEMPORAL,
];

/// Locates the dictionary at `path`: in this folder, or in the only sub-folder that holds one.
pub fn open(path: &Path, ask: &Ask) -> Result<Blueprint, DictionaryError> {
    let (folder, row) = find(path, ask)?;
    ask.check(row.format, folder.path())?;
    let mut blueprint = (row.read)(&folder, ask)?;
    check_unused(&mut blueprint, ask)?;
    blueprint.card.format = row.format.name().to_string();
    if blueprint.card.recognised_by.is_empty() {
        blueprint.card.recognised_by = row.recognised_by.to_string();
    }
    let relative = |path: &Path| path.strip_prefix(folder.path()).unwrap_or(path).display().to_string();
    blueprint.card.files.extend(blueprint.files.iter().map(|file| relative(file.path())));
    if folder.path() != path && path.is_dir() {
        let inner = folder.path().strip_prefix(path).unwrap_or(folder.path());
        blueprint.card.notes.push(format!("found in the sub-folder {}", inner.display()));
    }
    let names = [blueprint.stated.hook.clone(), blueprint.stated.hook_out.clone()];
    for name in names.into_iter().flatten() {
        if let Some(hook) = hook_of(&name).filter(|hook| hook.to_string() != name) {
            blueprint.card.notes.push(format!("{name} is {hook} here"));
        }
    }
    blueprint.shape()?;
    blueprint.describe();
    Ok(blueprint)
}

/// Refuses tensors that no part of the dictionary uses, but for those that the suite leaves out, which the card names.
fn check_unused(blueprint: &mut Blueprint, ask: &Ask) -> Result<(), DictionaryError> {
    let unused = blueprint.unused();
    let (ignored, unknown): (Vec<String>, Vec<String>) =
        unused.into_iter().partition(|name| ask.ignore.contains(name));
    if !unknown.is_empty() {
        let names: Vec<String> = unknown.iter().take(20).map(|name| format!("`{name}`")).collect();
        let (what, are) = if names.len() == 1 { ("tensor", "is") } else { ("tensors", "are") };
        let problem = format!(
            "{what} {} {are} not part of this architecture: where they change no number, list them under `ignore`",
            names.join(", ")
        );
        return Err(DictionaryError::unusable(blueprint.path(), problem));
    }
    blueprint.card.dropped.extend(ignored.into_iter().map(|name| format!("tensor {name}")));
    let is_used = |name: &String| {
        let parts = blueprint.card.dropped.iter().filter_map(|dropped| dropped.split(' ').nth(1));
        parts.into_iter().any(|dropped| dropped == name)
    };
    let idle: Vec<String> = ask.ignore.iter().filter(|name| !is_used(name)).cloned().collect();
    blueprint.card.notes.extend(
        idle.iter().map(|name| {
            format!("`ignore` names {name}, which its files do not hold or which is read anyway")
        }),
    );
    Ok(())
}

/// The folder that holds a dictionary, and its format.
fn find(path: &Path, ask: &Ask) -> Result<(Folder, &'static Row), DictionaryError> {
    if !path.exists() {
        return Err(DictionaryError::unusable(
            path,
            "there is no such folder; expected the folder of a dictionary",
        ));
    }
    let mut found = Vec::new();
    let mut level = vec![path.to_path_buf()];
    let mut seen = 0;
    for _ in 0..=DEPTH {
        let mut next = Vec::new();
        for place in &level {
            let folder = Folder::open(place)?;
            seen += 1;
            match recognise(&folder, ask)? {
                Some(row) => found.push((folder, row)),
                None if path.is_dir() && seen < MOST_FOLDERS => {
                    next.extend(folder.folders().iter().map(|inner| place.join(inner)));
                }
                None => {}
            }
        }
        if !found.is_empty() {
            break;
        }
        level = next;
    }
    if found.len() > 1 {
        let names: Vec<String> =
            found.iter().take(10).map(|(folder, _)| folder.path().display().to_string()).collect();
        let problem = format!("{} dictionaries lie below it; name one: {}", found.len(), names.join(", "));
        return Err(DictionaryError::unusable(path, problem));
    }
    found.pop().ok_or_else(|| not_recognised(path))
}

fn recognise(folder: &Folder, ask: &Ask) -> Result<Option<&'static Row>, DictionaryError> {
    if let Some(format) = ask.format {
        // The suite's word decides, as soon as the folder holds any weights.
        let row = ROWS.iter().find(|row| row.format == format);
        let has_weights = folder.own().any(folder::is_weights);
        let other = ROWS.iter().find(|other| (other.recognises)(folder) && other.format != format);
        return match (row.filter(|row| (row.recognises)(folder)), other) {
            (Some(row), _) => Ok(Some(row)),
            (None, Some(other)) => {
                let (name, looks) = (format.name(), other.format.name());
                let problem = format!(
                    "is no dictionary of format {name}; it looks like format {looks}: leave `format` out"
                );
                Err(DictionaryError::unusable(folder.path(), problem))
            }
            (None, None) => Ok(row.filter(|_| has_weights)),
        };
    }
    let rows: Vec<&Row> = ROWS.iter().filter(|row| (row.recognises)(folder)).collect();
    match rows[..] {
        [] => Ok(None),
        [row] => Ok(Some(row)),
        _ => {
            let names: Vec<&str> = rows.iter().map(|row| row.format.name()).collect();
            let problem = format!("could be {}: say which with `format`", names.join(" or "));
            Err(DictionaryError::unusable(folder.path(), problem))
        }
    }
}

fn not_recognised(path: &Path) -> DictionaryError {
    // The only file of tensors says best why it is none.
    let only = |folder: &Folder| {
        let weights: Vec<&str> = folder.own().filter(|name| folder::is_weights(name)).collect();
        if let [name] = weights[..] { folder.tensors(name).err() } else { None }
    };
    if let Some(error) = Folder::open(path).ok().as_ref().and_then(only) {
        return error;
    }
    let names: Vec<String> = match Folder::open(path) {
        Ok(folder) => folder
            .own()
            .map(String::from)
            .chain(folder.folders().iter().map(|name| format!("{name}/")))
            .collect(),
        Err(error) => return error,
    };
    let found = if names.is_empty() {
        "it is empty".to_string()
    } else {
        format!("found {}", names[..names.len().min(12)].join(", "))
    };
    let known: Vec<&str> = rows().iter().filter(|row| row.supported).map(|row| row.name).collect();
    let hint = Folder::open(path).ok().and_then(|folder| refused::hint(&folder));
    let hint = hint.map(|hint| format!(" {hint}.")).unwrap_or_default();
    let problem =
        format!("no dictionary of a known format: {found}.{hint} Known formats: {}", known.join(", "));
    DictionaryError::unusable(path, problem)
}
