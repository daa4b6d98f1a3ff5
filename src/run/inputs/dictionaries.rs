//! Dictionaries trained elsewhere: found on this disk or fetched from the hub, and digested, before any stage. Results
//! depend on the digest of their files and not on their path.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::base::{Digest, Digester, FileError, open};
use crate::dictionary::{DictionaryPath, HubPath, Located, needed};
use crate::hub::DictionaryFiles;
use crate::run::inputs::repositories::{DEFAULT_REVISION, hub};
use crate::run::{Event, Places, RunError};
use crate::suite::{MethodSpec, Suite, resolve};

/// Bytes read at once.
const BLOCK_BYTES: usize = 1 << 20;

/// Components of a local path that count where only names tell the settings of a dictionary.
const NAMES_THAT_TELL: usize = 4;

/// Digits of a commit in notes. The manifest has all of them.
const COMMIT_DIGITS: usize = 12;

/// The suite with every dictionary trained elsewhere located. Hub repositories are fetched, all dictionaries of one
/// repository and revision at the same commit.
pub fn with_dictionaries(suite: &Suite, places: &Places, on: &dyn Fn(Event)) -> Result<Suite, RunError> {
    let mut suite = suite.clone();
    let mut found: BTreeMap<String, Located> = BTreeMap::new();
    let mut commits: BTreeMap<(String, Option<String>), String> = BTreeMap::new();
    for method in &mut suite.methods {
        let Some(path) = path_of(method)? else { continue };
        let mut pinned = path.clone();
        if let DictionaryPath::Hub(HubPath { id, revision, .. }) = &mut pinned
            && let Some(commit) = commits.get(&(id.clone(), revision.clone()))
        {
            *revision = Some(commit.clone());
        }
        let located = match found.get(&path.to_string()) {
            Some(located) => located.clone(),
            None => locate_dictionary(&pinned, places, on)?,
        };
        if let (DictionaryPath::Hub(place), Some(commit)) = (&path, &located.commit) {
            on(Event::Note(format!("{}: {place} at commit {}", method.name, short(commit))));
            commits.insert((place.id.clone(), place.revision.clone()), commit.clone());
        }
        found.insert(path.to_string(), located.clone());
        method.located = Some(located);
    }
    Ok(suite)
}

/// Finds a dictionary on this disk, beside the suite if the path is relative, or fetches it from the hub.
pub fn locate_dictionary(
    path: &DictionaryPath,
    places: &Places,
    on: &dyn Fn(Event),
) -> Result<Located, RunError> {
    match path {
        DictionaryPath::Local(written) => {
            let path = on_disk(written, places)?;
            let digest = digest_of(&local_files(&path)?, &last_names(&path))?;
            Ok(Located { path, digest, commit: None })
        }
        DictionaryPath::Hub(place) => {
            let snapshot = on_hub(place, places, |files| {
                if let bytes @ 1.. = files.bytes_to_fetch() {
                    on(Event::Note(format!("fetching {} of {place}", megabytes(bytes))));
                }
                Ok(files.fetch()?)
            })?;
            let home = if snapshot.folder.is_file() { parent(&snapshot.folder) } else { &snapshot.folder };
            let files: Vec<(String, PathBuf)> =
                snapshot.files.iter().map(|file| (name_from(home, file), file.clone())).collect();
            let digest = digest_of(&files, &format!("{}/{}", place.id, place.folder))?;
            Ok(Located { path: snapshot.folder, digest, commit: Some(snapshot.commit) })
        }
    }
}

/// What a run would fetch, for a plan. Weights are not downloaded; the list of a repository's files is.
pub fn planned_downloads(suite: &Suite, places: &Places) -> Result<Vec<String>, RunError> {
    let mut notes = Vec::new();
    for method in &suite.methods {
        match path_of(method)? {
            Some(DictionaryPath::Local(written)) => drop(on_disk(&written, places)?),
            Some(DictionaryPath::Hub(place)) => notes.push(on_hub(&place, places, |files| {
                let size = match files.bytes_to_fetch() {
                    0 => "already in the cache".to_string(),
                    bytes => format!("{} to fetch", megabytes(bytes)),
                };
                Ok(format!("{}: {place} at commit {}, {size}", method.name, short(files.commit())))
            })?),
            None => {}
        }
    }
    Ok(notes)
}

/// A note for tables where a suite leaves the revision of a hub repository open.
pub fn commit_note(method: &MethodSpec) -> Option<String> {
    let commit = method.located.as_ref()?.commit.as_ref()?;
    match method.params.path()?.ok()? {
        DictionaryPath::Hub(HubPath { id, revision: None, .. }) => {
            Some(format!("{id} at commit {}", short(commit)))
        }
        _ => None,
    }
}

fn path_of(method: &MethodSpec) -> Result<Option<DictionaryPath>, RunError> {
    let field = || format!("methods.{}.path", method.name);
    method.params.path().transpose().map_err(|problem| RunError::Setting { field: field(), problem })
}

/// A local dictionary, where it is there.
pub fn on_disk(written: &Path, places: &Places) -> Result<PathBuf, RunError> {
    let path = resolve(&written.to_string_lossy(), &places.suite_folder);
    if path.exists() { Ok(path) } else { Err(RunError::NoDictionary { path: written.to_path_buf() }) }
}

fn on_hub<T>(
    place: &HubPath,
    places: &Places,
    then: impl FnOnce(&DictionaryFiles<'_>) -> Result<T, RunError>,
) -> Result<T, RunError> {
    let revision = place.revision.as_deref().unwrap_or(DEFAULT_REVISION);
    let client = hub(places)?;
    let choose = |files: &[&str]| needed(files, &place.folder);
    then(&client.dictionary_files(&place.id, revision, &place.folder, &choose)?)
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

fn short(commit: &str) -> &str {
    commit.get(..COMMIT_DIGITS).unwrap_or(commit)
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// The files of a local dictionary, with their names seen from its folder. If it is not clear which ones make up the
/// dictionary, all files of the folder.
fn local_files(path: &Path) -> Result<Vec<(String, PathBuf)>, FileError> {
    let failed = |source| FileError { action: "read", path: path.to_path_buf(), source };
    let full = full(path).map_err(failed)?;
    let folder = if full.is_dir() { &full } else { parent(&full) };
    let top = parent(folder);
    let mut files = names_in(folder, top);
    if files.is_empty() {
        fs::read_dir(folder).map_err(failed)?;
    }
    let regular = files.iter().filter(|name| top.join(name).is_file()).cloned().collect();
    files.extend(names_in(&folder.join("checkpoints"), top));
    if folder != top {
        files.extend(names_in(top, top));
    }
    let names: Vec<&str> = files.iter().map(String::as_str).collect();
    let chosen = needed(&names, &slashed(full.strip_prefix(top).unwrap_or(&full))).unwrap_or(regular);
    Ok(chosen.iter().map(|name| top.join(name)).map(|file| (name_from(folder, &file), file)).collect())
}

/// The full path. The name of a file stays as it is: caches link names to files that are named by their hash.
fn full(path: &Path) -> io::Result<PathBuf> {
    match path.file_name() {
        Some(name) if !path.is_dir() => Ok(Path::new(".").join(parent(path)).canonicalize()?.join(name)),
        _ => path.canonicalize(),
    }
}

/// The files directly in a folder, as paths below `top`. A folder that cannot be read has none.
fn names_in(folder: &Path, top: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut names: Vec<String> = entries
        .filter(|path| !path.is_dir())
        .filter_map(|path| Some(slashed(path.strip_prefix(top).ok()?)))
        .collect();
    names.sort();
    names
}

/// A path with `/` on every system.
fn slashed(path: &Path) -> String {
    let parts: Vec<_> = path.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    parts.join("/")
}

/// The name of a file seen from a folder: `cfg.json`, `../config.json`.
fn name_from(folder: &Path, file: &Path) -> String {
    match file.strip_prefix(folder) {
        Ok(inside) => slashed(inside),
        Err(_) => format!("../{}", slashed(file.strip_prefix(parent(folder)).unwrap_or(file))),
    }
}

/// The last names of a path, which may tell width, layer or k of a dictionary without a configuration.
fn last_names(path: &Path) -> String {
    let full = full(path).unwrap_or_else(|_| path.to_path_buf());
    let names: Vec<_> = full.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    names[names.len().saturating_sub(NAMES_THAT_TELL)..].join("/")
}

/// Digest over the names and contents of files; also over `place` if none of them is a configuration, since then only
/// names can tell the settings.
fn digest_of(files: &[(String, PathBuf)], place: &str) -> Result<Digest, FileError> {
    let contents: Vec<Digest> = files.par_iter().map(|(_, path)| content(path)).collect::<Result<_, _>>()?;
    let mut digester = Digester::new("dictionary files");
    for ((name, _), content) in files.iter().zip(&contents) {
        digester.text(name).digest(content);
    }
    if !files.iter().any(|(name, _)| name.ends_with(".json") || name.ends_with(".yaml")) {
        digester.text(place);
    }
    Ok(digester.finish())
}

/// Digest of a file's content, read in blocks.
fn content(path: &Path) -> Result<Digest, FileError> {
    let mut file = open(path)?;
    let mut digester = Digester::new("file");
    let mut block = vec![0; BLOCK_BYTES];
    let mut length = 0;
    loop {
        match file.read(&mut block) {
            Ok(0) => break,
            Ok(n) => {
                digester.stream(&block[..n]);
                length += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(FileError { action: "read", path: path.to_path_buf(), source }),
        }
    }
    digester.bytes(&length.to_le_bytes());
    Ok(digester.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::write_atomic;

    fn digest(path: &Path) -> Digest {
        digest_of(&local_files(path).expect("listed"), &last_names(path)).expect("read")
    }

    fn write(folder: &Path, files: &[(&str, &[u8])]) {
        files.iter().for_each(|(name, bytes)| write_atomic(&folder.join(name), bytes).expect("written"));
    }

    #[test]
    fn a_digest_follows_contents_and_not_the_path() {
        let folder = tempfile::tempdir().expect("folder");
        let (one, other) = (folder.path().join("a/one"), folder.path().join("b/other"));
        for path in [&one, &other] {
            write(
                path,
                &[("cfg.json", b"{}"), ("sae_weights.safetensors", b"weights"), ("README.md", b"text")],
            );
        }
        let before = digest(&one);
        assert_eq!(before, digest(&other));
        write(&one, &[("README.md", b"another text"), ("sparsity.safetensors", b"statistics")]);
        assert_eq!(before, digest(&one), "no reader needs these");
        write(&one, &[("sae_weights.safetensors", b"weighty")]);
        assert_ne!(before, digest(&one), "same size, other bytes");
        write(&other, &[("cfg.json", b"{\"k\": 3}")]);
        assert_ne!(before, digest(&other));
    }

    #[test]
    fn names_count_where_nothing_else_tells_the_settings() {
        let folder = tempfile::tempdir().expect("folder");
        let [narrow, wide] = ["W16K-L0_50", "W32K-L0_100"].map(|name| folder.path().join(name));
        write(&narrow, &[("layer2.sae.pt", b"weights")]);
        write(&wide, &[("layer2.sae.pt", b"weights")]);
        assert_ne!(digest(&narrow), digest(&wide));
        assert_eq!(digest(&wide), digest(&wide.join("../W32K-L0_100")));
    }

    #[test]
    fn settings_above_and_checkpoints_below_count() {
        let folder = tempfile::tempdir().expect("folder");
        let run = folder.path();
        write(
            run,
            &[("config.json", b"{}"), ("layers.2/cfg.json", b"{}"), ("layers.2/sae.safetensors", b"w")],
        );
        let before = digest(&run.join("layers.2"));
        write(run, &[("config.json", b"{\"transcode\": true}")]);
        assert_ne!(before, digest(&run.join("layers.2")));
        write(run, &[("L2R/hyperparams.json", b"{}"), ("L2R/checkpoints/final.safetensors", b"w")]);
        let before = digest(&run.join("L2R"));
        write(run, &[("L2R/checkpoints/final.safetensors", b"v")]);
        assert_ne!(before, digest(&run.join("L2R")));
    }

    #[test]
    #[cfg(unix)]
    fn a_linked_file_counts_under_its_own_name() {
        let folder = tempfile::tempdir().expect("folder");
        write(
            folder.path(),
            &[("blobs/0a1b", b"weights"), ("blobs/other", b"large"), ("plain/2.pt", b"weights")],
        );
        let linked = folder.path().join("linked");
        fs::create_dir(&linked).expect("made");
        std::os::unix::fs::symlink(folder.path().join("blobs/0a1b"), linked.join("2.pt")).expect("linked");
        let files = local_files(&linked.join("2.pt")).expect("listed");
        assert_eq!(files.len(), 1);
        assert_eq!(files[0].0, "2.pt");
        assert_eq!(
            content(&files[0].1).expect("read"),
            content(&folder.path().join("plain/2.pt")).expect("read")
        );
    }

    #[test]
    fn a_folder_that_is_not_clear_counts_whole() {
        let folder = tempfile::tempdir().expect("folder");
        write(folder.path(), &[("1.pt", b"a"), ("2.pt", b"b")]);
        let before = digest(folder.path());
        write(folder.path(), &[("2.pt", b"c")]);
        assert_ne!(before, digest(folder.path()));
        assert_ne!(digest(&folder.path().join("1.pt")), digest(&folder.path().join("2.pt")));
    }
}
