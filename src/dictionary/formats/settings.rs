//! Settings of a configuration by name. Every one that is not read or known to be harmless is an error.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::super::DictionaryError;
use super::Ask;

/// A configuration. It remembers which keys were read.
#[derive(Debug)]
pub struct Settings {
    path: PathBuf,
    values: Map<String, Value>,
    read: RefCell<BTreeSet<String>>,
}

impl Settings {
    /// Settings of a file.
    pub fn new(path: PathBuf, values: Map<String, Value>) -> Self {
        Self { path, values, read: RefCell::default() }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The value; `null` counts as absent.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.read.borrow_mut().insert(key.to_string());
        self.values.get(key).filter(|value| !value.is_null())
    }

    /// Whether the key is there with a value. Does not count as reading it.
    pub fn has(&self, key: &str) -> bool {
        self.values.get(key).is_some_and(|value| !value.is_null())
    }

    /// The key that has a value, of several spellings of one setting. Two values that differ are an error.
    pub fn spelled<'k>(&self, keys: &[&'k str]) -> Result<Option<&'k str>, DictionaryError> {
        let mut found: Option<(&'k str, &Value)> = None;
        for &key in keys {
            let Some(value) = self.value(key) else { continue };
            match found {
                None => found = Some((key, value)),
                Some((first, other)) if other != value => {
                    let expected = format!("{}, as `{first}` says", shortened(&other.to_string()));
                    return Err(self.wrong(key, &expected));
                }
                Some(_) => {}
            }
        }
        Ok(found.map(|(key, _)| key))
    }

    /// The settings under a key; empty if absent.
    pub fn inner(&self, key: &str) -> Result<Self, DictionaryError> {
        let values = match self.value(key) {
            None => Map::new(),
            Some(Value::Object(values)) => values.clone(),
            Some(_) => return Err(self.wrong(key, "a mapping")),
        };
        Ok(Self::new(self.path.clone(), values))
    }

    /// An error about one key.
    pub fn wrong(&self, key: &str, expected: &str) -> DictionaryError {
        let got =
            self.values.get(key).map_or_else(|| "missing".to_string(), |value| shortened(&value.to_string()));
        DictionaryError::unusable(&self.path, format!("`{key}` is {got}; expected {expected}"))
    }

    /// An error about the file.
    pub fn unusable(&self, problem: impl Into<String>) -> DictionaryError {
        DictionaryError::unusable(&self.path, problem)
    }

    /// A text.
    pub fn text(&self, key: &str) -> Result<Option<&str>, DictionaryError> {
        self.value(key).map(|value| value.as_str().ok_or_else(|| self.wrong(key, "a text"))).transpose()
    }

    /// One of the known words.
    pub fn one_of<'k>(&self, key: &str, known: &[&'k str]) -> Result<Option<&'k str>, DictionaryError> {
        let Some(got) = self.value(key) else { return Ok(None) };
        let found = known.iter().find(|word| got.as_str() == Some(word));
        found.copied().map(Some).ok_or_else(|| self.wrong(key, &format!("one of {}", known.join(", "))))
    }

    /// True or false.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, DictionaryError> {
        self.value(key)
            .map(|value| value.as_bool().ok_or_else(|| self.wrong(key, "true or false")))
            .transpose()
    }

    /// A whole number above 0.
    pub fn size(&self, key: &str) -> Result<Option<usize>, DictionaryError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        // Some programs write whole numbers as 32.0.
        let whole = value.as_u64().or_else(|| {
            value
                .as_f64()
                .filter(|number| number.fract() == 0.0 && (1.0..1e15).contains(number))
                .map(|number| number as u64)
        });
        let whole = whole.filter(|&size| size > 0).and_then(|size| usize::try_from(size).ok());
        whole.map(Some).ok_or_else(|| self.wrong(key, "a whole number above 0"))
    }

    /// A number.
    pub fn number(&self, key: &str) -> Result<Option<f64>, DictionaryError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let number = value.as_f64().filter(|number| number.is_finite());
        number.map(Some).ok_or_else(|| self.wrong(key, "a number"))
    }

    /// A required value of any of the above.
    pub fn required<T>(&self, key: &str, expected: &str, value: Option<T>) -> Result<T, DictionaryError> {
        value.ok_or_else(|| self.wrong(key, expected))
    }

    /// Keys that were neither read nor are harmless. Those under `ignore` of the suite are returned, to be told; any
    /// other is an error.
    pub fn dropped(&self, harmless: &[&str], ask: &Ask) -> Result<Vec<String>, DictionaryError> {
        let read = self.read.borrow();
        let is_known = |key: &str| {
            read.contains(key)
                || harmless.iter().any(|known| match known.strip_suffix('*') {
                    Some(prefix) => key.starts_with(prefix),
                    None => key == *known,
                })
        };
        let left = self.values.keys().filter(|key| !is_known(key));
        let (ignored, unknown): (Vec<&String>, Vec<&String>) = left.partition(|key| ask.ignore.contains(key));
        if !unknown.is_empty() {
            let names: Vec<String> = unknown.iter().take(20).map(|key| shortened(key)).collect();
            return Err(self.unusable(format!(
                "unknown settings {}: where they change no number, list them under `ignore`",
                names.join(", ")
            )));
        }
        Ok(ignored
            .iter()
            .map(|key| format!("setting {} = {}", shortened(key), shortened(&self.values[*key].to_string())))
            .collect())
    }
}

/// At most 80 characters.
fn shortened(text: &str) -> String {
    if text.chars().count() <= 80 {
        text.to_string()
    } else {
        format!("{}…", text.chars().take(79).collect::<String>())
    }
}
