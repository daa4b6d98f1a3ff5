use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use hf_hub::{Cache, Repo, RepoType};

use super::listing::{Entry, Listing, is_commit, is_safe, matches_pattern};
use super::transfer::{Transfer, sha256_of};
use super::{HubError, OnDownload, Snapshot};
use crate::base::{Digest, FileError, create_dir_all, read, read_to_string, write_atomic};

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
const WEIGHTS_INDEX: &str = "model.safetensors.index.json";
/// Small files of a model that are fetched where they exist.
const OPTIONAL: [&str; 4] =
    ["generation_config.json", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"];
/// What a data set's text may be in.
const TEXT_PATTERNS: [&str; 4] = ["**/*.jsonl", "**/*.ndjson", "**/*.txt", "**/*.text"];

/// Fetches files of models and data sets into a cache folder, and finds what is there already.
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
    /// The commit, 40 hex digits: what a branch or tag stood for.
    pub fn commit(&self) -> &str {
        &self.commit
    }

    /// What messages call it.
    pub fn label(&self) -> &str {
        &self.wanted.label
    }

    /// Paths in the repository, in order; never empty.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|entry| entry.name.as_str())
    }

    /// The path of one file on disk, by its name, after bringing it if it is not there.
    pub fn fetch(&self, name: &str) -> Result<PathBuf, HubError> {
        let entry = self.files.iter().find(|entry| entry.name == name);
        let absent = || HubError::NotFound { wanted: format!("`{name}` of {}", self.wanted.label) };
        self.client.fetch(&self.wanted, &self.commit, entry.ok_or_else(absent)?)
    }
}

/// A repository at a revision, and how messages call it.
#[derive(Debug)]
struct Wanted {
    repo: Repo,
    label: String,
}

impl HubClient {
    /// A client of `endpoint` that keeps files under `cache/hub`. With `offline`, whatever is not
    /// there is an error that names it.
    ///
    /// # Errors
    /// An endpoint or token that cannot be one. Nothing is requested yet.
    pub fn new(endpoint: &str, token: Option<&str>, cache: &Path, offline: bool) -> Result<Self, HubError> {
        Ok(Self {
            transfer: Transfer::new(endpoint, token)?,
            cache: cache.join("hub"),
            shared: None,
            offline,
        })
    }

    /// Also looks into the cache that other programs share: the folder `hub` below `HF_HOME`. Files
    /// found there are checked and taken over; nothing is written to it.
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

    /// What a model's folder needs: `config.json`, the tokenizer's files where there are some, and
    /// `model.safetensors` or the index with all its shards.
    ///
    /// # Errors
    /// [`HubError`], each naming what was wanted.
    pub fn model_files(&self, id: &str, revision: &str) -> Result<Snapshot, HubError> {
        let wanted = Wanted::new(RepoType::Model, "model", id, revision)?;
        let listing = self.listing(&wanted)?;
        let mut names: BTreeSet<String> = OPTIONAL
            .iter()
            .filter(|name| listing.entry(name).is_some())
            .map(|name| name.to_string())
            .collect();
        if listing.entry(CONFIG).is_none() {
            return Err(lacks(&wanted, &listing, format!("`{CONFIG}`")));
        }
        names.insert(CONFIG.to_string());
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
        self.snapshot(&wanted, &listing, names.iter().map(String::as_str))
    }

    /// The files of a data set that match `pattern` (`*`, `**`, `?`); none: every `.jsonl`,
    /// `.ndjson`, `.txt` and `.text` file, plain or `.gz` or `.zst`. They are listed here and
    /// fetched one by one as they are asked for, since a reader may need few of them.
    ///
    /// # Errors
    /// [`HubError`], each naming what was wanted.
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

    fn snapshot<'a>(
        &self,
        wanted: &Wanted,
        listing: &Listing,
        names: impl Iterator<Item = &'a str>,
    ) -> Result<Snapshot, HubError> {
        let mut files = Vec::new();
        for name in names {
            let entry = listing.entry(name);
            let entry = entry.ok_or_else(|| lacks(wanted, listing, format!("`{name}`")))?;
            files.push(self.fetch(wanted, &listing.commit, entry)?);
        }
        Ok(Snapshot { folder: self.folder(wanted, &listing.commit), commit: listing.commit.clone(), files })
    }

    fn repository(&self, wanted: &Wanted) -> PathBuf {
        self.cache.join(wanted.repo.folder_name())
    }

    fn folder(&self, wanted: &Wanted, commit: &str) -> PathBuf {
        self.repository(wanted).join(commit)
    }

    fn listing_path(&self, wanted: &Wanted, commit: &str) -> PathBuf {
        self.repository(wanted).join(format!("{commit}.json"))
    }

    fn ref_path(&self, wanted: &Wanted) -> PathBuf {
        self.repository(wanted).join("refs").join(wanted.repo.url_revision())
    }

    /// The files of the revision: from the cache where the revision is a commit or the network is
    /// off, else as the hub says now.
    fn listing(&self, wanted: &Wanted) -> Result<Listing, HubError> {
        let revision = wanted.repo.revision();
        if is_commit(revision)
            && let Some(listing) = Listing::load(&self.listing_path(wanted, revision))
        {
            return Ok(listing);
        }
        if self.offline {
            let seen = read_to_string(&self.ref_path(wanted)).ok();
            let stored = seen.and_then(|commit| Listing::load(&self.listing_path(wanted, commit.trim())));
            return stored.or_else(|| self.shared_listing(wanted)).ok_or_else(|| HubError::Offline {
                wanted: wanted.label.clone(),
                cache: self.repository(wanted),
            });
        }
        let path = format!("api/{}?blobs=true", wanted.repo.api_url());
        let listing = Listing::parse(&self.transfer.json(&path, &wanted.label)?, &wanted.label)?;
        listing.save(&self.listing_path(wanted, &listing.commit))?;
        if !is_commit(revision) {
            write_atomic(&self.ref_path(wanted), listing.commit.as_bytes())?;
        }
        Ok(listing)
    }

    /// What the shared cache knows of the revision; it stores large files under their hash.
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

    /// One file's path, after bringing it if it is not there.
    fn fetch(&self, wanted: &Wanted, commit: &str, entry: &Entry) -> Result<PathBuf, HubError> {
        let target = self.folder(wanted, commit).join(&entry.name);
        let label = format!("`{}` of {}", entry.name, wanted.label);
        // Only whole and checked files carry their name; another size means someone else wrote it.
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
        self.transfer.file(&path, entry, &target, &label)?;
        Ok(target)
    }

    /// Links or copies a file out of the shared cache if it is there and sound.
    fn take_shared(
        &self,
        wanted: &Wanted,
        commit: &str,
        entry: &Entry,
        target: &Path,
    ) -> Result<bool, HubError> {
        let Some(shared) = &self.shared else { return Ok(false) };
        let pointer = shared.repo(wanted.repo.clone()).pointer_path(commit).join(&entry.name);
        // The pointer is a symbolic link on most systems; a hard link must be to what it leads to.
        let Ok(found) = pointer.canonicalize() else { return Ok(false) };
        let sound = File::open(&found).is_ok_and(|file| {
            let size = file.metadata().map(|meta| meta.len()).ok();
            let size_is_right = entry.size.is_none() || entry.size == size;
            size_is_right
                && entry.sha256.is_none_or(|expected| sha256_of(file).is_ok_and(|got| got == expected))
        });
        if !sound {
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
    fn new(kind: RepoType, word: &str, id: &str, revision: &str) -> Result<Self, HubError> {
        let part = |text: &str| {
            is_safe(text) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        let parts: Vec<&str> = id.split('/').collect();
        if parts.len() > 2 || !parts.iter().all(|text| part(text)) {
            let expected = "expected `owner/name` of letters, digits, `-`, `_` and `.`";
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

fn lacks(wanted: &Wanted, listing: &Listing, needed: String) -> HubError {
    HubError::Lacks { repository: wanted.label.clone(), needed, found: listing.shown() }
}

fn nothing_chosen(pattern: Option<&str>, listing: &Listing) -> String {
    if let Some(pattern) = pattern {
        return format!("file that matches `{pattern}`");
    }
    if listing.files.iter().any(|entry| entry.name.ends_with(".parquet")) {
        return "text or JSONL file (parquet is not read: write its text column as JSONL and give that file)"
            .into();
    }
    "text or JSONL file".into()
}

fn is_text(name: &str) -> bool {
    let name = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(name);
    TEXT_PATTERNS.iter().any(|pattern| matches_pattern(pattern, name))
}

/// The shard files that an index names.
fn shards(index: &Path, wanted: &Wanted) -> Result<BTreeSet<String>, HubError> {
    let answer = |why: String| HubError::Answer { wanted: wanted.label.clone(), why };
    let value: serde_json::Value = serde_json::from_slice(&read(index)?)
        .map_err(|error| answer(format!("`{WEIGHTS_INDEX}` is not JSON: {error}")))?;
    let map = value["weight_map"].as_object();
    let map = map.ok_or_else(|| answer(format!("`{WEIGHTS_INDEX}` has no `weight_map`")))?;
    map.values()
        .map(|shard| shard.as_str().filter(|name| is_safe(name)).map(str::to_string))
        .collect::<Option<_>>()
        .ok_or_else(|| answer(format!("`{WEIGHTS_INDEX}` names a shard that cannot be a file")))
}

/// Files below a folder of the shared cache, with sizes, and hashes where the stored name is one.
fn list_shared(folder: &Path, prefix: &str, files: &mut Vec<Entry>) {
    for entry in folder.read_dir().into_iter().flatten().flatten() {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let path = entry.path();
        if path.is_dir() {
            list_shared(&path, &format!("{name}/"), files);
        } else if let (Ok(meta), true) = (path.metadata(), is_safe(&name)) {
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

/// A path as it stands in an address.
fn escaped(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}
