//! Files of a folder, and their formats by name.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::CorpusError;
use super::reader::{content_error, unreadable};

/// Most files and folders that are looked at in a folder.
const MOST_ENTRIES: usize = 100_000;

const PARQUET: &str = "is parquet, which is not read here: write its text column as JSONL (with the Python \
     library: `datasets.load_dataset(…).to_json(\"corpus.jsonl\")`) and name that file";

/// What a file's name says of it. Its content decides in the end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    Jsonl,
    /// JSON of some form: often it describes other files.
    Json,
    Parquet,
    Other,
}

impl Format {
    /// Format by extension, without `.gz` or `.zst`.
    pub(super) fn of(path: &str) -> Self {
        let name = path.to_ascii_lowercase();
        let name = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(&name);
        match Path::new(name).extension().and_then(|extension| extension.to_str()) {
            Some("txt" | "text") => Self::Text,
            Some("jsonl" | "ndjson") => Self::Jsonl,
            Some("json") => Self::Json,
            Some("parquet") => Self::Parquet,
            _ => Self::Other,
        }
    }

    /// Whether the text is in JSON.
    pub(super) fn is_json(self) -> bool {
        matches!(self, Self::Jsonl | Self::Json)
    }
}

/// The one format of several files. JSONL wins over text if a field is given. `.json` counts where there is neither.
pub(super) fn common_format(
    formats: impl Iterator<Item = Format>,
    has_field: bool,
) -> Result<Format, &'static str> {
    let formats: Vec<Format> = formats.collect();
    let has = |format: Format| formats.contains(&format);
    match (has(Format::Text), has(Format::Jsonl)) {
        (true, true) if !has_field => {
            Err("holds both text and JSONL files: name one of them, or set `corpus.field` to read the JSONL")
        }
        (_, true) => Ok(Format::Jsonl),
        (true, false) => Ok(Format::Text),
        (false, false) if has(Format::Parquet) => Err(PARQUET),
        (false, false) if has(Format::Json) => Ok(Format::Json),
        (false, false) => {
            Err("holds no corpus: expected .txt, .jsonl or .json files, plain or compressed as .gz or .zst")
        }
    }
}

/// All files of a folder and below, in the order of their paths, without hidden ones. Pipes and devices are left out. A
/// folder is entered once, whatever links lead to it.
pub(super) fn files_of(folder: &Path) -> Result<Vec<PathBuf>, CorpusError> {
    let mut walk = Walk::default();
    walk.enter(folder)?;
    Ok(walk.files)
}

#[derive(Default)]
struct Walk {
    files: Vec<PathBuf>,
    entered: HashSet<PathBuf>,
    entries: usize,
}

impl Walk {
    fn enter(&mut self, folder: &Path) -> Result<(), CorpusError> {
        let place = folder.canonicalize().map_err(|error| unreadable(folder, error))?;
        if !self.entered.insert(place) {
            return Ok(());
        }
        let entries = folder.read_dir().map_err(|error| unreadable(folder, error))?;
        let mut paths = Vec::new();
        for entry in entries {
            paths.push(entry.map_err(|error| unreadable(folder, error))?.path());
            self.entries += 1;
            if self.entries > MOST_ENTRIES {
                let why =
                    format!("is in a folder of more than {MOST_ENTRIES} files: name the folder of the texts");
                return Err(content_error(folder, &why));
            }
        }
        paths.sort();
        for path in paths {
            let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            if is_hidden {
                continue;
            }
            match path.metadata() {
                Ok(meta) if meta.is_dir() => self.enter(&path)?,
                Ok(meta) if !meta.is_file() => {}
                // A broken link is told when it is opened.
                _ => self.files.push(path),
            }
        }
        Ok(())
    }
}
