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
/// Attempts in a row that bring nothing new.
const MAX_FAILURES: u32 = 5;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// A connection on which nothing arrives for so long is given up and resumed.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);
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

/// An answer after redirects, with what the first hop said about the file.
struct Reply {
    response: Response<Body>,
    sha256: Option<Digest>,
}

/// Trouble that another attempt may or may not cure.
enum Failure {
    Passing(String),
    Final(HubError),
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        Self::Final(error)
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
        Ok(Self {
            agent: config.build().into(),
            endpoint,
            token: token.map(str::to_string),
            on_download: None,
            pause: Duration::from_millis(500),
        })
    }

    /// A small answer as bytes.
    pub(super) fn json(&self, path: &str, wanted: &str) -> Result<Vec<u8>, HubError> {
        let mut failures = 0;
        loop {
            match self.try_json(path, wanted) {
                Ok(bytes) => return Ok(bytes),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(why)) => self.wait(&mut failures, why, wanted)?,
            }
        }
    }

    fn try_json(&self, path: &str, wanted: &str) -> Result<Vec<u8>, Failure> {
        let mut reply = self.get(path, None, wanted)?;
        let body = reply.response.body_mut().with_config().limit(LISTING_BYTES).read_to_vec();
        body.map_err(|error| Failure::Passing(error.to_string()))
    }

    /// Brings a file to `target`, going on from what an earlier attempt left; it appears under its
    /// name only when it is whole and its hash is right.
    pub(super) fn file(
        &self,
        path: &str,
        entry: &Entry,
        target: &Path,
        wanted: &str,
    ) -> Result<(), HubError> {
        let mut part = Part::open(target)?;
        if target.is_file() {
            // Another process finished it while this one waited for the lock.
            return Ok(());
        }
        let mut resumed = part.len()? > 0;
        loop {
            let sha256 = self.fill(&mut part, path, entry, wanted)?;
            match part.check(entry.size, sha256, wanted) {
                Ok(()) => return part.finish(target),
                // What lay there may have been of another upload: once, from the start.
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

    /// Requests the rest of a part until it is complete; the hash that the file should have.
    fn fill(
        &self,
        part: &mut Part,
        path: &str,
        entry: &Entry,
        wanted: &str,
    ) -> Result<Option<Digest>, HubError> {
        let (mut failures, mut most) = (0, part.len()?);
        let mut sha256 = entry.sha256;
        loop {
            let start = part.len()?;
            if entry.size.is_some_and(|size| start > size) {
                part.clear()?;
                continue;
            }
            if entry.size == Some(start) {
                return Ok(sha256);
            }
            let outcome = self.append(part, start, path, entry, wanted, &mut sha256);
            let now = part.len()?;
            match outcome {
                Ok(()) if entry.size.is_none_or(|size| size <= now) => return Ok(sha256),
                Err(Failure::Final(error)) => return Err(error),
                Ok(()) | Err(Failure::Passing(_)) if now > most => (failures, most) = (0, now),
                Ok(()) => {
                    self.wait(&mut failures, "the server sent less than it announced".into(), wanted)?
                }
                Err(Failure::Passing(why)) => self.wait(&mut failures, why, wanted)?,
            }
        }
    }

    /// One request for the bytes from `start` on.
    fn append(
        &self,
        part: &mut Part,
        start: u64,
        path: &str,
        entry: &Entry,
        wanted: &str,
        sha256: &mut Option<Digest>,
    ) -> Result<(), Failure> {
        let reply = self.get(path, (start > 0).then_some(start), wanted)?;
        *sha256 = sha256.or(reply.sha256);
        let header = |name: &str| reply.response.headers().get(name).and_then(|text| text.to_str().ok());
        match reply.response.status().as_u16() {
            206 if header("content-range").is_some_and(|range| starts_at(range, start)) => {}
            // A server without ranges sends the whole file.
            200 => part.clear()?,
            416 => {
                let whole = header("content-range") == Some(&format!("bytes */{start}"));
                if !whole {
                    part.clear()?;
                }
                return if whole { Ok(()) } else { Err(Failure::Passing("the range was refused".into())) };
            }
            status => {
                part.clear()?;
                return Err(Failure::Passing(format!("status {status} to a request from byte {start}")));
            }
        }
        self.copy(reply.response.into_body(), part, entry)
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
                Err(error) => return Err(Failure::Passing(error.to_string())),
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

    /// One request, redirects followed; the token goes to the endpoint's own host only.
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
            let response = request.call().map_err(|error| Failure::Passing(error.to_string()))?;
            // Only the hub's own answer: a storage host tags files by hashes of its own.
            if same_origin(&url, &self.endpoint) {
                sha256 = sha256.or_else(|| stated_hash(&response));
            }
            if !response.status().is_redirection() {
                return self.judged(Reply { response, sha256 }, wanted);
            }
            let location = response.headers().get("location").and_then(|text| text.to_str().ok());
            let answer = |why: &str| HubError::Answer { wanted: wanted.to_string(), why: why.to_string() };
            let next = location.and_then(|location| join(&url, location));
            url = next.ok_or_else(|| answer("a redirect without a usable address"))?;
        }
        Err(Failure::Passing("too many redirects".into()))
    }

    fn judged(&self, reply: Reply, wanted: &str) -> Result<Reply, Failure> {
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
            status @ (408 | 429 | 500..) => Err(Failure::Passing(format!("status {status}"))),
            // 416 is the download's to judge.
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

/// A file that is not whole yet, locked against other processes.
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
        // An empty leftover would do no harm.
        let _ = fs::remove_file(&self.path);
    }
}

/// SHA-256 of all that a reader gives.
pub(super) fn sha256_of(input: impl Read) -> io::Result<Digest> {
    use sha2::Digest as _;
    let mut hasher = sha2::Sha256::new();
    io::copy(&mut BufReader::with_capacity(BUFFER_BYTES, input), &mut HashWriter(&mut hasher))?;
    let hex: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Digest::parse(&hex).ok_or_else(|| io::Error::other("a hash of the wrong length"))
}

struct HashWriter<'a>(&'a mut sha2::Sha256);

impl Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        use sha2::Digest as _;
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The hash that the hub states for a large file; a small one's tag is not a SHA-256.
fn stated_hash(response: &Response<Body>) -> Option<Digest> {
    let header = |name: &str| response.headers().get(name)?.to_str().ok();
    let tag = header("x-linked-etag").or_else(|| header("etag"))?;
    Digest::parse(tag.trim_start_matches("W/").trim_matches('"'))
}

fn starts_at(content_range: &str, start: u64) -> bool {
    content_range.strip_prefix("bytes ").and_then(|range| range.split_once('-')).map(|(from, _)| from)
        == Some(&start.to_string())
}

fn parse(url: &str) -> Option<Uri> {
    url.parse::<Uri>().ok().filter(|uri| uri.host().is_some())
}

fn same_origin(a: &str, b: &str) -> bool {
    match (parse(a), parse(b)) {
        (Some(a), Some(b)) => a.scheme() == b.scheme() && a.authority() == b.authority(),
        _ => false,
    }
}

/// Where a redirect leads; never from an encrypted to a plain connection.
fn join(from: &str, location: &str) -> Option<String> {
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
