//! A chat endpoint on this machine that answers by rule: it explains a feature as the token it is
//! strongest on, and simulates such an explanation to the letter.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

/// What to answer: a status and a body.
pub type Rule = dyn Fn(&Value) -> (u16, String) + Send + Sync;

/// A running endpoint; it ends with the test's process.
pub struct ModelServer {
    pub url: String,
    asked: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl ModelServer {
    /// Listens and answers by `rule`.
    pub fn start(rule: Box<Rule>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/v1", listener.local_addr().expect("an address"));
        let asked = Arc::new(Mutex::new(BTreeMap::new()));
        let (rule, counted): (Arc<Rule>, _) = (Arc::from(rule), asked.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (rule, counted) = (rule.clone(), counted.clone());
                std::thread::spawn(move || serve(stream, &*rule, &counted));
            }
        });
        Self { url, asked }
    }

    /// Requests so far.
    pub fn requests(&self) -> usize {
        self.asked.lock().expect("no panic").values().sum()
    }

    /// Requests so far that were not repeats.
    pub fn distinct(&self) -> usize {
        self.asked.lock().expect("no panic").len()
    }
}

fn serve(stream: TcpStream, rule: &Rule, asked: &Mutex<BTreeMap<String, usize>>) {
    let Ok(mut out) = stream.try_clone() else { return };
    let mut lines = BufReader::new(stream);
    while let Some(body) = request(&mut lines) {
        *asked.lock().expect("no panic").entry(body.clone()).or_default() += 1;
        let (status, answer) = rule(&serde_json::from_str(&body).unwrap_or_default());
        let head = format!(
            "HTTP/1.1 {status} Scripted\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        );
        if out.write_all(head.as_bytes()).and_then(|()| out.write_all(answer.as_bytes())).is_err() {
            return;
        }
    }
}

/// The body of the next request; none when the caller has gone.
fn request(lines: &mut BufReader<TcpStream>) -> Option<String> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    lines.read_exact(&mut body).ok()?;
    String::from_utf8(body).ok()
}

/// True where a feature is to be explained.
pub fn asks_for_an_explanation(request: &Value) -> bool {
    request["response_format"]["json_schema"]["name"] == "explanation"
}

/// The rule of an honest model.
pub fn honest(request: &Value) -> (u16, String) {
    let question = request["messages"].as_array().and_then(|messages| messages.last());
    let question = question.and_then(|message| message["content"].as_str()).unwrap_or_default();
    let text = if asks_for_an_explanation(request) { explained(question) } else { simulated(question) };
    (200, reply(request, &text))
}

/// A chat completion that says `text`.
pub fn reply(request: &Value, text: &str) -> String {
    json!({
        "model": request["model"],
        "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10},
    })
    .to_string()
}

/// `"token"<TAB>number`: the token with the largest number.
fn explained(question: &str) -> String {
    let listed = question.lines().filter_map(|line| {
        let (token, level) = line.rsplit_once('\t')?;
        Some((level.parse::<u32>().ok()?, serde_json::from_str::<String>(token.rsplit('\t').next()?).ok()?))
    });
    let token = listed.max().map(|(_, token)| token).unwrap_or_default();
    json!({"explanation": format!("the token {token:?}")}).to_string()
}

/// `number<TAB>"token"`: 9 on the token that the explanation names.
fn simulated(question: &str) -> String {
    let named = question.lines().find_map(|line| line.split_once("the token ")).map(|(_, token)| token);
    let levels: serde_json::Map<String, Value> = question
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(index, token)| (index.to_string(), json!(if Some(token) == named { 9 } else { 0 })))
        .collect();
    json!({"activations": levels}).to_string()
}
