//! `digests.json`: what each file of a finished run holds, so that later damage is noticed.
//!
//! A run removes it when it begins and writes it last. Files of others in the run folder are not listed.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ReportError;
use super::layout::{DATA, DRAWN, Layout};
use crate::base::{Content, Digest, FileError, Flaw, ListedFile, read_regular, write_atomic};

/// Version of its fields.
const SCHEMA: u32 = 1;

/// Content of `digests.json`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Digests {
    /// Schema of this file.
    schema: u32,
    /// BLAKE3 digest of `files` as JSON without spaces.
    blake3: Digest,
    /// Every file of the run, in the order of paths.
    files: Vec<ListedFile>,
}

/// Result of a check of stored files. Output of `report --verify --json` and `cache --verify --json`.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Verified {
    /// The folder.
    pub folder: String,
    /// Number of files that hold what was written.
    pub sound_files: usize,
    /// Their size in bytes.
    pub sound_bytes: u64,
    /// Number of these that were checked by their size alone: small files of the hub.
    pub size_only: usize,
    /// Files that do not hold what was written.
    pub damaged: Vec<DamagedFile>,
    /// Files that should be there and are not.
    pub missing: Vec<String>,
    /// Files of which nothing says what they should hold.
    pub unlisted: Vec<String>,
}

/// A file that does not hold what was written.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DamagedFile {
    /// Its path inside the folder.
    pub path: String,
    /// What is wrong with it.
    pub why: String,
}

impl Verified {
    /// Of a folder of which nothing is checked yet.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.display().to_string(), ..Self::default() }
    }

    /// Adds a file and what a check found. `Ok` is its size.
    pub fn add(&mut self, path: String, found: Result<u64, Flaw>) {
        match found {
            Ok(bytes) => {
                self.sound_files += 1;
                self.sound_bytes += bytes;
            }
            Err(Flaw::Missing) => self.missing.push(path),
            Err(Flaw::Damaged(why)) => self.damaged.push(DamagedFile { path, why }),
        }
    }

    /// Whether nothing is damaged or missing.
    pub fn is_sound(&self) -> bool {
        self.damaged.is_empty() && self.missing.is_empty()
    }
}

impl Digests {
    fn new(mut files: Vec<ListedFile>) -> Self {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Self { schema: SCHEMA, blake3: digest_of(&files), files }
    }

    /// None if the folder has no list: the run is not finished, or an earlier version wrote it.
    fn read(run_folder: &Path) -> Result<Option<Self>, ReportError> {
        let path = Layout::new(run_folder).digests();
        if !path.exists() {
            return Ok(None);
        }
        let damaged =
            || ReportError::Damaged { path: path.clone(), why: Flaw::other_content().words().into() };
        let list: Self = serde_json::from_slice(&read_regular(&path)?).map_err(|_| damaged())?;
        if list.schema != SCHEMA || list.blake3 != digest_of(&list.files) {
            return Err(damaged());
        }
        Ok(Some(list))
    }

    fn write(&self, run_folder: &Path) -> Result<(), ReportError> {
        let mut text = serde_json::to_vec_pretty(self).map_err(ReportError::Unwritable)?;
        text.push(b'\n');
        Ok(write_atomic(&Layout::new(run_folder).digests(), &text)?)
    }

    /// Checks the chosen files and returns what each check found, in the order of paths.
    fn check(
        &self,
        run_folder: &Path,
        chosen: impl Fn(&str) -> bool,
    ) -> Vec<(&ListedFile, Result<(), Flaw>)> {
        let files: Vec<&ListedFile> = self.files.iter().filter(|file| chosen(&file.path)).collect();
        files.into_par_iter().map(|file| (file, file.check(run_folder))).collect()
    }
}

fn digest_of(files: &[ListedFile]) -> Digest {
    Content::of(&serde_json::to_vec(files).unwrap_or_default()).blake3
}

/// Whether a path is one of `names` or below it.
fn is_among(names: &[&str], path: &str) -> bool {
    names.contains(&path.split('/').next().unwrap_or_default())
}

/// Every file of the run. Temporary files and files that were set aside do not count; links are not followed.
fn files_of(run_folder: &Path) -> Result<Vec<PathBuf>, FileError> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| FileError { action: "read", path, source }
    };
    let mut found = Vec::new();
    let mut waiting: Vec<PathBuf> =
        DATA.iter().chain(&DRAWN).map(|name| run_folder.join(name)).filter(|path| path.exists()).collect();
    while let Some(path) = waiting.pop() {
        let kind = std::fs::symlink_metadata(&path).map_err(failed(&path))?.file_type();
        if kind.is_file() {
            found.push(path);
        } else if kind.is_dir() {
            for entry in std::fs::read_dir(&path).map_err(failed(&path))? {
                let entry = entry.map_err(failed(&path))?;
                let name = entry.file_name().to_string_lossy().into_owned();
                if !name.starts_with('.') && !name.ends_with(".damaged") {
                    waiting.push(entry.path());
                }
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Lists every file of a finished run.
pub fn write_digests(run_folder: &Path) -> Result<(), ReportError> {
    let files = files_of(run_folder)?;
    let listed = files.par_iter().map(|path| ListedFile::read(run_folder, path)).collect::<Result<_, _>>()?;
    Digests::new(listed).write(run_folder)
}

/// The listed files of a run; none without a list.
pub fn listed_files(run_folder: &Path) -> Result<Option<Vec<ListedFile>>, ReportError> {
    Ok(Digests::read(run_folder)?.map(|list| list.files))
}

/// Removes the list, because a run is about to change the files.
pub fn remove_digests(run_folder: &Path) -> Result<(), ReportError> {
    let path = Layout::new(run_folder).digests();
    match std::fs::remove_file(&path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(FileError { action: "remove", path, source }.into())
        }
        _ => Ok(()),
    }
}

/// Lists files that were drawn again. Without a list nothing is written.
pub fn update_digests(run_folder: &Path, drawn: &[PathBuf]) -> Result<(), ReportError> {
    let Some(Digests { mut files, .. }) = Digests::read(run_folder)? else { return Ok(()) };
    let again = |path: &Path| ListedFile::read(run_folder, path);
    let new: Vec<ListedFile> = drawn.par_iter().map(|path| again(path)).collect::<Result<_, _>>()?;
    files.retain(|file| {
        let is_stale = is_among(&DRAWN, &file.path) && !run_folder.join(&file.path).exists();
        !is_stale && !new.iter().any(|new| new.path == file.path)
    });
    files.extend(new);
    Digests::new(files).write(run_folder)
}

/// Checks files of a run before they are read. Their paths may begin with that of the folder. Files that are not listed
/// pass.
pub fn check_listed<P: AsRef<Path>>(run_folder: &Path, paths: &[P]) -> Result<(), ReportError> {
    let wanted: Vec<String> = paths.iter().map(|path| inside(run_folder, path.as_ref())).collect();
    check(run_folder, |path| wanted.iter().any(|wanted| wanted == path))
}

/// A path inside the folder, as it is listed.
fn inside(run_folder: &Path, path: &Path) -> String {
    ListedFile::new(run_folder, path, Content::of(&[])).path
}

/// Checks everything that a run stored, except what is drawn from it.
pub fn check_data(run_folder: &Path) -> Result<(), ReportError> {
    check(run_folder, |path| is_among(&DATA, path))
}

fn check(run_folder: &Path, chosen: impl Fn(&str) -> bool) -> Result<(), ReportError> {
    let Some(list) = Digests::read(run_folder)? else { return Ok(()) };
    // What is missing is told by who needs it.
    let damaged = list.check(run_folder, chosen).into_iter().find_map(|(file, found)| match found {
        Err(Flaw::Damaged(why)) => Some(ReportError::Damaged { path: run_folder.join(&file.path), why }),
        _ => None,
    });
    damaged.map_or(Ok(()), Err)
}

/// Checks every file of a finished run.
pub fn verify(run_folder: &Path) -> Result<Verified, ReportError> {
    let list = Digests::read(run_folder)?;
    let list = list.ok_or_else(|| ReportError::NoDigests(run_folder.to_path_buf()))?;
    let mut verified = Verified::new(run_folder);
    for (file, found) in list.check(run_folder, |_| true) {
        verified.add(file.path.clone(), found.map(|()| file.content.bytes));
    }
    for path in files_of(run_folder)? {
        let path = inside(run_folder, &path);
        if list.files.binary_search_by(|file| file.path.cmp(&path)).is_err() {
            verified.unlisted.push(path);
        }
    }
    Ok(verified)
}

#[cfg(test)]
mod tests {
    use super::super::layout::DIGESTS;
    use super::*;

    const RECORD: &str = "records/blocks.0.hook_resid_post/topk.jsonl";

    /// A finished run with some files.
    fn run() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("temporary folder");
        let files =
            ["summary.json", "scores.jsonl", "manifest.json", RECORD, "stages/row-1.json", "charts/a.svg"];
        for name in files.iter().chain(&["notes.txt", "records/.x.part", "stages/row-2.json.damaged"]) {
            write_atomic(&folder.path().join(name), name.as_bytes()).expect("written");
        }
        write_digests(folder.path()).expect("listed");
        folder
    }

    fn write(folder: &tempfile::TempDir, name: &str, text: &str) {
        write_atomic(&folder.path().join(name), text.as_bytes()).expect("written");
    }

    #[test]
    fn what_changes_after_a_run_is_named() {
        let folder = run();
        let verified = verify(folder.path()).expect("a list");
        assert!(verified.is_sound() && verified.unlisted.is_empty(), "{verified:?}");
        assert_eq!((verified.sound_files, verified.sound_bytes), (6, 66 + RECORD.len() as u64));
        write(&folder, RECORD, "changed");
        write(&folder, "stages/row-1.json", "stages/row-7.json");
        write(&folder, "charts/b.svg", "another");
        std::fs::remove_file(folder.path().join("scores.jsonl")).expect("removed");
        let verified = verify(folder.path()).expect("a list");
        let damaged: Vec<&str> = verified.damaged.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(damaged, [RECORD, "stages/row-1.json"]);
        assert_eq!(
            (verified.missing, verified.unlisted),
            (vec!["scores.jsonl".into()], vec!["charts/b.svg".into()])
        );
    }

    #[test]
    fn readers_check_what_they_read() {
        let folder = run();
        write(&folder, RECORD, "changed");
        check_listed(folder.path(), &["summary.json", "scores.jsonl", "unknown"]).expect("sound");
        let whole = folder.path().join(RECORD);
        check_listed(folder.path(), &[whole]).expect_err("damaged");
        for checked in [check_listed(folder.path(), &[RECORD]), check_data(folder.path())] {
            assert!(matches!(checked, Err(ReportError::Damaged { path, .. }) if path.ends_with(RECORD)));
        }
        // Without a list nothing is known, and a changed list is no list.
        let list = std::fs::read_to_string(folder.path().join(DIGESTS)).expect("text");
        remove_digests(folder.path()).expect("removed");
        remove_digests(folder.path()).expect("nothing to remove");
        check_data(folder.path()).expect("unknown");
        assert!(matches!(verify(folder.path()), Err(ReportError::NoDigests(_))));
        write(&folder, DIGESTS, &list.replacen("topk", "topl", 1));
        assert!(
            matches!(check_data(folder.path()), Err(ReportError::Damaged { path, .. }) if path.ends_with(DIGESTS))
        );
    }

    #[test]
    fn what_is_drawn_again_is_listed_again() {
        let folder = run();
        std::fs::remove_file(folder.path().join("charts/a.svg")).expect("removed");
        write(&folder, "index.html", "page");
        update_digests(folder.path(), &[folder.path().join("index.html")]).expect("listed");
        let verified = verify(folder.path()).expect("a list");
        assert!(verified.is_sound() && verified.unlisted.is_empty(), "{verified:?}");
        // Data that was lost stays listed.
        std::fs::remove_file(folder.path().join(RECORD)).expect("removed");
        update_digests(folder.path(), &[]).expect("listed");
        assert_eq!(verify(folder.path()).expect("a list").missing, [RECORD]);
    }
}
