//! `cache`: lists and removes cache entries. All of them can be computed or fetched again.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use schemars::JsonSchema;
use serde::Serialize;

use super::args::{Common, Env};
use super::{print_result, setting};
use crate::base::FileError;
use crate::report::{Column, Grid, visible};
use crate::run::RunError;

/// Folders of the cache with their content. Each is a kind for `--clean`.
const KINDS: [(&str, &str); 4] = [
    ("hub", "models and data sets fetched by id"),
    ("activations", "harvested activations"),
    ("answers", "answers of language models: removed, they are asked and paid for again"),
    ("remote", "files of run folders in object storage"),
];

/// Output of `cache --json`.
#[derive(Serialize, JsonSchema)]
pub struct Cached {
    /// The cache folder.
    cache: String,
    /// Entries by kind.
    entries: Vec<Entry>,
}

#[derive(Serialize, JsonSchema)]
struct Entry {
    /// Name for `--clean`.
    kind: &'static str,
    /// Description.
    what: &'static str,
    /// Number of files.
    files: usize,
    /// Their size in bytes.
    bytes: u64,
    /// Number of files that `--clean` removed.
    removed_files: usize,
    /// Their size in bytes.
    removed_bytes: u64,
}

/// Whether to remove a file of a kind and an age.
type Clean = Box<dyn Fn(&str, Option<Duration>) -> bool>;

/// Removes what `clean` names, then lists the cache.
pub fn cache(clean: Option<&str>, common: &Common, env: &Env) -> Result<u8, RunError> {
    let remove = parse(clean)?;
    let mut entries = Vec::new();
    for (kind, what) in KINDS {
        let mut entry = Entry { kind, what, files: 0, bytes: 0, removed_files: 0, removed_bytes: 0 };
        for (path, bytes, age) in files(&env.cache.join(kind)) {
            if remove(kind, age) {
                std::fs::remove_file(&path).map_err(|source| FileError { action: "write", path, source })?;
                entry.removed_files += 1;
                entry.removed_bytes += bytes;
            } else {
                entry.files += 1;
                entry.bytes += bytes;
            }
        }
        entries.push(entry);
    }
    let cached = Cached { cache: env.cache.display().to_string(), entries };
    print_result(common, &cached, |cached| {
        let mut grid = Grid::new(vec![
            Column::text("kind"),
            Column::number("files"),
            Column::number("size"),
            Column::text("what").folds(30),
        ]);
        for entry in &cached.entries {
            let removed = match entry.removed_files {
                0 => String::new(),
                files => format!("removed {files} files, {}; ", size(entry.removed_bytes)),
            };
            let what = format!("{removed}{}", entry.what);
            grid.row(vec![entry.kind.into(), entry.files.to_string(), size(entry.bytes), what]);
        }
        format!("{}\n{}", visible(&cached.cache), grid.draw(env.lists).text)
    })?;
    Ok(0)
}

fn parse(clean: Option<&str>) -> Result<Clean, RunError> {
    let Some(text) = clean.map(str::to_string) else { return Ok(Box::new(|_, _| false)) };
    if text == "all" {
        return Ok(Box::new(|_, _| true));
    }
    if KINDS.iter().any(|(kind, _)| *kind == text) {
        return Ok(Box::new(move |kind, _| kind == text));
    }
    let Some(days) = text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok()) else {
        let kinds = KINDS.map(|(kind, _)| format!("`{kind}`")).join(", ");
        let problem = format!("is `{text}`, expected `all`, {kinds}, or an age in days such as `30d`");
        return Err(setting("--clean", problem));
    };
    let limit = Duration::from_secs(days * 86_400);
    Ok(Box::new(move |_, age| age.is_some_and(|age| age > limit)))
}

/// Every file below `folder` with its size and age.
pub fn files(folder: &Path) -> Vec<(PathBuf, u64, Option<Duration>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() {
                folders.push(entry.path());
            } else {
                let age = meta.modified().ok().and_then(|time| SystemTime::now().duration_since(time).ok());
                found.push((entry.path(), meta.len(), age));
            }
        }
    }
    found
}

pub fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}
