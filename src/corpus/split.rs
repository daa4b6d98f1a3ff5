//! Cutting long documents, and assigning documents to the two splits.

use super::Encode;
use crate::base::{Digest, Digester};

/// Longest document, in tokens; a longer one counts as several.
pub const DOCUMENT_TOKENS: usize = 4096;
/// Longest character in UTF-8, in bytes: how many tokens a cut may move back to the start of a character.
const CHARACTER_BYTES: usize = 4;

/// Cuts ids into pieces of at most [`DOCUMENT_TOKENS`], between characters.
pub(super) fn pieces<'a>(ids: &'a [u32], encoder: &dyn Encode) -> Vec<&'a [u32]> {
    let mut pieces = Vec::with_capacity(ids.len().div_ceil(DOCUMENT_TOKENS));
    let mut rest = ids;
    while rest.len() > DOCUMENT_TOKENS {
        let cut = (DOCUMENT_TOKENS - CHARACTER_BYTES..=DOCUMENT_TOKENS)
            .rev()
            .find(|&at| encoder.starts_character(rest[at]))
            .unwrap_or(DOCUMENT_TOKENS);
        let (piece, tail) = rest.split_at(cut);
        pieces.push(piece);
        rest = tail;
    }
    if !rest.is_empty() {
        pieces.push(rest);
    }
    pieces
}

/// Digest of seed and token ids: equal documents have equal digests.
pub(super) fn document_digest(ids: &[u32], seed: u64) -> Digest {
    let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    let mut digester = Digester::new("document");
    digester.bytes(&seed.to_le_bytes()).bytes(&bytes);
    digester.finish()
}

/// Whether a document is in the evaluate split: the digest's first 8 bytes / 2⁶⁴ are below `share`.
pub(super) fn is_evaluate(digest: &Digest, share: f64) -> bool {
    let [a, b, c, d, e, f, g, h, ..] = digest.bytes();
    let number = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
    (number as f64) < share * 2f64.powi(64)
}
