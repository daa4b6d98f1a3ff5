//! Compares the texts that a dictionary file was trained on with the texts of this run.
//!
//! Source: SAELens's `cfg.json`. From version 6 on, these settings are under `metadata`.

use serde_json::{Map, Value};

use super::DictionaryError;

/// How the subject model ran the texts of the activations.
#[derive(Debug, Clone, Copy, Default)]
pub struct TextInput {
    /// Whether each context began with BOS, or with the token that the tokenizer puts there.
    pub bos: bool,
    /// Positions of a fitting context, BOS included; 0 where nothing is known of the texts.
    pub ctx_tokens: usize,
    /// Whether the mean over dimensions was subtracted from all weights that write to the residual stream
    /// (`center_writing_weights`). None where that would change the model's output, or is unknown.
    pub centred: Option<bool>,
}

/// Training settings in the file that decide which rows the dictionary saw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Stated {
    prepend_bos: Option<bool>,
    context_size: Option<u64>,
    excludes_special_tokens: Option<bool>,
    centred: Option<bool>,
}

impl Stated {
    /// Reads the settings. `wrong(key, expected)` makes the error of a key.
    pub(super) fn read(
        config: &Map<String, Value>,
        wrong: impl Fn(&str, &str) -> DictionaryError,
    ) -> Result<Self, DictionaryError> {
        let metadata = config.get("metadata").and_then(Value::as_object);
        let value =
            |key: &str| config.get(key).or_else(|| metadata?.get(key)).filter(|value| !value.is_null());
        let flag = |key: &str, value: Option<&Value>| {
            value.map(|value| value.as_bool().ok_or_else(|| wrong(key, "true or false"))).transpose()
        };
        let context_size = value("context_size")
            .map(|value| value.as_u64().ok_or_else(|| wrong("context_size", "a whole number")));
        let excludes = value("exclude_special_tokens").map(|value| match value {
            Value::Bool(flag) => Ok(*flag),
            Value::Array(ids) => Ok(!ids.is_empty()),
            _ => Err(wrong("exclude_special_tokens", "true, false or a list of token ids")),
        });
        let processing = value("model_from_pretrained_kwargs");
        let centred = processing.and_then(|processing| processing.get("center_writing_weights"));
        Ok(Self {
            centred: flag("center_writing_weights", centred.filter(|value| !value.is_null()))?,
            prepend_bos: flag("prepend_bos", value("prepend_bos"))?,
            context_size: context_size.transpose()?,
            excludes_special_tokens: excludes.transpose()?,
        })
    }

    /// Differences that change the input of the dictionary's features.
    pub(super) fn warnings(&self, input: TextInput) -> Vec<String> {
        let bos = match (self.prepend_bos, input.bos) {
            _ if input.ctx_tokens == 0 => None,
            (Some(true), false) => Some(
                "was trained with BOS at the start of every context (`prepend_bos: true`), and contexts here have none: \
                 set `subject.bos: always`, or `auto` where the tokenizer adds one",
            ),
            (Some(false), true) => Some(
                "was trained without BOS at the start (`prepend_bos: false`), and contexts here begin with one: set \
                 `subject.bos: never`",
            ),
            _ => None,
        };
        let centring = match (self.centred, input.centred) {
            (Some(true), Some(false)) => Some(
                "was trained on a model whose writing weights were centred (`model_from_pretrained_kwargs: \
                 {center_writing_weights: true}`), and they are not here: set `subject.processing: \
                 [center_writing_weights]`",
            ),
            (Some(false), Some(true)) => Some(
                "was trained on a model whose writing weights were not centred (`model_from_pretrained_kwargs: \
                 {center_writing_weights: false}`), and here they are: leave `center_writing_weights` out of \
                 `subject.processing`",
            ),
            _ => None,
        };
        [bos, centring].into_iter().flatten().map(String::from).collect()
    }

    /// Other differences.
    pub(super) fn notes(&self, input: TextInput) -> Vec<String> {
        if input.ctx_tokens == 0 {
            return Vec::new();
        }
        let here = input.ctx_tokens;
        let context = self.context_size.filter(|&size| size != here as u64).map(|size| {
            format!(
                "trained on contexts of {size} tokens (`context_size`); fitting contexts here have {here}"
            )
        });
        let special = match self.excludes_special_tokens {
            Some(true) => Some(
                "trained without rows of special tokens (`exclude_special_tokens`); here BOS at the start is left out, \
                 and special tokens inside the text count",
            ),
            Some(false) if input.bos => Some(
                "trained on rows of special tokens too (`exclude_special_tokens: false`); here BOS at the start is left \
                 out",
            ),
            _ => None,
        };
        context.into_iter().chain(special.map(String::from)).collect()
    }
}
