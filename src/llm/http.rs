//! One exchange over HTTP: a JSON question, a JSON answer of bounded size and time, or an error.

use std::error::Error;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::redirect::{Action, Attempt, Policy};
use reqwest::{Client, Response, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::openai::TokenCount;
use super::spec::{KEY_PLACE, is_loopback, shown};
use super::status::{Blame, Said, one_line};
use super::wait::asked_wait;
use super::{Billed, ChatError, ClientKind, LlmSpec, Secret};

/// Most bytes of an answer, unpacked.
const MOST_BYTES: usize = 8 << 20;
const MOST_REDIRECTS: usize = 5;
const CONNECT_SECONDS: f64 = 15.0;

/// An endpoint with its key. It has no `Debug`, for headers hold the key.
pub(super) struct Http {
    client: Client,
    base: Url,
    endpoint: String,
    query: Vec<(String, String)>,
    key: Option<Secret>,
    key_variable: String,
    timeout_seconds: f64,
}

impl Http {
    /// An endpoint at `base`. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ChatError::BadRequest`] where a header cannot be sent, or there is no TLS.
    pub fn new(spec: &LlmSpec, base: &Url, key: Option<Secret>) -> Result<Self, ChatError> {
        let endpoint = shown(base);
        let refuse = |detail: String| ChatError::BadRequest { endpoint: endpoint.clone(), detail };
        let headers = headers(spec, key.as_ref()).map_err(&refuse)?;
        let mut builder = Client::builder()
            .default_headers(headers)
            .user_agent(concat!("autointerp/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs_f64(CONNECT_SECONDS))
            .redirect(Policy::custom(same_place));
        if is_loopback(base) {
            // A proxy would be a way out of this machine.
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|error| refuse(chain(&error)))?;
        let query = spec.query.iter().map(|(name, value)| (name.clone(), filled(value, key.as_ref())));
        Ok(Self {
            client,
            base: base.clone(),
            endpoint: endpoint.clone(),
            query: query.collect(),
            key,
            key_variable: spec.key_variable().to_string(),
            timeout_seconds: spec.timeout_seconds,
        })
    }

    /// The base URL, for messages.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// An answer that could be read but is not what it should be.
    pub fn odd(&self, detail: &str) -> ChatError {
        let detail = one_line(&self.hide(detail));
        ChatError::Server {
            endpoint: self.endpoint.clone(),
            detail,
            retry_after: None,
            billed: Billed::default(),
        }
    }

    /// Sends `body` to `path` under the base URL and reads the answer.
    ///
    /// # Errors
    /// [`ChatError`] by status; `Server` for an answer that is not JSON, too large or of another
    /// shape, or that holds an error in spite of its status; `Connection` and `Timeout`.
    pub async fn ask<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T, ChatError> {
        let limit = Duration::try_from_secs_f64(self.timeout_seconds).unwrap_or(Duration::MAX);
        let bytes = tokio::time::timeout(limit, self.exchange(path, body)).await.unwrap_or_else(|_| {
            Err(ChatError::Timeout { endpoint: self.endpoint.clone(), seconds: self.timeout_seconds })
        })?;
        let not_json =
            || self.odd(&format!("answered with something that is not JSON ({} bytes)", bytes.len()));
        let text = std::str::from_utf8(&bytes).map_err(|_| not_json())?;
        // Before anything else sees it.
        let text = self.key.as_ref().map_or_else(|| text.to_string(), |key| key.hidden_in_json(text));
        let value: Value = serde_json::from_str(&text).map_err(|_| not_json())?;
        if value.get("object").is_some_and(|object| object == "error") {
            return Err(self.refused(status_in(&value), None, &Said::of(&value)));
        }
        if let Some(error) = value.get("error").filter(|error| !error.is_null()) {
            return Err(self
                .refused(status_in(error), None, &Said::of(&value))
                .with_billed(billed_in(&value)));
        }
        // Read again from the text: the order of a map's entries can matter to a protocol.
        serde_json::from_str(&text).map_err(|error| {
            self.odd(&format!("its answer is not understood: {error}")).with_billed(billed_in(&value))
        })
    }

    async fn exchange(&self, path: &str, body: &Value) -> Result<Vec<u8>, ChatError> {
        let response = self
            .client
            .post(self.address(path))
            .json(body)
            .send()
            .await
            .map_err(|error| self.broken(error))?;
        let status = response.status();
        if status.is_redirection() {
            return Err(self.redirected(&response, path));
        }
        if status.is_success() {
            return self.body(response).await;
        }
        let asked = asked_wait(response.headers());
        // The status alone is an answer, so trouble with the body changes nothing.
        let body = self.body(response).await.unwrap_or_default();
        let billed = serde_json::from_slice(&body).map_or(Billed::default(), |value| billed_in(&value));
        let said = Said::read(&body);
        Err(self.refused(status.as_u16(), asked.or_else(|| said.wait()), &said).with_billed(billed))
    }

    fn address(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{path}", self.base.path().trim_end_matches('/')));
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&self.query);
        }
        url
    }

    /// The whole body, or an error as soon as it is known to be too large.
    async fn body(&self, mut response: Response) -> Result<Vec<u8>, ChatError> {
        let too_large = || self.odd(&format!("reply larger than {} MB", MOST_BYTES >> 20));
        let stated = response.content_length().and_then(|length| usize::try_from(length).ok());
        if stated.is_some_and(|length| length > MOST_BYTES) {
            return Err(too_large());
        }
        let mut bytes = Vec::with_capacity(stated.unwrap_or(0));
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken(error))? {
            if bytes.len() + chunk.len() > MOST_BYTES {
                return Err(too_large());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    fn hide(&self, text: &str) -> String {
        self.key.as_ref().map_or_else(|| text.to_string(), |key| key.hidden_in(text))
    }

    fn refused(&self, status: u16, wait: Option<f64>, said: &Said) -> ChatError {
        let hide = |text: &str| self.hide(text);
        let blame = Blame { endpoint: &self.endpoint, key_variable: &self.key_variable, hide: &hide };
        blame.error(status, wait, said)
    }

    /// Where a redirect leads, without what may hold a key. A place under the same path is told as the base URL that
    /// it would need.
    fn redirected(&self, response: &Response, path: &str) -> ChatError {
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let place = |mut url: Url| {
            url.set_query(None);
            url.set_fragment(None);
            let _ = url.set_username("").and_then(|()| url.set_password(None));
            let text = url.to_string();
            text.strip_suffix(path).map_or(text.clone(), |base| base.trim_end_matches('/').to_string())
        };
        let target = location.and_then(|text| response.url().join(text).ok()).map_or("nowhere".into(), place);
        let said = format!(
            "it leads to `{target}` and is not followed, since the key and the question go nowhere else"
        );
        let detail = format!("status {}: {}", response.status().as_u16(), one_line(&self.hide(&said)));
        ChatError::Redirected { endpoint: self.endpoint.clone(), detail }
    }

    /// An exchange that failed below HTTP. The address is left out: its query may hold a key.
    fn broken(&self, error: reqwest::Error) -> ChatError {
        let error = error.without_url();
        let detail = one_line(&self.hide(&chain(&error)));
        let endpoint = self.endpoint.clone();
        if error.is_builder() {
            return ChatError::BadRequest { endpoint, detail };
        }
        if is_unreadable(&error) {
            return ChatError::Server { endpoint, detail, retry_after: None, billed: Billed::default() };
        }
        ChatError::Connection { endpoint, detail }
    }
}

/// The status that an error names within an answer; 500 where it names none.
fn status_in(error: &Value) -> u16 {
    let code = error.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
    code.filter(|status| (400..600).contains(status)).unwrap_or(500)
}

/// The `usage` of an answer, in OpenAI's words or in Anthropic's; nothing where it says nothing.
fn billed_in(answer: &Value) -> Billed {
    let count = |names: &[&str]| {
        let of = |name: &&str| TokenCount::number(answer.get("usage")?.get(*name)?);
        names.iter().filter_map(of).fold(0, u64::saturating_add)
    };
    Billed {
        tokens_in: count(&[
            "prompt_tokens",
            "input_tokens",
            "cache_creation_input_tokens",
            "cache_read_input_tokens",
        ]),
        tokens_out: count(&["completion_tokens", "output_tokens"]),
    }
}

/// Follows a redirect only where the request goes unchanged to the same scheme, host and port.
fn same_place(attempt: Attempt<'_>) -> Action {
    let origin = attempt.previous().first().map(Url::origin);
    let stays = origin.is_some_and(|origin| origin == attempt.url().origin());
    let unchanged = [307, 308].contains(&attempt.status().as_u16());
    if stays && unchanged && attempt.previous().len() <= MOST_REDIRECTS {
        return attempt.follow();
    }
    attempt.stop()
}

fn headers(spec: &LlmSpec, key: Option<&Secret>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    if spec.client == ClientKind::Anthropic {
        headers.insert("anthropic-version", HeaderValue::from_static("2023-06-01"));
    }
    let placed = spec.headers.values().chain(spec.query.values()).any(|value| value.contains(KEY_PLACE));
    if let Some(key) = key.filter(|_| !placed) {
        let (name, text) = match spec.client {
            ClientKind::Anthropic => (HeaderName::from_static("x-api-key"), key.expose().to_string()),
            _ => (AUTHORIZATION, format!("Bearer {}", key.expose())),
        };
        headers.insert(name, secret_value(&text, spec)?);
    }
    for (name, value) in &spec.headers {
        let header =
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` is not a header"))?;
        headers.insert(header, secret_value(&filled(value, key), spec)?);
    }
    Ok(headers)
}

fn secret_value(text: &str, spec: &LlmSpec) -> Result<HeaderValue, String> {
    let unfit = || {
        format!(
            "the key in `{}` or a header's value holds characters that no header can",
            spec.key_variable()
        )
    };
    let mut value = HeaderValue::from_str(text).map_err(|_| unfit())?;
    value.set_sensitive(true);
    Ok(value)
}

fn filled(value: &str, key: Option<&Secret>) -> String {
    value.replace(KEY_PLACE, key.map_or("", Secret::expose))
}

/// An error with its causes.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let words = inner.to_string();
        if !text.contains(&words) {
            text.push_str(&format!(": {words}"));
        }
        cause = inner.source();
    }
    text
}

/// Whether everything arrived but could not be unpacked.
fn is_unreadable(error: &dyn Error) -> bool {
    let mut cause = error.source();
    while let Some(inner) = cause {
        let kind = inner.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        if matches!(kind, Some(std::io::ErrorKind::InvalidData | std::io::ErrorKind::InvalidInput)) {
            return true;
        }
        cause = inner.source();
    }
    false
}
