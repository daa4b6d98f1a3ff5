//! Stored stage results. A result is reused if its key is the same: stage name, code version, parameters and input
//! digests.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Serialize, de::DeserializeOwned};

use crate::base::{
    DeviceName, Digest, Digester, FileError, Flaw, ListedFile, Sealed, set_aside, write_sealed,
};
use crate::remote::Mirror;
use crate::report::Layout;
use crate::run::Event;

/// Key of a stage result: stage name, code version and inputs.
#[derive(Clone)]
pub struct StageKey {
    name: &'static str,
    digester: Digester,
}

impl StageKey {
    /// A stage and its code version. Raise the version when a code change alters results.
    pub fn new(name: &'static str, version: u32) -> Self {
        let mut digester = Digester::new(name);
        digester.text(&version.to_string());
        Self { name, digester }
    }

    /// Adds an input by digest.
    pub fn input(mut self, digest: Digest) -> Self {
        self.digester.digest(&digest);
        self
    }

    /// Adds parameters, hashed as JSON.
    pub fn params<T: Serialize>(mut self, params: &T) -> Self {
        self.digester.json(params);
        self
    }

    /// Adds a word.
    pub fn word(mut self, word: &str) -> Self {
        self.digester.text(word);
        self
    }

    /// The key's digest.
    pub fn digest(&self) -> Digest {
        self.digester.clone().finish()
    }

    /// File name of a result computed on `device`, without extension.
    pub fn file_name_on(&self, device: DeviceName) -> String {
        let kind = match device {
            DeviceName::Cpu => "",
            DeviceName::Cuda(_) => "-cuda",
        };
        format!("{}-{}{kind}", self.name, self.digest().short())
    }
}

/// A folder of stored stage results. Results of different devices differ by rounding, so each device kind has its
/// own files. With `fresh`, stored results are ignored and overwritten.
///
/// A result is stored with a digest, its key, and the size and digest of each file of the run folder that its stage
/// wrote. It is reused only if all of them are as they were written. What is not is set aside, and the stage runs again.
///
/// Of a run folder in object storage, what is not here is fetched. A result is sent as soon as it is stored: first the files
/// of its stage, then the result itself. Files without it are never used, so a run may end in between.
#[derive(Debug)]
pub struct StageStore {
    run: Layout,
    remote: Option<Arc<Mirror>>,
    fresh: bool,
    device: DeviceName,
    /// Files that were named as damaged or missing: several stages may list the same one.
    named: Mutex<BTreeSet<PathBuf>>,
}

impl StageStore {
    /// The store of a run folder.
    pub fn new(run: &Layout, fresh: bool, device: DeviceName) -> Self {
        Self { run: run.clone(), remote: None, fresh, device, named: Mutex::default() }
    }

    /// The same with the address of the run folder in object storage, if it lies there.
    pub fn with_remote(self, remote: Option<Arc<Mirror>>) -> Self {
        Self { remote, ..self }
    }

    /// The stored result; none if it is missing, or `fresh` is set, or it or a file of its stage is damaged. Damage is
    /// told to `on`.
    pub fn load<T: DeserializeOwned>(&self, key: &StageKey, on: &dyn Fn(Event)) -> Option<T> {
        if self.fresh {
            return None;
        }
        let path = self.path(key);
        self.fetched(on, |remote| remote.bring(&path, false).map(drop))?;
        let sealed = match Sealed::read(&path) {
            Ok(sealed) => sealed?,
            Err(flaw) => {
                self.put_aside(&path, &flaw, on);
                return None;
            }
        };
        if sealed.key() != Some(key.digest()) {
            self.put_aside(&path, &Flaw::Damaged("is the result of another stage".into()), on);
            return None;
        }
        let value = sealed.value()?;
        self.fetched(on, |remote| remote.bring_listed(sealed.files()))?;
        let mut sound = true;
        for file in sealed.files() {
            if let Err(flaw) = file.check(self.run.folder()) {
                sound = false;
                if let Some(path) = file.below(self.run.folder()) {
                    self.put_aside(&path, &flaw, on);
                }
            }
        }
        sound.then_some(value)
    }

    /// Whether a result is there; its content is not looked at.
    pub fn has(&self, key: &StageKey) -> bool {
        !self.fresh && self.path(key).exists()
    }

    /// Stores a result with the files that its stage wrote.
    pub fn save<T: Serialize>(
        &self,
        key: &StageKey,
        files: Vec<ListedFile>,
        value: &T,
    ) -> Result<(), FileError> {
        let path = self.path(key);
        let Some(remote) = &self.remote else {
            return write_sealed(&path, Some(key.digest()), files, value);
        };
        write_sealed(&path, Some(key.digest()), files.clone(), value)?;
        // From here on the files change.
        remote.retract(&self.run.digests())?;
        remote.push(&files)?;
        remote.push_file(&path)
    }

    /// Fetches from object storage, if the run folder lies there. None after a failure, which is told.
    fn fetched(
        &self,
        on: &dyn Fn(Event),
        fetch: impl FnOnce(&Mirror) -> Result<(), FileError>,
    ) -> Option<()> {
        let Some(remote) = &self.remote else { return Some(()) };
        let tell = |error: FileError| {
            on(Event::Warning(format!("cannot {error}: {}; it is made again", error.source)));
        };
        fetch(remote).map_err(tell).ok()
    }

    /// Returns the stored result, or runs `work` and stores its result. For stages that write no files.
    pub fn stage<T: Serialize + DeserializeOwned, E: From<FileError>>(
        &self,
        key: &StageKey,
        on: &dyn Fn(Event),
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        if let Some(value) = self.load(key, on) {
            return Ok(value);
        }
        let value = work()?;
        self.save(key, Vec::new(), &value)?;
        Ok(value)
    }

    /// Lists a file below the run folder with its content.
    pub fn listed(&self, path: &Path) -> Result<ListedFile, FileError> {
        ListedFile::read(self.run.folder(), path)
    }

    fn path(&self, key: &StageKey) -> PathBuf {
        self.run.stages().join(format!("{}.json", key.file_name_on(self.device)))
    }

    fn put_aside(&self, path: &Path, flaw: &Flaw, on: &dyn Fn(Event)) {
        let is_new = |mut named: MutexGuard<'_, BTreeSet<PathBuf>>| named.insert(path.to_path_buf());
        if is_new(self.named.lock().unwrap_or_else(PoisonError::into_inner)) {
            let name = path.strip_prefix(self.run.folder()).unwrap_or(path);
            on(Event::Warning(put_aside(path, name, flaw)));
        }
    }
}

/// Sets a damaged file aside. Returns what to tell, with the file called `name`.
pub fn put_aside(path: &Path, name: &Path, flaw: &Flaw) -> String {
    let aside = match flaw {
        Flaw::Missing => None,
        Flaw::Damaged(_) => set_aside(path),
    };
    let aside = aside.as_deref().and_then(Path::file_name).map(|aside| aside.to_string_lossy());
    let aside = aside.map_or(String::new(), |aside| format!("; set aside as `{aside}`"));
    format!("`{}` {}{aside}; it is made again", name.display(), flaw.words())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::base::{read, write_atomic};

    fn silent(event: Event) {
        panic!("nothing is damaged: {event:?}");
    }

    #[test]
    fn a_stage_runs_once_for_one_key_and_again_for_another() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let store = StageStore::new(&Layout::new(folder.path()), false, DeviceName::Cpu);
        let mut runs = 0;
        let mut stage = |store: &StageStore, params: u32| {
            let key = StageKey::new("count", 1).params(&params);
            store.stage::<u32, FileError>(&key, &silent, || {
                runs += 1;
                Ok(params * 10 + runs)
            })
        };
        assert_eq!(stage(&store, 1).expect("stored"), 11);
        assert_eq!(stage(&store, 1).expect("stored"), 11);
        assert_eq!(stage(&store, 2).expect("stored"), 22);
        let fresh = StageStore::new(&Layout::new(folder.path()), true, DeviceName::Cpu);
        assert_eq!(stage(&fresh, 1).expect("stored"), 13);
        assert_eq!(stage(&store, 1).expect("stored"), 13);
        let elsewhere = StageStore::new(&Layout::new(folder.path()), false, DeviceName::Cuda(0));
        assert_eq!(stage(&elsewhere, 1).expect("stored"), 14);
    }

    /// A stored stage with a file, and what loading it gives and tells.
    struct Stored {
        folder: tempfile::TempDir,
        key: StageKey,
    }

    impl Stored {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("temporary folder");
            let stored = Self { folder, key: StageKey::new("row", 1).word("a") };
            write_atomic(&stored.file(), b"{\"feature\":3}\n").expect("written");
            let listed = stored.store().listed(&stored.file()).expect("listed");
            stored.store().save(&stored.key, vec![listed], &vec![0.25, 0.5]).expect("stored");
            stored
        }

        fn store(&self) -> StageStore {
            StageStore::new(&Layout::new(self.folder.path()), false, DeviceName::Cpu)
        }

        fn file(&self) -> PathBuf {
            self.folder.path().join("records/hook/a.jsonl")
        }

        fn load(&self) -> (Option<Vec<f64>>, Vec<String>) {
            let told = RefCell::new(Vec::new());
            let on = |event| match event {
                Event::Warning(text) => told.borrow_mut().push(text),
                other => panic!("{other:?}"),
            };
            let store = self.store();
            let value = store.load(&self.key, &on);
            if value.is_none() {
                // Another stage that lists the same files says nothing more of them.
                let _: Option<Vec<f64>> = store.load(&self.key, &on);
            }
            (value, told.into_inner())
        }
    }

    #[test]
    fn a_stage_that_was_changed_in_any_way_is_set_aside_and_told_once() {
        let whole = Stored::new();
        assert_eq!(whole.load(), (Some(vec![0.25, 0.5]), Vec::new()));
        let text = String::from_utf8(read(&whole.store().path(&whole.key)).expect("read")).expect("UTF-8");
        for changed in [
            text.replace("0.25", "0.75"),
            text.replace("a.jsonl", "b.jsonl"),
            text.replace("\"sealed\":1", "\"sealed\":2"),
            text[..text.len() / 2].to_string(),
            String::new(),
            "[1, 2".to_string(),
        ] {
            let stored = Stored::new();
            let path = stored.store().path(&stored.key);
            write_atomic(&path, changed.as_bytes()).expect("written");
            let (value, told) = stored.load();
            assert_eq!((value, told.len()), (None, 1), "{changed}");
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            assert!(
                told[0].starts_with(&format!("`stages/{name}` does not hold what was written")),
                "{told:?}"
            );
            assert!(told[0].contains(&format!("set aside as `{name}.damaged`")), "{told:?}");
            assert!(!path.exists());
        }
    }

    #[test]
    fn swapped_stages_are_noticed_and_old_ones_made_again_without_a_word() {
        let stored = Stored::new();
        let other = StageKey::new("row", 1).word("b");
        stored.store().save(&other, Vec::new(), &vec![9.0]).expect("stored");
        let [one, two] = [&stored.key, &other].map(|key| stored.store().path(key));
        std::fs::rename(&two, &one).expect("renamed");
        let (value, told) = stored.load();
        assert!(value.is_none() && told[0].contains("holds what was written as `row-"), "{told:?}");
        write_atomic(&one, b"[0.25,0.5]").expect("written");
        assert_eq!(stored.load(), (None, Vec::new()));
        assert!(one.exists(), "it is overwritten in its place");
    }

    #[test]
    fn a_stage_is_believed_only_with_the_files_that_it_wrote() {
        for (bytes, says) in [
            (
                Some(&b"{\"feature\":4}\n"[..]),
                "does not hold what was written (its digest differs); set aside",
            ),
            (Some(b""), "does not hold what was written (0 bytes, expected 14); set aside"),
            (None, "is missing; it is made again"),
        ] {
            let stored = Stored::new();
            match bytes {
                Some(bytes) => write_atomic(&stored.file(), bytes).expect("written"),
                None => std::fs::remove_file(stored.file()).expect("removed"),
            }
            let (value, told) = stored.load();
            assert_eq!((value, told.len()), (None, 1));
            assert!(told[0].starts_with("`records/hook/a.jsonl` ") && told[0].contains(says), "{told:?}");
            assert_eq!(stored.folder.path().join("records/hook/a.jsonl.damaged").exists(), bytes.is_some());
        }
    }
}
