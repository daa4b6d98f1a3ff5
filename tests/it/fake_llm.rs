//! Runs against an endpoint that misbehaves as told, where the shared folder and Python are there.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::program::{Done, autointerp, finish};
use crate::shared;
use crate::toy::Toy;

const KEY: &str = "sk-example-0123456789";

/// Replies that say the same in another dress: `ok` comes first.
const SAME: [&str; 34] = [
    "ok",
    "fence",
    "fence_plain",
    "fence_upper",
    "fence_tail",
    "preamble",
    "trailing_comma",
    "extra_keys",
    "numbers_as_text",
    "numbers_as_floats",
    "bom",
    "zero_width_space",
    "think",
    "think_empty",
    "thinking_tag",
    "reasoning_tag",
    "think_unopened",
    "quoted",
    "markdown",
    "labelled",
    "reasoning_beside",
    "parts",
    "thinking_parts",
    "two_choices",
    "finish_null",
    "logprobs_null",
    "usage_absent",
    "usage_floats",
    "usage_text",
    "usage_negative",
    "usage_zero",
    "cookie",
    "redirect_same",
    "400_max_tokens",
];

/// Everything fails, the run ends with this code, and these words are on the screen.
const FAILED: [(&str, i32, &str); 26] = [
    ("refuse", 3, "`refused`"),
    ("empty", 3, "`empty_reply`"),
    ("null", 3, "`empty_reply`"),
    ("deep", 3, "`not_one_sentence`"),
    ("long", 3, "`not_one_sentence`"),
    ("twice", 3, "`malformed_reply`"),
    ("injection", 3, "`malformed_reply`"),
    ("truncated", 3, "`truncated`"),
    ("reasoning_only", 3, "`only_reasoning`"),
    ("reasoning_field", 3, "`only_reasoning`"),
    ("tool_call", 3, "`tool_call`"),
    ("400_temperature", 5, "omit: [temperature]"),
    ("400_seed", 5, "omit: [seed]"),
    ("422", 5, "`body.seed` extra fields not permitted"),
    ("400_control", 5, "bad [31m request"),
    ("key_in_400", 5, "bad key ***, header Authorization: Bearer ***"),
    ("key_in_401", 5, "bad key ***"),
    ("key_encoded_in_401", 5, "*** *** *** ***"),
    ("401", 5, "no such key"),
    ("402", 5, "Insufficient credits"),
    ("403_page", 5, "status 403: a web page"),
    ("quota", 5, "exceeded your current quota"),
    ("200_error_text", 5, "model overloaded"),
    ("redirect_302", 5, "/ok/v1`"),
    ("redirect_file", 5, "file:///etc/passwd"),
    ("redirect_loop", 5, "/redirect_loop/v1`"),
];

struct Fake {
    process: Child,
    base: String,
    log: PathBuf,
}

impl Fake {
    /// A running endpoint; none where it cannot run here.
    fn start(toy: &Toy) -> Option<Self> {
        let script = shared::folder()?.join("cases/fake_llm/fake_llm.py");
        let log = toy.path("log");
        let started = Command::new("python3")
            .arg(&script)
            .args(["--key", KEY, "--log"])
            .arg(&log)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut process = match started {
            Ok(process) if script.is_file() => process,
            _ => {
                println!("skipped: python3 or {} is not there", script.display());
                return None;
            }
        };
        let mut url = String::new();
        BufReader::new(process.stdout.take()?).read_line(&mut url).ok()?;
        let base = url.trim().trim_end_matches("/v1").to_string();
        Some(Self { process, base, log })
    }

    fn run(&self, toy: &Toy, mode: &str) -> Done {
        let llm = format!(
            "{{client: openai, model: fake, base_url: {}/{mode}/v1, retries: 1, timeout_seconds: 4, api_key_env: MY_KEY}}",
            self.base
        );
        let explainer = format!("explainer={{kind: token_activation, llm: {llm}}}");
        let (suite, out) = (toy.arg("suite.yaml"), toy.arg(mode));
        let arguments =
            ["run", &suite, "--out", &out, "--set", &explainer, "--set", "simulator={kind: generated}"];
        finish(autointerp(toy.home(), &arguments).env("MY_KEY", KEY))
    }

    /// Questions that were answered in a mode, and how many of them differ.
    fn asked(&self, mode: &str) -> (usize, usize) {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let of_mode = lines.filter(|line| line["mode"] == mode && line["status"] == 200);
        let mut questions: Vec<String> = of_mode.map(|line| line["question"].to_string()).collect();
        let all = questions.len();
        questions.sort();
        questions.dedup();
        (all, questions.len())
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A suite of two features of one row, so that few questions are asked.
fn small() -> Toy {
    let toy = Toy::new();
    let suite = toy.suite_text();
    let methods = suite.find("methods:").expect("a suite");
    let head = &suite[..methods];
    toy.write(
        "suite.yaml",
        &format!(
            "{head}methods:\n  - {{kind: random}}\nfeatures: {{per_cell: 2}}\nscorers: [top_and_random, detection]\n\
             judge: {{probabilities: false}}\ncontrols: []\n\
             statistics: {{reference: random, resamples: 100, permutations: 100}}\n"
        ),
    );
    toy
}

#[test]
fn replies_in_every_dress_score_as_plain_ones() {
    let toy = small();
    let Some(fake) = Fake::start(&toy) else { return };
    let mut plain = None;
    for mode in SAME {
        fake.run(&toy, mode).ok();
        let scores = fs::read_to_string(toy.path(mode).join("scores.jsonl")).expect("scores");
        let plain = plain.get_or_insert_with(|| scores.clone());
        assert!(scores == *plain, "{mode}:\n{scores}\nok:\n{plain}");
        let (all, distinct) = fake.asked(mode);
        assert!(all == distinct, "{mode}: {all} questions answered, {distinct} different ones");
    }
    let plain = plain.unwrap_or_default();
    assert!(plain.contains("words about") && plain.contains("\"scored\""), "{plain}");
}

#[test]
fn what_is_no_answer_is_told_with_its_cause() {
    let toy = small();
    let Some(fake) = Fake::start(&toy) else { return };
    for (mode, code, words) in FAILED {
        let done = fake.run(&toy, mode);
        let shown = format!("{mode}\nstdout:\n{}\nstderr:\n{}", done.stdout, done.stderr);
        assert_eq!(done.code, Some(code), "{shown}");
        assert!(done.stderr.contains(words), "`{words}` is not shown: {shown}");
        assert!(!shown.contains("more text may help") && !shown.contains("panicked"), "{shown}");
        assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "{shown:?}");
        assert!(!shown.to_lowercase().contains(KEY), "{shown}");
    }
    let done = fake.run(&toy, "key_in_answer");
    assert!(!format!("{}{}", done.stdout, done.stderr).contains(KEY), "{}", done.stderr);
    let found = Command::new("grep").args(["-rl", KEY]).arg(toy.home()).output().expect("grep");
    assert_eq!(String::from_utf8_lossy(&found.stdout), "", "the key is in a file");
}
