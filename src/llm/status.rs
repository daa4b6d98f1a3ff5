//! Converts an endpoint's error answer to a [`ChatError`].

use serde_json::Value;

use super::wait::wait_in_words;
use super::{ChatError, TokenUse};
use crate::base::is_invisible;

/// Maximum number of characters of an endpoint's words in a message.
const MOST_CHARACTERS: usize = 200;
/// Error codes and types for exhausted credit.
const QUOTA_CODES: [&str; 5] = [
    "insufficient_quota",
    "billing_hard_limit_reached",
    "billing_not_active",
    "insufficient_balance",
    "insufficient_credits",
];
/// Words of messages about exhausted credit.
const QUOTA_WORDS: [&str; 4] =
    ["exceeded your current quota", "credit balance", "insufficient balance", "insufficient credits"];

/// The body of an error answer.
#[derive(Debug, Default)]
pub(super) struct ErrorBody {
    /// The fields `code` and `type`, if present.
    codes: Vec<String>,
    /// The message. It may hold the key.
    pub message: String,
}

impl ErrorBody {
    /// Reads a body in any format. The contents of a web page are ignored.
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

    /// Reads JSON in any of the forms that endpoints use.
    pub fn of(value: &Value) -> Self {
        let value = value.get(0).unwrap_or(value);
        let error = value.get("error").filter(|error| !error.is_null()).unwrap_or(value);
        let fields = [error, value].map(|object| [object.get("message"), object.get("detail")]);
        let mut texts = std::iter::once(error).chain(fields.into_iter().flatten().flatten());
        let text = texts.find_map(Value::as_str).map(str::to_string);
        let message = text.or_else(|| invalid_fields(error.get("detail")?)).unwrap_or_default();
        let codes = ["code", "type"].iter().filter_map(|name| error.get(*name)?.as_str());
        Self { codes: codes.map(str::to_string).collect(), message }
    }

    /// Seconds that the message asks to wait.
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

    /// The error for a status outside 200–299. `words` is the message in one line without the key.
    pub fn error(
        &self,
        status: u16,
        retry_after: Option<f64>,
        endpoint: &str,
        key_variable: &str,
        words: &str,
    ) -> ChatError {
        let endpoint = endpoint.to_string();
        let colon = if words.is_empty() { "" } else { ": " };
        let detail = format!("{}{colon}{words}", named(status));
        match status {
            _ if status != 429 && status < 500 && self.sounds_like_quota() => {
                ChatError::Quota { endpoint, detail }
            }
            401 | 403 => {
                let detail = format!("it refused the key from `{key_variable}`: {detail}");
                ChatError::Auth { endpoint, detail }
            }
            402 => ChatError::Quota { endpoint, detail },
            404 => ChatError::NotFound { endpoint, detail },
            // Some vendors call a limit per minute a quota; they then say how long to wait.
            429 if self.is_quota() || (retry_after.is_none() && self.sounds_like_quota()) => {
                ChatError::Quota { endpoint, detail }
            }
            429 => ChatError::RateLimited { endpoint, detail, retry_after },
            408 | 500.. => ChatError::Server { endpoint, detail, retry_after, billed: TokenUse::default() },
            _ => ChatError::BadRequest { endpoint, detail },
        }
    }
}

/// A status at the start of an error's detail.
fn named(status: u16) -> String {
    format!("status {status}")
}

/// Whether nobody answered at an address: no connection, or a proxy without a server behind it (502, 503, 504).
pub(super) fn is_unavailable(error: &ChatError) -> bool {
    match error {
        ChatError::Connection { .. } => true,
        ChatError::Server { detail, .. } => {
            [502, 503, 504].into_iter().any(|status| detail.starts_with(&named(status)))
        }
        _ => false,
    }
}

/// FastAPI's list of invalid fields: `[{"loc": ["body", "seed"], "msg": "extra fields not permitted"}]`.
fn invalid_fields(detail: &Value) -> Option<String> {
    const MOST: usize = 3;
    let part = |part: &Value| part.as_str().map_or_else(|| part.to_string(), str::to_string);
    let fault = |fault: &Value| {
        let place = fault.get("loc").and_then(Value::as_array).into_iter().flatten();
        let place: Vec<String> = place.map(part).collect();
        let what = fault.get("msg")?.as_str()?;
        Some(if place.is_empty() { what.to_string() } else { format!("`{}` {what}", place.join(".")) })
    };
    let faults: Vec<String> = detail.as_array()?.iter().take(MOST).filter_map(fault).collect();
    (!faults.is_empty()).then(|| faults.join("; "))
}

/// Foreign text as one line of at most 200 characters, without terminal control characters.
pub(super) fn one_line(text: &str) -> String {
    line_of(text, MOST_CHARACTERS)
}

/// As [`one_line`], with at most `most` characters.
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
