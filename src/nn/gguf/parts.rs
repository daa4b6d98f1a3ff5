//! A split model as one: `name-00001-of-00003.gguf` and so on, as `llama-gguf-split` writes it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::super::NnError;
use super::super::error::corrupt;
use super::header::{Header, TensorInfo, Value};
use super::settings::Settings;

/// Largest number of parts: names have five digits.
const MAX_PARTS: i128 = 99_999;

/// The files of a model, with the first part's metadata.
#[derive(Debug)]
pub(super) struct Parts {
    parts: Vec<Header>,
    /// The index of the part that holds each tensor.
    places: BTreeMap<String, usize>,
}

impl Parts {
    /// Opens a file and, where it is a part of several, the others beside it.
    pub fn open(path: &Path) -> Result<Self, NnError> {
        let header = Header::open(path)?;
        let count = match header.metadata.get("split.count") {
            None => 1,
            Some(Value::Integer(count @ 0..=MAX_PARTS)) => (*count as usize).max(1),
            Some(other) => {
                let expected = format!("a number of parts up to {MAX_PARTS}, got {}", other.shown());
                return Err(corrupt(&header.file, &format!("`split.count` should be {expected}")));
            }
        };
        let parts = if count == 1 { vec![header] } else { opened(path, header, count)? };
        let mut places = BTreeMap::new();
        for (nth, part) in parts.iter().enumerate() {
            for name in part.tensors.keys() {
                if places.insert(name.clone(), nth).is_some() {
                    let reason = format!("tensor `{name}` is also in an earlier part");
                    return Err(corrupt(&part.file, &reason));
                }
            }
        }
        let whole = Self { parts, places };
        let (metadata, found) = (whole.settings().metadata, whole.places.len());
        match metadata.get("split.tensors.count") {
            Some(Value::Integer(stated)) if *stated != found as i128 && count > 1 => {
                let reason = format!("`split.tensors.count` is {stated}, but its parts hold {found} tensors");
                Err(corrupt(&whole.parts[0].file, &reason))
            }
            _ => Ok(whole),
        }
    }

    /// The first part's metadata; the other parts add nothing that is used.
    pub fn settings(&self) -> Settings<'_> {
        Settings { file: &self.parts[0].file, metadata: &self.parts[0].metadata }
    }

    /// Names of all tensors, in order.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.places.keys()
    }

    /// Position, shape and number format of a tensor.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.parts[*self.places.get(name)?].tensors.get(name)
    }

    /// The part that holds a tensor, and the tensor's position in it.
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

/// All parts of a model in order, given one that is open.
fn opened(path: &Path, header: Header, count: usize) -> Result<Vec<Header>, NnError> {
    let shown = |value: Option<&Value>| value.map_or_else(|| "nothing".into(), Value::shown);
    let number = match header.metadata.get("split.no") {
        Some(Value::Integer(number)) if (0..count as i128).contains(number) => *number as usize,
        other => {
            let (last, got) = (count - 1, shown(other));
            let reason = format!("`split.no` should be the number of a part, 0 to {last}, got {got}");
            return Err(corrupt(&header.file, &reason));
        }
    };
    let name_of = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = name_of(path);
    let ending = |number: usize| format!("-{:05}-of-{count:05}.gguf", number + 1);
    let Some(stem) = name.strip_suffix(&ending(number)) else {
        let (file, part) = (header.file, number + 1);
        return Err(NnError::SplitName { file, part, count, ending: ending(number) });
    };
    let paths: Vec<PathBuf> =
        (0..count).map(|nth| path.with_file_name(format!("{stem}{}", ending(nth)))).collect();
    let missing: Vec<String> =
        paths.iter().filter(|path| !path.is_file()).map(|path| name_of(path)).collect();
    if !missing.is_empty() {
        return Err(NnError::MissingParts { file: header.file, part: number + 1, count, missing });
    }
    let open = |(nth, path): (usize, &PathBuf)| {
        let part = Header::open(path)?;
        for (key, expected) in [("split.no", nth), ("split.count", count)] {
            let got = part.metadata.get(key);
            if got != Some(&Value::Integer(expected as i128)) {
                let reason = format!("`{key}` should be {expected} by its name, got {}", shown(got));
                return Err(corrupt(&part.file, &reason));
            }
        }
        Ok(part)
    };
    paths.iter().enumerate().map(open).collect()
}
