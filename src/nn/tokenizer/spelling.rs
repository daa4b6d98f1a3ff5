//! How the pieces of a vocabulary spell bytes.

use serde_json::Value;

/// Conventions of a vocabulary; several can hold.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spelling {
    /// Each byte is written as one printable character (GPT-2).
    byte_level: bool,
    /// `▁` is a space (SentencePiece).
    metaspace: bool,
    /// `<0x0A>` is a byte (SentencePiece's byte fallback).
    byte_pieces: bool,
}

impl Spelling {
    /// The conventions by the parts of a `tokenizer.json`.
    pub fn of(json: &Value) -> Self {
        let byte_pieces = json.pointer("/model/byte_fallback").and_then(Value::as_bool).unwrap_or(false);
        let mut spelling = Self { byte_pieces, ..Self::default() };
        ["pre_tokenizer", "decoder"].iter().filter_map(|part| json.get(part)).for_each(|p| spelling.note(p));
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

    /// The bytes of every id; added tokens are spelled literally.
    pub fn pieces(self, inner: &tokenizers::Tokenizer) -> Vec<Vec<u8>> {
        let (added, vocab) = (inner.get_added_tokens_decoder(), inner.get_vocab(true));
        let size = vocab.values().max().map_or(0, |&id| id as usize + 1);
        let mut pieces = vec![Vec::new(); size];
        for (piece, id) in vocab {
            let literal = added.contains_key(&id);
            pieces[id as usize] = if literal { piece.into_bytes() } else { self.bytes(&piece) };
        }
        pieces
    }

    /// The bytes of a piece.
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

/// The byte that a character of a byte-level vocabulary is written for: printable Latin-1 characters for themselves,
/// U+0100 onward in order for the 68 other bytes.
pub(super) fn byte_of_stand_in(stand_in: char) -> Option<u8> {
    let printable = |byte: u8| matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    match u32::from(stand_in) {
        code @ 0..=0xFF => {
            let byte = code as u8;
            printable(byte).then_some(byte)
        }
        code => (0..=0xFF).filter(|&byte| !printable(byte)).nth((code - 0x100) as usize),
    }
}

/// Text, with bytes outside of complete characters as `\xE2`.
pub(super) fn readable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02X}"));
        }
    }
    text
}
