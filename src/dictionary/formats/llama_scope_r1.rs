//! Stub of llama_scope_r1.
use super::{FileFormat, Row};
pub(super) const ROW: Row = Row {
    format: FileFormat::LlamaScopeR1,
    words: "",
    recognised_by: "",
    recognises: |_| false,
    read: |folder, _| Err(super::DictionaryError::unusable(folder.path(), "stub")),
};
