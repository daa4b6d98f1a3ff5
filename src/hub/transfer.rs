//! Downloads that resume, follow redirects and check hashes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::http::{Response, Uri};
use ureq::{Agent, Body};

use super::listing::Entry;
use super::{Download, HubError, OnDownload};
use crate::base::{Digest, FileError, create_dir_all};

const MAX_REDIRECTS: usize = 8;
/// Failed attempts in a row after which a download is given up.
const MAX_FAILURES: u32 = 5;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// A connection on which nothing arrives for so long is closed and the download resumed.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LISTING_BYTES: u64 = 1 << 28;
const BUFFER_BYTES: usize = 1 << 17;

/// Requests to one endpoint.
pub(super) struct Transfer {
    agent: Agent,
    endpoint: String,
    token: Option<String>,
    pub(super) on_download: Option<OnDownload>,
    /// Wait after the first failure; doubled after each further one.
    pub(super) pause: Duration,
}

/// A file to download: its path at the endpoint, its entry in the listing, and its name in messages.
pub(super) struct RemoteFile<'a> {
    pub(super) path: String,
    pub(super) entry: &'a Entry,
    pub(super) label: String,
}

/// An answer after redirects, with the hash that the hub stated for the file.
struct Reply {
    response: Response<Body>,
    sha256: Option<Digest>,
}

enum Failure {
    /// Another attempt may succeed.
    Transient(String),
    /// Another attempt cannot succeed.
    Permanent(HubError),
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        Self::Permanent(error)
    }
}

impl Transfer {
    pub(super) fn new(endpoint: &str, token: Option<&str>) -> Result<Self, HubError> {
        let endpoint = endpoint.trim_end_matches('/').to_string();
        let uri = parse(&endpoint).filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
        let Some(uri) = uri else {
            let expected = "a full address such as `https://huggingface.co`";
            return Err(HubError::Name { what: "endpoint", text: endpoint, expected });
        };
        let token = token.map(str::trim).filter(|token| !token.is_empty());
        if token.is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
            let expected = "visible ASCII characters only";
            return Err(HubError::Name { what: "token", text: "(not shown)".into(), expected });
        }
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(STALL_TIMEOUT))
            .timeout_per_read(Some(STALL_TIMEOUT))
            .accept_encoding("identity")
            .user_agent(concat!("autointerp/", env!("CARGO_PKG_VERSION")));
        if matches!(uri.host(), Some("localhost" | "127.0.0.1" | "[::1]")) {
            config = config.proxy(None);
        }
        let (agent, token, pause) = (config.build().into(), token.map(str::to_string), FIRST_PAUSE);
        Ok(Self { agent, endpoint, token, on_download: None, pause })
    }

    /// A small answer as bytes.
    pub(super) fn json(&self, path: &str, wanted: &str) -> Result<Vec<u8>, HubError> {
        let mut failures = 0;
        loop {
            match self.try_json(path, wanted) {
                Ok(bytes) => return Ok(bytes),
                Err(Failure::Permanent(error)) => return Err(error),
                Err(Failure::Transient(why)) => self.wait(&mut failures, why, wanted)?,
            }
        }
    }

    fn try_json(&self, path: &str, wanted: &str) -> Result<Vec<u8>, Failure> {
        let mut reply = self.get(path, None, wanted)?;
        let body = reply.response.body_mut().with_config().limit(LISTING_BYTES).read_to_vec();
        body.map_err(|error| Failure::Transient(error.to_string()))
    }

    /// Downloads a file to `target`, resuming an earlier attempt. It gets this name only when it is complete and its hash
    /// is right.
    pub(super) fn file(&self, file: &RemoteFile<'_>, target: &Path) -> Result<(), HubError> {
        let mut part = Part::open(target)?;
        if target.is_file() {
            // Another process finished it while this one waited for the lock.
            return Ok(());
        }
        let mut resumed = part.len()? > 0;
        loop {
            let sha256 = self.complete(&mut part, file)?;
            match part.check(file.entry.size, sha256, &file.label) {
                Ok(()) => return part.finish(target),
                // The earlier part may be of another version of the file: start once from the beginning.
                Err(HubError::Damaged { .. }) if resumed => part.clear()?,
                Err(error) => {
                    part.clear()?;
                    part.remove();
                    return Err(error);
                }
            }
            resumed = false;
        }
    }

    /// Requests the rest of a part until it is complete. Returns the hash that the file should have.
    fn complete(&self, part: &mut Part, file: &RemoteFile<'_>) -> Result<Option<Digest>, HubError> {
        let (mut failures, mut most) = (0, part.len()?);
        let (size, mut sha256) = (file.entry.size, file.entry.sha256);
        loop {
            let start = part.len()?;
            if size.is_some_and(|size| start > size) {
                part.clear()?;
                continue;
            }
            if size == Some(start) {
                return Ok(sha256);
            }
            let outcome = self.request_from(part, start, file, &mut sha256);
            let now = part.len()?;
            let why = match outcome {
                Ok(()) if size.is_none_or(|size| size <= now) => return Ok(sha256),
                Err(Failure::Permanent(error)) => return Err(error),
                Ok(()) => "the server sent less than it announced".into(),
                Err(Failure::Transient(why)) => why,
            };
            match now > most {
                true => (failures, most) = (0, now),
                false => self.wait(&mut failures, why, &file.label)?,
            }
        }
    }

    /// Requests the bytes from `start` on, once.
    fn request_from(
        &self,
        part: &mut Part,
        start: u64,
        file: &RemoteFile<'_>,
        sha256: &mut Option<Digest>,
    ) -> Result<(), Failure> {
        let reply = self.get(&file.path, (start > 0).then_some(start), &file.label)?;
        *sha256 = sha256.or(reply.sha256);
        let header = |name: &str| reply.response.headers().get(name).and_then(|text| text.to_str().ok());
        match reply.response.status().as_u16() {
            206 if header("content-range")
                .is_some_and(|range| range.starts_with(&format!("bytes {start}-"))) => {}
            // A server without ranges sends the whole file.
            200 => part.clear()?,
            // The range is empty because the part is complete.
            416 if header("content-range") == Some(&format!("bytes */{start}")) => return Ok(()),
            416 => {
                part.clear()?;
                return Err(Failure::Transient("the range was refused".into()));
            }
            status => {
                part.clear()?;
                return Err(Failure::Transient(format!("status {status} to a request from byte {start}")));
            }
        }
        self.copy(reply.response.into_body(), part, file.entry)
    }

    fn copy(&self, body: Body, part: &mut Part, entry: &Entry) -> Result<(), Failure> {
        let mut reader = body.into_reader();
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut done = part.len()?;
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => {
                    part.append(&buffer[..n])?;
                    done += n as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Failure::Transient(error.to_string())),
            }
            if let Some(report) = &self.on_download {
                report(Download { file: &entry.name, done, total: entry.size });
            }
        }
    }

    /// Counts a failure and waits, or gives up.
    fn wait(&self, failures: &mut u32, why: String, wanted: &str) -> Result<(), HubError> {
        *failures += 1;
        if *failures >= MAX_FAILURES {
            return Err(HubError::Network { wanted: wanted.to_string(), why });
        }
        std::thread::sleep(self.pause * (1 << (*failures - 1)));
        Ok(())
    }

    /// One request with its redirects. The token is sent to the endpoint's own host only.
    fn get(&self, path: &str, start: Option<u64>, wanted: &str) -> Result<Reply, Failure> {
        let mut url = format!("{}/{path}", self.endpoint);
        let mut sha256 = None;
        for _ in 0..MAX_REDIRECTS {
            let mut request = self.agent.get(&url);
            if let Some(token) = self.token.as_ref().filter(|_| same_origin(&url, &self.endpoint)) {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            if let Some(start) = start {
                request = request.header("range", format!("bytes={start}-"));
            }
            let response = request.call().map_err(|error| Failure::Transient(error.to_string()))?;
            // Storage hosts tag files with hashes of other kinds.
            if same_origin(&url, &self.endpoint) {
                sha256 = sha256.or_else(|| stated_hash(&response));
            }
            if !response.status().is_redirection() {
                return self.check_status(Reply { response, sha256 }, wanted);
            }
            let location = response.headers().get("location").and_then(|text| text.to_str().ok());
            let answer = |why: &str| HubError::Answer { wanted: wanted.to_string(), why: why.to_string() };
            let next = location.and_then(|location| redirect_target(&url, location));
            url = next.ok_or_else(|| answer("a redirect without a usable address"))?;
        }
        Err(Failure::Transient("too many redirects".into()))
    }

    fn check_status(&self, reply: Reply, wanted: &str) -> Result<Reply, Failure> {
        let wanted = wanted.to_string();
        match reply.response.status().as_u16() {
            status @ (401 | 403) => {
                let hint = if self.token.is_some() {
                    "the id may be wrong, or the token in `HF_TOKEN` may have no access: accept the \
                     repository's terms on its page, or use another token"
                } else {
                    "the id may be wrong, or the repository private or gated: then set `HF_TOKEN`"
                };
                Err(HubError::Refused { wanted, status, hint }.into())
            }
            404 | 410 => Err(HubError::NotFound { wanted }.into()),
            status @ (408 | 429 | 500..) => Err(Failure::Transient(format!("status {status}"))),
            // 416 is handled by `request_from`.
            status @ 400.. if status != 416 => {
                Err(HubError::Network { wanted, why: format!("status {status}") }.into())
            }
            _ => Ok(reply),
        }
    }
}

impl std::fmt::Debug for Transfer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Transfer({}, token {})", self.endpoint, if self.token.is_some() { "set" } else { "none" })
    }
}

/// An incomplete file, locked against other processes.
struct Part {
    file: File,
    path: PathBuf,
}

impl Part {
    fn open(target: &Path) -> Result<Self, HubError> {
        if let Some(folder) = target.parent() {
            create_dir_all(folder)?;
        }
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let path = target.with_file_name(format!(".{name}.part"));
        let opened = OpenOptions::new().read(true).append(true).create(true).open(&path);
        let file = opened.map_err(|source| FileError { action: "write", path: path.clone(), source })?;
        let part = Self { file, path };
        part.file.lock().map_err(|source| part.failed(source))?;
        Ok(part)
    }

    fn failed(&self, source: io::Error) -> HubError {
        FileError { action: "write", path: self.path.clone(), source }.into()
    }

    fn len(&self) -> Result<u64, HubError> {
        Ok(self.file.metadata().map_err(|source| self.failed(source))?.len())
    }

    fn clear(&mut self) -> Result<(), HubError> {
        self.file.set_len(0).map_err(|source| self.failed(source))
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), HubError> {
        self.file.write_all(bytes).map_err(|source| self.failed(source))
    }

    fn check(&mut self, size: Option<u64>, sha256: Option<Digest>, wanted: &str) -> Result<(), HubError> {
        let damaged = |what, expected, got| HubError::Damaged { wanted: wanted.into(), what, expected, got };
        let len = self.len()?;
        if let Some(size) = size.filter(|&size| size != len) {
            return Err(damaged("size", size.to_string(), len.to_string()));
        }
        if let Some(expected) = sha256 {
            self.file.seek(SeekFrom::Start(0)).map_err(|source| self.failed(source))?;
            let got = sha256_of(&mut self.file).map_err(|source| self.failed(source))?;
            if got != expected {
                return Err(damaged("SHA-256", expected.hex(), got.hex()));
            }
        }
        Ok(())
    }

    fn finish(self, target: &Path) -> Result<(), HubError> {
        self.file.sync_data().map_err(|source| self.failed(source))?;
        fs::rename(&self.path, target).map_err(|source| self.failed(source))
    }

    fn remove(&self) {
        // An empty leftover does no harm.
        let _ = fs::remove_file(&self.path);
    }
}

/// SHA-256 of everything that a reader returns.
pub(super) fn sha256_of(input: impl Read) -> io::Result<Digest> {
    use sha2::Digest as _;
    let mut hasher = sha2::Sha256::new();
    io::copy(&mut BufReader::with_capacity(BUFFER_BYTES, input), &mut hasher)?;
    let hex: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Digest::parse(&hex).ok_or_else(|| io::Error::other("a hash of the wrong length"))
}

/// The hash that the hub states for a large file. The tag of a small file is no SHA-256.
fn stated_hash(response: &Response<Body>) -> Option<Digest> {
    let header = |name: &str| response.headers().get(name)?.to_str().ok();
    let tag = header("x-linked-etag").or_else(|| header("etag"))?;
    Digest::parse(tag.trim_start_matches("W/").trim_matches('"'))
}

fn parse(url: &str) -> Option<Uri> {
    url.parse::<Uri>().ok().filter(|uri| uri.host().is_some())
}

fn same_origin(a: &str, b: &str) -> bool {
    let both = parse(a).zip(parse(b));
    both.is_some_and(|(a, b)| a.scheme() == b.scheme() && a.authority() == b.authority())
}

/// The target of a redirect; none if it leads from an encrypted to a plain connection.
fn redirect_target(from: &str, location: &str) -> Option<String> {
    let base = parse(from)?;
    if location.starts_with('/') && !location.starts_with("//") {
        return Some(format!("{}://{}{location}", base.scheme_str()?, base.authority()?));
    }
    let target = parse(location)?;
    match (base.scheme_str()?, target.scheme_str()?) {
        (_, "https") | ("http", "http") => Some(location.to_string()),
        _ => None,
    }
}
