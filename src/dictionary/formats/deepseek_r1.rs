//! Stub of deepseek_r1.
use super::{FileFormat, Row};
pub(super) const ROW: Row = Row {
    format: FileFormat::DeepseekR1,
    words: "",
    recognised_by: "",
    recognises: |_| false,
    read: |folder, _| Err(super::DictionaryError::unusable(folder.path(), "stub")),
};
