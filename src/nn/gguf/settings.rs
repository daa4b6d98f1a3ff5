//! A file's metadata, read key by key with errors that name file and key.

use std::collections::BTreeMap;

use super::super::config::{plausible, plausible_words};
use super::super::{Family, NnError};
use super::header::Value;

/// Values of `general.architecture`, with the families they stand for.
pub(super) const ARCHITECTURES: [(&str, Family); 10] = [
    ("llama", Family::Llama),
    ("smollm3", Family::SmolLm3),
    ("granite", Family::Granite),
    ("qwen2", Family::Qwen2),
    ("qwen3", Family::Qwen3),
    ("gemma", Family::Gemma),
    ("gemma2", Family::Gemma2),
    ("gemma3", Family::Gemma3),
    ("phi3", Family::Phi3),
    ("olmo2", Family::Olmo2),
];

/// A file's metadata.
pub(super) struct Settings<'a> {
    pub file: &'a str,
    pub metadata: &'a BTreeMap<String, Value>,
}

impl<'a> Settings<'a> {
    /// The error that `key` is not what it should be.
    pub fn wrong(&self, key: &str, expected: &str) -> NnError {
        NnError::Field {
            file: self.file.to_string(),
            field: key.to_string(),
            expected: expected.to_string(),
            got: self.metadata.get(key).map_or_else(|| "nothing".into(), Value::shown),
        }
    }

    /// What `take` makes of a key's value; an error that the key should be `expected` if that is nothing.
    fn read<T>(
        &self,
        key: &str,
        expected: &str,
        take: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, NnError> {
        let value = self.metadata.get(key);
        value.map(|value| take(value).ok_or_else(|| self.wrong(key, expected))).transpose()
    }

    pub fn text(&self, key: &str) -> Result<Option<&'a str>, NnError> {
        self.read(
            key,
            "a text",
            |value| if let Value::Text(text) = value { Some(text.as_str()) } else { None },
        )
    }

    pub fn flag(&self, key: &str) -> Result<Option<bool>, NnError> {
        self.read(
            key,
            "true or false",
            |value| if let Value::Flag(flag) = value { Some(*flag) } else { None },
        )
    }

    pub fn texts(&self, key: &str) -> Result<Option<&'a [String]>, NnError> {
        self.read(key, "a list of texts", |value| {
            if let Value::Texts(list) = value { Some(list.as_slice()) } else { None }
        })
    }

    /// An integer from `least` to `most`. A list with one value per layer must repeat one number.
    pub fn integer(&self, key: &str, least: i64, most: u64) -> Result<Option<u64>, NnError> {
        if let Some(Value::Integers(list)) = self.metadata.get(key)
            && !list.first().is_some_and(|first| list.iter().all(|other| other == first))
        {
            return Err(self.wrong(key, "the same number for every layer (nothing else is implemented)"));
        }
        let expected = format!("an integer from {least} to {most}");
        self.read(key, &expected, |value| {
            let number = match value {
                Value::Integer(number) => *number,
                Value::Integers(list) => i128::from(list[0]),
                _ => return None,
            };
            (number >= least.into() && number <= most.into()).then_some(number as u64)
        })
    }

    /// 0, or a positive number that a published model could have.
    pub fn number(&self, key: &str) -> Result<Option<f64>, NnError> {
        self.read(key, &format!("0 or {}", plausible_words(key)), |value| {
            let number = match value {
                Value::Integer(number) => *number as f64,
                Value::Real(number) => *number,
                _ => return None,
            };
            (number == 0.0 || plausible(key).contains(&number)).then_some(number)
        })
    }

    /// A positive number that a published model could have.
    pub fn positive(&self, key: &str) -> Result<Option<f64>, NnError> {
        match self.number(key) {
            Ok(Some(0.0)) | Err(_) => Err(self.wrong(key, &plausible_words(key))),
            other => other,
        }
    }

    pub fn architecture(&self) -> Result<&'a str, NnError> {
        Ok(self.text("general.architecture")?.unwrap_or("nothing"))
    }

    pub fn family(&self) -> Result<Family, NnError> {
        let got = self.architecture()?;
        let known = ARCHITECTURES.iter().find(|(name, _)| *name == got).map(|(_, family)| *family);
        known.ok_or_else(|| NnError::UnsupportedFamily {
            file: format!("{}: general.architecture", self.file),
            got: got.to_string(),
            supported: ARCHITECTURES.map(|(name, _)| format!("`{name}`")).join(", "),
        })
    }
}
