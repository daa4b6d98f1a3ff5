//! Tokenizers: text to ids without special tokens, and ids to the text they have in running text.
//!
//! In: a `tokenizer.json`, as a file or as bytes, and the files beside it that give tokens roles.
//! Out: ids of texts, texts of ids, and the bytes of each token.
//! Never: gives an id without an embedding in the model, or random ids.

mod checks;
mod growth;
mod prefix;
mod spelling;
mod trial;

use std::path::Path;

use serde_json::Value;

use self::checks::unusable;
use self::growth::GrowthLimit;
pub use self::prefix::Lead;
use self::spelling::{Spelling, readable};
use super::NnError;
use crate::base::{Digest, Digester, contained, has_entry, read_regular};

/// A `tokenizer.json`, with the bytes of each token.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    file: String,
    /// Bytes of each token in running text; empty for ids without a piece.
    pieces: Vec<Vec<u8>>,
    special: Vec<u32>,
    lead: Lead,
    roles: Roles,
    digest: Digest,
    notes: Vec<String>,
    /// The normalizer, if it may make a text too long.
    growth_limit: Option<GrowthLimit>,
    /// Rows of the model's embedding, if the model is known.
    embedded: Option<usize>,
}

/// Ids of tokens with a role; the methods of [`Tokenizer`] say which token has it.
#[derive(Debug, Clone, Copy)]
struct Roles {
    bos: Option<u32>,
    forced_bos: Option<u32>,
    pad: Option<u32>,
}

impl Roles {
    /// `names` are the files that give roles; `padding` is the id in `tokenizer.json`.
    fn of(inner: &tokenizers::Tokenizer, names: &[Value], lead: &Lead, padding: Option<u32>) -> Self {
        let id = |token: &str| inner.token_to_id(token);
        let named = |role: &str| id(&names.iter().find_map(|value| token_named(value, role))?);
        let first_of = |tokens: &[&str]| tokens.iter().copied().find_map(id);
        let pad = padding
            .or_else(|| named("pad_token"))
            .or_else(|| first_of(&["<|padding|>", "<pad>", "[PAD]", "<|pad|>"]));
        let bos_named = named("bos_token");
        let bos = lead.ids.first().copied();
        let bos = bos
            .or_else(|| id("<|endoftext|>"))
            .or(bos_named)
            .or_else(|| first_of(&["<s>", "<|begin_of_text|>"]));
        let forced_bos = bos_named.or(bos).or_else(|| named("eos_token"));
        Self { bos, forced_bos, pad }
    }
}

impl Tokenizer {
    /// Reads a `tokenizer.json`, and the roles of tokens in `tokenizer_config.json` and `special_tokens_map.json` beside it.
    pub fn from_file(path: &Path) -> Result<Self, NnError> {
        let bytes = read_regular(path)?;
        let mut names = Vec::new();
        for neighbour in ["tokenizer_config.json", "special_tokens_map.json"] {
            let neighbour = path.with_file_name(neighbour);
            if has_entry(&neighbour) {
                names.push(parse(&read_regular(&neighbour)?, &neighbour.display().to_string())?);
            }
        }
        Self::build(&bytes, &path.display().to_string(), &names)
    }

    /// Reads the bytes of a `tokenizer.json`; messages call it `name`.
    pub fn from_bytes(bytes: &[u8], name: &str) -> Result<Self, NnError> {
        Self::build(bytes, name, &[])
    }

    fn build(bytes: &[u8], file: &str, names: &[Value]) -> Result<Self, NnError> {
        let mut json = parse(bytes, file)?;
        checks::check(&json, file)?;
        let unusable = |reason: String| unusable(file, reason);
        trial::try_patterns(&json).map_err(unusable)?;
        let growth_limit = GrowthLimit::of(&json).map_err(unusable)?;
        if let Some(growth_limit) = &growth_limit {
            checks::added(&json)
                .filter_map(|token| token["content"].as_str())
                .try_for_each(|content| growth_limit.check(content))
                .map_err(unusable)?;
        }
        let notes: Vec<String> = checks::without_dropout(&mut json, file).into_iter().collect();
        let spelling = Spelling::of(&json);
        // The checked values are built, not the bytes, in which a name can occur twice.
        let mut inner: tokenizers::Tokenizer =
            build_contained(|| serde_json::from_value(json)).map_err(unusable)?;
        let padding = inner.get_padding().map(|padding| padding.pad_id);
        inner.with_truncation(None).map_err(|error| unusable(error.to_string()))?;
        inner.with_padding(None);
        let pieces = spelling.pieces(&inner);
        let added = inner.get_added_tokens_decoder();
        let mut special: Vec<u32> =
            added.iter().filter(|(_, token)| token.special).map(|(&id, _)| id).collect();
        special.sort_unstable();
        let lead = build_contained(|| prefix::lead(&inner, names)).map_err(unusable)?;
        let roles = Roles::of(&inner, names, &lead, padding);
        let mut digester = Digester::new("tokenizer");
        digester.bytes(bytes).json(&(&lead.ids, roles.bos, roles.pad));
        if !notes.is_empty() {
            digester.json(&notes);
        }
        let (digest, file) = (digester.finish(), file.to_string());
        Ok(Self { inner, file, pieces, special, lead, roles, digest, notes, growth_limit, embedded: None })
    }

    /// Adds remarks on how the tokenizer was read.
    pub(super) fn with_notes(mut self, notes: Vec<String>) -> Self {
        self.notes.extend(notes);
        self
    }

    /// The file it was read from, or the name that messages call it.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Remarks for the user on how the tokenizer was read.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Ids of a text, without special tokens at its ends. Fails on a token without an embedding in the model.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, NnError> {
        if let Some(growth_limit) = &self.growth_limit {
            growth_limit.check(text).map_err(|reason| unusable(&self.file, reason))?;
        }
        let encoding = self.contained(|| self.inner.encode_fast(text, false))?;
        let ids = encoding.get_ids().to_vec();
        if let Some(embedded) = self.embedded
            && let Some(&id) = ids.iter().find(|&&id| id as usize >= embedded)
        {
            return Err(self.not_embedded(id, embedded, "a text holds"));
        }
        Ok(ids)
    }

    /// Text of ids by the tokenizer's own decoder, without special tokens; parts of characters become `�`.
    pub fn decode(&self, ids: &[u32]) -> Result<String, NnError> {
        self.contained(|| self.inner.decode(ids, true))
    }

    /// Runs the library, whose panics become errors.
    fn contained<T>(&self, work: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, NnError> {
        let failed =
            |panic: String| unusable(&self.file, format!("the library that runs it failed: {panic}"));
        contained(work).map_err(failed)?.map_err(|error| unusable(&self.file, error))
    }

    /// Digest of the file's bytes and of the tokens with roles.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Restricts the tokenizer to a model with `embedded` rows of embedding. Added tokens beyond them are an error in a
    /// text. Fails if an ordinary piece or a token before every text has such an id.
    pub fn embedded_in(mut self, embedded: usize) -> Result<Self, NnError> {
        let added = self.inner.get_added_tokens_decoder();
        let beyond = (embedded..self.pieces.len()).map(|id| id as u32);
        let ordinary = beyond.filter(|id| !added.contains_key(id) && !self.bytes_of(*id).is_empty()).min();
        if let Some(id) = ordinary {
            return Err(self.not_embedded(id, embedded, "its vocabulary has"));
        }
        if let Some(&id) = self.lead.ids.iter().find(|&&id| id as usize >= embedded) {
            return Err(self.not_embedded(id, embedded, "every text begins with"));
        }
        let inside = |id: Option<u32>| id.filter(|&id| (id as usize) < embedded);
        let Roles { bos, forced_bos, pad } = self.roles;
        self.roles = Roles { bos: inside(bos), forced_bos: inside(forced_bos), pad: inside(pad) };
        self.pieces.truncate(embedded);
        self.embedded = Some(embedded);
        Ok(self)
    }

    fn not_embedded(&self, id: u32, embedded: usize, who: &str) -> NnError {
        let piece = self.inner.id_to_token(id).unwrap_or_default();
        let reason = format!(
            "{who} `{piece}`, id {id}, but the model embeds {embedded} ids, 0 to {}; the two are not from the same \
             training, or the text holds a token of another model",
            embedded.saturating_sub(1)
        );
        unusable(&self.file, reason)
    }

    /// Texts of the special tokens, longest first.
    pub fn special_texts(&self) -> Vec<String> {
        let texts = self.special.iter().filter_map(|&id| self.inner.id_to_token(id));
        let mut texts: Vec<String> = texts.filter(|text| !text.is_empty()).collect();
        texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        texts
    }

    /// One more than the largest id.
    pub fn vocab_size(&self) -> usize {
        self.pieces.len()
    }

    /// The id of a piece as the vocabulary spells it.
    pub fn id_of(&self, piece: &str) -> Option<u32> {
        self.inner.token_to_id(piece)
    }

    /// Bytes of a token in running text; empty for an id without a piece.
    pub fn bytes_of(&self, id: u32) -> &[u8] {
        self.pieces.get(id as usize).map_or(&[], Vec::as_slice)
    }

    /// Text of each token in running text, with its leading space if it has one; bytes of incomplete characters are
    /// written as `\xE2\x80`.
    pub fn token_texts(&self, ids: &[u32]) -> Vec<String> {
        ids.iter().map(|&id| readable(self.bytes_of(id))).collect()
    }

    /// True unless the token continues a character of an earlier token.
    pub fn starts_character(&self, id: u32) -> bool {
        self.bytes_of(id).first().is_none_or(|byte| byte & 0xC0 != 0x80)
    }

    /// True for special tokens, which have no text.
    pub fn is_special(&self, id: u32) -> bool {
        self.special.binary_search(&id).is_ok()
    }

    /// The padding token, if the tokenizer has one.
    pub fn pad_token(&self) -> Option<u32> {
        self.roles.pad
    }

    /// The token between documents: the first token that the tokenizer puts before a text, else `<|endoftext|>`, else
    /// the named BOS, else `<s>` or `<|begin_of_text|>`.
    pub fn bos_token(&self) -> Option<u32> {
        self.roles.bos
    }

    /// The token before texts if the user asks for one and the tokenizer puts none: the named BOS, else
    /// [`Tokenizer::bos_token`], else the end-of-text token.
    pub fn forced_bos_token(&self) -> Option<u32> {
        self.roles.forced_bos
    }

    /// Tokens that the tokenizer itself puts before a text.
    pub fn lead_tokens(&self) -> &[u32] {
        &self.lead.ids
    }

    /// The same, with the place where it is stated.
    pub fn lead(&self) -> &Lead {
        &self.lead
    }
}

/// Builds a part of the tokenizer; a panic of the library becomes an error.
fn build_contained<T, E: ToString>(work: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    let failed = |reason: String| format!("the tokenizer cannot be built from this file: {reason}");
    contained(work).map_err(failed)?.map_err(|error| failed(error.to_string()))
}

fn parse(bytes: &[u8], file: &str) -> Result<Value, NnError> {
    serde_json::from_slice(bytes)
        .map_err(|error| NnError::Json { file: file.to_string(), reason: error.to_string() })
}

/// The token with a role in a tokenizer configuration, written as a text or as an object with `content`.
pub fn token_named(value: &Value, role: &str) -> Option<String> {
    let token = value.get(role)?;
    token.as_str().or_else(|| token.get("content")?.as_str()).map(str::to_string)
}

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod tests;
