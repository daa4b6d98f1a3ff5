//! Several runs at once, stored answers that are not what they were, keys that an endpoint repeats, and bills beyond
//! every estimate.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use autointerp::llm::{AnswerAge, verify_answer};

use crate::model_server::{ModelServer, asks_for_an_explanation, honest, reply};
use crate::program::{Done, finish, online};
use crate::toy::Toy;

const KEY: &str = "sk-example-0123456789";

/// A run of a small suite with language models at `url`.
fn command(toy: &Toy, url: &str, out: &str, more: &[&str]) -> Command {
    let llm = format!(
        "explainer={{kind: token_activation, llm: {{client: openai, model: scripted, base_url: {url}, max_in_flight: 8, \
         retries: 1, price_in: 1, price_out: 1}}}}"
    );
    let (suite, out) = (toy.arg("suite.yaml"), toy.arg(out));
    let fixed = ["run", &suite, "--out", &out, "--offline", "--progress", "plain", "--set", &llm];
    let few = [
        "--set",
        "simulator={kind: generated}",
        "--set",
        "methods=[{kind: random}]",
        "--set",
        "controls=[]",
        "--set",
        "statistics={reference: random, resamples: 100, permutations: 100}",
    ];
    let mut command = online(toy.home(), &[&fixed[..], &few[..], more].concat());
    command.env("OPENAI_API_KEY", KEY).stdin(Stdio::null());
    command
}

fn start(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts")
}

fn end(child: Child) -> Done {
    let output = child.wait_with_output().expect("ended");
    Done {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// An honest model that takes its time.
fn slow(milliseconds: u64) -> ModelServer {
    ModelServer::start(Box::new(move |request: &Value| {
        std::thread::sleep(Duration::from_millis(milliseconds));
        honest(request)
    }))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// Nothing is left of leases, beats and unfinished files.
fn assert_tidy(folder: &Path) {
    for path in files(folder) {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let is_left = name.starts_with('.')
            && [".lease", ".beat", ".stale", ".part"].iter().any(|ending| name.ends_with(ending));
        assert!(!is_left, "{} is left", path.display());
    }
}

fn scores(toy: &Toy, out: &str) -> String {
    fs::read_to_string(toy.path(out).join("scores.jsonl")).expect("scores")
}

#[test]
fn two_runs_with_one_cache_ask_each_question_once() {
    let toy = Toy::new();
    let server = slow(60);
    let runs = ["a", "b"].map(|out| start(command(&toy, &server.url, out, &[])));
    let ended = runs.map(|run| end(run).ok());
    assert!(server.distinct() > 20, "{} questions", server.distinct());
    assert_eq!(server.requests(), server.distinct(), "no question is asked twice");
    assert!(scores(&toy, "a") == scores(&toy, "b"));
    let told = ended.iter().map(|done| done.stderr.matches("another run asks the same questions").count());
    let told: Vec<usize> = told.collect();
    assert!(told.iter().sum::<usize>() > 0 && told.iter().all(|&n| n <= 1), "{told:?}");
    let usage = ["a", "b"].map(|out| {
        let text = fs::read_to_string(toy.path(out).join("manifest.json")).expect("a manifest");
        let manifest: Value = serde_json::from_str(&text).expect("JSON");
        let usage = &manifest["llm_usage"]["scripted"];
        usage["requests"].as_u64().expect("a count") + usage["cached"].as_u64().expect("a count")
    });
    assert_eq!(usage, [server.distinct() as u64; 2], "what another run asked counts as cached");
    assert_tidy(toy.home());
}

#[test]
fn a_second_run_of_a_folder_waits_for_the_first_and_finds_everything_done() {
    let toy = Toy::new();
    let server = slow(60);
    let runs = [(), ()].map(|()| start(command(&toy, &server.url, "out", &[])));
    let ended = runs.map(|run| end(run).ok());
    assert_eq!(server.requests(), server.distinct(), "no question is asked twice");
    let told = ended.iter().filter(|done| done.stderr.contains("another run is at work in")).count();
    assert_eq!(told, 1, "one of them waited\n{}\n{}", ended[0].stderr, ended[1].stderr);
    assert_tidy(toy.home());
}

#[test]
fn the_work_of_a_killed_run_is_taken_over_with_what_it_left() {
    let toy = Toy::new();
    let server = slow(60);
    let mut first = start(command(&toy, &server.url, "out", &[]));
    while server.requests() < 10 {
        assert!(first.try_wait().expect("its state").is_none(), "the run is at work");
        std::thread::sleep(Duration::from_millis(2));
    }
    let second = start(command(&toy, &server.url, "out", &[]));
    std::thread::sleep(Duration::from_millis(300));
    // No process has such a number.
    let unfinished = toy.path("out").join(".scores.jsonl.999999999.0.part");
    fs::File::create(&unfinished).expect("a file");
    first.kill().expect("killed");
    first.wait().expect("ended");
    end(second).ok();
    let again = server.requests() - server.distinct();
    assert!(again <= 12, "{again} questions were asked again: more than were in hand");
    if cfg!(target_os = "linux") {
        assert_tidy(toy.home());
    }
}

#[test]
fn answers_that_changed_places_or_were_edited_are_asked_again() {
    let toy = Toy::new();
    let server = ModelServer::start(Box::new(honest));
    finish(&mut command(&toy, &server.url, "a", &[])).ok();
    let asked = server.requests();
    let answers: Vec<PathBuf> = files(&toy.path("cache/answers"));
    assert_eq!(answers.len(), asked);
    answers.iter().for_each(|path| assert_eq!(verify_answer(path), Ok(AnswerAge::Current)));
    let read = |path: &PathBuf| fs::read(path).expect("an answer");
    let (one, two) = (read(&answers[0]), read(&answers[1]));
    let (cut, mut flipped) = (read(&answers[2]), read(&answers[3]));
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    for (path, bytes) in answers.iter().zip([&two[..], &one[..], &cut[..cut.len() / 2], &flipped[..]]) {
        autointerp::base::write_atomic(path, bytes).expect("written");
        assert!(verify_answer(path).is_err(), "{}", path.display());
    }
    finish(&mut command(&toy, &server.url, "b", &[])).ok();
    assert_eq!(server.requests(), asked + 4);
    assert!(scores(&toy, "a") == scores(&toy, "b"), "nothing that was stored wrongly is believed");
    let manifest = fs::read_to_string(toy.path("b/manifest.json")).expect("a manifest");
    assert!(manifest.contains("4 stored answers could not be believed"), "{manifest}");
    for path in &answers[..4] {
        assert!(path.with_extension("json.damaged").exists(), "{} is kept to look at", path.display());
        assert_eq!(verify_answer(path), Ok(AnswerAge::Current));
    }
}

#[test]
fn a_key_that_an_endpoint_repeats_is_kept_nowhere() {
    let forms = [KEY.to_string(), KEY.to_uppercase(), format!("{}\\n{}", &KEY[..9], &KEY[9..])];
    for form in forms {
        let toy = Toy::new();
        let said = form.replace("\\n", "\n");
        let server =
            ModelServer::start(Box::new(move |request: &Value| match asks_for_an_explanation(request) {
                true => {
                    let text = serde_json::json!({"explanation": format!("words like {said} and others")});
                    (200, reply(request, &text.to_string()))
                }
                false => honest(request),
            }));
        let done = finish(&mut command(&toy, &server.url, "out", &[]));
        assert!(done.code == Some(0) || done.code == Some(3), "{}", done.stderr);
        assert!(
            scores(&toy, "out").contains("words like *** and others"),
            "{form:?}: the rest of the answer is kept"
        );
        let letters = |bytes: &[u8]| -> Vec<u8> {
            bytes.iter().filter(|byte| byte.is_ascii_alphanumeric()).map(u8::to_ascii_lowercase).collect()
        };
        let key = letters(KEY.as_bytes());
        let shown = [done.stdout.into_bytes(), done.stderr.into_bytes()];
        let kept = files(toy.home()).into_iter().map(|path| fs::read(path).expect("a file"));
        for bytes in kept.chain(shown) {
            assert!(
                !letters(&bytes).windows(key.len()).any(|window| window == key),
                "the key is kept: {form}"
            );
        }
    }
}

#[test]
fn a_bill_far_beyond_the_estimate_surprises_once() {
    for (times, limit) in [(500, "0.02"), (u64::MAX / 100, "0.02")] {
        let toy = Toy::new();
        let server = ModelServer::start(Box::new(move |request: &Value| {
            let (status, body) = honest(request);
            let mut body: Value = serde_json::from_str(&body).expect("JSON");
            body["usage"] = serde_json::json!({"prompt_tokens": 100 * times, "completion_tokens": 10});
            std::thread::sleep(Duration::from_millis(20));
            (status, body.to_string())
        }));
        // Each question costs five cents and more: the first one is alone, and shows it.
        let done = finish(&mut command(&toy, &server.url, "out", &["--budget-usd", limit]));
        done.refused(4, &["budget", "$0.02"]);
        assert_eq!(server.requests(), 1);
    }
}
