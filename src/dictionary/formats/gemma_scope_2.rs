//! Stub of gemma_scope_2.
use super::{FileFormat, Row};
pub(super) const ROW: Row = Row {
    format: FileFormat::GemmaScope2,
    words: "",
    recognised_by: "",
    recognises: |_| false,
    read: |folder, _| Err(super::DictionaryError::unusable(folder.path(), "stub")),
};
