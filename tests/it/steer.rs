//! `steer`: text with a feature changed, beside unsteered text and a random direction of the same size.

use std::fs;

use serde_json::Value;

use crate::program::{Done, autointerp, call, finish};
use crate::toy::Toy;

const HOOK: &str = "blocks.1.hook_resid_post";

/// A toy whose suite has run into `out`.
fn ran() -> Toy {
    let toy = Toy::new();
    call(toy.home(), &["run", &toy.arg("suite.yaml"), "--out", &toy.arg("out"), "--quiet"]).ok();
    toy
}

/// `HOOK/topk/FEATURE` of a walked feature that fires, with its maximum activation.
fn firing(toy: &Toy) -> (String, f64) {
    let text = fs::read_to_string(toy.path("out/scores.jsonl")).expect("scores");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let mut lines = lines.filter(|line| line["method"] == "topk" && line["control"].is_null());
    let line = lines.find(|line| line["max_activation"].as_f64() > Some(0.0)).expect("a feature that fires");
    (format!("{HOOK}/topk/{}", line["feature"]), line["max_activation"].as_f64().expect("a maximum"))
}

fn steer(toy: &Toy, feature: &str, more: &[&str]) -> Done {
    let out = toy.arg("out");
    let line = ["steer", &out, feature, "--prompt", " the old dog saw", "--tokens", "12"];
    call(toy.home(), &[&line[..], more].concat())
}

fn json(done: &Done) -> Value {
    serde_json::from_str(&done.stdout).expect("JSON")
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn steered_text_differs_and_the_control_changes_activations_as_much() {
    let toy = ran();
    let (feature, maximum) = firing(&toy);
    let done = steer(&toy, &feature, &["--json", "--seed", "5"]).ok();
    let steered = json(&done);
    let steering = &steered["steering"];
    assert_eq!((&steered["hook"], &steered["dictionary"]), (&HOOK.into(), &"topk".into()));
    let change = &steering["change"];
    assert_eq!((&change["how"], &change["times_max"]), (&"set".into(), &10.0.into()));
    assert!((number(&change["value"]) - 10.0 * maximum).abs() < 1e-9 * maximum, "{change}");
    assert!(number(&steering["next_token"]["kl"]) > 0.0);
    let samples = steering["samples"].as_array().expect("samples");
    let seeds: Vec<&Value> = samples.iter().map(|sample| &sample["seed"]).collect();
    assert_eq!(seeds, [5, 6, 7]);
    for sample in samples {
        let (text, control) = (&sample["steered"], &sample["random_direction"]);
        assert_ne!(sample["unsteered"]["text"], text["written"]["text"], "{sample}");
        assert_eq!(text["written"]["tokens"].as_array().map(Vec::len), Some(12));
        let sizes = [text, control].map(|text| number(&text["edit"]["prompt"]));
        assert!(sizes[0] > 0.0 && (sizes[0] - sizes[1]).abs() < 1e-4 * sizes[0], "{sizes:?}");
        for text in [&sample["unsteered"], &text["written"], &control["written"]] {
            let expected = number(&text["nats_per_token"]).exp();
            assert!((number(&text["perplexity"]) - expected).abs() < 1e-9 * expected, "{text}");
        }
    }
    // The same bytes for the same seed, whatever the number of threads; the last sample alone as among others.
    for threads in ["1", "3"] {
        let again = steer(&toy, &feature, &["--json", "--seed", "5", "--threads", threads]).ok();
        assert_eq!(again.stdout, done.stdout, "{threads} threads");
    }
    let last = json(&steer(&toy, &feature, &["--json", "--seed", "7", "--samples", "1"]).ok());
    assert_eq!(last["steering"]["samples"][0], samples[2]);
}

#[test]
fn codes_are_set_added_to_and_scaled() {
    let toy = ran();
    let (feature, maximum) = firing(&toy);
    let one =
        |more: &[&str]| json(&steer(&toy, &feature, &[&["--json", "--samples", "1"], more].concat()).ok());
    for (args, how, value) in [
        (["--clamp", "-2x"], "set", -2.0 * maximum),
        (["--clamp", "12.5"], "set", 12.5),
        (["--add", "-3"], "add", -3.0),
        (["--add", "1.5x"], "add", 1.5 * maximum),
        (["--scale", "0"], "scale", 0.0),
    ] {
        let change = one(&args)["steering"]["change"].clone();
        assert_eq!(change["how"], how, "{args:?}");
        assert!((number(&change["value"]) - value).abs() < 1e-9 * value.abs().max(1.0), "{args:?}: {change}");
    }
    let unchanged = one(&["--scale", "1"]);
    let sample = &unchanged["steering"]["samples"][0];
    assert_eq!(sample["unsteered"]["text"], sample["steered"]["written"]["text"]);
    assert_eq!(unchanged["steering"]["next_token"]["raised"], serde_json::json!([]));
    let greedy = steer(&toy, &feature, &["--json", "--temperature", "0"]).ok();
    assert_eq!(json(&greedy)["steering"]["samples"].as_array().map(Vec::len), Some(1));
    // A method without a decoder has directions too.
    let random = format!("{HOOK}/random/3");
    steer(&toy, &random, &["--clamp", "4", "--samples", "1"]).ok();
}

#[test]
fn a_suite_that_asks_for_it_stores_steered_text_of_every_feature() {
    let toy = Toy::new();
    let (suite, out) = (toy.arg("suite.yaml"), toy.arg("out"));
    let run =
        |more: &[&str]| call(toy.home(), &[&["run", &suite, "--out", &out, "--quiet"], more].concat()).ok();
    let profiles =
        || fs::read_to_string(toy.path("out/profiles").join(HOOK).join("topk.jsonl")).expect("lines");
    run(&[]);
    assert!(!profiles().contains("steering"), "only where the suite asks");
    let plain = fs::read_to_string(toy.path("out/scores.jsonl")).expect("scores");
    run(&["--set", "examples=steering"]);
    assert_eq!(
        fs::read_to_string(toy.path("out/scores.jsonl")).expect("scores"),
        plain,
        "scores do not change"
    );
    let mut features = Vec::new();
    for line in profiles().lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")) {
        assert!(line["steering"].is_object() || line["steering_note"].is_string(), "{line}");
        if let Some(sample) = line["steering"]["samples"].get(0) {
            assert_eq!(sample["steered"]["written"]["tokens"].as_array().map(Vec::len), Some(30));
            features.push(line);
        }
    }
    let shown = features.first().expect("a feature with text");
    // The same as the verb writes.
    let place = format!("{HOOK}/topk/{}", shown["feature"]);
    let line =
        ["steer", &out, &place, "--prompt", "I think that", "--tokens", "30", "--samples", "1", "--json"];
    let steered = json(&call(toy.home(), &line).ok());
    let tokens = |steering: &Value| steering["samples"][0]["steered"]["written"]["tokens"].clone();
    assert_eq!(tokens(&steered["steering"]), tokens(&shown["steering"]));
    let inspected = call(toy.home(), &["inspect", &out, &place]).ok().stdout;
    assert!(inspected.contains("steered text") && inspected.contains("random direction"), "{inspected}");
    let page = toy.path("out/features").join(format!("{HOOK}--topk.html"));
    assert!(fs::read_to_string(page).expect("a page").contains("\"times_max\":10"));
    call(toy.home(), &["check", &suite, "--set", "examples=movies"]).refused(2, &["examples", "steering"]);
}

#[test]
fn texts_stand_side_by_side_or_below_each_other() {
    let toy = ran();
    let (feature, _) = firing(&toy);
    let (out, model) = (toy.arg("out"), toy.arg("model"));
    let line =
        ["steer", &out, &feature, "--prompt", "\u{1b}[31m the dog", "--tokens", "20", "--model", &model];
    for (columns, is_beside) in [("50", false), ("120", true)] {
        let done = finish(autointerp(toy.home(), &line).env("COLUMNS", columns)).ok();
        let columns = columns.parse().expect("a number");
        assert!(done.stdout.lines().all(|line| line.chars().count() <= columns), "{}", done.stdout);
        let beside =
            done.stdout.lines().any(|line| line.contains("unsteered") && line.contains("random direction"));
        assert_eq!(beside, is_beside, "{}", done.stdout);
        assert!(!done.stdout.contains('\u{1b}'), "{:?}", done.stdout);
        for part in ["seed 0", "seed 2", "perplexity", "temperature 0.7", "raised"] {
            assert!(done.stdout.contains(part), "`{part}` is not in\n{}", done.stdout);
        }
    }
}

#[test]
fn what_cannot_be_steered_is_named() {
    let toy = ran();
    let (feature, _) = firing(&toy);
    steer(&toy, "no/such/9", &[]).refused(2, &["`no/such/9` matches no feature", "topk"]);
    steer(&toy, "topk", &[]).refused(2, &["HOOK/METHOD/FEATURE"]);
    steer(&toy, &format!("{HOOK}/topk/99999"), &[]).refused(2, &["99999", "0 to 31"]);
    let text = fs::read_to_string(toy.path("out/scores.jsonl")).expect("scores");
    let is_walked = |feature: &usize| text.contains(&format!("\"method\":\"random\",\"feature\":{feature},"));
    let unwalked = (0..16).find(|feature| !is_walked(feature)).expect("a feature that was not walked");
    let unwalked = format!("{HOOK}/random/{unwalked}");
    steer(&toy, &unwalked, &[]).refused(2, &["--clamp", "did not walk", "--clamp 12.5"]);
    steer(&toy, &unwalked, &["--add", "2x"]).refused(2, &["--add", "did not walk"]);
    steer(&toy, &unwalked, &["--clamp", "3", "--samples", "1"]).ok();
    for (more, named) in [
        (vec!["--clamp", "10x", "--add", "1"], "--add"),
        (vec!["--add", "1", "--scale", "2"], "--scale"),
        (vec!["--clamp", "manyx"], "multiple of the maximum"),
        (vec!["--clamp", "nan"], "--clamp"),
        (vec!["--temperature", "-1"], "--temperature"),
        (vec!["--temperature", "0", "--samples", "2"], "--samples"),
        (vec!["--samples", "0"], "--samples"),
        (vec!["--prompt", "x"], "--prompt"),
    ] {
        steer(&toy, &feature, &more).refused(2, &[named]);
    }
    let out = toy.arg("out");
    let plain = |more: &[&str]| call(toy.home(), &[&["steer", &out, &feature], more].concat());
    plain(&["--prompt", ""]).refused(2, &["--prompt", "no token"]);
    plain(&["--prompt", " the dog", "--tokens", "0"]).refused(2, &["--tokens"]);
    plain(&["--prompt", " the dog", "--tokens", "500"]).refused(2, &["--tokens", "at most 62"]);
    plain(&["--prompt", &" the".repeat(100)]).refused(2, &["--prompt", "shorter"]);
    plain(&[]).refused(2, &["--prompt"]);
    call(toy.home(), &["steer", &toy.arg("nowhere"), &feature, "--prompt", "a"]).refused(6, &["nowhere"]);
}

#[test]
fn a_run_whose_model_is_gone_changed_or_never_there_says_so() {
    let toy = ran();
    let (feature, _) = firing(&toy);
    fs::rename(toy.path("model"), toy.path("moved")).expect("moved");
    steer(&toy, &feature, &[]).refused(6, &["model"]);
    let moved = toy.arg("moved");
    steer(&toy, &feature, &["--model", &moved, "--samples", "1"]).ok();
    steer(&toy, &feature, &["--model", "embedded"]).refused(8, &["not the model of the run", "embedded"]);
    let manifest = fs::read_to_string(toy.path("out/manifest.json")).expect("a manifest");
    let mut manifest: Value = serde_json::from_str(&manifest).expect("JSON");
    manifest["suite"]["subject"]["activations"] = "acts.safetensors".into();
    toy.write("out/manifest.json", &manifest.to_string());
    steer(&toy, &feature, &[]).refused(8, &["manifest.json"]);
    fs::remove_file(toy.path("out/digests.json")).expect("removed");
    steer(&toy, &feature, &[]).refused(2, &["steered text", "acts.safetensors"]);
}
