//! One file of activations, and what its header says.

use std::fs::File;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::column::Column;
use super::recorded::{Recorded, TOKEN_IDS};
use crate::base::{Digest, Digester, FileError, HookPoint, read_at};
use crate::nn::NnError;
use crate::subject::SubjectError;

/// Name of the optional document numbers `[sequences]`.
pub(super) const DOCUMENT_IDS: &str = "document_ids";

/// Bytes hashed by one task.
const HASHED_AT_ONCE: u64 = 4 << 20;

/// Whether a column or tensor of this name is read.
pub(super) fn is_read(name: &str) -> bool {
    name == TOKEN_IDS || name == DOCUMENT_IDS || name.parse::<HookPoint>().is_ok()
}

/// An open file with its length in bytes.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub path: PathBuf,
    file: File,
    pub length: u64,
}

impl OpenFile {
    pub fn open(path: &Path) -> Result<Self, SubjectError> {
        let file = crate::base::open(path).map_err(NnError::from)?;
        let failed = |source| NnError::from(FileError { action: "read", path: path.to_path_buf(), source });
        let length = file.metadata().map_err(failed)?.len();
        Ok(Self { path: path.to_path_buf(), file, length })
    }

    /// An error about this file: `why` goes on after its name.
    pub fn wrong(&self, why: &str) -> SubjectError {
        SubjectError::Activations { path: self.path.clone(), why: why.to_string() }
    }

    pub fn cut_short(&self) -> SubjectError {
        self.wrong(&format!("is cut short: it has {} bytes; copy or save it again", self.length))
    }

    /// Fills `bytes` from byte `offset`.
    pub fn read_into(&self, offset: u64, bytes: &mut [u8]) -> Result<(), SubjectError> {
        let end = offset.checked_add(bytes.len() as u64);
        if end.is_none_or(|end| end > self.length) {
            return Err(self.cut_short());
        }
        Ok(read_at(&self.file, &self.path, bytes, offset).map_err(NnError::from)?)
    }

    /// `n` bytes from byte `offset`. Nothing is allocated if the file is shorter.
    pub fn read(&self, offset: u64, n: usize) -> Result<Vec<u8>, SubjectError> {
        if offset.checked_add(n as u64).is_none_or(|end| end > self.length) {
            return Err(self.cut_short());
        }
        let mut bytes = vec![0; n];
        self.read_into(offset, &mut bytes)?;
        Ok(bytes)
    }

    pub fn starts_with(&self, magic: &[u8]) -> Result<bool, SubjectError> {
        Ok(self.length >= magic.len() as u64 && self.read(0, magic.len())? == magic)
    }

    /// Digest of the digests of all parts.
    pub fn digest(&self) -> Result<Digest, SubjectError> {
        let part = |nth: u64| {
            let start = nth * HASHED_AT_ONCE;
            let bytes = self.read(start, HASHED_AT_ONCE.min(self.length - start) as usize)?;
            Ok(Digest::of(&bytes))
        };
        let parts = (0..self.length.div_ceil(HASHED_AT_ONCE)).into_par_iter().map(part);
        let parts = parts.collect::<Result<Vec<Digest>, SubjectError>>()?;
        let mut digester = Digester::new("file of activations");
        digester.text(&self.length.to_string());
        parts.iter().for_each(|part| {
            digester.digest(part);
        });
        Ok(digester.finish())
    }
}

/// What the header of one file says.
#[derive(Debug)]
pub(super) struct Contents {
    /// Columns that are read, in the file's order.
    pub columns: Vec<(String, Column)>,
    /// Names of the others.
    pub others: Vec<String>,
    pub recorded: Option<Recorded>,
}

impl Contents {
    /// Appends the rows of the `nth` file, which must have the same columns.
    pub fn append(&mut self, more: Self, nth: usize, file: &OpenFile) -> Result<(), SubjectError> {
        if more.columns.is_empty() && more.recorded.is_none() {
            return Ok(());
        }
        if self.columns.is_empty() && self.recorded.is_none() {
            for (name, column) in more.columns {
                let mut moved = Column::new(column.number, column.shape.clone());
                moved.append(&column, nth);
                self.columns.push((name, moved));
            }
            (self.others, self.recorded) = (more.others, more.recorded);
            return Ok(());
        }
        for (name, column) in &mut self.columns {
            let Some((_, own)) = more.columns.iter().find(|(other, _)| other == name) else {
                return Err(file.wrong(&format!("lacks {name:?}, which the files before it have")));
            };
            if (own.number, &own.shape) != (column.number, &column.shape) {
                let why =
                    format!("has {name:?} as {}, and the files before it as {}", own.words(), column.words());
                return Err(file.wrong(&why));
            }
            column.append(own, nth);
        }
        if let Some((name, _)) =
            more.columns.iter().find(|(name, _)| !self.columns.iter().any(|(own, _)| own == name))
        {
            return Err(file.wrong(&format!("has {name:?}, which the files before it lack")));
        }
        match (&mut self.recorded, more.recorded) {
            (None, None) => Ok(()),
            (Some(all), Some(one)) if all.is_like(&one) => {
                all.shape[0] += one.shape[0];
                all.token_ids.extend(one.token_ids);
                Ok(())
            }
            _ => Err(file.wrong(
                "was not harvested as the files before it: model, tokenizer, tokens in front and positions must be equal",
            )),
        }
    }
}
