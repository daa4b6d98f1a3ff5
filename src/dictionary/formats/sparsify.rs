//! Stub of sparsify.
use super::{FileFormat, Row};
pub(super) const ROW: Row = Row {
    format: FileFormat::Sparsify,
    words: "",
    recognised_by: "",
    recognises: |_| false,
    read: |folder, _| Err(super::DictionaryError::unusable(folder.path(), "stub")),
};
