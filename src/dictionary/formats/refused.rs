//! Dictionaries that no affine map of single rows can compute: named, and refused.
use super::{FileFormat, Row};
pub(super) const MNTSS: Row = Row {
    format: FileFormat::Mntss,
    words: "",
    recognised_by: "",
    recognises: |_| false,
    read: |folder, _| Err(super::DictionaryError::unusable(folder.path(), "stub")),
};
pub(super) const TEMPORAL: Row = Row { format: FileFormat::Temporal, ..MNTSS };
