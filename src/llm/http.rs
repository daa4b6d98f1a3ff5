//! HTTP exchange of JSON bodies with bounded size and time.

use std::error::Error;
use std::io;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::redirect::{Action, Attempt, Policy};
use reqwest::{Client, Response, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::addresses::{is_loopback, shown};
use super::spec::KEY_PLACE;
use super::status::{ErrorBody, one_line};
use super::token_use::billed_in;
use super::wait::asked_wait;
use super::{ChatError, ClientKind, LlmSpec, Secret, TokenUse};

/// Maximum size of a decompressed answer to one question, in bytes.
const MOST_BYTES: usize = 8 << 20;
const MOST_REDIRECTS: usize = 5;
const CONNECT_SECONDS: f64 = 15.0;
/// Seconds for which an idle connection is kept. Uvicorn, which serves vLLM, closes its side after 5 s, and a request
/// that is sent at that moment fails.
const IDLE_SECONDS: f64 = 4.0;

/// An endpoint with its key. It has no `Debug` implementation, because the headers hold the key.
pub(super) struct Http {
    pub spec: LlmSpec,
    pub identity: String,
    /// The base URL, for messages.
    pub endpoint: String,
    client: Client,
    base: Url,
    key: Option<Secret>,
    /// Keys that no message shows.
    hidden: Vec<Secret>,
}

impl Http {
    /// An endpoint at `base` with the identity of its model, whose messages show none of the `hidden` keys. Nothing is sent yet. Fails for an invalid
    /// header, or if TLS is not available.
    pub fn new(
        spec: &LlmSpec,
        base: &Url,
        identity: String,
        key: Option<Secret>,
        hidden: Vec<Secret>,
    ) -> Result<Self, ChatError> {
        let endpoint = shown(base);
        let refuse = |detail: String| ChatError::BadRequest { endpoint: endpoint.clone(), detail };
        let headers = headers(spec, key.as_ref()).map_err(&refuse)?;
        let mut builder = Client::builder()
            .default_headers(headers)
            .user_agent(concat!("autointerp/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs_f64(CONNECT_SECONDS))
            // All requests may go to one endpoint, and none should wait for a new connection.
            .pool_max_idle_per_host(spec.max_in_flight)
            .pool_idle_timeout(Duration::from_secs_f64(IDLE_SECONDS))
            .redirect(Policy::custom(same_origin));
        if is_loopback(base) {
            // A proxy would send the request off this machine.
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|error| refuse(chain(&error)))?;
        let spec = spec.clone();
        Ok(Self { spec, identity, endpoint: endpoint.clone(), client, base: base.clone(), key, hidden })
    }

    /// The error for an answer that does not follow the protocol.
    pub fn odd(&self, detail: &str) -> ChatError {
        let detail = one_line(&self.hide(detail));
        let endpoint = self.endpoint.clone();
        ChatError::Server { endpoint, detail, retry_after: None, billed: TokenUse::default() }
    }

    /// Posts `body` to `path` under the base URL and reads the answer to its `questions`. An answer that is not JSON, too
    /// large or of another shape is a `Server` error. An answer with status 200 may contain an error too.
    pub async fn ask<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &Value,
        questions: usize,
    ) -> Result<T, ChatError> {
        let seconds = self.spec.timeout_seconds;
        let limit = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        let most_bytes = MOST_BYTES.saturating_mul(questions);
        let bytes = tokio::time::timeout(limit, self.exchange(path, body, most_bytes)).await;
        let bytes = bytes.map_err(|_| ChatError::Timeout { endpoint: self.endpoint.clone(), seconds })??;
        let not_json =
            || self.odd(&format!("answered with something that is not JSON ({} bytes)", bytes.len()));
        let text = std::str::from_utf8(&bytes).map_err(|_| not_json())?;
        // Large answers are rarely errors, so only the fields of errors are read at first.
        if serde_json::from_str::<Head>(text).is_ok_and(|head| !head.may_be_error())
            && let Ok(answer) = serde_json::from_str(text)
        {
            return Ok(answer);
        }
        let value: Value = serde_json::from_str(text).map_err(|_| not_json())?;
        if value.get("object").is_some_and(|object| object == "error") {
            return Err(self.refused(status_in(&value), None, &ErrorBody::of(&value)));
        }
        if let Some(error) = value.get("error").filter(|error| !error.is_null()) {
            let error = self.refused(status_in(error), None, &ErrorBody::of(&value));
            return Err(error.with_billed(billed_in(&value)));
        }
        // Parsed from the text again, because vLLM's protocol depends on the order of a map's entries.
        serde_json::from_str(text).map_err(|error| {
            self.odd(&format!("its answer is not understood: {error}")).with_billed(billed_in(&value))
        })
    }

    async fn exchange(&self, path: &str, body: &Value, most_bytes: usize) -> Result<Vec<u8>, ChatError> {
        let request = self.client.post(self.address(path)).json(body);
        let response = request.send().await.map_err(|error| self.broken(error))?;
        let status = response.status();
        if status.is_redirection() {
            return Err(self.redirected(&response, path));
        }
        if status.is_success() {
            return self.body(response, most_bytes).await;
        }
        let asked = asked_wait(response.headers());
        // The status suffices, so an unreadable body is ignored.
        let body = self.body(response, MOST_BYTES).await.unwrap_or_default();
        let billed = serde_json::from_slice(&body).map_or(TokenUse::default(), |value| billed_in(&value));
        let said = ErrorBody::read(&body);
        Err(self.refused(status.as_u16(), asked.or_else(|| said.wait()), &said).with_billed(billed))
    }

    fn address(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{path}", self.base.path().trim_end_matches('/')));
        if !self.spec.query.is_empty() {
            let query = self.spec.query.iter().map(|(name, value)| (name, filled(value, self.key.as_ref())));
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    /// Reads the body; stops as soon as it is too large.
    async fn body(&self, mut response: Response, most_bytes: usize) -> Result<Vec<u8>, ChatError> {
        let too_large = || self.odd(&format!("reply larger than {} MB", most_bytes >> 20));
        let stated = response.content_length().and_then(|length| usize::try_from(length).ok());
        if stated.is_some_and(|length| length > most_bytes) {
            return Err(too_large());
        }
        let mut bytes = Vec::with_capacity(stated.unwrap_or(0));
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken(error))? {
            if bytes.len() + chunk.len() > most_bytes {
                return Err(too_large());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    fn hide(&self, text: &str) -> String {
        self.hidden.iter().fold(text.to_string(), |text, key| key.hidden_in(&text))
    }

    fn refused(&self, status: u16, wait: Option<f64>, said: &ErrorBody) -> ChatError {
        let words = one_line(&self.hide(&said.message));
        said.error(status, wait, &self.endpoint, self.spec.key_variable(), &words)
    }

    /// The error for a redirect, with the target stripped of everything that may hold a key. If the target ends in
    /// `path`, the message shows the base URL in front of it.
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
        let said = format!("it leads to `{target}`, where the key and the request are not sent");
        let detail = format!("status {}: {}", response.status().as_u16(), one_line(&self.hide(&said)));
        ChatError::Redirected { endpoint: self.endpoint.clone(), detail }
    }

    /// The error for an exchange that failed below HTTP, without the address: its query may hold a key.
    fn broken(&self, error: reqwest::Error) -> ChatError {
        let error = error.without_url();
        if is_undecodable(&error) && !error.is_builder() {
            return self.odd(&chain(&error));
        }
        let (endpoint, detail) = (self.endpoint.clone(), one_line(&self.hide(&chain(&error))));
        match error.is_builder() {
            true => ChatError::BadRequest { endpoint, detail },
            false => ChatError::Connection { endpoint, detail },
        }
    }
}

/// The fields of an answer that tell an error.
#[derive(Deserialize)]
struct Head {
    object: Option<Value>,
    error: Option<Value>,
}

impl Head {
    fn may_be_error(&self) -> bool {
        self.error.is_some() || self.object.as_ref().is_some_and(|object| object == "error")
    }
}

/// The status that an error object contains; 500 if it contains none.
fn status_in(error: &Value) -> u16 {
    let code = error.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
    code.filter(|status| (400..600).contains(status)).unwrap_or(500)
}

/// Follows a redirect only if it keeps the method, the body and the origin (scheme, host and port).
fn same_origin(attempt: Attempt<'_>) -> Action {
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
    let invalid = || {
        let variable = spec.key_variable();
        format!("the key in `{variable}` or a header's value has characters that are not allowed in a header")
    };
    let mut value = HeaderValue::from_str(text).map_err(|_| invalid())?;
    value.set_sensitive(true);
    Ok(value)
}

fn filled(value: &str, key: Option<&Secret>) -> String {
    value.replace(KEY_PLACE, key.map_or("", Secret::expose))
}

fn causes(error: &dyn Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(error.source(), |&cause| cause.source())
}

/// The messages of an error and its causes, without repetitions.
fn chain(error: &dyn Error) -> String {
    causes(error).map(ToString::to_string).fold(error.to_string(), |text, cause| {
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    })
}

/// Whether the body arrived but could not be decompressed.
fn is_undecodable(error: &dyn Error) -> bool {
    causes(error).any(|cause| {
        let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        matches!(kind, Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput))
    })
}
