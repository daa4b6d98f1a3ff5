use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value};

use super::error::{NnError, Result};

/// Largest valid count. It is far above any model's, and small enough that one count cannot exhaust memory before
/// the weights contradict it.
const LARGEST_COUNT: u64 = 1 << 24;

/// Names of the number of layers, which cannot exceed the number of tensors.
const LAYERS: [&str; 4] = ["num_hidden_layers", "n_layer", "n_layers", "num_layers"];

/// Largest number of layers where the tensors are not known.
const MOST_LAYERS: u64 = 10_000;

/// Largest and smallest plausible values of numbers by a part of their name; the first that fits counts. They are far
/// beyond those of published models: with others the model computes nothing useful.
const PLAUSIBLE: [(&str, RangeInclusive<f64>); 5] = [
    ("eps", 1e-30..=1.0),
    ("theta", 1.0..=1e15),
    ("base", 1.0..=1e15),
    ("factor", 1e-6..=1e6),
    ("", 1e-12..=1e12),
];

/// The values that a positive number of this name may have.
pub(super) fn plausible(name: &str) -> RangeInclusive<f64> {
    let found = PLAUSIBLE.iter().find(|(part, _)| name.contains(part));
    found.map_or(f64::MIN_POSITIVE..=f64::MAX, |(_, range)| range.clone())
}

/// What a positive number of this name should be, for messages.
pub(super) fn plausible_words(name: &str) -> String {
    let range = plausible(name);
    format!("a number from {:e} to {:e}", range.start(), range.end())
}

/// A `config.json`, read field by field. Errors name the file and the field.
///
/// Two spellings exist: most Hub checkpoints have rotary parameters as top-level fields, transformers 5 writes them
/// under `rope_parameters`. The fields that are read are recorded, so that [`Config::unread`] lists the others.
#[derive(Debug, Clone)]
pub struct Config {
    file: String,
    fields: Map<String, Value>,
    /// Path of a section inside the file; each name is followed by a dot.
    path: String,
    /// Paths of the fields that were read. Sections share it with the whole file.
    read: Arc<Mutex<BTreeSet<String>>>,
    /// Upper bound on the number of layers.
    most_layers: u64,
}

impl Config {
    /// Parses JSON text; `file` is the name in error messages.
    pub fn parse(text: &[u8], file: &str) -> Result<Self> {
        let file = file.to_string();
        match serde_json::from_slice(text) {
            Ok(Value::Object(fields)) => {
                let (path, read) = (String::new(), Arc::default());
                Ok(Self { file, fields, path, read, most_layers: LARGEST_COUNT })
            }
            Ok(_) => Err(NnError::Json { file, reason: "expected a JSON object".into() }),
            Err(error) => Err(NnError::Json { file, reason: error.to_string() }),
        }
    }

    /// The same configuration with the number of layers bounded by the number of tensors.
    pub(super) fn held_to(&self, n_tensors: usize) -> Self {
        Self { most_layers: n_tensors as u64, ..self.clone() }
    }

    /// The name in error messages.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// All fields, for digests.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }

    /// The value of a field, unless it is missing or null.
    pub fn value(&self, field: &str) -> Option<&Value> {
        self.without_effect(&[field]);
        self.fields.get(field).filter(|value| !value.is_null())
    }

    /// Marks fields as read, because other fields decide that they have no effect.
    pub fn without_effect(&self, fields: &[&str]) {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.extend(fields.iter().map(|field| format!("{}{field}", self.path)));
    }

    /// Paths and values of the fields that were never read, including those of sections. Nulls are left out.
    pub fn unread(&self) -> Vec<(String, &Value)> {
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let mut unread = Vec::new();
        collect_unread(&self.fields, &self.path, &read, &mut unread);
        unread
    }

    /// Whether a field is present and not null.
    pub fn has(&self, field: &str) -> bool {
        self.value(field).is_some()
    }

    /// The error that `field` is not as expected.
    pub fn wrong(&self, field: &str, expected: &str) -> NnError {
        let got = self.fields.get(field).map_or_else(|| "nothing".to_string(), |value| format!("`{value}`"));
        NnError::Field { file: self.file.clone(), field: field.into(), expected: expected.into(), got }
    }

    /// A field that `read` accepts; `None` if it is missing or null.
    fn optional<'a, T>(
        &'a self,
        field: &str,
        expected: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let checked = |value| read(value).ok_or_else(|| self.wrong(field, expected));
        self.value(field).map(checked).transpose()
    }

    /// A required positive integer.
    pub fn count(&self, field: &str) -> Result<usize> {
        self.count_or(field, None)
    }

    /// A positive integer, or `default` if the field is missing or null.
    pub fn count_or(&self, field: &str, default: Option<usize>) -> Result<usize> {
        let largest = if LAYERS.contains(&field) { MOST_LAYERS } else { LARGEST_COUNT };
        match (self.value(field).map(Value::as_u64), default) {
            (Some(Some(count)), _) if (1..=largest).contains(&count) => {
                let most = self.most_layers;
                if LAYERS.contains(&field) && count > most {
                    return Err(self.wrong(field, &format!("at most {most}, the number of tensors")));
                }
                Ok(count as usize)
            }
            (None, Some(default)) => Ok(default),
            _ => Err(self.wrong(field, &format!("an integer from 1 to {largest}"))),
        }
    }

    /// A positive number that f32 can hold, or `default`.
    pub fn positive_or(&self, field: &str, default: f64) -> Result<f64> {
        Ok(self.positive(field)?.unwrap_or(default))
    }

    /// Whether a field is null. Where transformers has a default, null switches the feature off.
    fn is_null(&self, field: &str) -> bool {
        self.fields.contains_key(field) && !self.has(field)
    }

    /// A positive integer, `default` if the field is missing, and `None` if it is null.
    pub fn count_or_null(&self, field: &str, default: usize) -> Result<Option<usize>> {
        if self.is_null(field) { Ok(None) } else { self.count_or(field, Some(default)).map(Some) }
    }

    /// A positive number, `default` if the field is missing, and `None` if it is null.
    pub fn positive_or_null(&self, field: &str, default: f64) -> Result<Option<f64>> {
        if self.is_null(field) { Ok(None) } else { self.positive_or(field, default).map(Some) }
    }

    /// A boolean, or `default`.
    pub fn flag_or(&self, field: &str, default: bool) -> Result<bool> {
        Ok(self.optional(field, "true or false", Value::as_bool)?.unwrap_or(default))
    }

    /// A text, or `default`.
    pub fn text_or<'a>(&'a self, field: &str, default: &'a str) -> Result<&'a str> {
        Ok(self.optional(field, "a text", Value::as_str)?.unwrap_or(default))
    }

    /// A required positive number.
    pub fn number(&self, field: &str) -> Result<f64> {
        self.positive(field)?.ok_or_else(|| self.wrong(field, &plausible_words(field)))
    }

    /// A positive number, if the field is present.
    pub fn positive(&self, field: &str) -> Result<Option<f64>> {
        self.optional(field, &plausible_words(field), |value| number_of(field, value))
    }

    /// A list of texts, if the field is present.
    pub fn texts(&self, field: &str) -> Result<Option<Vec<&str>>> {
        self.optional(field, "a list of texts", |list| list.as_array()?.iter().map(Value::as_str).collect())
    }

    /// A list of integers from 0 on, if the field is present.
    pub fn integers(&self, field: &str) -> Result<Option<Vec<usize>>> {
        let integer = |value: &Value| value.as_u64().map(|integer| integer as usize);
        let expected = "a list of integers from 0 on";
        self.optional(field, expected, |list| list.as_array()?.iter().map(integer).collect())
    }

    /// A required list of positive numbers.
    pub fn positives(&self, field: &str) -> Result<Vec<f64>> {
        let list = self.value(field).and_then(Value::as_array);
        let numbers = list.and_then(|list| list.iter().map(|value| number_of(field, value)).collect());
        numbers.ok_or_else(|| self.wrong(field, &format!("a list, each entry {}", plausible_words(field))))
    }

    /// Rejects every value of a flag but the implemented one, which is also the default.
    pub fn require_flag(&self, field: &str, only: bool) -> Result<()> {
        if self.flag_or(field, only)? == only {
            Ok(())
        } else {
            Err(self.wrong(field, &format!("{only} (nothing else is implemented)")))
        }
    }

    /// The same configuration with another value of a field.
    pub(super) fn with_value(mut self, field: &str, value: Value) -> Self {
        self.fields.insert(field.to_string(), value);
        self
    }

    /// The same configuration with defaults for missing fields.
    pub(super) fn with_defaults(&self, defaults: Map<String, Value>) -> Self {
        let mut fields = defaults;
        fields.extend(self.fields.clone());
        Self { fields, ..self.clone() }
    }

    /// A nested object as a configuration. Error messages name the file `outer: inner`.
    pub fn section(&self, field: &str) -> Result<Option<Self>> {
        let Some(fields) = self.optional(field, "an object", Value::as_object)? else { return Ok(None) };
        let file = format!("{}: {field}", self.file);
        let path = format!("{}{field}.", self.path);
        Ok(Some(Self { file, fields: fields.clone(), path, ..self.clone() }))
    }
}

fn number_of(field: &str, value: &Value) -> Option<f64> {
    value.as_f64().filter(|number| plausible(field).contains(number))
}

/// Appends the fields below `path` that are not in `read`.
fn collect_unread<'a>(
    fields: &'a Map<String, Value>,
    path: &str,
    read: &BTreeSet<String>,
    unread: &mut Vec<(String, &'a Value)>,
) {
    for (field, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
        let path = format!("{path}{field}");
        let inside = format!("{path}.");
        let opened = read.range(inside.clone()..).next().is_some_and(|first| first.starts_with(&inside));
        match value {
            Value::Object(fields) if opened => collect_unread(fields, &inside, read, unread),
            _ if read.contains(&path) => {}
            _ => unread.push((path, value)),
        }
    }
}
