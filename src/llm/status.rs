//! What an endpoint says when it does not answer, as a [`ChatError`].

use serde_json::Value;

use super::wait::wait_in_words;
use super::{Billed, ChatError};
use crate::base::is_invisible;

/// Most characters of an endpoint's words in a message.
const MOST_CHARACTERS: usize = 200;
/// Codes and types of errors that say that no credit is left.
const QUOTA_CODES: [&str; 5] = [
    "insufficient_quota",
    "billing_hard_limit_reached",
    "billing_not_active",
    "insufficient_balance",
    "insufficient_credits",
];
/// What messages say when no credit is left.
const QUOTA_WORDS: [&str; 4] =
    ["exceeded your current quota", "credit balance", "insufficient balance", "insufficient credits"];

/// An endpoint's words about an error.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Code and type of the error, as far as given.
    codes: Vec<String>,
    /// Its message, as it came.
    message: String,
}

impl Said {
    /// From the body of an answer; a page of HTML says nothing.
    pub fn read(body: &[u8]) -> Self {
        if let Ok(value) = serde_json::from_slice::<Value>(body) {
            return Self::of(&value);
        }
        let text = String::from_utf8_lossy(body);
        if text.trim_start().starts_with('<') {
            return Self { message: "a web page".into(), ..Self::default() };
        }
        Self { message: text.chars().take(10 * MOST_CHARACTERS).collect(), ..Self::default() }
    }

    /// From JSON in one of the forms that endpoints use.
    pub fn of(value: &Value) -> Self {
        let value = value.get(0).unwrap_or(value);
        let error = value.get("error").filter(|error| !error.is_null()).unwrap_or(value);
        let said = [
            Some(error),
            error.get("message"),
            error.get("detail"),
            value.get("message"),
            value.get("detail"),
        ];
        let text = said.into_iter().flatten().find_map(Value::as_str).map(str::to_string);
        let message = text.or_else(|| fields_at_fault(error.get("detail")?)).unwrap_or_default();
        let codes = ["code", "type"].iter().filter_map(|name| error.get(*name)?.as_str());
        Self { codes: codes.map(str::to_string).collect(), message }
    }

    /// Seconds that its words ask to wait.
    pub fn wait(&self) -> Option<f64> {
        wait_in_words(&self.message)
    }

    fn is_quota(&self) -> bool {
        self.codes.iter().any(|code| QUOTA_CODES.contains(&code.as_str()))
    }

    fn sounds_like_quota(&self) -> bool {
        let message = self.message.to_ascii_lowercase();
        self.is_quota() || QUOTA_WORDS.iter().any(|words| message.contains(words))
    }
}

/// A list of fields at fault, as FastAPI has it: `[{"loc": ["body", "seed"], "msg": "extra fields not permitted"}]`.
fn fields_at_fault(detail: &Value) -> Option<String> {
    const MOST: usize = 3;
    let part = |part: &Value| part.as_str().map_or_else(|| part.to_string(), str::to_string);
    let fault = |fault: &Value| {
        let place: Vec<String> =
            fault.get("loc").and_then(Value::as_array).into_iter().flatten().map(part).collect();
        let what = fault.get("msg")?.as_str()?;
        Some(if place.is_empty() { what.to_string() } else { format!("`{}` {what}", place.join(".")) })
    };
    let faults: Vec<String> = detail.as_array()?.iter().take(MOST).filter_map(fault).collect();
    (!faults.is_empty()).then(|| faults.join("; "))
}

/// Whom an error is about, and what must not be in it.
pub(super) struct Blame<'a> {
    /// Base URL.
    pub endpoint: &'a str,
    /// Variable of the key.
    pub key_variable: &'a str,
    /// Takes the key out of a text.
    pub hide: &'a dyn Fn(&str) -> String,
}

impl Blame<'_> {
    /// The error of a status outside 200–299.
    pub fn error(&self, status: u16, retry_after: Option<f64>, said: &Said) -> ChatError {
        let endpoint = self.endpoint.to_string();
        let words = one_line(&(self.hide)(&said.message));
        let colon = if words.is_empty() { "" } else { ": " };
        let detail = format!("status {status}{colon}{words}");
        match status {
            _ if status != 429 && status < 500 && said.sounds_like_quota() => {
                ChatError::Quota { endpoint, detail }
            }
            401 | 403 => {
                let detail = format!("{detail} (the key comes from `{}`)", self.key_variable);
                ChatError::Auth { endpoint, detail }
            }
            402 => ChatError::Quota { endpoint, detail },
            404 => ChatError::NotFound { endpoint, detail },
            // Some vendors speak of a quota when they mean a minute's: then they say how long to wait.
            429 if said.is_quota() || (retry_after.is_none() && said.sounds_like_quota()) => {
                ChatError::Quota { endpoint, detail }
            }
            429 => ChatError::RateLimited { endpoint, detail, retry_after },
            408 | 500.. => ChatError::Server { endpoint, detail, retry_after, billed: Billed::default() },
            _ => ChatError::BadRequest { endpoint, detail },
        }
    }
}

/// A text of others in one line of at most 200 characters, without what could steer a terminal.
pub(super) fn one_line(text: &str) -> String {
    line_of(text, MOST_CHARACTERS)
}

/// The same of at most `most` characters.
pub(super) fn line_of(text: &str, most: usize) -> String {
    let shown = text.chars().filter(|&c| c.is_control() || !is_invisible(c));
    let clean: String = shown.map(|c| if c.is_control() { ' ' } else { c }).collect();
    let words: Vec<&str> = clean.split_whitespace().collect();
    let line = words.join(" ");
    if line.chars().count() <= most {
        return line;
    }
    line.chars().take(most - 1).chain(['…']).collect()
}
