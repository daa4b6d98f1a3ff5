use super::concept::{Concept, ConceptSet, Span};

/// Concepts that the token after a token with the other concept has.
const AFTER: [(Concept, Concept); 4] = [
    (Concept::NAME, Concept::AFTER_NAME),
    (Concept::ARTICLE, Concept::AFTER_ARTICLE),
    (Concept::PREPOSITION, Concept::AFTER_PREPOSITION),
    (Concept::COMMA, Concept::AFTER_COMMA),
];

/// The concepts of every token of a document: `spans` make up its text, and token `i` covers its bytes
/// from `ends[i - 1]` (0 for the first) up to `ends[i]`.
///
/// A token has every concept of every span that it shares a byte with: one that straddles spans has
/// the concepts of all of them, one without bytes has none. Concepts of tokens are added by these rules:
///
/// - `piece.continues_word`: its first byte and the byte before it are of letters;
/// - `piece.begins_word`: but for spaces it holds letters alone, none stands before them, one follows;
/// - `piece.after_space`: its first byte is a space;
/// - `sentence.first`: holds the first visible byte of the document, of a line, or of a span that follows
///   a sentence's end, and the quotation marks and brackets that close after it, with a space;
/// - `line.first`: holds the first visible byte of the document or of a line;
/// - `in.quotes.first`, `in.brackets.first`: holds the first visible byte after an opening mark;
/// - `date.digit`, `price.digit`: shares a digit with a day or year, or with a price;
/// - `after.…`: the token before it has the concept, and it has not.
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

/// What depends on the cut alone.
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

/// Whether each byte is of a letter.
fn letters(text: &str) -> Vec<bool> {
    text.chars().flat_map(|c| std::iter::repeat_n(c.is_alphabetic(), c.len_utf8())).collect()
}

/// Bytes whose token comes first in something, in order.
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
        if line_due || sentence_due && spaced {
            firsts.push((visible, Concept::SENTENCE_FIRST));
        }
        if line_due {
            firsts.push((visible, Concept::LINE_FIRST));
        }
        if after_quote && !is(Concept::CLOSING_QUOTE) {
            firsts.push((visible, Concept::QUOTE_FIRST));
        }
        if after_bracket && !is(Concept::CLOSING_BRACKET) {
            firsts.push((visible, Concept::BRACKET_FIRST));
        }
        sentence_due = is(Concept::SENTENCE_END) || sentence_due && closes && !spaced && !line_due;
        line_due = false;
        (after_quote, after_bracket) = (is(Concept::OPENING_QUOTE), is(Concept::OPENING_BRACKET));
    }
    firsts
}
