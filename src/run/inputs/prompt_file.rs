//! Files of prompts that a suite names.

use std::path::PathBuf;

use crate::base::{Digest, read};
use crate::run::{Places, RunError};
use crate::suite::resolve;

/// Largest file of prompts, in bytes.
const MOST_BYTES: usize = 256 << 20;

/// A file of prompts, read whole.
pub struct PromptFile {
    pub path: PathBuf,
    pub text: String,
    /// Digest of its bytes.
    pub digest: Digest,
}

impl PromptFile {
    /// Reads a UTF-8 file by the name that it has in the suite.
    pub fn open(name: &str, places: &Places) -> Result<Self, RunError> {
        let path = resolve(name, &places.suite_folder);
        let bytes = read(&path)?;
        let wrong = |why: String| RunError::Input { path: path.clone(), why };
        if bytes.len() > MOST_BYTES {
            return Err(wrong(format!("is larger than {} MB", MOST_BYTES >> 20)));
        }
        let digest = Digest::of(&bytes);
        let text = String::from_utf8(bytes).map_err(|error| {
            wrong(format!("is not UTF-8 from byte {} on", error.utf8_error().valid_up_to()))
        })?;
        Ok(Self { path, text, digest })
    }

    /// An error in its content.
    pub fn wrong(&self, why: String) -> RunError {
        RunError::Input { path: self.path.clone(), why }
    }
}
