//! Models in GGUF files, whole or in parts.
//!
//! In: a file; where it is a part of a model, also the other parts beside it.
//! Out: configuration and tensor names as in Hugging Face folders, matrices in their stored number format, the
//! tokenizer and the chat template.
//! Never: reserves memory for an unchecked length; ignores an unknown setting.
//!
//! Sources: the format's description; llama.cpp's `convert_hf_to_gguf.py` for names and for changes to weights.
//! Tests compare with files written from the families' reference folders and with candle-transformers' quantised models.

mod header;
mod keys;
mod parts;
mod pre_tokenizers;
mod rope;
mod settings;
mod tensors;
mod vocabulary;

use std::collections::BTreeMap;
use std::path::Path;

use self::parts::Parts;
use self::settings::Settings;
use super::weights::{folder_context_length, folder_weight_count};
use super::{Config, Family, NnError, Tokenizer, Weights};
use crate::base::has_entry;

/// The content of a file.
#[derive(Debug)]
pub struct Gguf {
    /// As a `config.json` would have it.
    pub config: Config,
    /// Matrices stay as they are stored.
    pub weights: Weights,
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// The default chat template, if there is one.
    pub chat_template: Option<String>,
    /// Texts of special tokens by their role: `bos_token` and so on, as in chat templates.
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
    /// Reads a file. A `tokenizer.json` beside it replaces the file's own tokenizer.
    ///
    /// Fails if the file is cut short, corrupt, of an unsupported family or in an unsupported number format.
    pub fn open(path: &Path) -> Result<Self, NnError> {
        let mut parts = Parts::open(path)?;
        let config = config_of(&mut parts)?;
        let settings = parts.settings();
        let family = settings.family()?;
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

/// The default template, or the first named one.
fn chat_template<'a>(settings: &Settings<'a>) -> Result<Option<&'a str>, NnError> {
    if let Some(template) = settings.text(TEMPLATE)? {
        return Ok(Some(template));
    }
    let names = settings.texts("tokenizer.chat_templates")?.unwrap_or_default();
    names.iter().find_map(|name| settings.text(&format!("{TEMPLATE}.{name}")).transpose()).transpose()
}

/// True for paths that end in `.gguf`.
pub fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
}

/// Number of weights in a folder or in all parts of a GGUF model, from the headers alone.
pub fn weight_count(path: &Path) -> Result<u64, NnError> {
    if !is_gguf(path) {
        return folder_weight_count(path);
    }
    let parts = Parts::open(path)?;
    // A header may state any number; whether the file holds it is checked where tensors are read.
    let counts = parts.names().filter_map(|name| parts.tensor(name)).map(header::TensorInfo::count);
    Ok(counts.fold(0, u64::saturating_add))
}

/// Context length of the model in a folder or a GGUF file, if the header or `config.json` states it.
pub fn context_length(path: &Path) -> Result<Option<usize>, NnError> {
    if !is_gguf(path) {
        return folder_context_length(path);
    }
    let parts = Parts::open(path)?;
    let settings = parts.settings();
    let Some(family) = settings.text("general.architecture")? else { return Ok(None) };
    Ok(settings.number(&format!("{family}.context_length"))?.map(|length| length as usize))
}

/// The configuration of a file, without its weights.
pub fn gguf_config(path: &Path) -> Result<Config, NnError> {
    config_of(&mut Parts::open(path)?)
}

fn config_of(parts: &mut Parts) -> Result<Config, NnError> {
    let factors = tensors::factors(parts)?;
    let settings = parts.settings();
    keys::config(&settings, settings.family()?, parts, factors)
}

/// Whether files of a family are read.
pub fn is_in_gguf(family: Family) -> bool {
    settings::ARCHITECTURES.iter().any(|(_, known)| *known == family)
}

/// The tokenizer of a file, without its weights.
pub fn gguf_tokenizer(path: &Path) -> Result<Tokenizer, NnError> {
    tokenizer(path, &Parts::open(path)?.settings())
}

fn tokenizer(path: &Path, settings: &Settings<'_>) -> Result<Tokenizer, NnError> {
    let beside = path.with_file_name("tokenizer.json");
    if has_entry(&beside) { Tokenizer::from_file(&beside) } else { vocabulary::tokenizer(settings) }
}

#[cfg(test)]
mod oracle_tests;
#[cfg(test)]
mod real_tests;
#[cfg(test)]
mod setting_tests;
#[cfg(test)]
mod tests;
