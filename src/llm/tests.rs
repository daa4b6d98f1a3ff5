//! Tests against a scripted server on the loopback interface.

mod batches;
mod endpoints;
mod errors;
mod protocols;
mod replayed;
pub(crate) mod scripted;
mod wrappers;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use self::replayed::{Recording, Replayed};
use super::*;

const KEY: &str = "sk-verysecretkey123";

/// A request that the server received.
#[derive(Debug, Clone)]
struct Seen {
    path: String,
    headers: BTreeMap<String, String>,
    body: Value,
}

/// The server's action for a request.
enum Act {
    /// Answer with status, additional header lines and JSON; keep the connection.
    Json(u16, String, Value),
    /// Send these bytes, then close the connection.
    Raw(Vec<u8>),
    /// Send the body byte by byte.
    Drip,
    /// Send a body of this size, with or without `content-length`.
    Large(usize, bool),
}

fn ok(body: Value) -> Act {
    Act::Json(200, String::new(), body)
}

fn raw(status: &str, headers: &str, body: &str) -> Act {
    let length = body.len();
    Act::Raw(format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n{body}").into_bytes())
}

struct Server {
    url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Connections so far.
    connections: Arc<AtomicUsize>,
}

impl Server {
    /// Calls `act` for each request, with its number from 0.
    fn start(act: impl Fn(usize, &Seen) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let url = format!("http://{}/v1", listener.local_addr().expect("address"));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let (log, act, accepted) = (seen.clone(), Arc::new(act), connections.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                accepted.fetch_add(1, Ordering::Relaxed);
                let (log, act) = (log.clone(), act.clone());
                std::thread::spawn(move || serve(&stream, &log, &*act));
            }
        });
        Self { url, seen, connections }
    }

    /// Answers every request in the same way.
    fn always(act: impl Fn() -> Act + Send + Sync + 'static) -> Self {
        Self::start(move |_, _| act())
    }

    fn requests(&self) -> Vec<Seen> {
        self.seen.lock().expect("log").clone()
    }
}

fn serve(stream: &TcpStream, log: &Mutex<Vec<Seen>>, act: &dyn Fn(usize, &Seen) -> Act) {
    stream.set_nodelay(true).expect("no delay");
    let mut reader = BufReader::new(stream);
    while let Some(seen) = read_request(&mut reader) {
        let number = {
            let mut log = log.lock().expect("log");
            log.push(seen.clone());
            log.len() - 1
        };
        if !perform(stream, act(number, &seen)) {
            return;
        }
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<Seen> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_string();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_string());
    }
    let length = headers.get("content-length").map_or(0, |text| text.parse().expect("a length"));
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Seen { path, headers, body: serde_json::from_slice(&body).unwrap_or(Value::Null) })
}

/// Performs an action. Returns whether the connection stays open.
fn perform(mut stream: &TcpStream, act: Act) -> bool {
    match act {
        Act::Json(status, headers, body) => {
            let body = body.to_string();
            let length = body.len();
            let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n{headers}\r\n");
            stream.write_all(format!("{head}{body}").as_bytes()).is_ok()
        }
        Act::Raw(bytes) => {
            let _ = stream.write_all(&bytes);
            false
        }
        Act::Drip => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n");
            while stream.write_all(b" ").is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
            false
        }
        Act::Large(bytes, stated) => {
            let length = if stated { format!("content-length: {bytes}\r\n") } else { String::new() };
            let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\n{length}\r\n").as_bytes());
            let chunk = vec![b' '; 1 << 16];
            let _ = (0..bytes / chunk.len()).try_for_each(|_| stream.write_all(&chunk));
            false
        }
    }
}

/// An answer in OpenAI's chat protocol.
fn said(text: &str) -> Value {
    json!({
        "model": "another-name-2024-01-01",
        "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop", "logprobs": null}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5},
    })
}

fn question(text: &str) -> ChatRequest {
    ChatRequest {
        messages: vec![Message { role: Role::User, content: text.into() }],
        max_tokens: 16,
        temperature: 0.0,
        sample: 0,
        schema: None,
        top_logprobs: None,
    }
}

fn endpoint(url: &str, cache: &Path) -> Endpoint {
    let mut spec = LlmSpec::new(ClientKind::Openai, "some-model");
    spec.base_url = Some(url.into());
    spec.timeout_seconds = 20.0;
    Endpoint {
        spec,
        key: Secret::new(KEY),
        hidden: Vec::new(),
        base_url: None,
        offline: false,
        cache_folder: cache.to_path_buf(),
        budget: None,
        program: None,
    }
}

fn quick(retries: u32) -> RetryPolicy {
    RetryPolicy { retries, base_seconds: 0.002, cap_seconds: 0.01, ..RetryPolicy::default() }
}

/// One request without retries and with an empty cache.
async fn asked_once(url: &str) -> Result<ChatReply, ChatError> {
    let cache = tempfile::tempdir().expect("folder");
    let llm = connect_with(&endpoint(url, cache.path()), quick(0)).expect("connected");
    llm.client.chat(&question("hello")).await
}

fn all_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(all_files(&path)) } else { found.push(path) }
    }
    found
}
