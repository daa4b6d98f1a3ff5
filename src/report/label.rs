//! Labels: an explanation as one short line. Lists, a feature's page and the terminal all show these.
//!
//! A saved explanation of patterns or of token means lists at most twelve claims, strongest first:
//!
//!   any then any then " at" then " $" → 3.1; " of" → 2.2; … and 8 more; otherwise 0.05
//!
//! Its label is `_ _ " at" " $" → 3.1; " of" → 2.2`. A text that is not exactly of this form is a sentence, and its
//! own label.

use super::escape::{shortened, visible};
use super::number::count;

/// Rules in a label, and token types in the label of a token table.
const RULES: usize = 2;
const TOKENS: usize = 5;

/// Longest token in a label, in characters between the quotes.
const TOKEN_CHARACTERS: usize = 24;

/// From this length on, a run of wildcards is written as `_ ×3`.
const LONG_RUN: usize = 3;

/// An explanation at a glance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Label {
    /// The strongest rules or token types; a sentence as it is. One line, every character visible.
    pub line: String,
    /// The rules that the line leaves out, strongest first.
    pub others: Vec<String>,
    /// Rules that the saved text only counts.
    pub unlisted: usize,
    /// What is predicted where no rule holds.
    pub otherwise: Option<String>,
    /// What a rule is called.
    noun: &'static str,
}

impl Label {
    /// The label of an explanation as it stands in `scores.jsonl`.
    pub fn of(explanation: &str) -> Self {
        let Some(claims) = Claims::parse(explanation) else {
            return Self { line: visible(explanation), ..Self::default() };
        };
        let (shown, noun) = if claims.is_table() { (TOKENS, "token") } else { (RULES, "rule") };
        let rules = merged(&claims.rules);
        let others = rules.iter().skip(shown).map(Rule::text).collect();
        let line: Vec<String> = rules.iter().take(shown).map(Rule::text).collect();
        let otherwise = Some(visible(claims.otherwise));
        Self { line: line.join("; "), others, unlisted: claims.unlisted, otherwise, noun }
    }

    /// The label of rules, cut to `most` characters; none for a sentence, which is its own label.
    pub fn folded(explanation: &str, most: usize) -> Option<String> {
        let label = Self::of(explanation);
        label.is_folded().then(|| shortened(&label.line, most).0)
    }

    /// Whether the explanation was folded: it is of rules, not a sentence.
    pub fn is_folded(&self) -> bool {
        self.otherwise.is_some()
    }

    /// `8 more rules`: how many the line leaves out; none if it has all.
    pub fn more(&self) -> Option<String> {
        let n = self.others.len() + self.unlisted;
        let plural = if n == 1 { "" } else { "s" };
        (n > 0).then(|| format!("{} more {}{plural}", count(n), self.noun))
    }
}

/// One claim: where the tokens stand, the last has this activation.
#[derive(Debug, Clone, PartialEq)]
struct Rule<'a> {
    /// Wildcards in front.
    leading: usize,
    /// The rest, each token with its quotes; none for a wildcard.
    rest: Vec<Option<&'a str>>,
    /// The activation, as it is written.
    value: &'a str,
}

impl Rule<'_> {
    fn text(&self) -> String {
        let mut parts = Vec::new();
        let mut run = self.leading;
        for part in &self.rest {
            match part {
                None => run += 1,
                Some(token) => {
                    push_wildcards(&mut parts, run);
                    run = 0;
                    parts.push(quoted(token));
                }
            }
        }
        push_wildcards(&mut parts, run);
        format!("{} → {}", parts.join(" "), self.value)
    }
}

fn push_wildcards(parts: &mut Vec<String>, run: usize) {
    if run >= LONG_RUN {
        parts.push(format!("_ ×{run}"));
    } else {
        parts.extend(std::iter::repeat_n("_".to_string(), run));
    }
}

/// A token with its quotes on one line, cut if it is long. Several spaces in a row are `␣␣`, because pages and
/// terminals join them.
fn quoted(token: &str) -> String {
    let inner: Vec<char> = token[1..token.len() - 1].chars().collect();
    let is_space = |at: Option<usize>| at.and_then(|at| inner.get(at)) == Some(&' ');
    let in_run = |at: usize| is_space(Some(at)) && (is_space(at.checked_sub(1)) || is_space(Some(at + 1)));
    let letters = inner.iter().enumerate().take(TOKEN_CHARACTERS);
    let head: String = letters.map(|(at, letter)| if in_run(at) { '␣' } else { *letter }).collect();
    let cut = if inner.len() > TOKEN_CHARACTERS { "…" } else { "" };
    format!("\"{}{cut}\"", visible(&head))
}

/// A token in quotes, as in labels.
pub fn quoted_token(token: &str) -> String {
    quoted(&format!("{token:?}"))
}

/// Rules that differ only in leading wildcards become one: the fewest wildcards, and the largest activation.
fn merged<'a>(rules: &[Rule<'a>]) -> Vec<Rule<'a>> {
    let mut found: Vec<Rule<'a>> = Vec::new();
    for rule in rules {
        match found.iter_mut().find(|other| other.rest == rule.rest) {
            Some(other) => other.leading = other.leading.min(rule.leading),
            None => found.push(rule.clone()),
        }
    }
    found
}

/// The parts of a saved explanation.
struct Claims<'a> {
    /// Strongest first.
    rules: Vec<Rule<'a>>,
    unlisted: usize,
    otherwise: &'a str,
}

impl<'a> Claims<'a> {
    /// None for a text of another form.
    fn parse(text: &'a str) -> Option<Self> {
        let (mut rules, mut unlisted, mut rest) = (Vec::new(), 0, text);
        loop {
            if is_otherwise(rest) {
                return (!rules.is_empty()).then_some(Self { rules, unlisted, otherwise: rest });
            }
            if unlisted > 0 {
                return None;
            }
            rest = match rest.strip_prefix("… and ") {
                Some(after) => {
                    let (n, after) = after.split_once(" more; ")?;
                    unlisted = n.parse().ok()?;
                    after
                }
                None => {
                    let (rule, after) = parse_rule(rest)?;
                    rules.push(rule);
                    after
                }
            };
        }
    }

    fn is_table(&self) -> bool {
        self.otherwise.starts_with(ANY_OTHER)
    }
}

const ANY_OTHER: &str = "any other token ";

fn is_otherwise(text: &str) -> bool {
    let starts = [ANY_OTHER, "otherwise by token, on average ", "otherwise "];
    starts.iter().any(|start| text.strip_prefix(start).is_some_and(is_number))
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits.starts_with(|first: char| first.is_ascii_digit())
        && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// `any then " at" → 3.1; ` and what follows it.
fn parse_rule(text: &str) -> Option<(Rule<'_>, &str)> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let part = match rest.strip_prefix("any") {
            Some(after) => {
                rest = after;
                None
            }
            None => {
                let (token, after) = rest.split_at(literal_end(rest)?);
                rest = after;
                Some(token)
            }
        };
        parts.push(part);
        match rest.strip_prefix(" then ") {
            Some(after) => rest = after,
            None => break,
        }
    }
    let (value, rest) = rest.strip_prefix(" → ")?.split_once("; ")?;
    let leading = parts.iter().take_while(|part| part.is_none()).count();
    is_number(value).then(|| (Rule { leading, rest: parts.split_off(leading), value }, rest))
}

/// End of the string literal at the beginning of a text, behind its closing quote. Quotes and backslashes inside
/// are escaped, as `{:?}` writes them.
fn literal_end(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, character) in text.strip_prefix('"')?.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(at + 2),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(text: &str) -> String {
        Label::of(text).line
    }

    #[test]
    fn wildcards_fold_and_tokens_stay_quoted() {
        assert_eq!(
            line(r#"any then any then " at" then " $" → 3.1; otherwise 0.05"#),
            r#"_ _ " at" " $" → 3.1"#
        );
        let far = format!(
            "{}\" at\" then any then any then any then \"x\" → 2; otherwise 0",
            "any then ".repeat(7)
        );
        assert_eq!(line(&far), r#"_ ×7 " at" _ ×3 "x" → 2"#);
        let only =
            Label::of("any then any → 1; any then any then any → 0.5; otherwise by token, on average 0.2");
        assert_eq!(
            (only.line.as_str(), only.more()),
            ("_ _ → 1", None),
            "they differ in leading wildcards alone"
        );
    }

    #[test]
    fn the_two_strongest_rules_stand_and_the_rest_is_counted() {
        let text = r#"" a" → 9; any then " a" → 8; " b" → 7; " c" then " d" → 6; "e" → -5.25; … and 8 more; otherwise 0"#;
        let label = Label::of(text);
        assert_eq!(label.line, r#"" a" → 9; " b" → 7"#);
        assert_eq!(label.others, [r#"" c" " d" → 6"#, r#""e" → -5.25"#]);
        assert_eq!((label.unlisted, label.more().as_deref()), (8, Some("10 more rules")));
        assert_eq!(label.otherwise.as_deref(), Some("otherwise 0"));
        assert!(label.is_folded());
        let three = Label::of(r#"" a" → 9; " b" → 7; " c" → 6; otherwise 0"#);
        assert_eq!(three.more().as_deref(), Some("1 more rule"));
    }

    #[test]
    fn merged_rules_keep_the_fewest_wildcards_and_the_largest_activation() {
        let label = Label::of(
            r#"any then any then " at" → 3; any then " at" → 2; " at" then " at" → 1; otherwise 0"#,
        );
        assert_eq!(label.line, r#"_ " at" → 3; " at" " at" → 1"#);
        assert_eq!(label.more(), None);
    }

    #[test]
    fn a_table_shows_its_strongest_tokens() {
        let means: Vec<String> = (0..12).map(|nth| format!("\" w{nth}\" → {}", 12 - nth)).collect();
        let label = Label::of(&format!("{}; … and 1988 more; any other token 0.31", means.join("; ")));
        assert_eq!(label.line, r#"" w0" → 12; " w1" → 11; " w2" → 10; " w3" → 9; " w4" → 8"#);
        assert_eq!(label.more().as_deref(), Some("1,995 more tokens"));
        assert_eq!(label.otherwise.as_deref(), Some("any other token 0.31"));
    }

    #[test]
    fn sentences_and_texts_of_other_forms_stay_as_they_are() {
        for text in [
            "",
            "dates and times",
            "inside a quotation: 1.2 on, 0.1 off",
            "nothing in particular; otherwise 0.3",
            r#"" at" → 3.1"#,
            r#"" at" → 3.1; otherwise"#,
            r#"" at" → much; otherwise 0"#,
            r#"" at → 3.1; otherwise 0"#,
            r#"" at" → 3.1; … and 2 more; " of" → 1; otherwise 0"#,
            r#"" at" → 3.1; … and many more; otherwise 0"#,
            "any other token 0.3",
            "anything then \"x\" → 1; otherwise 0",
        ] {
            let label = Label::of(text);
            assert_eq!((label.line.as_str(), label.more(), label.is_folded()), (text, None, false));
        }
        assert_eq!(line("two\nlines\u{202e}"), "two lines<U+202E>");
    }

    #[test]
    fn hostile_tokens_are_no_syntax_and_show() {
        for token in ["\"", "\\", " → 3; otherwise 0", "\" then any", "\n\u{202e}\u{200b}", "…", "</script>"]
        {
            let label = Label::of(&format!("any then {token:?} → 2; otherwise 0"));
            assert_eq!(label.line, format!("_ {token:?} → 2"));
        }
        let long = line(&format!("{:?} → 2; otherwise 0", "x".repeat(10_000)));
        assert_eq!(long, format!("\"{}…\" → 2", "x".repeat(24)));
        assert_eq!(line("\"\" → 2; otherwise 0"), "\"\" → 2");
        assert_eq!(line("\" \" then \"   x y\" → 2; otherwise 0"), "\" \" \"␣␣␣x y\" → 2");
        // A folder that another program wrote may hold what is not escaped.
        assert_eq!(line("\"a\u{202e}b\" → 2; otherwise 0"), "\"a<U+202E>b\" → 2");
    }

    proptest! {
        #[test]
        fn every_token_survives_folding(tokens in prop::collection::vec(prop::option::of("\\PC{0,8}|[\"\\\\;→\n]{1,4}"), 0..6), last in any::<char>()) {
            let parts = tokens.iter().map(|token| token.as_ref().map_or("any".to_string(), |token| format!("{token:?}")));
            let last = last.to_string();
            let text: Vec<String> = parts.chain([format!("{last:?}")]).collect();
            let label = Label::of(&format!("{} → 1.5; otherwise 0", text.join(" then ")));
            prop_assert!(label.is_folded());
            prop_assert!(label.line.ends_with(&format!("{} → 1.5", visible(&format!("{last:?}")))), "{}", label.line);
        }

        #[test]
        fn any_text_has_a_label_of_one_visible_line(text in ".{0,80}") {
            let label = Label::of(&text);
            let unseen = ['\n', '\r', '\t', '\u{202e}'];
            prop_assert!(!label.line.contains(unseen));
        }
    }
}
