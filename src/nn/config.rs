use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value};

use super::NnError;

/// Largest count that a field may give. It is far above any model and small enough that nothing sized by one
/// count exhausts memory before the weights contradict it.
const LARGEST_COUNT: u64 = 1 << 24;

/// Names of the number of layers, which is held against the number of tensors.
const LAYERS: [&str; 4] = ["num_hidden_layers", "n_layer", "n_layers", "num_layers"];

/// A `config.json`, read field by field with errors that name file and field.
///
/// It records which fields were asked for, so that [`Config::unread`] lists the others: none may be passed over
/// in silence.
///
/// Two spellings are in circulation: the one of most Hub checkpoints, with rotary parameters as top-level
/// fields, and the one transformers 5 writes, with all of them under `rope_parameters`.
#[derive(Debug, Clone)]
pub struct Config {
    file: String,
    fields: Map<String, Value>,
    /// Path of a section inside the file; each name is followed by a dot.
    path: String,
    /// Paths of the fields that were asked for. Sections share it with the whole.
    read: Arc<Mutex<BTreeSet<String>>>,
    /// The most layers that the weights have room for.
    most_layers: u64,
}

impl Config {
    /// Reads JSON text; `file` is the name for messages.
    pub fn parse(text: &[u8], file: &str) -> Result<Self, NnError> {
        match serde_json::from_slice(text) {
            Ok(Value::Object(fields)) => Ok(Self::of(fields, file)),
            Ok(_) => Err(NnError::Json { file: file.to_string(), reason: "expected a JSON object".into() }),
            Err(error) => Err(NnError::Json { file: file.to_string(), reason: error.to_string() }),
        }
    }

    fn of(fields: Map<String, Value>, file: &str) -> Self {
        let read = Arc::default();
        Self { file: file.to_string(), fields, path: String::new(), read, most_layers: LARGEST_COUNT }
    }

    /// The same for weights of so many tensors: no model has more layers than tensors.
    pub(super) fn held_to(&self, n_tensors: usize) -> Self {
        Self { most_layers: n_tensors as u64, ..self.clone() }
    }

    /// The name used in messages.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The fields, for digests.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }

    /// A field that is there and not null.
    fn get(&self, field: &str) -> Option<&Value> {
        self.without_effect(&[field]);
        self.fields.get(field).filter(|value| !value.is_null())
    }

    /// A field of any kind, where there is one.
    pub fn value(&self, field: &str) -> Option<&Value> {
        self.get(field)
    }

    /// States that fields change nothing, whatever they are, because of what other fields say.
    pub fn without_effect(&self, fields: &[&str]) {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.extend(fields.iter().map(|field| format!("{}{field}", self.path)));
    }

    /// Paths and values of the fields that nothing asked for, those of sections included. A null is no field.
    pub fn unread(&self) -> Vec<(String, &Value)> {
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let mut unread = Vec::new();
        collect_unread(&self.fields, &self.path, &read, &mut unread);
        unread
    }

    /// Whether a field is there and not null.
    pub fn has(&self, field: &str) -> bool {
        self.get(field).is_some()
    }

    /// The error that `field` is not what it should be.
    pub fn wrong(&self, field: &str, expected: &str) -> NnError {
        let got = match self.fields.get(field) {
            None => "nothing".to_string(),
            Some(value) => format!("`{value}`"),
        };
        NnError::Field { file: self.file.clone(), field: field.into(), expected: expected.into(), got }
    }

    /// A positive integer that must be there.
    pub fn count(&self, field: &str) -> Result<usize, NnError> {
        self.count_or(field, None)
    }

    /// A positive integer, or `default` where the field is missing or null.
    pub fn count_or(&self, field: &str, default: Option<usize>) -> Result<usize, NnError> {
        match (self.get(field).map(Value::as_u64), default) {
            (Some(Some(count @ 1..=LARGEST_COUNT)), _) if LAYERS.contains(&field) => {
                let most = self.most_layers;
                let wrong = || self.wrong(field, &format!("at most {most}, the number of tensors"));
                if count <= most { Ok(count as usize) } else { Err(wrong()) }
            }
            (Some(Some(count @ 1..=LARGEST_COUNT)), _) => Ok(count as usize),
            (None, Some(default)) => Ok(default),
            _ => Err(self.wrong(field, &format!("an integer from 1 to {LARGEST_COUNT}"))),
        }
    }

    /// A positive number that f32 can hold, or `default`.
    pub fn positive_or(&self, field: &str, default: f64) -> Result<f64, NnError> {
        match self.get(field) {
            None => Ok(default),
            Some(value) => positive(value).ok_or_else(|| self.wrong(field, POSITIVE)),
        }
    }

    /// A positive integer, `default` where the field is missing, and none where it is null: where transformers
    /// has a default, a null switches the feature off.
    pub fn count_or_null(&self, field: &str, default: usize) -> Result<Option<usize>, NnError> {
        if self.fields.contains_key(field) && self.get(field).is_none() {
            return Ok(None);
        }
        self.count_or(field, Some(default)).map(Some)
    }

    /// A positive number in the same way.
    pub fn positive_or_null(&self, field: &str, default: f64) -> Result<Option<f64>, NnError> {
        if self.fields.contains_key(field) && self.get(field).is_none() {
            return Ok(None);
        }
        self.positive_or(field, default).map(Some)
    }

    /// A boolean, or `default`.
    pub fn flag_or(&self, field: &str, default: bool) -> Result<bool, NnError> {
        match self.get(field) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| self.wrong(field, "true or false")),
        }
    }

    /// A text, or `default`.
    pub fn text_or<'a>(&'a self, field: &str, default: &'a str) -> Result<&'a str, NnError> {
        match self.get(field) {
            None => Ok(default),
            Some(value) => value.as_str().ok_or_else(|| self.wrong(field, "a text")),
        }
    }

    /// A positive number that must be there.
    pub fn number(&self, field: &str) -> Result<f64, NnError> {
        self.positive(field)?.ok_or_else(|| self.wrong(field, POSITIVE))
    }

    /// A positive number, where there is one.
    pub fn positive(&self, field: &str) -> Result<Option<f64>, NnError> {
        self.get(field).map(|_| self.positive_or(field, 1.0)).transpose()
    }

    /// A list of texts, where there is one.
    pub fn texts(&self, field: &str) -> Result<Option<Vec<&str>>, NnError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        let texts =
            value.as_array().map(|list| list.iter().map(Value::as_str).collect::<Option<Vec<&str>>>());
        texts.flatten().map(Some).ok_or_else(|| self.wrong(field, "a list of texts"))
    }

    /// A list of integers from 0 on, where there is one.
    pub fn integers(&self, field: &str) -> Result<Option<Vec<usize>>, NnError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        let integer = |value: &Value| value.as_u64().map(|integer| integer as usize);
        let integers = value.as_array().and_then(|list| list.iter().map(integer).collect());
        integers.map(Some).ok_or_else(|| self.wrong(field, "a list of integers from 0 on"))
    }

    /// A list of positive numbers.
    pub fn positives(&self, field: &str) -> Result<Vec<f64>, NnError> {
        let list = self.get(field).and_then(Value::as_array);
        let numbers: Option<Vec<f64>> = list.and_then(|list| list.iter().map(positive).collect());
        numbers.ok_or_else(|| self.wrong(field, &format!("a list of numbers, each {POSITIVE}")))
    }

    /// Refuses a setting that this runtime does not implement.
    pub fn require_flag(&self, field: &str, only: bool) -> Result<(), NnError> {
        if self.flag_or(field, only)? == only {
            Ok(())
        } else {
            Err(self.wrong(field, &format!("{only} (nothing else is implemented)")))
        }
    }

    /// The same with another value of a field.
    pub(super) fn with_value(mut self, field: &str, value: Value) -> Self {
        self.fields.insert(field.to_string(), value);
        self
    }

    /// The same with fields for those that are missing.
    pub(super) fn with_defaults(&self, defaults: Map<String, Value>) -> Self {
        let mut fields = defaults;
        fields.extend(self.fields.clone());
        Self { fields, ..self.clone() }
    }

    /// A nested object as a configuration of its own; its fields are named `outer.inner` in messages.
    pub fn section(&self, field: &str) -> Result<Option<Self>, NnError> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::Object(fields)) => {
                let file = format!("{}: {field}", self.file);
                let path = format!("{}{field}.", self.path);
                Ok(Some(Self { file, fields: fields.clone(), path, ..self.clone() }))
            }
            Some(_) => Err(self.wrong(field, "an object")),
        }
    }
}

const POSITIVE: &str = "a positive number that f32 can hold";

fn positive(value: &Value) -> Option<f64> {
    let range = f64::from(f32::MIN_POSITIVE)..=f64::from(f32::MAX);
    value.as_f64().filter(|number| range.contains(number))
}

/// Fields of `fields`, which `path` leads to, that are not in `read`.
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
