//! Concepts of tokens, from the concepts of the spans they cover.

use super::concept::{Concept, ConceptSet, Span};

/// (concept of a token, concept of the token after it).
const AFTER: [(Concept, Concept); 4] = [
    (Concept::NAME, Concept::AFTER_NAME),
    (Concept::ARTICLE, Concept::AFTER_ARTICLE),
    (Concept::PREPOSITION, Concept::AFTER_PREPOSITION),
    (Concept::COMMA, Concept::AFTER_COMMA),
];

/// Returns the concepts of every token of a document.
///
/// The document's text is `spans` joined. Token `i` covers bytes `ends[i - 1]..ends[i]` (from 0 for the first).
/// A token has every concept of every span with which it shares a byte. A token without bytes has no concept.
/// These rules add the concepts of tokens:
///
/// - `piece.continues_word`: its first byte and the byte before it belong to letters;
/// - `piece.begins_word`: apart from spaces it consists of letters; no letter precedes them, and one follows;
/// - `piece.after_space`: its first byte is a space;
/// - `sentence.first`: it holds the first visible byte of the document or of a line; or of a span that begins
///   with a space and follows a sentence's end (and the marks that close after that end);
/// - `line.first`: it holds the first visible byte of the document or of a line;
/// - `in.quotes.first`, `in.brackets.first`: it holds the first visible byte after an opening mark;
/// - `date.digit`, `price.digit`: it shares a digit with a day or year, or with a price;
/// - `after.…`: the token before it has the concept, and it does not.
pub fn label(spans: &[Span], ends: &[usize]) -> Vec<ConceptSet> {
    let text: String = spans.iter().map(|span| span.text.as_str()).collect();
    let (bytes, letters, firsts) = (text.as_bytes(), letters(&text), firsts(spans));
    let sets: Vec<ConceptSet> = spans.iter().map(|span| span.concepts.iter().collect()).collect();
    let mut labels: Vec<ConceptSet> = Vec::with_capacity(ends.len());
    let (mut start, mut span, mut span_start, mut first) = (0, 0, 0, 0);
    for &end in ends {
        let end = end.clamp(start, bytes.len());
        let mut set = ConceptSet::default();
        if start == end {
            labels.push(set);
            continue;
        }
        while span < spans.len() && span_start < end {
            let span_end = span_start + spans[span].text.len();
            if span_end > start {
                let shared = &bytes[span_start.max(start)..span_end.min(end)];
                add_span(&mut set, sets[span], shared);
            }
            if span_end > end {
                break;
            }
            (span, span_start) = (span + 1, span_end);
        }
        while let Some((_, concept)) = firsts.get(first).filter(|(at, _)| *at < end) {
            set.insert(*concept);
            first += 1;
        }
        add_piece(&mut set, bytes, &letters, start, end);
        if let Some(before) = labels.last() {
            for (of, after) in AFTER {
                if before.contains(of) && !set.contains(of) {
                    set.insert(after);
                }
            }
        }
        labels.push(set);
        start = end;
    }
    labels
}

fn add_span(set: &mut ConceptSet, of_span: ConceptSet, shared: &[u8]) {
    set.extend(of_span);
    if shared.iter().any(u8::is_ascii_digit) {
        if of_span.contains(Concept::DAY) || of_span.contains(Concept::YEAR) {
            set.insert(Concept::DATE_DIGIT);
        }
        if of_span.contains(Concept::PRICE) {
            set.insert(Concept::PRICE_DIGIT);
        }
    }
}

/// Adds the concepts that depend only on where the tokenizer cuts.
fn add_piece(set: &mut ConceptSet, bytes: &[u8], letters: &[bool], start: usize, end: usize) {
    let letter = |at: usize| letters.get(at).copied().unwrap_or(false);
    if bytes[start] == b' ' {
        set.insert(Concept::AFTER_SPACE);
    }
    if start > 0 && letter(start - 1) && letter(start) {
        set.insert(Concept::CONTINUES_WORD);
    }
    let visible = start + bytes[start..end].iter().take_while(|byte| **byte == b' ').count();
    let alone = visible == 0 || !letter(visible - 1);
    if visible < end && alone && letters[visible..end].iter().all(|letter| *letter) && letter(end) {
        set.insert(Concept::BEGINS_LONGER_WORD);
    }
}

/// Whether each byte belongs to a letter.
fn letters(text: &str) -> Vec<bool> {
    text.chars().flat_map(|c| std::iter::repeat_n(c.is_alphabetic(), c.len_utf8())).collect()
}

/// Positions of first visible bytes with their concepts (`sentence.first` and so on), ascending.
fn firsts(spans: &[Span]) -> Vec<(usize, Concept)> {
    let mut firsts = Vec::new();
    let mut at = 0;
    let (mut sentence_due, mut line_due) = (true, true);
    let (mut after_quote, mut after_bracket) = (false, false);
    for span in spans {
        let visible = at + span.text.len() - span.text.trim_start_matches(' ').len();
        let spaced = span.text.starts_with(' ');
        at += span.text.len();
        if visible == at {
            continue;
        }
        let is = |concept| span.concepts.contains(&concept);
        if is(Concept::NEWLINE) {
            (sentence_due, line_due) = (true, true);
            (after_quote, after_bracket) = (false, false);
            continue;
        }
        let closes = is(Concept::CLOSING_QUOTE) || is(Concept::CLOSING_BRACKET);
        let is_first = [
            (line_due || sentence_due && spaced, Concept::SENTENCE_FIRST),
            (line_due, Concept::LINE_FIRST),
            (after_quote && !is(Concept::CLOSING_QUOTE), Concept::QUOTE_FIRST),
            (after_bracket && !is(Concept::CLOSING_BRACKET), Concept::BRACKET_FIRST),
        ];
        firsts
            .extend(is_first.into_iter().filter(|(first, _)| *first).map(|(_, concept)| (visible, concept)));
        sentence_due = is(Concept::SENTENCE_END) || sentence_due && closes && !spaced && !line_due;
        line_due = false;
        (after_quote, after_bracket) = (is(Concept::OPENING_QUOTE), is(Concept::OPENING_BRACKET));
    }
    firsts
}
