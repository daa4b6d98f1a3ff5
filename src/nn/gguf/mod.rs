//! Models in GGUF files, whole or in parts.
//!
//! In: a file, and where it is a part of a model the others beside it.
//! Out: the configuration and the names that Hugging Face folders have, matrices in the numbers they are stored
//! in, the tokenizer and the chat template.
//! Never: reserves what a file merely claims, or passes over a setting without a word.
//!
//! Sources: the format's description and, for names and for what its writers change about weights, llama.cpp's
//! `convert_hf_to_gguf.py`; checked by reading files written from the families' reference folders, and against the
//! quantised models of candle-transformers.

mod cuts;
mod header;
mod parts;
mod settings;
mod tensors;
mod vocabulary;

use std::collections::BTreeMap;
use std::path::Path;

use self::parts::Parts;
use self::settings::Settings;
use super::{Config, NnError, Tokenizer, Weights};

/// What a file holds.
#[derive(Debug)]
pub struct Gguf {
    /// As a `config.json` would have it.
    pub config: Config,
    /// Matrices stay as they are stored.
    pub weights: Weights,
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// The template for conversations, if there is one: where it has several, the default one.
    pub chat_template: Option<String>,
    /// Texts of special tokens by their roles: `bos_token` and so on, as chat templates name them.
    pub tokens: BTreeMap<String, String>,
}

/// Roles of special tokens, and the keys with their ids.
const ROLES: [(&str, &str); 7] = [
    ("bos_token", "tokenizer.ggml.bos_token_id"),
    ("eos_token", "tokenizer.ggml.eos_token_id"),
    ("unk_token", "tokenizer.ggml.unknown_token_id"),
    ("sep_token", "tokenizer.ggml.seperator_token_id"),
    ("pad_token", "tokenizer.ggml.padding_token_id"),
    ("cls_token", "tokenizer.ggml.cls_token_id"),
    ("mask_token", "tokenizer.ggml.mask_token_id"),
];

const TEMPLATE: &str = "tokenizer.chat_template";

impl Gguf {
    /// Reads a file. A `tokenizer.json` beside it is taken instead of its own tokenizer.
    ///
    /// Fails where it is cut short or corrupt, of another family, or holds numbers of a form that is not read.
    pub fn open(path: &Path) -> Result<Self, NnError> {
        let mut parts = Parts::open(path)?;
        let factors = tensors::factors(&mut parts)?;
        let settings = Settings { file: parts.file(), metadata: parts.metadata() };
        let family = settings.family()?;
        let config = settings.config(family, &parts, factors)?;
        let tokenizer = tokenizer(path, &settings)?;
        let mut tokens = BTreeMap::new();
        for (role, key) in ROLES {
            if let Some(id) = vocabulary::token_id(&settings, key)? {
                let text = String::from_utf8_lossy(tokenizer.bytes_of(id as u32)).into_owned();
                tokens.insert(role.to_string(), text);
            }
        }
        let chat_template = chat_template(&settings)?.map(str::to_string);
        let weights = tensors::read(&mut parts, family, &config)?;
        Ok(Self { config, weights, tokenizer, chat_template, tokens })
    }
}

/// The default template, or the first of those that have a name.
fn chat_template<'a>(settings: &Settings<'a>) -> Result<Option<&'a str>, NnError> {
    if let Some(template) = settings.text(TEMPLATE)? {
        return Ok(Some(template));
    }
    let names = settings.texts("tokenizer.chat_templates")?.unwrap_or_default();
    for name in names {
        if let Some(template) = settings.text(&format!("{TEMPLATE}.{name}"))? {
            return Ok(Some(template));
        }
    }
    Ok(None)
}

/// Whether a path is that of a GGUF file, by its ending.
pub fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
}

/// How many numbers the weights of a model are, in all its parts, whatever they are stored as.
pub fn gguf_weight_count(path: &Path) -> Result<u64, NnError> {
    let parts = Parts::open(path)?;
    Ok(parts.names().filter_map(|name| parts.tensor(name)).map(header::TensorInfo::count).sum())
}

/// How many positions the model of a file reads, where it says so.
pub fn gguf_context_length(path: &Path) -> Result<Option<usize>, NnError> {
    let parts = Parts::open(path)?;
    let settings = Settings { file: parts.file(), metadata: parts.metadata() };
    let Some(family) = settings.text("general.architecture")? else { return Ok(None) };
    Ok(settings.number(&format!("{family}.context_length"))?.map(|length| length as usize))
}

/// The tokenizer of a file, without its weights.
pub fn gguf_tokenizer(path: &Path) -> Result<Tokenizer, NnError> {
    let parts = Parts::open(path)?;
    tokenizer(path, &Settings { file: parts.file(), metadata: parts.metadata() })
}

fn tokenizer(path: &Path, settings: &Settings<'_>) -> Result<Tokenizer, NnError> {
    let beside = path.with_file_name("tokenizer.json");
    if beside.exists() { Tokenizer::from_file(&beside) } else { vocabulary::tokenizer(settings) }
}

fn corrupt(file: &str, reason: &str) -> NnError {
    NnError::Corrupt { file: file.to_string(), reason: reason.to_string() }
}

#[cfg(test)]
mod oracle_tests;
#[cfg(test)]
mod real_tests;
#[cfg(test)]
mod setting_tests;
#[cfg(test)]
mod tests;
