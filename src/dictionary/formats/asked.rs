//! What a suite says beside the path, compared with what the file holds.

use std::path::Path;

use super::super::DictionaryError;
use super::Ask;

impl Ask {
    /// Number of codes that are kept: the file's, or the suite's where the file has none. Two that differ are an error.
    pub(super) fn k_of(&self, path: &Path, stored: Option<usize>) -> Result<Option<usize>, DictionaryError> {
        match (stored, self.k) {
            (Some(stored), Some(asked)) if stored != asked => Err(DictionaryError::unusable(
                path,
                format!("keeps {stored} codes, and the suite says `k: {asked}`: leave `k` out"),
            )),
            (stored, asked) => Ok(stored.or(asked)),
        }
    }

    /// An error if the suite gives a number of codes.
    pub(super) fn has_no_k(&self, path: &Path) -> Result<(), DictionaryError> {
        match self.k {
            None => Ok(()),
            Some(k) => Err(DictionaryError::unusable(
                path,
                format!(
                    "the suite says `k: {k}`, and its activation function keeps no fixed number: leave `k` out"
                ),
            )),
        }
    }

    /// An error if the suite gives a factor on inputs.
    pub(super) fn has_no_input_scale(&self, path: &Path) -> Result<(), DictionaryError> {
        match self.input_scale {
            None => Ok(()),
            Some(scale) => Err(DictionaryError::unusable(
                path,
                format!(
                    "the suite says `input_scale: {scale}`, and the file says of no factor that it lacks: leave \
                     `input_scale` out"
                ),
            )),
        }
    }
}
