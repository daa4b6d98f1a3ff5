//! Tensors of dictionary files of other libraries: safetensors, torch's `.pt` and numpy's `.npz`.
//!
//! A file is recognised by content and mapped into memory. Opening reads the directory of tensors alone; values are read
//! when they are asked for. No code of a file is run, and what a file claims about sizes is checked before it is used.

mod archive;
mod directory;
mod element;
mod globals;
mod names;
mod npz;
mod pickle;
mod plain;
mod safetensors;
mod tensor;
mod torch;
mod value;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use crate::base::MappedFile;

use super::DictionaryError;
use directory::Directory;

pub use plain::Plain;

/// Tensors of one file, by name, read on demand.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    map: MappedFile,
    directory: Directory,
}

impl TensorFile {
    /// Opens a safetensors file, a torch zip (`.pt`, `.pth`, `.bin`) or an `.npz`, recognised by content.
    pub fn open(path: &Path) -> Result<Self, DictionaryError> {
        let map = MappedFile::open(path)?;
        let directory = Directory::read(&map).map_err(|why| {
            let named = path.extension().is_some_and(|extension| extension == "safetensors");
            let why = if named && !why.contains("whole safetensors") {
                format!("not a whole safetensors file ({why}); copy or download it again")
            } else {
                why
            };
            DictionaryError::unusable(path, why)
        })?;
        Ok(Self { path: path.to_path_buf(), map, directory })
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the file is: "safetensors", "torch" or "npz".
    pub fn layout(&self) -> &'static str {
        self.directory.layout
    }

    /// Names of all tensors, sorted. Names of nested dicts are joined by `.`.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.directory.tensors.keys().map(String::as_str)
    }

    /// Shape of a tensor.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.directory.tensors.get(name).map(|tensor| tensor.shape.as_slice())
    }

    /// Number type of a tensor, by safetensors' words: "F32", "BF16", "I64".
    pub fn dtype(&self, name: &str) -> Option<&'static str> {
        self.directory.tensors.get(name).map(|tensor| tensor.element.name())
    }

    /// All values as f32, row-major. A missing tensor and a value that f32 cannot hold are errors.
    pub fn values(&self, name: &str) -> Result<Vec<f32>, DictionaryError> {
        self.explained(self.directory.values(&self.map, name))
    }

    /// The one value of a tensor of one element, whatever its number type.
    pub fn scalar(&self, name: &str) -> Result<f64, DictionaryError> {
        self.explained(self.directory.scalar(&self.map, name))
    }

    /// Values `[rows.len(), …]` of some rows, without reading the others.
    pub fn rows(&self, name: &str, rows: &[usize]) -> Result<Vec<f32>, DictionaryError> {
        self.explained(self.directory.rows(&self.map, name, rows))
    }

    /// Values `[columns.len(), n_rows]` of some columns of a matrix.
    pub fn columns(&self, name: &str, columns: &[usize]) -> Result<Vec<f32>, DictionaryError> {
        self.explained(self.directory.columns(&self.map, name, columns))
    }

    /// An entry of a torch file that is no tensor and holds none.
    pub fn plain(&self, name: &str) -> Option<&Plain> {
        self.directory.plain.get(name)
    }

    /// Names of the entries that are no tensors, sorted. A dict is named by its entries, unless it is empty.
    pub fn plain_names(&self) -> impl Iterator<Item = &str> {
        let leaves = self.directory.plain.iter().filter(|(_, plain)| match plain {
            Plain::Dict(entries) => entries.is_empty(),
            _ => true,
        });
        leaves.map(|(name, _)| name.as_str())
    }

    fn explained<T>(&self, result: Result<T, String>) -> Result<T, DictionaryError> {
        result.map_err(|why| DictionaryError::unusable(&self.path, why))
    }
}
