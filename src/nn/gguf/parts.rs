//! The parts of a split model as one: `name-00001-of-00003.gguf` and so on, as `llama-gguf-split` writes them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::super::NnError;
use super::corrupt;
use super::header::{Header, TensorInfo, Value};

/// Most parts of a model: names have five digits.
const MAX_PARTS: i128 = 99_999;

/// The files of a model, with the first part's metadata.
#[derive(Debug)]
pub(super) struct Parts {
    parts: Vec<Header>,
    /// The part that each tensor is in.
    places: BTreeMap<String, usize>,
}

impl Parts {
    /// Opens a file, and where it is a part of several the others beside it.
    pub fn open(path: &Path) -> Result<Self, NnError> {
        let header = Header::open(path)?;
        let count = match header.metadata.get("split.count") {
            None => 1,
            Some(Value::Integer(count @ 0..=MAX_PARTS)) => (*count as usize).max(1),
            Some(other) => {
                let reason = format!(
                    "`split.count` should be a number of parts up to {MAX_PARTS}, got {}",
                    other.shown()
                );
                return Err(corrupt(&header.file, &reason));
            }
        };
        let parts = if count == 1 { vec![header] } else { opened(path, header, count)? };
        let mut places = BTreeMap::new();
        for (nth, part) in parts.iter().enumerate() {
            for name in part.tensors.keys() {
                if places.insert(name.clone(), nth).is_some() {
                    return Err(corrupt(
                        &part.file,
                        &format!("tensor `{name}` is in an earlier part as well"),
                    ));
                }
            }
        }
        let whole = Self { parts, places };
        whole.check_tensor_count()?;
        Ok(whole)
    }

    fn check_tensor_count(&self) -> Result<(), NnError> {
        match self.metadata().get("split.tensors.count") {
            Some(Value::Integer(count)) if *count != self.places.len() as i128 && self.parts.len() > 1 => {
                let reason = format!(
                    "`split.tensors.count` is {count}, and its parts hold {} tensors",
                    self.places.len()
                );
                Err(corrupt(self.file(), &reason))
            }
            _ => Ok(()),
        }
    }

    /// The first part's file, for messages.
    pub fn file(&self) -> &str {
        &self.parts[0].file
    }

    /// The first part's metadata; the others repeat nothing of it that matters.
    pub fn metadata(&self) -> &BTreeMap<String, Value> {
        &self.parts[0].metadata
    }

    /// Names of all tensors, in order.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.places.keys()
    }

    /// A tensor's place.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.parts[*self.places.get(name)?].tensors.get(name)
    }

    /// The part that a tensor is in, with its place there.
    pub fn part_of(&mut self, name: &str) -> Option<(&mut Header, TensorInfo)> {
        let part = &mut self.parts[*self.places.get(name)?];
        let info = part.tensors.get(name)?.clone();
        Some((part, info))
    }

    /// The parts in order.
    pub fn each(&mut self) -> impl Iterator<Item = &mut Header> {
        self.parts.iter_mut()
    }
}

/// All parts of a model in order, one of which has been opened.
fn opened(path: &Path, header: Header, count: usize) -> Result<Vec<Header>, NnError> {
    let number = match header.metadata.get("split.no") {
        Some(Value::Integer(number)) if (0..count as i128).contains(number) => *number as usize,
        other => {
            let got = other.map_or_else(|| "nothing".into(), Value::shown);
            let reason = format!("`split.no` should be the number of a part, 0 to {}, got {got}", count - 1);
            return Err(corrupt(&header.file, &reason));
        }
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let ending = |number: usize| format!("-{:05}-of-{count:05}.gguf", number + 1);
    let Some(stem) = name.strip_suffix(&ending(number)) else {
        let (file, part) = (header.file, number + 1);
        return Err(NnError::SplitName { file, part, count, ending: ending(number) });
    };
    let paths: Vec<PathBuf> =
        (0..count).map(|nth| path.with_file_name(format!("{stem}{}", ending(nth)))).collect();
    let missing: Vec<String> = paths
        .iter()
        .filter(|path| !path.is_file())
        .map(|path| path.file_name().unwrap_or_default().to_string_lossy().into_owned())
        .collect();
    if !missing.is_empty() {
        return Err(NnError::MissingParts { file: header.file, part: number + 1, count, missing });
    }
    let mut parts = Vec::with_capacity(count);
    for (nth, path) in paths.iter().enumerate() {
        let part = Header::open(path)?;
        for (key, expected) in [("split.no", nth), ("split.count", count)] {
            let got = part.metadata.get(key);
            if got != Some(&Value::Integer(expected as i128)) {
                let got = got.map_or_else(|| "nothing".into(), Value::shown);
                return Err(corrupt(
                    &part.file,
                    &format!("`{key}` should be {expected} by its name, got {got}"),
                ));
            }
        }
        parts.push(part);
    }
    Ok(parts)
}
