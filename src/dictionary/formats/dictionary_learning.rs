//! Stub of dictionary_learning.
use super::{FileFormat, Row};
pub(super) const ROW: Row = Row {
    format: FileFormat::DictionaryLearning,
    words: "",
    recognised_by: "",
    recognises: |_| false,
    read: |folder, _| Err(super::DictionaryError::unusable(folder.path(), "stub")),
};
