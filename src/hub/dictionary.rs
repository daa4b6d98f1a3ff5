//! Files of one dictionary in a model repository.

use std::collections::BTreeSet;

use hf_hub::RepoType;

use super::client::{HubClient, Wanted};
use super::listing::{Entry, Listing, quoted};
use super::{Choose, HubError, Snapshot};

/// Number of folders or files that a message lists.
const NAMED: usize = 10;

/// Least similarity of a folder that a message suggests, from 0 to 1.
const LEAST_SIMILARITY: f64 = 0.6;

/// Endings of files with weights.
const WEIGHTS: [&str; 4] = [".safetensors", ".npz", ".pt", ".pth"];

/// The chosen files of a dictionary at one commit. Nothing is downloaded before [`DictionaryFiles::fetch`].
#[derive(Debug)]
pub struct DictionaryFiles<'a> {
    client: &'a HubClient,
    wanted: Wanted,
    commit: String,
    folder: String,
    files: Vec<Entry>,
}

impl DictionaryFiles<'_> {
    /// The commit of the revision, 40 hex digits.
    pub fn commit(&self) -> &str {
        &self.commit
    }

    /// Bytes of the files that are in no cache yet. Files whose size the hub does not state count as 0.
    pub fn bytes_to_fetch(&self) -> u64 {
        let missing = |entry: &&Entry| !self.client.is_stored(&self.wanted, &self.commit, entry);
        self.files.iter().filter(missing).filter_map(|entry| entry.size).sum()
    }

    /// Fetches the files that are not in the cache. The folder of the snapshot is the dictionary's own, or its file.
    pub fn fetch(&self) -> Result<Snapshot, HubError> {
        let fetch = |entry: &Entry| self.client.fetch(&self.wanted, &self.commit, entry);
        let files = self.files.iter().map(fetch).collect::<Result<_, HubError>>()?;
        let folder = self.client.folder(&self.wanted, &self.commit);
        let folder = if self.folder.is_empty() { folder } else { folder.join(&self.folder) };
        Ok(Snapshot { folder, commit: self.commit.clone(), files })
    }
}

impl HubClient {
    /// The files of the dictionary in `folder` of a model repository; an empty `folder` is the whole repository, and it
    /// may name one file. `choose` gets the paths of all files and returns those to fetch, or why it cannot tell.
    pub fn dictionary_files(
        &self,
        id: &str,
        revision: &str,
        folder: &str,
        choose: Choose<'_>,
    ) -> Result<DictionaryFiles<'_>, HubError> {
        let wanted = Wanted::new(RepoType::Model, "model repository", id, revision)?;
        let (listing, whole) = self.listing_or_part(&wanted)?;
        // A cache that another program filled may lack files of the repository, and the network is off.
        let place = if folder.is_empty() { String::new() } else { format!("{} of ", quoted(folder)) };
        let partial = || HubError::Offline {
            wanted: format!("{place}{}", wanted.label),
            cache: self.repository(&wanted),
        };
        if !holds(&listing, folder) {
            let near = near(&listing, folder);
            let missing = || HubError::NoFolder {
                repository: wanted.label.clone(),
                folder: folder.escape_debug().to_string(),
                near,
            };
            return Err(if whole { missing() } else { partial() });
        }
        let names: Vec<&str> = listing.files.iter().map(|entry| entry.name.as_str()).collect();
        let chosen = choose(&names).map_err(|why| match whole {
            true => HubError::Unclear { repository: wanted.label.clone(), why },
            false => partial(),
        })?;
        let files = listing.files.iter().filter(|entry| chosen.contains(&entry.name)).cloned().collect();
        Ok(DictionaryFiles {
            client: self,
            commit: listing.commit,
            folder: folder.to_string(),
            files,
            wanted,
        })
    }
}

/// Whether there is a file of this name, or a file below a folder of this name.
fn holds(listing: &Listing, folder: &str) -> bool {
    let inside = |name: &str| {
        let rest = name.strip_prefix(folder);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    folder.is_empty() || listing.files.iter().any(|entry| inside(&entry.name))
}

/// The folders of the repository that are most like `folder`, or else the first ones; files where the wanted name is
/// that of a file or the repository has no folders.
fn near(listing: &Listing, folder: &str) -> String {
    let is_weights = |name: &str| WEIGHTS.iter().any(|ending| name.ends_with(ending));
    let files: BTreeSet<&str> =
        listing.files.iter().map(|entry| entry.name.as_str()).filter(|name| is_weights(name)).collect();
    let parents = listing.files.iter().filter_map(|entry| entry.name.rsplit_once('/'));
    let folders: BTreeSet<&str> = parents.map(|(parent, _)| parent).collect();
    let (word, names) =
        if is_weights(folder) || folders.is_empty() { ("files", files) } else { ("folders", folders) };
    let similarity = |name: &str| strsim::normalized_damerau_levenshtein(folder, name);
    let mut nearest: Vec<&str> =
        names.iter().copied().filter(|name| similarity(name) >= LEAST_SIMILARITY).collect();
    nearest.sort_by(|a, b| similarity(b).total_cmp(&similarity(a)));
    let shown =
        |names: &[&str]| names.iter().take(NAMED).map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
    if !nearest.is_empty() {
        nearest.truncate(3);
        return format!("the nearest {word} are {}", shown(&nearest));
    }
    let all: Vec<&str> = names.into_iter().collect();
    match all.len() {
        0 => format!("it has {}", listing.shown()),
        n if n <= NAMED => format!("its {word} are {}", shown(&all)),
        n => format!("it has {n} {word}: {} …", shown(&all)),
    }
}
