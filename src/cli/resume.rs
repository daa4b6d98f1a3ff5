//! The command that continues a run, as a line that can be pasted into a shell.

use std::ffi::{OsStr, OsString};

use super::args::{Env, RunArgs, key};
pub use crate::base::shell_word;
use crate::llm::Secret;

/// The flag that would compute finished stages again.
const FRESH: &str = "--fresh";

/// The flag whose values may hold a key.
const SET: &str = "--set";

/// Variables whose keys are replaced, wherever they stand in the command.
const KEYS: [&str; 2] = ["OPENAI_API_KEY", "ANTHROPIC_API_KEY"];

/// How keys of vendors begin.
const KEY_BEGINNINGS: [&str; 4] = ["sk-", "hf_", "gsk_", "xai-"];

/// Fewest characters of a key behind its beginning.
const KEY_REST: usize = 16;

/// Printed in place of a key.
const HIDDEN: &str = "***";

/// The line that continues a run after an error, or none for a command that computes nothing.
pub fn resume_line(args: &RunArgs, arguments: &[OsString], env: &Env) -> Option<String> {
    let token = env.hub_token.as_deref().and_then(Secret::new);
    let keys: Vec<Secret> = KEYS.into_iter().filter_map(key).chain(token).collect();
    (!args.dry_run).then(|| line(arguments.iter().cloned(), &keys))
}

/// The same command without `--fresh`, quoted for a POSIX shell. Keys are replaced by `***`.
fn line(arguments: impl Iterator<Item = OsString>, keys: &[Secret]) -> String {
    let mut words = Vec::new();
    let mut flags_end = false;
    let mut is_value_of_set = false;
    for argument in arguments {
        if argument == FRESH && !flags_end {
            continue;
        }
        flags_end |= argument == "--";
        let is_set = is_value_of_set || argument.to_str().is_some_and(|text| text.starts_with("--set="));
        is_value_of_set = argument == SET && !flags_end;
        words.push(match argument.to_str() {
            Some(text) => shell_word(OsStr::new(&without_keys(text, is_set, keys))),
            None => shell_word(&argument),
        });
    }
    words.join(" ")
}

/// The text without known keys, without user and password of addresses and, in a value of `--set`, without what looks
/// like a key.
fn without_keys(text: &str, is_set: bool, keys: &[Secret]) -> String {
    let text = keys.iter().fold(text.to_string(), |text, key| key.hidden_in(&text));
    let text = without_users(&text);
    if !is_set {
        return text;
    }
    let is_of_word = |c: char| c.is_ascii_alphanumeric() || "-_/.".contains(c);
    text.split_inclusive(|c| !is_of_word(c))
        .map(|part| {
            let (word, end) = part.split_at(part.trim_end_matches(|c| !is_of_word(c)).len());
            if looks_like_key(word) { format!("{HIDDEN}{end}") } else { part.to_string() }
        })
        .collect()
}

/// Whether a value of `--set` holds what looks like a key, or the user of an address.
pub fn holds_key(value: &str) -> bool {
    without_keys(value, true, &[]) != value
}

/// A path with such a beginning has `/` or `.` in it and is no key.
fn looks_like_key(word: &str) -> bool {
    let rest = KEY_BEGINNINGS.iter().find_map(|beginning| word.strip_prefix(beginning));
    rest.is_some_and(|rest| {
        rest.len() >= KEY_REST && rest.contains(|c: char| c.is_ascii_digit()) && !rest.contains(['/', '.'])
    })
}

/// `https://user:password@host` as `https://***@host`.
fn without_users(text: &str) -> String {
    let mut parts = text.split("://");
    let mut shown = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let end = part.find(|c: char| "/?#,}\"'".contains(c) || c.is_whitespace()).unwrap_or(part.len());
        let (authority, rest) = part.split_at(end);
        shown.push_str("://");
        match authority.rsplit_once('@') {
            Some((_, host)) => shown.push_str(&format!("{HIDDEN}@{host}")),
            None => shown.push_str(authority),
        }
        shown.push_str(rest);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resumed(words: &[&str], keys: &[&str]) -> String {
        let keys: Vec<Secret> = keys.iter().filter_map(|key| Secret::new(key)).collect();
        line(words.iter().map(OsString::from), &keys)
    }

    #[test]
    fn a_resumed_run_repeats_every_flag_but_fresh() {
        let words = [
            "./autointerp",
            "run",
            "--fresh",
            "my suite.yaml",
            "--set",
            "hooks=[blocks.{0,2}.hook_resid_post]",
            "--out",
            "results/a b",
            "--seed",
            "3",
            "--threads=2",
            "--offline",
            "--device",
            "cpu",
            "--limit-features",
            "8",
            "--budget-usd",
            "2.5",
        ];
        let expected = "./autointerp run 'my suite.yaml' --set 'hooks=[blocks.{0,2}.hook_resid_post]' \
                        --out 'results/a b' --seed 3 --threads=2 --offline --device cpu --limit-features 8 \
                        --budget-usd 2.5";
        assert_eq!(resumed(&words, &[]), expected);
        assert_eq!(resumed(&["autointerp", "run", "--", "--fresh"], &[]), "autointerp run -- --fresh");
    }

    #[test]
    fn no_key_is_repeated() {
        let key = "sk-proj-abcdefgh12345678";
        for words in [
            vec!["--set", "explainer.llm={client: openai, model: sk-proj-abcdefgh12345678, x: 1}"],
            vec!["--set=explainer.llm.base_url=http://me:sk-proj-abcdefgh12345678@host/v1"],
            vec!["--out", "http://me:sk-proj-abcdefgh12345678@host/v1"],
        ] {
            let shown = resumed(&words, &[]);
            assert!(!shown.contains("abcdefgh") && shown.contains(HIDDEN), "{shown}");
        }
        assert!(resumed(&["--set", "name=secret-1234"], &["secret-1234"]).contains("name=***"));
        // Only values of `--set` are searched for what looks like a key.
        assert_eq!(resumed(&["--out", key], &[]), format!("--out {key}"));
        for kept in
            ["subject.model=./sk-learned_model_12345", "subject.model=hf_models/sk-learned_model_12345"]
        {
            assert_eq!(resumed(&["--set", kept], &[]), format!("--set {kept}"));
        }
        assert_eq!(without_users("http://host/a@b, https://u@h?x"), "http://host/a@b, https://***@h?x");
    }
}
