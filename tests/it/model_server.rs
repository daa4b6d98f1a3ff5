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
    if request["echo"] == true {
        return (200, scored_prompt(request));
    }
    let text = match request["response_format"]["json_schema"]["name"].as_str() {
        Some("explanation") => explained(question),
        Some("verdicts") => judged(question),
        Some("grades") => graded(question, honest_grade),
        _ => simulated(question),
    };
    (200, reply(request, &text))
}

/// The words of a quoted text that follow its first token, a word or a full stop: it counts in no
/// fragment.
fn words(line: &str) -> impl Iterator<Item = &str> {
    let text = line.trim_matches('"');
    let words = text.split([' ', '.']).filter(|word| !word.is_empty());
    words.skip(usize::from(text.starts_with(' ')))
}

/// `the token " dog"`: the word that an explanation names.
fn named(explanation: &str) -> &str {
    explanation.split("the token ").nth(1).unwrap_or_default().trim_matches(['"', ' ', '\n'])
}

/// `number. "text"`: whether the named word is in the text, or, where stretches are marked, whether
/// nothing else is marked.
fn judged(question: &str) -> String {
    let word = named(question.lines().next().unwrap_or_default());
    let verdict = |text: &str| {
        if text.contains('⟦') {
            let stretches = text.split('⟦').skip(1).filter_map(|run| run.split('⟧').next());
            return stretches
                .flat_map(|run| run.split(' ').filter(|part| !part.is_empty()))
                .all(|part| part == word);
        }
        words(text).any(|other| other == word)
    };
    let texts = question.lines().filter_map(|line| line.split_once(". \""));
    let verdicts: Vec<u8> = texts.map(|(_, text)| u8::from(verdict(text))).collect();
    json!({"verdicts": verdicts}).to_string()
}

/// Grades of the numbered texts of a question: `grade` gets the word that the explanation names, and a text.
pub fn graded(question: &str, grade: impl Fn(&str, &str) -> u8) -> String {
    let word = named(question.lines().next().unwrap_or_default());
    let texts = question.lines().filter_map(|line| line.split_once(". \""));
    let grades: Vec<u8> = texts.map(|(_, text)| grade(word, text)).collect();
    json!({"grades": grades}).to_string()
}

/// 3 where the marked stretch is the named word, 1 where the word is elsewhere in the text, else 0.
pub fn honest_grade(word: &str, text: &str) -> u8 {
    let marked = text.split_once('⟦').and_then(|(_, rest)| rest.split_once('⟧'));
    if marked.is_some_and(|(marked, _)| marked.trim() == word) {
        return 3;
    }
    u8::from(words(text).any(|other| other.trim_matches(['⟦', '⟧']) == word))
}

/// A prompt in words with their log-probabilities: one that the last heading names is likely.
fn scored_prompt(request: &Value) -> String {
    let prompt = request["prompt"].as_str().unwrap_or_default();
    let lines: Vec<&str> = prompt.lines().collect();
    let word = named(lines[lines.len().saturating_sub(2)]);
    let (mut tokens, mut logprobs) = (Vec::new(), Vec::new());
    for (number, line) in lines.iter().enumerate() {
        for (place, piece) in line.split_inclusive(' ').enumerate() {
            let bare = piece.trim_matches(['"', ' ', '.']);
            let last = number + 1 == lines.len();
            tokens.push(piece.to_string());
            // Of a text that begins with a word, the first piece is its quote and the second that word.
            let counts = place > usize::from(line.starts_with("\" "));
            logprobs.push(if last && counts && bare == word { -1.0 } else { -5.0 });
        }
        if number + 1 < lines.len() {
            tokens.push("\n".into());
            logprobs.push(-1.0);
        }
    }
    json!({
        "choices": [{
            "text": prompt,
            "logprobs": {"tokens": tokens, "token_logprobs": logprobs, "top_logprobs": null},
        }],
        "usage": {"prompt_tokens": tokens.len(), "completion_tokens": 0},
    })
    .to_string()
}

/// An answer of an honest model with the probability of every character, nearly certain of its digits.
pub fn with_probabilities(request: &Value) -> (u16, String) {
    let (status, body) = honest(request);
    let mut body: Value = serde_json::from_str(&body).expect("JSON");
    let text = body["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_string();
    let content: Vec<Value> = text
        .chars()
        .map(|c| {
            let other = if c == '1' { "0" } else { "1" };
            let top = json!([{"token": c.to_string(), "logprob": -0.1}, {"token": other, "logprob": -2.4}]);
            json!({"token": c.to_string(), "logprob": -0.1, "top_logprobs": top})
        })
        .collect();
    if request["logprobs"] == true {
        body["choices"][0]["logprobs"] = json!({"content": content});
    }
    (status, body.to_string())
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
