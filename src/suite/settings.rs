//! Files of settings beside suites, read as suites are: by the schema of their type, with every problem and its position.

use std::path::Path;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::node::Node;
use super::read::Reader;
use super::schema::of;
use super::{counted, read_text};
use crate::base::FileError;

/// Largest file, in bytes.
const MOST_BYTES: u64 = 1 << 20;

/// Reads a YAML file of settings. `check` returns what the schema cannot tell: dotted paths with messages. The inner
/// error is about the content and follows the file's name: "has 2 problems", each with its position.
pub fn read_settings<T: DeserializeOwned + JsonSchema>(
    path: &Path,
    check: impl FnOnce(&T) -> Vec<(String, String)>,
) -> Result<Result<T, String>, FileError> {
    Ok(read_text(path, MOST_BYTES)?.and_then(|text| parse_settings(&text, check)))
}

/// As [`read_settings`], from a text.
pub fn parse_settings<T: DeserializeOwned + JsonSchema>(
    text: &str,
    check: impl FnOnce(&T) -> Vec<(String, String)>,
) -> Result<T, String> {
    let root = Node::parse(text).map_err(|error| format!("is not valid YAML: {error}"))?;
    let mut reader = Reader::default();
    let read = reader.value(&of::<T>(), &root, "").map(serde_json::from_value::<T>);
    if reader.problems.is_empty() {
        match read {
            Some(Ok(settings)) => {
                for (path, message) in check(&settings) {
                    reader.wrong(&path, root.place(&path), message);
                }
                if reader.problems.is_empty() {
                    return Ok(settings);
                }
            }
            Some(Err(error)) => return Err(format!("cannot be used: {error}")),
            None => return Err("is not a mapping of fields".into()),
        }
    }
    reader.problems.sort_by_key(|found| (found.at.line, found.at.column));
    Err(format!("has {}", counted(&reader.problems)))
}
