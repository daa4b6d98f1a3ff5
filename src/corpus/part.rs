//! Pieces of documents that are encoded one at a time.

use std::collections::VecDeque;

use super::bad_lines::BadLine;
use super::generator::Span;

/// Longest text that is encoded at once, in bytes.
pub(super) const PART_BYTES: usize = 1 << 16;

/// A document, or a piece of one that is longer than [`PART_BYTES`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) text: String,
    /// False for the second and later pieces of one document.
    pub(super) starts_document: bool,
    /// Concepts of the text, if the source is labelled.
    pub(super) spans: Option<Vec<Span>>,
}

/// What is read of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    Part(Part),
    /// A line of JSON that gives no document.
    Bad(BadLine),
    /// A line of JSON whose text is empty.
    Empty,
    /// So many bytes were read in a row without a document.
    Idle(u64),
}

/// Cuts one document into parts. A document without visible text has none.
pub(super) fn split_document(text: &str) -> VecDeque<Part> {
    let mut parts = VecDeque::new();
    let mut rest = text;
    while !rest.trim().is_empty() {
        let (head, tail) = rest.split_at(cut(rest));
        parts.push_back(Part { text: head.to_string(), starts_document: parts.is_empty(), spans: None });
        rest = tail;
    }
    parts
}

/// Where to cut a text longer than a part: after the last line feed in the part's second half, else before the
/// last white space there, else between two characters.
pub(super) fn cut(text: &str) -> usize {
    if text.len() <= PART_BYTES {
        return text.len();
    }
    let limit = boundary_before(text, PART_BYTES);
    let half = boundary_before(text, PART_BYTES / 2);
    let window = &text[half..limit];
    match window.rfind('\n') {
        Some(at) => half + at + 1,
        None => window.rfind(char::is_whitespace).filter(|&at| at > 0).map_or(limit, |at| half + at),
    }
}

fn boundary_before(text: &str, at: usize) -> usize {
    (0..=at).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}
