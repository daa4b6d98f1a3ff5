//! A file of JSON lines that appears under its name once it is complete.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::base::{AtomicFile, FileError};
use crate::run::RunError;

/// A file of JSON lines, under its name once it is committed.
pub struct JsonLines {
    file: AtomicFile,
    path: PathBuf,
}

impl JsonLines {
    /// A file that is written beside its name.
    pub fn create(path: &Path) -> Result<Self, RunError> {
        Ok(Self { file: AtomicFile::create(path)?, path: path.to_path_buf() })
    }

    /// Adds one line.
    pub fn line<T: Serialize>(&mut self, value: &T) -> Result<(), RunError> {
        let mut bytes = serde_json::to_vec(value).map_err(|error| FileError {
            action: "write",
            path: self.path.clone(),
            source: error.into(),
        })?;
        bytes.push(b'\n');
        Ok(self.file.write(&bytes)?)
    }

    /// Gives the file its name.
    pub fn commit(self) -> Result<(), RunError> {
        Ok(self.file.commit()?)
    }
}
