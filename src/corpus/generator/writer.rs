//! Collects text as labelled spans.

use super::concept::{Concept, Span};

/// Keywords of the dialects of [`super::code`].
const KEYWORDS: &[&str] = &[
    "def", "return", "if", "else", "for", "in", "while", "fn", "let", "mut", "import", "from", "class",
    "print", "None", "True", "False", "const", "function", "match", "struct", "pub", "assert", "not",
];

/// Cuts text into words, numbers and marks. To the concepts that the caller gives, it adds those that the
/// text alone decides: brackets, quotes, function words.
pub(super) struct Writer {
    spans: Vec<Span>,
    /// Concepts of every span: the register and the topic.
    scope: Vec<Concept>,
    /// Spaces that belong to the next word.
    pending: String,
    open_brackets: usize,
    in_quotes: bool,
    in_comment: bool,
    words: usize,
    code: bool,
    english: bool,
    /// Content words so far.
    said: Vec<String>,
}

impl Writer {
    pub fn new(scope: Vec<Concept>) -> Self {
        Self {
            code: scope.contains(&Concept::CODE),
            english: !scope.contains(&Concept::FRENCH),
            spans: Vec::new(),
            scope,
            pending: String::new(),
            open_brackets: 0,
            in_quotes: false,
            in_comment: false,
            words: 0,
            said: Vec::new(),
        }
    }

    /// Number of words so far, separated by whitespace. It may differ from the final count by one.
    pub fn words(&self) -> usize {
        self.words
    }

    /// Whether nothing has been written yet, or a line has just ended.
    pub fn at_line_start(&self) -> bool {
        self.pending.is_empty() && self.spans.last().is_none_or(|span| span.text.ends_with('\n'))
    }

    /// Whether the next word starts a sentence.
    pub fn after_sentence(&self) -> bool {
        let last = self.spans.last().map_or("\n", |span| span.text.as_str());
        last.ends_with(['.', '!', '?', '\n', '"'])
    }

    /// Records a content word. Returns whether the document contained it before.
    pub fn repeats(&mut self, word: &str) -> bool {
        if self.said.iter().any(|said| said == word) {
            return true;
        }
        self.said.push(word.to_owned());
        false
    }

    /// Writes `text`; every piece of it instantiates `concepts`.
    pub fn push(&mut self, text: &str, concepts: &[Concept]) {
        if text.starts_with('\n') {
            self.pending.clear();
        }
        let joined = std::mem::take(&mut self.pending) + text;
        let mut rest = joined.as_str();
        while !rest.is_empty() {
            let end = piece_end(rest);
            let (piece, after) = rest.split_at(end);
            if after.is_empty() && piece.bytes().all(|b| b == b' ') {
                self.pending = piece.to_owned();
                return;
            }
            self.piece(piece, concepts);
            rest = after;
        }
    }

    fn piece(&mut self, piece: &str, known: &[Concept]) {
        let bare = piece.trim_start_matches(' ');
        let starts_word =
            bare.len() < piece.len() || self.spans.last().is_none_or(|span| span.text.ends_with(['\n', ' ']));
        if !bare.trim().is_empty() && starts_word {
            self.words += 1;
        }
        let mut concepts = self.scope.clone();
        concepts.extend_from_slice(known);
        if bare.starts_with('\n') {
            self.in_comment = false;
        }
        let slashes = bare == "/" && self.spans.last().is_some_and(|span| span.text.ends_with('/'));
        if self.code && (bare == "#" || slashes) && !self.in_quotes {
            self.in_comment = true;
        }
        self.classify(bare, &mut concepts);
        concepts.sort_unstable();
        concepts.dedup();
        self.spans.push(Span { text: piece.to_owned(), concepts });
    }

    fn classify(&mut self, bare: &str, concepts: &mut Vec<Concept>) {
        match bare {
            ")" | "]" | "}" => self.open_brackets = self.open_brackets.saturating_sub(1),
            "\"" => self.in_quotes = !self.in_quotes,
            _ => {}
        }
        let quotation = if self.code { Concept::CODE_STRING } else { Concept::IN_QUOTES };
        let inside = [
            (self.open_brackets > 0, Concept::IN_BRACKETS),
            (self.open_brackets > 1, Concept::IN_NESTED_BRACKETS),
            (self.in_quotes && bare != "\"", quotation),
            (self.in_comment, Concept::CODE_COMMENT),
        ];
        concepts.extend(inside.into_iter().filter(|(holds, _)| *holds).map(|(_, concept)| concept));
        match bare {
            "(" | "[" | "{" => {
                self.open_brackets += 1;
                concepts.push(Concept::OPENING_BRACKET);
            }
            ")" | "]" | "}" => concepts.push(Concept::CLOSING_BRACKET),
            "\"" if self.in_quotes => concepts.push(Concept::OPENING_QUOTE),
            "\"" => concepts.push(Concept::CLOSING_QUOTE),
            "." | "!" => concepts.push(Concept::SENTENCE_END),
            "?" => concepts.extend([Concept::SENTENCE_END, Concept::QUESTION_MARK]),
            "," => concepts.push(Concept::COMMA),
            ":" => concepts.push(Concept::COLON),
            "" => concepts.push(Concept::INDENT),
            _ => self.classify_word(bare, concepts),
        }
    }

    fn classify_word(&self, bare: &str, concepts: &mut Vec<Concept>) {
        let first = bare.chars().next().unwrap_or(' ');
        if first == '\n' {
            concepts.push(Concept::NEWLINE);
        } else if first.is_ascii_digit() {
            concepts.push(Concept::NUMBER);
        } else if first.is_alphabetic() {
            if first.is_uppercase() {
                concepts.push(Concept::CAPITALISED);
            }
            if self.code && !self.in_quotes && !self.in_comment {
                let keyword = KEYWORDS.contains(&bare);
                concepts.push(if keyword { Concept::CODE_KEYWORD } else { Concept::CODE_IDENTIFIER });
            } else if self.english {
                concepts.extend(word_class(&bare.to_lowercase()));
            } else {
                concepts.push(Concept::FRENCH_WORD);
            }
        } else {
            concepts.push(Concept::PUNCTUATION);
        }
    }

    pub fn mark(&self) -> usize {
        self.spans.len()
    }

    /// Adds a concept to everything written since `mark`.
    pub fn add_since(&mut self, mark: usize, concept: Concept) {
        for span in &mut self.spans[mark..] {
            if !span.concepts.contains(&concept) {
                span.concepts.push(concept);
            }
        }
    }

    /// Returns text and spans, without trailing white space.
    pub fn finish(mut self) -> (String, Vec<Span>) {
        while self.spans.last().is_some_and(|span| span.text.trim().is_empty()) {
            self.spans.pop();
        }
        (self.spans.iter().map(|span| span.text.as_str()).collect(), self.spans)
    }
}

/// Byte length of the first piece of `text`. A piece is one space with a word, a number or a mark; the spaces
/// before a line end or of an indent; or a run of line ends.
fn piece_end(text: &str) -> usize {
    let run = |from: usize, keep: fn(char) -> bool| {
        text[from..].find(|c| !keep(c)).map_or(text.len(), |length| from + length)
    };
    let spaces = run(0, |c| c == ' ');
    if spaces > 1 && spaces < text.len() {
        return spaces - 1;
    }
    let start = spaces;
    match text[start..].chars().next() {
        None => text.len(),
        Some('\n') if start > 0 => start,
        Some('\n') => run(start, |c| c == '\n'),
        Some(c) if c.is_ascii_digit() => run(start, |c| c.is_ascii_digit()),
        Some(c) if c.is_alphabetic() => {
            let end = run(start, |c| c.is_alphabetic() || c == '\'' || c == '_');
            // An apostrophe at the end is a mark of its own.
            start + text[start..end].trim_end_matches('\'').len()
        }
        Some(c) => start + c.len_utf8(),
    }
}

fn word_class(word: &str) -> Option<Concept> {
    if let Some(tail) = word.rfind('\'').map(|at| &word[at..]) {
        return Some(if tail == "'s" { Concept::POSSESSIVE } else { Concept::CONTRACTION });
    }
    Some(match word {
        "a" | "an" | "the" => Concept::ARTICLE,
        "in" | "on" | "at" | "to" | "of" | "for" | "from" | "with" | "by" | "under" | "near" | "behind"
        | "into" | "beside" | "between" | "without" | "about" | "through" | "over" | "after" | "before" => {
            Concept::PREPOSITION
        }
        "and" | "but" | "or" | "because" | "while" | "although" | "so" | "if" | "until" => {
            Concept::CONJUNCTION
        }
        "is" | "are" | "was" | "were" | "has" | "have" | "had" | "will" | "would" | "can" | "could"
        | "should" | "must" | "did" | "does" | "do" | "be" | "been" | "might" => Concept::AUXILIARY,
        "not" | "never" | "no" | "nobody" | "nothing" => Concept::NEGATION,
        "who" | "what" | "where" | "when" | "why" | "how" | "which" => Concept::QUESTION_WORD,
        "i" | "you" | "he" | "she" | "it" | "we" | "they" | "me" | "him" | "her" | "us" | "them" | "his"
        | "my" | "your" | "our" | "their" | "its" => Concept::PRONOUN,
        "one" | "two" | "three" | "four" | "five" | "six" | "seven" | "eight" | "nine" | "ten" | "eleven"
        | "twelve" | "twenty" | "thirty" | "forty" => Concept::NUMBER_WORD,
        _ => return None,
    })
}
