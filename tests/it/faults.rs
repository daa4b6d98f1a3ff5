//! A run that asks language models, ended in the middle again and again.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use autointerp::base::{Stream, write_atomic};
use serde_json::Value;

use crate::model_server::{ModelServer, honest};
use crate::program::{autointerp, finish};

/// Times that the run is killed.
const KILLS: usize = 20;

/// Features of all methods together.
const FEATURES: usize = 200;

/// Two fragments of a list that explains every other one.
const SCORED: &str = "{start: 1, step: 2, n: 2}";
const NONE: &str = "{start: 0, step: 1, n: 0}";

/// Four methods of the embedded model, 50 features each, five questions a feature.
fn suite(url: &str) -> String {
    format!(
        "name: faults
seed: 7
subject: {{model: embedded}}
corpus: {{source: embedded, fit_tokens: 20_000, ctx_tokens: 128, eval_fragments: 700}}
hooks: [blocks.1.hook_resid_post]
methods:
  - {{name: topk, kind: topk, expansion: 1, k: 16, steps: 100}}
  - {{kind: neuron}}
  - {{kind: random}}
  - {{kind: identity}}
features: {{per_cell: {}}}
protocol: {{base: standard, score: {{top: {SCORED}, random: {SCORED}, non_firing: {NONE}}}}}
explainer: {{kind: token_activation, llm: {{client: openai, model: scripted, base_url: {url}, max_in_flight: 8}}}}
simulator: {{kind: generated}}
scorers: [top_and_random, beyond_token]
controls: []
statistics: {{reference: topk, resamples: 500, permutations: 500}}
",
        FEATURES / 4
    )
}

/// The run of a suite file, to be started or waited for.
fn command(home: &Path, suite: &str, out: &str) -> Command {
    let (suite, out) = (home.join(suite).display().to_string(), home.join(out).display().to_string());
    let mut command = autointerp(home, &["run", &suite, "--out", &out, "--quiet"]);
    command.stdin(Stdio::null());
    command
}

/// Answers that lie complete in the cache.
fn stored_answers(folder: &Path) -> usize {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let count = |path: &Path| match path.is_dir() {
        true => stored_answers(path),
        false => usize::from(path.extension().is_some_and(|extension| extension == "json")),
    };
    entries.map(|entry| count(&entry.expect("an entry").path())).sum()
}

/// Questions in hand of a run with eight turns at the endpoint: half as many more wait to be stored.
const IN_HAND: usize = 12;

/// A summary without the digest that the server's address is part of.
fn summary(home: &Path, out: &str) -> Value {
    let text = fs::read_to_string(home.join(out).join("summary.json")).expect("a summary");
    let mut summary: Value = serde_json::from_str(&text).expect("JSON");
    summary["run"] = Value::Null;
    summary
}

#[test]
fn twenty_kills_change_no_number_and_repeat_no_stored_answer() {
    let home = tempfile::tempdir().expect("a folder");
    let home = home.path();
    let undisturbed = ModelServer::start(Box::new(honest));
    write_atomic(&home.join("whole.yaml"), suite(&undisturbed.url).as_bytes()).expect("written");
    finish(&mut command(home, "whole.yaml", "whole")).ok();
    let questions = undisturbed.distinct();
    assert_eq!(undisturbed.requests(), questions, "an undisturbed run asks nothing twice");
    let whole = summary(home, "whole");
    let scored: u64 = whole["cells"]
        .as_array()
        .expect("cells")
        .iter()
        .filter(|cell| cell["scorer"] == "top_and_random")
        .map(|cell| cell["n_scored"].as_u64().expect("a count"))
        .sum();
    assert_eq!(scored, FEATURES as u64);
    fs::remove_dir_all(home.join("cache")).expect("an empty cache");

    let server = ModelServer::start(Box::new(honest));
    write_atomic(&home.join("killed.yaml"), suite(&server.url).as_bytes()).expect("written");
    let mut moments = Stream::new(11, "kills");
    let (mut kills, mut lost) = (0, 0);
    for nth in 0..KILLS {
        // A random moment of the twentieth part of the questions that comes next.
        let answered = questions * nth / KILLS + moments.below(questions / KILLS);
        let mut child = command(home, "killed.yaml", "killed")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        while server.distinct() <= answered && child.try_wait().expect("its state").is_none() {
            std::thread::sleep(Duration::from_micros(200));
        }
        kills += usize::from(child.try_wait().expect("its state").is_none());
        let _ = child.kill();
        child.wait().expect("ended");
        // Answers on their way when it ended: only these may be asked for again.
        lost += server.distinct() - stored_answers(&home.join("cache/answers"));
    }
    assert_eq!(kills, KILLS, "every run was killed before its end");
    finish(&mut command(home, "killed.yaml", "killed")).ok();
    assert!(summary(home, "killed") == whole, "the results differ");
    let again = server.requests() - server.distinct();
    assert!(again <= lost, "{again} questions were asked again, and {lost} answers were lost");
    // What is in hand when a run is killed, asked and not stored yet, is all that can be asked again. (`lost` counts
    // an answer once more with each kill that comes before it is asked again.)
    assert!(again <= IN_HAND * KILLS, "{again} questions were asked again after {KILLS} kills");
    assert_eq!(server.distinct(), questions);
}
