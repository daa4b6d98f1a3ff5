//! What a dictionary's file says of the texts that it was trained on, beside how texts are run here.
//!
//! Source: SAELens' `cfg.json`; from version 6 on these settings stand under `metadata`.

use serde_json::{Map, Value};

use super::DictionaryError;

/// How the texts were run that activations are of.
#[derive(Debug, Clone, Copy, Default)]
pub struct TextInput {
    /// Whether BOS, or whatever the tokenizer puts there, stood in front.
    pub bos: bool,
    /// Positions of a fitting context, those of BOS among them; 0 where nothing is known of the texts.
    pub ctx_tokens: usize,
    /// Whether the mean over dimensions was taken off everything that the model writes to its stream
    /// (`center_writing_weights`); none where that would change what it computes, or nothing is known of it.
    pub centred: Option<bool>,
}

/// Settings of training that decide which rows a dictionary saw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Stated {
    prepend_bos: Option<bool>,
    context_size: Option<u64>,
    excludes_special_tokens: Option<bool>,
    centred: Option<bool>,
}

impl Stated {
    /// Reads them from the file's top level or from below its `metadata`; `wrong` makes the error of a key and of
    /// what was expected there.
    pub(super) fn read(
        config: &Map<String, Value>,
        wrong: impl Fn(&str, &str) -> DictionaryError,
    ) -> Result<Self, DictionaryError> {
        let metadata = config.get("metadata").and_then(Value::as_object);
        let value = |key: &str| {
            let found = config.get(key).or_else(|| metadata?.get(key));
            found.filter(|value| !value.is_null())
        };
        let prepend_bos = value("prepend_bos").map(|value| value.as_bool().ok_or("true or false"));
        let context_size = value("context_size").map(|value| value.as_u64().ok_or("a whole number"));
        let excludes = value("exclude_special_tokens").map(|value| match value {
            Value::Bool(flag) => Ok(*flag),
            Value::Array(ids) => Ok(!ids.is_empty()),
            _ => Err("true, false or a list of token ids"),
        });
        let processing = value("model_from_pretrained_kwargs");
        let centred = processing.and_then(|processing| processing.get("center_writing_weights"));
        let centred = centred.filter(|value| !value.is_null());
        let centred = centred.map(|value| value.as_bool().ok_or("true or false"));
        Ok(Self {
            centred: centred.transpose().map_err(|expected| wrong("center_writing_weights", expected))?,
            prepend_bos: prepend_bos.transpose().map_err(|expected| wrong("prepend_bos", expected))?,
            context_size: context_size.transpose().map_err(|expected| wrong("context_size", expected))?,
            excludes_special_tokens: excludes
                .transpose()
                .map_err(|expected| wrong("exclude_special_tokens", expected))?,
        })
    }

    /// What differs here so much that the dictionary's features are of another input.
    pub(super) fn warnings(&self, input: TextInput) -> Vec<String> {
        let bos = match (self.prepend_bos, input.bos) {
            _ if input.ctx_tokens == 0 => None,
            (Some(true), false) => Some(
                "was trained with BOS in front of every context (`prepend_bos: true`), and nothing stands there here: \
                 set `subject.bos: always`, or `auto` where the tokenizer puts one",
            ),
            (Some(false), true) => Some(
                "was trained without BOS in front (`prepend_bos: false`), and one stands there here: set \
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

    /// What else differs.
    pub(super) fn notes(&self, input: TextInput) -> Vec<String> {
        let mut notes = Vec::new();
        let ctx_tokens = input.ctx_tokens as u64;
        if let Some(size) = self.context_size.filter(|&size| ctx_tokens > 0 && size != ctx_tokens) {
            notes.push(format!(
                "trained on contexts of {size} tokens (`context_size`); fitting contexts here have {ctx_tokens}"
            ));
        }
        match self.excludes_special_tokens.filter(|_| ctx_tokens > 0) {
            Some(true) => notes.push(
                "trained without rows of special tokens (`exclude_special_tokens`); here BOS in front is left out, \
                 and special tokens inside the text count"
                    .into(),
            ),
            Some(false) if input.bos => notes.push(
                "trained on rows of special tokens too (`exclude_special_tokens: false`); here BOS in front is left out"
                    .into(),
            ),
            _ => {}
        }
        notes
    }
}
