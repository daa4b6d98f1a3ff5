//! A JSON Lines file that gets its final name only when it is complete.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::base::{AtomicFile, Content, ContentHasher, FileError};
use crate::run::RunError;

/// Error of a value that cannot be written to `path` as JSON.
pub fn unwritable(path: &Path) -> impl FnOnce(serde_json::Error) -> FileError {
    move |error| FileError { action: "write", path: path.to_path_buf(), source: error.into() }
}

/// JSON Lines file, written to a temporary name until [`Self::commit`].
pub struct JsonLines {
    file: AtomicFile,
    path: PathBuf,
    hasher: ContentHasher,
}

impl JsonLines {
    /// Opens a temporary file beside `path`.
    pub fn create(path: &Path) -> Result<Self, RunError> {
        Ok(Self {
            file: AtomicFile::create(path)?,
            path: path.to_path_buf(),
            hasher: ContentHasher::default(),
        })
    }

    /// Adds one line.
    pub fn line<T: Serialize>(&mut self, value: &T) -> Result<(), RunError> {
        let mut bytes = serde_json::to_vec(value).map_err(unwritable(&self.path))?;
        bytes.push(b'\n');
        self.hasher.add(&bytes);
        Ok(self.file.write(&bytes)?)
    }

    /// Renames the file to its final path. Returns the path with what the file holds.
    pub fn commit(self) -> Result<(PathBuf, Content), RunError> {
        self.file.commit()?;
        Ok((self.path, self.hasher.finish()))
    }
}
