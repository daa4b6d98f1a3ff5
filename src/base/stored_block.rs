//! Where an array of numbers lies in a file, for programs that map it into memory.

use std::path::PathBuf;

/// A row-major, little-endian array in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBlock {
    /// The file.
    pub path: PathBuf,
    /// Number format as numpy names it: `<f2`, `<f4`, `<f8`.
    pub dtype: &'static str,
    /// Byte of the file at which the array begins.
    pub offset: u64,
    /// Its shape.
    pub shape: Vec<usize>,
}
