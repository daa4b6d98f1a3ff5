//! Files of models and data sets: from the cache, from the cache of other programs, or from the hub.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use hf_hub::{Cache, Repo, RepoType};

use super::listing::{Entry, Listing, is_commit, matches_pattern, quoted};
use super::transfer::{RemoteFile, Transfer, sha256_of};
use super::{HubError, OnDownload, Snapshot};
use crate::base::{
    Digest, FileError, FileName, create_dir_all, is_inside, read, read_to_string, write_atomic,
};

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
const WEIGHTS_INDEX: &str = "model.safetensors.index.json";
/// Small files of a model that are fetched if they exist.
const OPTIONAL: [&str; 4] =
    ["generation_config.json", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"];
/// Files of a data set that may hold its text.
const TEXT_PATTERNS: [&str; 4] = ["**/*.jsonl", "**/*.ndjson", "**/*.txt", "**/*.text"];

/// Fetches files of models and data sets into a cache folder.
#[derive(Debug)]
pub struct HubClient {
    transfer: Transfer,
    cache: PathBuf,
    shared: Option<Cache>,
    offline: bool,
}

/// Chosen files of a data set at one commit.
#[derive(Debug)]
pub struct Dataset<'a> {
    client: &'a HubClient,
    wanted: Wanted,
    commit: String,
    files: Vec<Entry>,
}

impl Dataset<'_> {
    /// The commit of the revision, 40 hex digits.
    pub fn commit(&self) -> &str {
        &self.commit
    }

    /// The name in messages.
    pub fn label(&self) -> &str {
        &self.wanted.label
    }

    /// Paths in the repository, in order; never empty.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|entry| entry.name.as_str())
    }

    /// The path of a file on disk; fetches it if necessary.
    pub fn fetch(&self, name: &str) -> Result<PathBuf, HubError> {
        let entry = self.files.iter().find(|entry| entry.name == name);
        let absent = || HubError::NotFound { wanted: format!("`{name}` of {}", self.wanted.label) };
        self.client.fetch(&self.wanted, &self.commit, entry.ok_or_else(absent)?)
    }
}

/// A repository at a revision, with its name in messages.
#[derive(Debug)]
pub(super) struct Wanted {
    repo: Repo,
    pub(super) label: String,
}

impl HubClient {
    /// A client of `endpoint` that keeps files under `cache/hub`. If `offline`, a file that is not there is an error.
    /// Fails on an invalid endpoint or token; nothing is requested yet.
    pub fn new(endpoint: &str, token: Option<&str>, cache: &Path, offline: bool) -> Result<Self, HubError> {
        let transfer = Transfer::new(endpoint, token)?;
        Ok(Self { transfer, cache: cache.join("hub"), shared: None, offline })
    }

    /// Also looks into the cache of other programs, the folder `hub` below `HF_HOME`. Files found there are checked and
    /// linked or copied; nothing is written to it.
    pub fn with_shared_cache(mut self, hub_folder: &Path) -> Self {
        self.shared = Some(Cache::new(hub_folder.to_path_buf()));
        self
    }

    /// Reports downloads as they go.
    pub fn with_progress(mut self, on_download: OnDownload) -> Self {
        self.transfer.on_download = Some(on_download);
        self
    }

    #[cfg(test)]
    pub(super) fn without_pauses(mut self) -> Self {
        self.transfer.pause = std::time::Duration::from_millis(1);
        self
    }

    /// The files of a model: `config.json`, the tokenizer's files if there are some, and `model.safetensors` or the index
    /// with all its shards.
    pub fn model_files(&self, id: &str, revision: &str) -> Result<Snapshot, HubError> {
        let wanted = Wanted::new(RepoType::Model, "model", id, revision)?;
        let listing = self.listing(&wanted)?;
        if listing.entry(CONFIG).is_none() {
            return Err(lacks(&wanted, &listing, format!("`{CONFIG}`")));
        }
        let mut names = small_files(&listing);
        if listing.entry(WEIGHTS).is_some() {
            names.insert(WEIGHTS.to_string());
        } else if let Some(index) = listing.entry(WEIGHTS_INDEX) {
            names.extend(shards(&self.fetch(&wanted, &listing.commit, index)?, &wanted)?);
            names.insert(WEIGHTS_INDEX.to_string());
        } else {
            let needed = format!(
                "`{WEIGHTS}` and no `{WEIGHTS_INDEX}` (other formats are not read: choose a revision with \
                 safetensors, or convert the weights and give the folder)"
            );
            return Err(lacks(&wanted, &listing, needed));
        }
        self.snapshot(&wanted, &listing, &names)
    }

    /// The files of a model without its weights.
    pub fn model_description(&self, id: &str, revision: &str) -> Result<Snapshot, HubError> {
        let wanted = Wanted::new(RepoType::Model, "model", id, revision)?;
        let listing = self.listing(&wanted)?;
        self.snapshot(&wanted, &listing, &small_files(&listing))
    }

    /// Fetches files by name.
    fn snapshot(
        &self,
        wanted: &Wanted,
        listing: &Listing,
        names: &BTreeSet<String>,
    ) -> Result<Snapshot, HubError> {
        let fetch = |name: &String| {
            let entry = listing.entry(name).ok_or_else(|| lacks(wanted, listing, format!("`{name}`")))?;
            self.fetch(wanted, &listing.commit, entry)
        };
        let files = names.iter().map(fetch).collect::<Result<_, HubError>>()?;
        Ok(Snapshot { folder: self.folder(wanted, &listing.commit), commit: listing.commit.clone(), files })
    }

    /// The files of a data set that match `pattern` (`*`, `**`, `?`); without a pattern every `.jsonl`, `.ndjson`, `.txt`
    /// and `.text` file, plain or `.gz` or `.zst`. A file is fetched when it is asked for, since a reader may need few.
    pub fn dataset(&self, id: &str, revision: &str, pattern: Option<&str>) -> Result<Dataset<'_>, HubError> {
        let wanted = Wanted::new(RepoType::Dataset, "data set", id, revision)?;
        let listing = self.listing(&wanted)?;
        let chosen = |name: &str| match pattern {
            Some(pattern) => matches_pattern(pattern, name),
            None => is_text(name),
        };
        let files: Vec<Entry> = listing.files.iter().filter(|entry| chosen(&entry.name)).cloned().collect();
        if files.is_empty() {
            return Err(lacks(&wanted, &listing, nothing_chosen(pattern, &listing)));
        }
        Ok(Dataset { client: self, wanted, commit: listing.commit, files })
    }

    pub(super) fn repository(&self, wanted: &Wanted) -> PathBuf {
        self.cache.join(wanted.repo.folder_name())
    }

    pub(super) fn folder(&self, wanted: &Wanted, commit: &str) -> PathBuf {
        self.repository(wanted).join(commit)
    }

    /// The files of the revision: from the cache if the revision is a commit or the network is off, else from the hub.
    fn listing(&self, wanted: &Wanted) -> Result<Listing, HubError> {
        Ok(self.listing_or_part(wanted)?.0)
    }

    /// The same, and whether it is the whole list: the cache of another program may hold only some of the files.
    pub(super) fn listing_or_part(&self, wanted: &Wanted) -> Result<(Listing, bool), HubError> {
        let (revision, repository) = (wanted.repo.revision(), self.repository(wanted));
        let listing_path = |commit: &str| repository.join(format!("{commit}.json"));
        let ref_path = repository.join("refs").join(FileName::of(revision));
        if is_commit(revision)
            && let Some(listing) = Listing::load(&listing_path(revision))
        {
            return Ok((listing, true));
        }
        if self.offline {
            let seen = read_to_string(&ref_path).ok();
            let stored = seen.and_then(|commit| Listing::load(&listing_path(commit.trim())));
            let missing = || HubError::Offline { wanted: wanted.label.clone(), cache: repository.clone() };
            let stored = stored.map(|listing| (listing, true));
            return stored.or_else(|| Some((self.shared_listing(wanted)?, false))).ok_or_else(missing);
        }
        let path = format!("api/{}?blobs=true", wanted.repo.api_url());
        let listing = Listing::parse(&self.transfer.json(&path, &wanted.label)?, &wanted.label)?;
        listing.save(&listing_path(&listing.commit))?;
        if !is_commit(revision) {
            write_atomic(&ref_path, listing.commit.as_bytes())?;
        }
        Ok((listing, true))
    }

    /// The files of the revision in the shared cache, which stores large files under their hash.
    fn shared_listing(&self, wanted: &Wanted) -> Option<Listing> {
        let shared = self.shared.as_ref()?;
        let repo = shared.repo(wanted.repo.clone());
        let revision = wanted.repo.revision();
        let commit = if is_commit(revision) {
            revision.to_string()
        } else {
            let seen = shared.path().join(wanted.repo.folder_name()).join("refs").join(revision);
            read_to_string(&seen).ok()?.trim().to_string()
        };
        let folder = Some(repo.pointer_path(&commit)).filter(|_| is_commit(&commit))?;
        let mut files = Vec::new();
        list_shared(&folder, "", &mut files);
        files.sort_by(|a, b| a.name.cmp(&b.name));
        (!files.is_empty()).then_some(Listing { commit, files })
    }

    /// Whether a file is in the cache or in that of other programs. It is checked when it is fetched.
    pub(super) fn is_stored(&self, wanted: &Wanted, commit: &str, entry: &Entry) -> bool {
        let shared = self.shared.as_ref().map(|shared| shared.repo(wanted.repo.clone()).pointer_path(commit));
        let folders = [Some(self.folder(wanted, commit)), shared];
        folders.into_iter().flatten().any(|folder| folder.join(&entry.name).is_file())
    }

    /// The path of a file; fetches it if necessary.
    pub(super) fn fetch(&self, wanted: &Wanted, commit: &str, entry: &Entry) -> Result<PathBuf, HubError> {
        let target = self.folder(wanted, commit).join(&entry.name);
        let label = format!("`{}` of {}", entry.name, wanted.label);
        // Only complete and checked files get their final name; a wrong size means another program wrote it.
        if let Ok(meta) = target.metadata()
            && entry.size.is_none_or(|size| size == meta.len())
        {
            return Ok(target);
        }
        remove_stale(&target)?;
        if self.take_shared(wanted, commit, entry, &target)? {
            return Ok(target);
        }
        if self.offline {
            return Err(HubError::Offline { wanted: label, cache: self.repository(wanted) });
        }
        let path = format!("{}/resolve/{}/{}", wanted.repo.url(), commit, escaped(&entry.name));
        self.transfer.file(&RemoteFile { path, entry, label }, &target)?;
        Ok(target)
    }

    /// Links or copies a file out of the shared cache if it is there and intact.
    fn take_shared(
        &self,
        wanted: &Wanted,
        commit: &str,
        entry: &Entry,
        target: &Path,
    ) -> Result<bool, HubError> {
        let Some(shared) = &self.shared else { return Ok(false) };
        let pointer = shared.repo(wanted.repo.clone()).pointer_path(commit).join(&entry.name);
        // The pointer is a symbolic link on most systems; the hard link must be to its target.
        let Ok(found) = pointer.canonicalize() else { return Ok(false) };
        let intact = File::open(&found).is_ok_and(|file| {
            let size = file.metadata().map(|meta| meta.len()).ok();
            (entry.size.is_none() || entry.size == size)
                && entry.sha256.is_none_or(|expected| sha256_of(file).is_ok_and(|got| got == expected))
        });
        if !intact {
            return Ok(false);
        }
        if let Some(folder) = target.parent() {
            create_dir_all(folder)?;
        }
        if fs::hard_link(&found, target).is_err() {
            write_atomic(target, &read(&found)?)?;
        }
        Ok(true)
    }
}

impl Wanted {
    pub(super) fn new(kind: RepoType, word: &str, id: &str, revision: &str) -> Result<Self, HubError> {
        let part = |text: &str| {
            is_inside(text) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        let parts: Vec<&str> = id.split('/').collect();
        // The hub allows no `--`, which joins owner and name in the cache.
        if parts.len() > 2 || id.contains("--") || !parts.iter().all(|text| part(text)) {
            let expected = "expected `owner/name` of letters, digits, `-`, `_` and `.`, without `--`";
            return Err(HubError::Name { what: "id", text: id.to_string(), expected });
        }
        if !revision.split('/').all(part) {
            let expected = "expected a commit, a branch or a tag";
            return Err(HubError::Name { what: "revision", text: revision.to_string(), expected });
        }
        let label = format!("{word} `{id}` at revision `{revision}`");
        Ok(Self { repo: Repo::with_revision(id.to_string(), kind, revision.to_string()), label })
    }
}

/// Names of a model's configuration and of its small files.
fn small_files(listing: &Listing) -> BTreeSet<String> {
    let small = OPTIONAL.into_iter().filter(|name| listing.entry(name).is_some());
    small.chain([CONFIG]).map(str::to_string).collect()
}

fn lacks(wanted: &Wanted, listing: &Listing, needed: String) -> HubError {
    HubError::Lacks { repository: wanted.label.clone(), needed, found: listing.shown() }
}

fn nothing_chosen(pattern: Option<&str>, listing: &Listing) -> String {
    let parquet = listing.files.iter().any(|entry| entry.name.ends_with(".parquet"));
    let advice = " (parquet is not read: write its text column as JSONL and give that file)";
    match pattern {
        Some(pattern) => format!("file that matches `{pattern}`"),
        None => format!("text or JSONL file{}", if parquet { advice } else { "" }),
    }
}

fn is_text(name: &str) -> bool {
    let name = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(name);
    TEXT_PATTERNS.iter().any(|pattern| matches_pattern(pattern, name))
}

/// The shard files in an index.
fn shards(index: &Path, wanted: &Wanted) -> Result<BTreeSet<String>, HubError> {
    let answer = |why: String| HubError::Answer { wanted: wanted.label.clone(), why };
    let value: serde_json::Value = serde_json::from_slice(&read(index)?)
        .map_err(|error| answer(format!("`{WEIGHTS_INDEX}` is not JSON: {error}")))?;
    let map = value["weight_map"].as_object();
    let map = map.ok_or_else(|| answer(format!("`{WEIGHTS_INDEX}` has no `weight_map`")))?;
    let inside = |shard: &serde_json::Value| match shard.as_str().filter(|name| is_inside(name)) {
        Some(name) => Ok(name.to_string()),
        None => {
            let shown = quoted(shard.as_str().unwrap_or(&shard.to_string()));
            Err(answer(format!(
                "`{WEIGHTS_INDEX}` names the shard {shown}, expected files of the repository"
            )))
        }
    };
    map.values().map(inside).collect()
}

/// Files below a folder of the shared cache, with sizes, and with hashes if the stored name is one.
fn list_shared(folder: &Path, prefix: &str, files: &mut Vec<Entry>) {
    for entry in folder.read_dir().into_iter().flatten().flatten() {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let path = entry.path();
        if path.is_dir() {
            list_shared(&path, &format!("{name}/"), files);
        } else if let (Ok(meta), true) = (path.metadata(), is_inside(&name)) {
            let stored = path.canonicalize().ok();
            let stored = stored.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy());
            let sha256 = stored.and_then(|name| Digest::parse(&name));
            files.push(Entry { name, size: Some(meta.len()), sha256 });
        }
    }
}

fn remove_stale(target: &Path) -> Result<(), HubError> {
    if !target.exists() {
        return Ok(());
    }
    fs::remove_file(target)
        .map_err(|source| FileError { action: "replace", path: target.to_path_buf(), source }.into())
}

/// A path, percent-encoded for an address.
fn escaped(name: &str) -> String {
    let escaped = |byte: u8| match byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    name.bytes().map(escaped).collect()
}
