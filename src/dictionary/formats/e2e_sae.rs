//! Stub of e2e_sae.
use super::{FileFormat, Row};
pub(super) const ROW: Row = Row {
    format: FileFormat::E2eSae,
    words: "",
    recognised_by: "",
    recognises: |_| false,
    read: |folder, _| Err(super::DictionaryError::unusable(folder.path(), "stub")),
};
