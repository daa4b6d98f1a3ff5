//! Explanations as data: what an explainer returns and a simulator reads.

use serde::{Deserialize, Serialize};

use super::{Pattern, PatternTrie, TokenTable};

/// Claims shown in an explanation's text; the others are only counted.
const SHOWN: usize = 12;

/// A claim about when a feature fires.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Explanation {
    /// Token patterns.
    Patterns(PatternTrie),
    /// A mean activation per token type.
    Lookup(TokenTable),
    /// Mean activations with and without a named concept.
    Concept(ConceptMeans),
    /// A sentence in natural language.
    Sentence(String),
}

/// A concept of a labelled corpus, with the feature's mean activation where it holds and where it does not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConceptMeans {
    /// Index in the list of concepts with which tokens are labelled.
    pub concept: usize,
    /// Its stable name.
    pub name: String,
    /// Its meaning in words, such as "inside a quotation".
    pub words: String,
    /// Mean activation of tokens with the concept.
    pub on: f64,
    /// Mean activation of tokens without it.
    pub off: f64,
}

impl Explanation {
    /// At most twelve claims in words, strongest first, and the number of others. `token` gives a token's
    /// text.
    pub fn text(&self, token: &dyn Fn(u32) -> String) -> String {
        match self {
            Self::Sentence(sentence) => sentence.clone(),
            Self::Concept(ConceptMeans { words, on, off, .. }) => {
                format!("{words}: {} on, {} off", number(*on), number(*off))
            }
            Self::Lookup(table) => {
                format!("{}; any other token {}", lookup_text(table, token), number(table.unseen()))
            }
            Self::Patterns(trie) => {
                let otherwise = match trie.backoff() {
                    Some(table) => {
                        format!("otherwise by token, on average {}", number(table.unseen()))
                    }
                    None => format!("otherwise {}", number(trie.unmatched())),
                };
                format!("{}; {otherwise}", patterns_text(trie.patterns(), token))
            }
        }
    }
}

fn lookup_text(table: &TokenTable, token: &dyn Fn(u32) -> String) -> String {
    let claims = table.means().map(|(id, mean)| (mean, id)).collect();
    strongest(claims, |id| format!("{:?}", token(*id)))
}

fn patterns_text(patterns: &[Pattern], token: &dyn Fn(u32) -> String) -> String {
    let claims = patterns.iter().map(|pattern| (pattern.value, pattern)).collect();
    strongest(claims, |pattern| {
        let words = pattern.tokens.iter().map(|part| match part {
            Some(id) => format!("{:?}", token(*id)),
            None => "any".to_string(),
        });
        words.collect::<Vec<_>>().join(" then ")
    })
}

fn strongest<T>(mut claims: Vec<(f64, T)>, words: impl Fn(&T) -> String) -> String {
    claims.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut parts: Vec<String> = claims
        .iter()
        .take(SHOWN)
        .map(|(value, claim)| format!("{} → {}", words(claim), number(*value)))
        .collect();
    if claims.len() > SHOWN {
        parts.push(format!("… and {} more", claims.len() - SHOWN));
    }
    if parts.is_empty() { "nothing in particular".to_string() } else { parts.join("; ") }
}

/// Three significant digits, without exponents, at most eight decimals.
fn number(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return "0".into();
    }
    let digits = (2 - value.abs().log10().floor() as i64).clamp(0, 8) as usize;
    let text = format!("{value:.digits$}");
    if !text.contains('.') {
        return text;
    }
    match text.trim_end_matches('0').trim_end_matches('.') {
        "" | "-" | "-0" => "0".into(),
        trimmed => trimmed.into(),
    }
}
