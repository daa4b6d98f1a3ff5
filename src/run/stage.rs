//! Stored stage results. A result is reused if its key is the same: stage name, code version, parameters and input
//! digests.

use std::path::PathBuf;

use serde::{Serialize, de::DeserializeOwned};

use crate::base::{DeviceName, Digest, Digester, FileError, write_atomic};
use crate::report::Layout;
use crate::run::json_lines::unwritable;

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
#[derive(Debug, Clone)]
pub struct StageStore {
    folder: PathBuf,
    fresh: bool,
    device: DeviceName,
}

impl StageStore {
    /// The store of a run folder.
    pub fn new(run: &Layout, fresh: bool, device: DeviceName) -> Self {
        Self { folder: run.stages(), fresh, device }
    }

    /// The stored result; none if it is missing, unreadable, or `fresh` is set.
    pub fn load<T: DeserializeOwned>(&self, key: &StageKey) -> Option<T> {
        if self.fresh {
            return None;
        }
        serde_json::from_slice(&std::fs::read(self.path(key)).ok()?).ok()
    }

    /// Stores a result.
    pub fn save<T: Serialize>(&self, key: &StageKey, value: &T) -> Result<(), FileError> {
        let path = self.path(key);
        let json = serde_json::to_vec(value).map_err(unwritable(&path))?;
        write_atomic(&path, &json)
    }

    /// Returns the stored result, or runs `work` and stores its result.
    pub fn stage<T: Serialize + DeserializeOwned, E: From<FileError>>(
        &self,
        key: &StageKey,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        if let Some(value) = self.load(key) {
            return Ok(value);
        }
        let value = work()?;
        self.save(key, &value)?;
        Ok(value)
    }

    fn path(&self, key: &StageKey) -> PathBuf {
        self.folder.join(format!("{}.json", key.file_name_on(self.device)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_runs_once_for_one_key_and_again_for_another() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let store = StageStore::new(&Layout::new(folder.path()), false, DeviceName::Cpu);
        let mut runs = 0;
        let mut stage = |store: &StageStore, params: u32| {
            let key = StageKey::new("count", 1).params(&params);
            store.stage::<u32, FileError>(&key, || {
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

    #[test]
    fn a_damaged_stage_is_made_again() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let store = StageStore::new(&Layout::new(folder.path()), false, DeviceName::Cpu);
        let key = StageKey::new("damaged", 1);
        store.save(&key, &vec![1, 2, 3]).expect("stored");
        write_atomic(&store.path(&key), b"[1, 2").expect("written");
        assert_eq!(store.load::<Vec<i32>>(&key), None);
    }
}
