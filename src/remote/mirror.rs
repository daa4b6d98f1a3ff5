//! A local folder with files of an address.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::address::{Address, Settings};
use super::lease::{Claim, pulse};
use super::store::Store;
use crate::base::{Content, Digest, FileError, Flaw, ListedFile};

/// Who works in a local folder. A run has one of its own: what it wrote is never replaced by what others fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// A run, which writes the files.
    Run,
    /// Everybody else.
    Read,
}

/// The files of an address, and a local folder, called the scratch, that holds some of them.
#[derive(Debug)]
pub struct Mirror {
    store: Arc<Store>,
    folder: PathBuf,
    /// Most bytes in the folder.
    limit: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Objects whose content is known.
    known: BTreeMap<String, Content>,
    /// Sizes of the objects before the first change; none until they are needed.
    before: Option<BTreeMap<String, u64>>,
    /// Objects that were removed by [`Mirror::retract`].
    retracted: Vec<String>,
}

impl Mirror {
    /// The files of an address with a scratch in the cache. `limit` is the most bytes there.
    pub fn open(
        address: &Address,
        settings: &Settings,
        (cache, by): (&Path, Use),
        limit: u64,
    ) -> Result<Self, FileError> {
        let store = Store::connect(address, settings)?;
        let place = Digest::of(format!("{address} {}", settings.servers()).as_bytes()).short();
        let folder = match by {
            Use::Run => place,
            Use::Read => format!("{place}-read"),
        };
        Ok(Self::over(store, &cache.join(CACHED).join(folder), limit))
    }

    /// The same with any store and folder.
    pub(super) fn over(store: Store, folder: &Path, limit: u64) -> Self {
        Self { store: Arc::new(store), folder: folder.to_path_buf(), limit, state: Mutex::default() }
    }

    /// The same with another limit.
    pub fn with_limit(self, limit: u64) -> Self {
        Self { limit, ..self }
    }

    /// The local folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The address, as it was given.
    pub fn address(&self) -> String {
        self.store.address().to_string()
    }

    /// A claim of a lease for the whole run.
    pub fn claim(&self, name: &str) -> Claim {
        Claim::new(&self.store, name, pulse())
    }

    /// Brings a file that is not here, or all the same if `again`. Returns whether it is here now.
    pub fn bring(&self, path: &Path, again: bool) -> Result<bool, FileError> {
        if !again && path.exists() {
            return Ok(true);
        }
        let fetched = self.store.fetch(vec![(self.name(path), None)], &self.folder)?;
        let is_here = !fetched.is_empty();
        self.state().known.extend(fetched);
        Ok(is_here)
    }

    /// Brings the listed files that are not here as they are listed. One that the address does not have stays missing.
    pub fn bring_listed(&self, files: &[ListedFile]) -> Result<(), FileError> {
        let is_missing = |file: &&ListedFile| match file.check(&self.folder) {
            Ok(()) => false,
            Err(Flaw::Missing) => true,
            // A path that leads out of the folder is no file of this run.
            Err(Flaw::Damaged(_)) => file.below(&self.folder).is_some(),
        };
        let missing: Vec<&ListedFile> = files.iter().filter(is_missing).collect();
        self.check_room(missing.iter().map(|file| file.content.bytes).sum())?;
        let wanted = missing.iter().map(|file| (file.path.clone(), Some(file.content)));
        let fetched = self.store.fetch(wanted.collect(), &self.folder)?;
        self.state().known.extend(fetched);
        Ok(())
    }

    /// Brings every object whose name is wanted and whose content is not here, of a run without a list. Returns how many
    /// objects have such names.
    pub fn bring_all(&self, wanted: impl Fn(&str) -> bool) -> Result<usize, FileError> {
        let root = &self.folder;
        let is_file =
            |name: &str| ListedFile::new(root, &root.join(name), Content::of(&[])).below(root).is_some();
        let is_hidden = |name: &str| name.split('/').any(|part| part.starts_with('.'));
        let mut found = self.store.list()?;
        found.retain(|(name, _)| wanted(name) && is_file(name) && !is_hidden(name));
        let mut missing = Vec::new();
        for (name, bytes) in &found {
            let here = Content::of_file(&root.join(name)).ok().filter(|here| here.bytes == *bytes);
            if here.is_none() || self.store.content(name)? != here {
                missing.push((name.clone(), *bytes));
            }
        }
        self.check_room(missing.iter().map(|(_, bytes)| bytes).sum())?;
        self.store.fetch(missing.into_iter().map(|(name, _)| (name, None)).collect(), root)?;
        Ok(found.len())
    }

    /// Sends files that are not there with the listed content. When this returns, all of them are.
    pub fn push(&self, files: &[ListedFile]) -> Result<(), FileError> {
        self.check_room(0)?;
        let mut new = Vec::new();
        for file in files {
            if !self.is_there(file)? {
                new.push((file.path.clone(), file.content));
            }
        }
        self.store.send(new.clone(), &self.folder)?;
        self.state().known.extend(new);
        Ok(())
    }

    /// Sends one file as it is now.
    pub fn push_file(&self, path: &Path) -> Result<(), FileError> {
        self.push(&[ListedFile::read(&self.folder, path)?])
    }

    /// Removes an object, once: later calls for the same file do nothing.
    pub fn retract(&self, path: &Path) -> Result<(), FileError> {
        let name = self.name(path);
        // Others wait here until it is gone.
        let mut state = self.state();
        if !state.retracted.contains(&name) {
            self.store.remove(&name)?;
            state.known.remove(&name);
            state.retracted.push(name);
        }
        Ok(())
    }

    /// Whether the object of a file is known to have its content.
    fn is_there(&self, file: &ListedFile) -> Result<bool, FileError> {
        let before = {
            let mut state = self.state();
            if let Some(known) = state.known.get(&file.path) {
                return Ok(*known == file.content);
            }
            if state.before.is_none() {
                state.before = Some(self.store.list()?.into_iter().collect());
            }
            state.before.as_ref().and_then(|before| before.get(&file.path)).copied()
        };
        Ok(before == Some(file.content.bytes) && self.store.content(&file.path)? == Some(file.content))
    }

    /// Fails if the folder, with so many bytes more, exceeds the limit.
    fn check_room(&self, more: u64) -> Result<(), FileError> {
        let needed = folder_bytes(&self.folder) + more;
        if needed <= self.limit {
            return Ok(());
        }
        let [needed, limit] = [needed, self.limit].map(|bytes| bytes as f64 / 1e9);
        let why = format!(
            "the files of `{}` take {needed:.3} GB here, but `limits.disk_gb` allows {limit:.3} GB",
            self.store.address()
        );
        Err(FileError { action: "write", path: self.folder.clone(), source: io::Error::other(why) })
    }

    /// The name of a file's object below the address.
    fn name(&self, path: &Path) -> String {
        ListedFile::new(&self.folder, path, Content::of(&[])).path
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Folder of the cache with the local folders of all addresses.
const CACHED: &str = "remote";

/// Size of all files below a folder.
fn folder_bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.filter_map(|entry| {
        let metadata = entry.metadata().ok()?;
        Some(if metadata.is_dir() { folder_bytes(&entry.path()) } else { metadata.len() })
    });
    sizes.sum()
}
