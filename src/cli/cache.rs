//! `cache`: what the cache holds, and its removal. Everything in it can be made or fetched again.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use schemars::JsonSchema;
use serde::Serialize;

use super::args::{Common, Environment};
use super::{print, print_json};
use crate::base::FileError;
use crate::report::{Column, Grid};
use crate::run::RunError;

/// Folders of the cache, each a kind that can be cleaned by name.
const KINDS: [(&str, &str); 3] = [
    ("hub", "models and data sets fetched by id"),
    ("activations", "harvested activations"),
    ("answers", "answers of language models: removed, they are asked and paid for again"),
];

/// What `cache --json` gives.
#[derive(Serialize, JsonSchema)]
pub struct Cached {
    /// The cache folder.
    cache: String,
    /// What it holds, by kind.
    entries: Vec<Entry>,
}

#[derive(Serialize, JsonSchema)]
struct Entry {
    /// As `--clean` takes it.
    kind: &'static str,
    /// In words.
    what: &'static str,
    /// Files that are there.
    files: usize,
    /// Their size.
    bytes: u64,
    /// Files that `--clean` removed.
    removed_files: usize,
    /// Their size.
    removed_bytes: u64,
}

enum Clean {
    Nothing,
    All,
    Kind(&'static str),
    Older(Duration),
}

/// Lists the cache, after removing what `clean` names.
pub fn cache(clean: Option<&str>, common: &Common, environment: &Environment) -> Result<u8, RunError> {
    let clean = parse(clean)?;
    let mut entries = Vec::new();
    for (kind, what) in KINDS {
        let mut entry = Entry { kind, what, files: 0, bytes: 0, removed_files: 0, removed_bytes: 0 };
        for (path, bytes, age) in files(&environment.cache.join(kind)) {
            let remove = match &clean {
                Clean::Nothing => false,
                Clean::All => true,
                Clean::Kind(wanted) => *wanted == kind,
                Clean::Older(limit) => age.is_some_and(|age| age > *limit),
            };
            if remove {
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
    if common.json {
        print_json(&Cached { cache: environment.cache.display().to_string(), entries });
        return Ok(0);
    }
    let mut grid = Grid::new(vec![
        Column::text("kind"),
        Column::number("files"),
        Column::number("size"),
        Column::text("what").folds(30),
    ]);
    for entry in entries {
        let mut what = entry.what.to_string();
        if entry.removed_files > 0 {
            what = format!("removed {} files, {}; {what}", entry.removed_files, size(entry.removed_bytes));
        }
        grid.row(vec![entry.kind.into(), entry.files.to_string(), size(entry.bytes), what]);
    }
    print(&format!("{}\n{}", environment.cache.display(), grid.draw(environment.look).text));
    Ok(0)
}

fn parse(clean: Option<&str>) -> Result<Clean, RunError> {
    let Some(text) = clean else { return Ok(Clean::Nothing) };
    if text == "all" {
        return Ok(Clean::All);
    }
    if let Some((kind, _)) = KINDS.iter().find(|(kind, _)| *kind == text) {
        return Ok(Clean::Kind(kind));
    }
    let age = text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok());
    age.map(|days| Clean::Older(Duration::from_secs(days * 86_400))).ok_or_else(|| RunError::Setting {
        field: "--clean".into(),
        problem: format!(
            "is `{text}`, expected `all`, `hub`, `activations`, or an age in days such as `30d`"
        ),
    })
}

/// Every file below `folder` with its size and age.
fn files(folder: &Path) -> Vec<(PathBuf, u64, Option<Duration>)> {
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

fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}
