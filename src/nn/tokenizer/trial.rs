//! A trial of a tokenizer's regular expressions, which come from an untrusted file.
//!
//! The engine limits the steps of one match, but not of all matches in a text. So each expression first runs on texts
//! on which such expressions are slow, with a time limit.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::Value;
use tokenizers::utils::SysRegex;

use crate::base::contained;

/// Bytes of each text of the trial.
const BYTES: usize = 2000;
/// Time limit of the trial. Published expressions need a few milliseconds.
const MOST_SECONDS: u64 = 10;
/// Most expressions of a file.
const MAX_PATTERNS: usize = 100;

/// Fails if an expression of a `tokenizer.json` is invalid or takes too long. The error is a sentence without its subject.
pub(super) fn try_patterns(json: &Value) -> Result<(), String> {
    let mut patterns = Vec::new();
    for section in ["normalizer", "pre_tokenizer", "decoder"] {
        json.get(section).into_iter().for_each(|part| collect(part, &mut patterns));
    }
    if patterns.len() > MAX_PATTERNS {
        let n = patterns.len();
        return Err(format!("has {n} regular expressions, at most {MAX_PATTERNS} are read"));
    }
    if patterns.is_empty() {
        return Ok(());
    }
    let (done, trial) = channel();
    let work = move || {
        for pattern in &patterns {
            let tried = contained(|| run(pattern)).unwrap_or_else(Err);
            if done.send((pattern.clone(), tried)).is_err() {
                return;
            }
        }
    };
    // A thread that takes too long is left behind: its model is not used, so the program ends soon.
    let thread = std::thread::Builder::new().name("regular expressions".into()).spawn(work);
    thread.map_err(|error| format!("has regular expressions that cannot be tried: {error}"))?;
    loop {
        match trial.recv_timeout(Duration::from_secs(MOST_SECONDS)) {
            Ok((_, Ok(()))) => {}
            Ok((pattern, Err(error))) => {
                return Err(format!(
                    "has a regular expression that cannot be used, `{pattern:.60}`: {error}"
                ));
            }
            Err(RecvTimeoutError::Timeout) => {
                return Err(format!(
                    "has a regular expression that takes more than {MOST_SECONDS} seconds for a text of {BYTES} bytes"
                ));
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

/// The expressions of a part and the parts in it.
fn collect(part: &Value, patterns: &mut Vec<String>) {
    if let Some(pattern) = part.pointer("/pattern/Regex").and_then(Value::as_str) {
        patterns.push(pattern.to_string());
    }
    for list in ["normalizers", "pretokenizers", "decoders"] {
        part.get(list)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .for_each(|part| collect(part, patterns));
    }
}

/// Finds every match in texts of one repeated part, with another end.
fn run(pattern: &str) -> Result<(), String> {
    let regex = SysRegex::new(pattern).map_err(|error| error.to_string())?;
    for repeated in ["a", " ", "1", "ab ", "\n", "A1 b'.\n", "é漢"] {
        let text = repeated.repeat(BYTES / repeated.len()) + "!";
        std::hint::black_box(regex.find_iter(&text).count());
    }
    Ok(())
}
