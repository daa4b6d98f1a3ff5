//! Tokenizers as the subject uses them: text to ids without special tokens, and ids to the text they stand for
//! in running text.
//!
//! In: a `tokenizer.json`, as a file or as bytes, and the files beside it that give tokens roles.
//! Out: ids of texts, texts of ids, and the bytes that each token stands for.
//! Never: gives an id that the model has no embedding for, or two answers for one text.

mod checks;
mod growth;

use std::path::Path;

use serde_json::Value;

use self::growth::Growing;
use super::NnError;
use crate::base::{Digest, Digester};

mod prefix;

pub use prefix::Lead;

/// A `tokenizer.json`, with the bytes that each token stands for.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    file: String,
    /// Bytes of each token in running text; empty for ids that no piece has.
    pieces: Vec<Vec<u8>>,
    special: Vec<u32>,
    lead: Lead,
    bos: Option<u32>,
    forced_bos: Option<u32>,
    pad: Option<u32>,
    digest: Digest,
    notes: Vec<String>,
    /// The normalizer, where it may make too much of a text.
    growing: Option<Growing>,
    /// Rows of the model's embedding, where the model is known.
    embedded: Option<usize>,
}

/// How pieces spell bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Spelling {
    /// Every byte has a printable stand-in character.
    byte_level: bool,
    /// `▁` stands for a space.
    metaspace: bool,
    /// `<0x0A>` stands for a byte.
    byte_pieces: bool,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`; a `tokenizer_config.json` or `special_tokens_map.json` beside it is asked for
    /// the padding and first tokens.
    pub fn from_file(path: &Path) -> Result<Self, NnError> {
        let bytes = crate::base::read_regular(path)?;
        let mut names = Vec::new();
        for neighbour in ["tokenizer_config.json", "special_tokens_map.json"] {
            let neighbour = path.with_file_name(neighbour);
            if neighbour.exists() {
                names.push(parse(&crate::base::read_regular(&neighbour)?, &neighbour.display().to_string())?);
            }
        }
        Self::build(&bytes, &path.display().to_string(), &names)
    }

    /// Reads the bytes of a `tokenizer.json`; `name` stands for it in messages.
    pub fn from_bytes(bytes: &[u8], name: &str) -> Result<Self, NnError> {
        Self::build(bytes, name, &[])
    }

    fn build(bytes: &[u8], file: &str, names: &[Value]) -> Result<Self, NnError> {
        let mut json = parse(bytes, file)?;
        checks::check(&json, file)?;
        let growing = Growing::of(&json).map_err(|reason| unusable(file, &reason))?;
        if let Some(growing) = &growing {
            let tokens = json.get("added_tokens").and_then(Value::as_array).into_iter().flatten();
            tokens
                .filter_map(|token| token["content"].as_str())
                .try_for_each(|content| growing.check(content))
                .map_err(|reason| unusable(file, &reason))?;
        }
        let notes: Vec<String> = checks::without_dropout(&mut json, file).into_iter().collect();
        let failed = |error: tokenizers::Error| unusable(file, &error.to_string());
        let mut inner = if notes.is_empty() {
            tokenizers::Tokenizer::from_bytes(bytes).map_err(failed)?
        } else {
            tokenizers::Tokenizer::from_bytes(json.to_string()).map_err(failed)?
        };
        let padding = inner.get_padding().map(|padding| padding.pad_id);
        inner.with_truncation(None).map_err(failed)?;
        inner.with_padding(None);
        let added = inner.get_added_tokens_decoder();
        let spelling = Spelling::of(&json);
        let vocab = inner.get_vocab(true);
        let size = vocab.values().max().map_or(0, |&id| id as usize + 1);
        let mut pieces = vec![Vec::new(); size];
        for (piece, id) in vocab {
            let literal = added.contains_key(&id);
            pieces[id as usize] = if literal { piece.into_bytes() } else { spelling.bytes(&piece) };
        }
        let mut special: Vec<u32> =
            added.iter().filter(|(_, token)| token.special).map(|(&id, _)| id).collect();
        special.sort_unstable();
        let named = |role: &str| names.iter().find_map(|value| token_named(value, role));
        let id = |token: &str| inner.token_to_id(token);
        let lead = prefix::lead(&inner, names).map_err(|reason| unusable(file, &reason))?;
        let pad = padding
            .or_else(|| id(&named("pad_token")?))
            .or_else(|| ["<|padding|>", "<pad>", "[PAD]", "<|pad|>"].into_iter().find_map(id));
        let bos_named = named("bos_token").and_then(|token| id(&token));
        let bos = lead
            .ids
            .first()
            .copied()
            .or_else(|| id("<|endoftext|>"))
            .or(bos_named)
            .or_else(|| ["<s>", "<|begin_of_text|>"].into_iter().find_map(id));
        let forced_bos = bos_named.or(bos).or_else(|| id(&named("eos_token")?));
        let mut digester = Digester::new("tokenizer");
        digester.bytes(bytes).json(&(&lead.ids, bos, pad));
        if !notes.is_empty() {
            digester.json(&notes);
        }
        let digest = digester.finish();
        let (file, embedded) = (file.to_string(), None);
        Ok(Self {
            file,
            pieces,
            special,
            lead,
            bos,
            forced_bos,
            pad,
            digest,
            inner,
            notes,
            growing,
            embedded,
        })
    }

    /// The same with remarks on how it was read.
    pub(super) fn with_notes(mut self, notes: Vec<String>) -> Self {
        self.notes.extend(notes);
        self
    }

    /// What a user should know about how it was read.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Ids of a text, without special tokens at its ends. Fails on text that holds a token which the model has no
    /// embedding for.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, NnError> {
        if let Some(growing) = &self.growing {
            growing.check(text).map_err(|reason| unusable(&self.file, &reason))?;
        }
        let encoding =
            self.inner.encode_fast(text, false).map_err(|error| unusable(&self.file, &error.to_string()))?;
        let ids = encoding.get_ids().to_vec();
        if let Some(embedded) = self.embedded
            && let Some(&id) = ids.iter().find(|&&id| id as usize >= embedded)
        {
            return Err(self.not_embedded(id, embedded, "a text holds"));
        }
        Ok(ids)
    }

    /// Text of ids as the tokenizer itself puts it, special tokens left out; parts of characters become `�`.
    pub fn decode(&self, ids: &[u32]) -> Result<String, NnError> {
        self.inner.decode(ids, true).map_err(|error| unusable(&self.file, &error.to_string()))
    }

    /// Of the file's bytes and of the tokens that other files give roles.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The same for a model with so many embeddings. Added tokens beyond them are left out, and an error where a
    /// text holds one; fails where ordinary text or the beginning of every text would have such an id.
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
        (self.bos, self.pad) = (inside(self.bos), inside(self.pad));
        self.forced_bos = inside(self.forced_bos);
        self.pieces.truncate(embedded);
        self.embedded = Some(embedded);
        Ok(self)
    }

    fn not_embedded(&self, id: u32, embedded: usize, who: &str) -> NnError {
        let piece = self.inner.id_to_token(id).unwrap_or_default();
        let reason = format!(
            "{who} `{piece}`, id {id}, and the model embeds {embedded} ids, 0 to {}; the two are not from the same \
             training, or the text holds a token of another model",
            embedded.saturating_sub(1)
        );
        unusable(&self.file, &reason)
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

    /// Bytes that a token stands for in running text; empty for an id that no piece has.
    pub fn bytes_of(&self, id: u32) -> &[u8] {
        self.pieces.get(id as usize).map_or(&[], Vec::as_slice)
    }

    /// Text of each token as it appears in running text, with its leading space where it has one; bytes that
    /// are only part of a character are written as `\xE2\x80`.
    pub fn token_texts(&self, ids: &[u32]) -> Vec<String> {
        ids.iter().map(|&id| readable(self.bytes_of(id))).collect()
    }

    /// True where the token does not continue a character that an earlier token began.
    pub fn starts_character(&self, id: u32) -> bool {
        self.bytes_of(id).first().is_none_or(|byte| byte & 0xC0 != 0x80)
    }

    /// True where the token leaves no character for a later token to complete. A token of continuation bytes
    /// alone may complete a character or not; it counts as not, since only the tokens around it can tell.
    pub fn ends_character(&self, id: u32) -> bool {
        let bytes = self.bytes_of(id);
        match bytes.iter().rposition(|byte| byte & 0xC0 != 0x80) {
            None => bytes.is_empty(),
            Some(lead) => bytes.len() - lead == character_length(bytes[lead]),
        }
    }

    /// True where `ids` can be cut before position `at` without cutting a character.
    pub fn is_boundary(&self, ids: &[u32], at: usize) -> bool {
        at == 0 || ids.get(at).is_none_or(|&id| self.starts_character(id))
    }

    /// True for tokens that stand for no text.
    pub fn is_special(&self, id: u32) -> bool {
        self.special.binary_search(&id).is_ok()
    }

    /// The padding token, if the tokenizer has one.
    pub fn pad_token(&self) -> Option<u32> {
        self.pad
    }

    /// The token between documents, if the tokenizer has one: what it puts before a text itself, else
    /// `<|endoftext|>`, else the BOS that is named.
    pub fn bos_token(&self) -> Option<u32> {
        self.bos
    }

    /// The token to put before texts where one is wanted though the tokenizer puts none: the BOS that is named,
    /// else `<|endoftext|>`, else the end-of-text token.
    pub fn forced_bos_token(&self) -> Option<u32> {
        self.forced_bos
    }

    /// Tokens that the tokenizer itself puts before a text; none in families trained without.
    pub fn lead_tokens(&self) -> &[u32] {
        &self.lead.ids
    }

    /// The same, with where it is stated.
    pub fn lead(&self) -> &Lead {
        &self.lead
    }
}

fn unusable(file: &str, reason: &str) -> NnError {
    NnError::Tokenizer { file: file.to_string(), reason: reason.to_string() }
}

fn parse(bytes: &[u8], file: &str) -> Result<Value, NnError> {
    serde_json::from_slice(bytes)
        .map_err(|error| NnError::Json { file: file.to_string(), reason: error.to_string() })
}

/// The token that a tokenizer configuration gives a role, written as a text or as an object with `content`.
pub fn token_named(value: &Value, role: &str) -> Option<String> {
    let token = value.get(role)?;
    token.as_str().or_else(|| token.get("content")?.as_str()).map(str::to_string)
}

/// Bytes of a character whose UTF-8 form begins with `lead`; 1 for a byte that begins none.
fn character_length(lead: u8) -> usize {
    match lead {
        0xC2..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF4 => 4,
        _ => 1,
    }
}

/// Text, with bytes that form no character spelled out.
fn readable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02X}"));
        }
    }
    text
}

impl Spelling {
    fn of(json: &Value) -> Self {
        let mut spelling = Self {
            byte_pieces: json.pointer("/model/byte_fallback").and_then(Value::as_bool).unwrap_or(false),
            ..Self::default()
        };
        for part in ["pre_tokenizer", "decoder"] {
            if let Some(part) = json.get(part) {
                spelling.note(part);
            }
        }
        spelling
    }

    fn note(&mut self, part: &Value) {
        match part.get("type").and_then(Value::as_str) {
            Some("ByteLevel") => self.byte_level = true,
            Some("Metaspace") => self.metaspace = true,
            Some("ByteFallback") => self.byte_pieces = true,
            Some("Replace") if part.pointer("/pattern/String").and_then(Value::as_str) == Some("▁") => {
                self.metaspace = true;
            }
            Some("Sequence") => {
                for list in ["pretokenizers", "decoders"] {
                    part.get(list).and_then(Value::as_array).into_iter().flatten().for_each(|p| self.note(p));
                }
            }
            _ => {}
        }
    }

    /// The bytes that a piece stands for.
    fn bytes(self, piece: &str) -> Vec<u8> {
        if self.byte_level
            && let Some(bytes) = piece.chars().map(byte_of_stand_in).collect()
        {
            return bytes;
        }
        if self.byte_pieces {
            let hex = piece.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
            if let Some(byte) = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
                return vec![byte];
            }
        }
        if self.metaspace { piece.replace('▁', " ").into_bytes() } else { piece.as_bytes().to_vec() }
    }
}

/// The byte that a character of a byte-level vocabulary stands for: printable Latin-1 characters stand for
/// themselves, the 68 others for U+0100 onward in order.
fn byte_of_stand_in(stand_in: char) -> Option<u8> {
    let printable = |byte: u8| matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    match u32::from(stand_in) {
        code @ 0..=0xFF => {
            let byte = code as u8;
            printable(byte).then_some(byte)
        }
        code => (0..=0xFF).filter(|&byte| !printable(byte)).nth((code - 0x100) as usize),
    }
}

#[cfg(test)]
mod tests;
