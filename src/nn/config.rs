use serde_json::{Map, Value};

use super::NnError;

/// A `config.json`, read field by field with errors that name file and field.
///
/// Two spellings are in circulation: the one of most Hub checkpoints, with rotary parameters as top-level
/// fields, and the one transformers 5 writes, with all of them under `rope_parameters`.
#[derive(Debug, Clone)]
pub struct Config {
    file: String,
    fields: Map<String, Value>,
}

impl Config {
    /// Reads JSON text; `file` is the name for messages.
    pub fn parse(text: &[u8], file: &str) -> Result<Self, NnError> {
        match serde_json::from_slice(text) {
            Ok(Value::Object(fields)) => Ok(Self { file: file.to_string(), fields }),
            Ok(_) => Err(NnError::Json { file: file.to_string(), reason: "expected a JSON object".into() }),
            Err(error) => Err(NnError::Json { file: file.to_string(), reason: error.to_string() }),
        }
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
        self.fields.get(field).filter(|value| !value.is_null())
    }

    /// A field of any kind, where there is one.
    pub fn value(&self, field: &str) -> Option<&Value> {
        self.get(field)
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
        let wrong = || self.wrong(field, "a positive integer");
        match self.get(field) {
            None => default.ok_or_else(wrong),
            Some(value) => match value.as_u64() {
                Some(count @ 1..=0xffff_ffff) => Ok(count as usize),
                _ => Err(wrong()),
            },
        }
    }

    /// A positive finite number, or `default`.
    pub fn positive_or(&self, field: &str, default: f64) -> Result<f64, NnError> {
        match self.get(field) {
            None => Ok(default),
            Some(value) => match value.as_f64() {
                Some(number) if number > 0.0 && number.is_finite() => Ok(number),
                _ => Err(self.wrong(field, "a positive number")),
            },
        }
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
        let positive = |value: &Value| value.as_f64().filter(|number| *number > 0.0 && number.is_finite());
        let list = self.get(field).and_then(Value::as_array);
        let numbers: Option<Vec<f64>> = list.and_then(|list| list.iter().map(positive).collect());
        numbers.ok_or_else(|| self.wrong(field, "a list of positive numbers"))
    }

    /// Refuses a setting that this runtime does not implement.
    pub fn require_flag(&self, field: &str, only: bool) -> Result<(), NnError> {
        if self.flag_or(field, only)? == only {
            Ok(())
        } else {
            Err(self.wrong(field, &format!("{only} (nothing else is implemented)")))
        }
    }

    /// A nested object as a configuration of its own; its fields are named `outer.inner` in messages.
    pub fn section(&self, field: &str) -> Result<Option<Self>, NnError> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::Object(fields)) => {
                Ok(Some(Self { file: format!("{}: {field}", self.file), fields: fields.clone() }))
            }
            Some(_) => Err(self.wrong(field, "an object")),
        }
    }
}
