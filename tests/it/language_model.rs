//! Runs whose explainer and simulator are language models, behind an endpoint on this machine.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::model_server::{ModelServer, asks_for_an_explanation, honest, reply};
use crate::program::{Done, autointerp, finish};
use crate::toy::Toy;

const KEY: &str = "sk-held-by-nobody-4711";
const IN_FLIGHT: usize = 8;

/// Arguments of a run of the toy suite with language models at `url`.
fn arguments(toy: &Toy, url: &str, out: &str, more: &[&str]) -> Vec<String> {
    let llm = format!(
        "{{client: openai, model: scripted, base_url: {url}, max_in_flight: {IN_FLIGHT}, retries: 1, price_in: 1, price_out: 1}}"
    );
    let explainer = format!("explainer={{kind: token_activation, llm: {llm}}}");
    let fixed = ["run", &toy.arg("suite.yaml"), "--out", &toy.arg(out), "--quiet", "--set", &explainer];
    let fixed = fixed.into_iter().chain(["--set", "simulator={kind: generated}"]);
    fixed.chain(more.iter().copied()).map(str::to_string).collect()
}

fn run(toy: &Toy, url: &str, out: &str, more: &[&str]) -> Done {
    let arguments = arguments(toy, url, out, more);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    finish(autointerp(toy.home(), &arguments).env("OPENAI_API_KEY", KEY))
}

fn result(toy: &Toy, out: &str, name: &str) -> String {
    fs::read_to_string(toy.path(out).join(name)).expect("a result")
}

fn assert_key_is_nowhere(folder: &Path) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            assert_key_is_nowhere(&path);
        } else {
            let bytes = fs::read(&path).expect("readable");
            let found = bytes.windows(KEY.len()).any(|window| window == KEY.as_bytes());
            assert!(!found, "the key stands in {}", path.display());
        }
    }
}

#[test]
fn a_run_asks_once_and_then_never_again() {
    let toy = Toy::new();
    let server = ModelServer::start(Box::new(honest));
    let done = run(&toy, &server.url, "out", &[]).ok();
    assert!(done.stdout.contains("token_activation → generated"), "{}", done.stdout);
    assert!(done.stdout.contains("scripted: "), "what it cost is told\n{}", done.stdout);
    let lines: Vec<Value> = result(&toy, "out", "scores.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .filter(|line: &Value| line["explainer"] == "token_activation")
        .collect();
    // Four rows and the one on permuted weights; the real ones once more with shuffled explanations.
    assert!(lines.len() >= 4 * (2 * 4 + 1), "{} lines", lines.len());
    assert!(lines.iter().all(|line| line["status"] != "failed"), "an honest model is understood");
    let explained = lines.iter().filter_map(|line| line["explanation"].as_str());
    assert!(
        explained.clone().count() > 0 && explained.into_iter().all(|text| text.starts_with("the token "))
    );
    let scored = lines.iter().filter(|line| line["control"].is_null() && line["method"] == "topk");
    let best = scored.filter_map(|line| line["scores"]["top_and_random"].as_f64()).fold(f64::MIN, f64::max);
    assert!(best > 0.3, "some feature of the toy follows a token, best {best}");
    let manifest: Value = serde_json::from_str(&result(&toy, "out", "manifest.json")).expect("JSON");
    let usage = &manifest["llm_usage"]["scripted"];
    assert_eq!(usage["requests"].as_u64(), Some(server.requests() as u64), "{usage}");
    assert!(
        manifest["prompts"]["token_activation"].is_string() && manifest["prompts"]["generated"].is_string()
    );

    let (asked, summary) = (server.requests(), result(&toy, "out", "summary.json"));
    assert_eq!(asked, server.distinct(), "no question is asked twice");
    run(&toy, &server.url, "out", &["--fresh"]).ok();
    assert_eq!(server.requests(), asked, "every answer was there already");
    assert!(result(&toy, "out", "summary.json") == summary, "stored answers give the same bytes");
    assert_key_is_nowhere(toy.home());
}

#[test]
fn a_run_that_is_killed_again_and_again_loses_no_answer() {
    let toy = Toy::new();
    let server = ModelServer::start(Box::new(honest));
    run(&toy, &server.url, "whole", &[]).ok();
    let whole = result(&toy, "whole", "summary.json");
    fs::remove_dir_all(toy.path("cache")).expect("an empty cache");

    let slow = ModelServer::start(Box::new(|request: &Value| {
        std::thread::sleep(Duration::from_millis(2));
        honest(request)
    }));
    // The address is part of what an answer rests on, so nothing of the first server's is taken.
    let arguments = arguments(&toy, &slow.url, "killed", &[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut kills = 0;
    for answers in [5, 60, 200, 420, 700] {
        let mut child = autointerp(toy.home(), &arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        while slow.distinct() < answers && child.try_wait().expect("its state").is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        kills += usize::from(child.try_wait().expect("its state").is_none());
        let _ = child.kill();
        child.wait().expect("ended");
    }
    assert!(kills >= 3, "only {kills} runs could be killed");
    run(&toy, &slow.url, "killed", &[]).ok();
    let strip = |text: &str| {
        let mut summary: Value = serde_json::from_str(text).expect("JSON");
        summary["run"] = Value::Null;
        summary
    };
    assert!(strip(&result(&toy, "killed", "summary.json")) == strip(&whole), "the results differ");
    // What was in hand when it was killed may be asked again, nothing else: questions under way, and
    // answers that were being written, of which there are no more than that.
    let again = slow.requests() - slow.distinct();
    assert!(again <= kills * 2 * IN_FLIGHT, "{again} questions were asked again after {kills} kills");
}

#[test]
fn a_budget_stops_before_it_is_passed_and_the_run_goes_on_later() {
    let toy = Toy::new();
    let server = ModelServer::start(Box::new(honest));
    run(&toy, &server.url, "out", &["--budget-usd", "0.01"])
        .refused(4, &["budget", "$0.01", "to resume after raising `--budget-usd`: ", "--budget-usd 0.01"]);
    let asked = server.requests();
    // Each answer costs 110 tokens at a dollar per million.
    assert!(asked > 0 && asked as f64 * 110e-6 <= 0.01, "{asked} requests");
    run(&toy, &server.url, "out", &[]).ok();
    assert_eq!(server.requests(), server.distinct(), "what was paid for is not asked again");
}

#[test]
fn a_refused_key_stops_at_once_and_is_never_shown() {
    let toy = Toy::new();
    let server = ModelServer::start(Box::new(|_: &Value| {
        (401, format!("{{\"error\": {{\"message\": \"Incorrect API key provided: {KEY}\"}}}}"))
    }));
    let done = run(&toy, &server.url, "out", &[]);
    assert!(!done.stderr.contains(KEY), "{}", done.stderr);
    done.refused(5, &[&server.url, "refused the key", "to resume: "]);
    assert!(server.requests() <= 2 * IN_FLIGHT, "{} requests with a bad key", server.requests());
    assert_key_is_nowhere(toy.home());
}

#[test]
fn answers_that_cannot_be_read_are_counted_and_never_scored() {
    let toy = Toy::new();
    let server = ModelServer::start(Box::new(|request: &Value| {
        // Every other question, so that it is not the first ones that all fail.
        if asks_for_an_explanation(request) || request["messages"].to_string().len().is_multiple_of(2) {
            return honest(request);
        }
        (200, reply(request, "no numbers today"))
    }));
    let done = run(&toy, &server.url, "out", &[]);
    assert_eq!(done.code, Some(3), "{}", done.stderr);
    let manifest = result(&toy, "out", "manifest.json");
    assert!(
        manifest.contains("one reply: no numbers today; take a model that keeps to the form"),
        "{manifest}"
    );
    assert!(!manifest.contains("more text"), "{manifest}");
    let summary: Value = serde_json::from_str(&result(&toy, "out", "summary.json")).expect("JSON");
    let cells = summary["cells"].as_array().expect("cells");
    let of_model = cells.iter().filter(|cell| cell["explainer"] == "token_activation");
    for cell in of_model {
        assert!(cell["mean"].is_null() && cell["n_scored"] == 0, "{cell}");
        assert!(cell["tally"]["failed"].as_u64() > Some(0), "{cell}");
    }
    let scores = result(&toy, "out", "scores.jsonl");
    assert!(scores.contains("\"reason\":\"malformed_reply\""), "the reason is counted");
}

#[test]
fn a_step_whose_first_answers_all_fail_alike_stops_and_goes_on_once_mended() {
    let toy = Toy::new();
    let ill = Arc::new(AtomicBool::new(true));
    let (still_ill, explained) = (ill.clone(), Arc::new(Mutex::new(Vec::<Value>::new())));
    let seen = explained.clone();
    let server = ModelServer::start(Box::new(move |request: &Value| {
        if asks_for_an_explanation(request) {
            seen.lock().expect("no panic").push(request.clone());
        } else if still_ill.load(Ordering::SeqCst) {
            return (200, reply(request, "A poem\u{1b}[31m of two lines,\nand no numbers."));
        }
        honest(request)
    }));
    let done = run(&toy, &server.url, "out", &[]);
    assert!(!done.stderr.contains('\u{1b}'), "{}", done.stderr);
    done.refused(
        5,
        &[
            "first 20 answers all failed as `malformed_reply`",
            "A poem [31m of two lines, and no numbers.",
            "hint:",
        ],
    );
    let asked = server.requests();
    // Three attempts of each that failed and of those under way.
    assert!(asked < 20 + 3 * (20 + 4 * IN_FLIGHT), "{asked} questions");
    ill.store(false, Ordering::SeqCst);
    run(&toy, &server.url, "out", &[]).ok();
    assert!(!result(&toy, "out", "scores.jsonl").contains("malformed_reply"));
    let explained = explained.lock().expect("no panic");
    let again = explained.iter().enumerate().filter(|(nth, one)| explained[..*nth].contains(one)).count();
    assert_eq!(again, 0, "a good answer is not asked for again");
}

#[test]
fn an_endpoints_reason_is_shown_with_the_field_that_mends_it() {
    let toy = Toy::new();
    let server = ModelServer::start(Box::new(|request: &Value| {
        if request.get("seed").is_some() {
            let said = format!("property 'seed' is\u{1b}[31m unsupported for {}", KEY.to_uppercase());
            return (400, json!({"error": {"message": said}}).to_string());
        }
        honest(request)
    }));
    // One row of four features: fewer questions than a step is given up after.
    let few = [
        "--set",
        "methods=[{kind: random}]",
        "--set",
        "controls=[shuffled]",
        "--set",
        "statistics={reference: random, resamples: 200, permutations: 200}",
    ];
    let done = run(&toy, &server.url, "out", &few);
    for text in [&done.stderr, &result(&toy, "out", "manifest.json"), &result(&toy, "out", "index.html")] {
        assert!(text.contains("is [31m unsupported for ***"), "{text}");
        assert!(text.contains("omit: [seed]") && !text.contains("more text"), "{text}");
        assert!(!text.contains('\u{1b}') && !text.contains(&KEY.to_uppercase()), "{text}");
    }
    done.refused(5, &["answers all failed as `bad_request`", "status 400", "to resume: "]);
    let lines = result(&toy, "out", "scores.jsonl");
    assert!(!lines.contains("no_other_explanation"), "the control keeps the cause: {lines}");
    assert!(server.requests() <= 4, "{}", server.requests());
    let mended: Vec<&str> = few.iter().copied().chain(["--set", "explainer.llm.omit=[seed]"]).collect();
    run(&toy, &server.url, "out", &mended).ok();
    assert!(!result(&toy, "out", "scores.jsonl").contains("bad_request"));
    let wrong: Vec<&str> = few.iter().copied().chain(["--set", "explainer.llm.omit=[sed]"]).collect();
    run(&toy, &server.url, "wrong", &wrong).refused(2, &["omit", "`sed`", "seed"]);
    assert_key_is_nowhere(toy.home());
}

#[test]
fn an_endpoint_says_how_it_wants_to_be_asked_and_is() {
    let toy = Toy::new();
    let refused = Arc::new(AtomicUsize::new(0));
    let counted = refused.clone();
    let server = ModelServer::start(Box::new(move |request: &Value| {
        if request.get("max_tokens").is_some() {
            counted.fetch_add(1, Ordering::SeqCst);
            let said = "Unsupported parameter: 'max_tokens' is not supported with this model. Use \
                        'max_completion_tokens' instead.";
            return (400, json!({"error": {"message": said}}).to_string());
        }
        assert!(request["max_completion_tokens"].as_u64() > Some(0));
        honest(request)
    }));
    let done = run(&toy, &server.url, "out", &["--set", "controls=[]"]).ok();
    assert!(done.stderr.is_empty(), "quiet: {}", done.stderr);
    let manifest = result(&toy, "out", "manifest.json");
    assert!(manifest.contains("set `max_tokens_field: max_completion_tokens`"), "{manifest}");
    let refused = refused.load(Ordering::SeqCst);
    assert!(refused > 0 && refused <= 2 * IN_FLIGHT, "{refused} refused: it is learnt once");
}

#[test]
fn what_failed_for_the_day_is_asked_again_by_the_same_command() {
    for (status, reason) in [(500, "server_error"), (400, "bad_request"), (200, "malformed_reply")] {
        asked_again_after(status, reason);
    }
}

fn asked_again_after(status: u16, reason: &str) {
    let toy = Toy::new();
    let (ill, struck) = (Arc::new(AtomicBool::new(true)), Mutex::new(None::<Value>));
    let still_ill = ill.clone();
    let server = ModelServer::start(Box::new(move |request: &Value| {
        let mut struck = struck.lock().expect("no panic");
        if !asks_for_an_explanation(request) && struck.get_or_insert(request.clone()) == request {
            drop(struck);
            if still_ill.load(Ordering::SeqCst) {
                return (status, if status == 200 { reply(request, "nothing") } else { "{}".to_string() });
            }
        }
        honest(request)
    }));
    let attempts = ["--set", "simulator.attempts=1"];
    let first = run(&toy, &server.url, "out", &attempts);
    assert!([Some(0), Some(3)].contains(&first.code), "{}", first.stderr);
    let failed = format!("\"reason\":\"{reason}\"");
    assert!(result(&toy, "out", "scores.jsonl").contains(&failed), "{reason}");
    ill.store(false, Ordering::SeqCst);
    let asked = server.distinct();
    run(&toy, &server.url, "out", &attempts).ok();
    assert!(!result(&toy, "out", "scores.jsonl").contains(&failed), "asked again");
    let more = server.distinct() - asked;
    assert!(more < 100, "{more} questions more: only the feature that failed was left");
}
