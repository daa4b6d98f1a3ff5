//! The folder of a dictionary: its files by name.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::base::read_regular_text;

use super::super::DictionaryError;
use super::super::tensor_files::TensorFile;
use super::settings::Settings;

/// Extensions of files with tensors.
const WEIGHTS: [&str; 5] = [".safetensors", ".pt", ".pth", ".npz", ".bin"];
/// Extensions of torch files.
pub const TORCH: &[&str] = &[".pt", ".pth", ".bin"];
/// Extension of safetensors.
pub const SAFETENSORS: &[&str] = &[".safetensors"];
/// Files whose tensors are looked at to recognise a format.
const MOST_OPENED: usize = 200;
/// Files in one folder that are listed at most.
const MOST_FILES: usize = 10_000;

/// A folder, or one file of it together with the configurations beside it.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Names of files, and of files one folder down as `checkpoints/final.safetensors`, sorted.
    names: Vec<String>,
    /// Sub-folders.
    folders: Vec<String>,
}

impl Folder {
    /// Lists a folder. If `path` is a file, other files of weights beside it are left out.
    pub fn open(path: &Path) -> Result<Self, DictionaryError> {
        let is_file = path.is_file();
        let folder = if is_file { path.parent().unwrap_or(Path::new(".")) } else { path };
        let (mut names, folders) = list(folder)?;
        for inner in &folders {
            if let Ok((inner_names, _)) = list(&folder.join(inner)) {
                names.extend(inner_names.iter().map(|name| format!("{inner}/{name}")));
            }
        }
        if is_file {
            let own = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            names.retain(|name| *name == own || !is_weights(name) || name.starts_with("activation_"));
        }
        names.sort();
        Ok(Self { path: folder.to_path_buf(), names, folders })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Sub-folders.
    pub fn folders(&self) -> &[String] {
        &self.folders
    }

    /// Whether the file is there.
    pub fn has(&self, name: &str) -> bool {
        self.names.iter().any(|other| other == name)
    }

    /// Files of this folder alone, without those of sub-folders.
    pub fn own(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str).filter(|name| !name.contains('/'))
    }

    /// Own files with one of these endings.
    pub fn ending(&self, endings: &[&str]) -> Vec<&str> {
        self.own().filter(|name| endings.iter().any(|ending| name.ends_with(ending))).collect()
    }

    /// The only own file with one of these endings.
    pub fn only(&self, endings: &[&str]) -> Option<&str> {
        match *self.ending(endings) {
            [name] => Some(name),
            _ => None,
        }
    }

    /// Own files with one of these endings that hold all of these tensors.
    pub fn holding(&self, endings: &[&str], tensors: &[&str]) -> Vec<&str> {
        let holds = |name: &&str| {
            self.tensors(name).is_ok_and(|file| tensors.iter().all(|tensor| file.shape(tensor).is_some()))
        };
        self.ending(endings).into_iter().take(MOST_OPENED).filter(holds).collect()
    }

    /// The only one of these files, each of which is a dictionary.
    pub fn choose<'n>(&self, names: &[&'n str]) -> Result<&'n str, DictionaryError> {
        match *names {
            [name] => Ok(name),
            [] => Err(DictionaryError::unusable(&self.path, "no file here holds the tensors of this format")),
            _ => {
                let some: Vec<&str> = names.iter().take(10).copied().collect();
                let problem = format!(
                    "{} files here are dictionaries; name one in the path: {}",
                    names.len(),
                    some.join(", ")
                );
                Err(DictionaryError::unusable(&self.path, problem))
            }
        }
    }

    /// Path of a file.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Opens a file of tensors.
    pub fn tensors(&self, name: &str) -> Result<TensorFile, DictionaryError> {
        TensorFile::open(&self.join(name))
    }

    /// Reads a configuration in JSON or YAML, by its extension.
    pub fn settings(&self, name: &str) -> Result<Settings, DictionaryError> {
        let path = self.join(name);
        let text = read_regular_text(&path)?;
        let is_yaml = name.ends_with(".yaml") || name.ends_with(".yml");
        let values: Result<Map<String, Value>, String> = match is_yaml {
            true => serde_saphyr::from_str(&text).map_err(|error| error.to_string()),
            false => serde_json::from_str(&text).map_err(|error| error.to_string()),
        };
        let kind = if is_yaml { "a YAML mapping" } else { "a JSON object" };
        let values =
            values.map_err(|error| DictionaryError::unusable(&path, format!("not {kind} ({error})")))?;
        Ok(Settings::new(path, values))
    }
}

/// Whether a name is that of a file with tensors.
pub fn is_weights(name: &str) -> bool {
    WEIGHTS.iter().any(|ending| name.ends_with(ending))
}

/// Names of files and of folders, sorted. Hidden ones are left out.
fn list(folder: &Path) -> Result<(Vec<String>, Vec<String>), DictionaryError> {
    let problem = |error: std::io::Error| {
        DictionaryError::unusable(
            folder,
            format!("cannot be listed ({error}): expected the dictionary's folder"),
        )
    };
    let (mut files, mut folders) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(folder).map_err(problem)?.take(MOST_FILES) {
        let entry = entry.map_err(problem)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = entry.path();
        if name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            folders.push(name);
        } else {
            // Also links that lead nowhere, pipes and devices: reading one of them is an error that names it.
            files.push(name);
        }
    }
    files.sort();
    folders.sort();
    Ok((files, folders))
}
