//! Names of methods and hook points become files: each its own, all of them inside the run folder.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use autointerp::report::{EvidenceFile, Layout, Place};
use serde_json::{Value, json};

use crate::program::call;
use crate::toy::Toy;

const HOOK: &str = "blocks.1.hook_resid_post";

/// Paths of all files below a folder, relative to it, with `/`.
fn files(folder: &Path) -> BTreeSet<String> {
    let (mut found, mut folders) = (BTreeSet::new(), vec![folder.to_path_buf()]);
    while let Some(inside) = folders.pop() {
        for entry in fs::read_dir(&inside).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let relative =
                    path.strip_prefix(folder).expect("inside").to_string_lossy().replace('\\', "/");
                found.insert(relative);
            }
        }
    }
    found
}

/// The toy suite with methods of these names, all of one kind.
fn suite(toy: &Toy, names: &[&str]) -> String {
    let text = toy.suite_text();
    let (head, tail) = text.split_once("  - {name: topk").expect("the methods");
    let (_, tail) = tail.split_once("features:").expect("the features");
    let method = |name: &&str| format!("  - {{name: {name:?}, kind: topk, expansion: 2, k: 4, steps: 60}}\n");
    let methods: String = names.iter().map(method).collect();
    format!("{head}{methods}features:{tail}")
        .replace("controls: [shuffled, {random_weights: [topk]}]\n", "controls: [shuffled]\n")
        .replace("reference: topk", &format!("reference: {:?}", names[0]))
}

#[test]
fn names_with_capitals_and_dots_have_evidence_pages_and_exports_of_their_own() {
    let toy = Toy::new();
    let names = ["A", "a.b", "a_b", "topk.seed2", "TopK"];
    toy.write("suite.yaml", &suite(&toy, &names));
    let before = files(toy.home());
    call(toy.home(), &["run", &toy.arg("suite.yaml"), "--out", &toy.arg("deep/run"), "--quiet"]).ok();
    for file in files(toy.home()).difference(&before) {
        assert!(
            file.starts_with("deep/run/") || file.starts_with("cache/"),
            "{file} is outside the run folder"
        );
    }

    let layout = Layout::new(&toy.path("deep/run"));
    let index = fs::read_to_string(layout.folder().join("index.html")).expect("a page");
    let mut pages = BTreeSet::new();
    for name in names {
        let place = Place { hook: HOOK.into(), dictionary: name.into(), control: None };
        for kind in [EvidenceFile::Records, EvidenceFile::Simulations, EvidenceFile::Neighbours] {
            let lines = fs::read_to_string(layout.evidence(&place, kind)).expect("evidence");
            assert!(lines.lines().next().is_some(), "{name} has no {kind:?}");
        }
        assert!(layout.dictionary(&place).join("dictionary.safetensors").is_file(), "{name}");
        let page = Layout::feature_page(&place);
        assert!(index.contains(&format!("features/{page}")), "no link to {page}");
        assert!(layout.feature_pages().join(&page).is_file(), "{page}");
        assert!(pages.insert(page.to_lowercase()), "{page} is another's on a file system without case");

        let lines = fs::read_to_string(layout.scores()).expect("scores");
        let line = |line: &str| -> Value { serde_json::from_str(line).expect("JSON") };
        let scored =
            lines.lines().map(line).find(|line| line["method"] == name && line["status"] == "scored");
        let feature = format!("{HOOK}/{name}/{}", scored.expect("a scored feature")["feature"]);
        let shown = call(toy.home(), &["inspect", &toy.arg("deep/run"), &feature, "--json"]).ok();
        let shown: Value = serde_json::from_str(&shown.stdout).expect("JSON");
        assert_eq!((&shown["dictionary"], shown["fires"].is_object()), (&json!(name), true));
    }
    let all: BTreeSet<String> = files(layout.folder()).iter().map(|file| file.to_lowercase()).collect();
    assert_eq!(all.len(), files(layout.folder()).len(), "two files differ by case alone");

    let done = call(toy.home(), &["export", &toy.arg("deep/run"), "--to", "neuron-record", "--json"]).ok();
    let done: Value = serde_json::from_str(&done.stdout).expect("JSON");
    let exported = done["exported"].as_array().expect("a list");
    let paths: BTreeSet<&str> = exported.iter().filter_map(|one| one["path"].as_str()).collect();
    assert_eq!((exported.len(), paths.len()), (names.len(), names.len()));
}

#[test]
fn a_run_folder_that_names_other_places_leads_nowhere() {
    let toy = Toy::new();
    toy.write("suite.yaml", &suite(&toy, &["one"]));
    call(toy.home(), &["run", &toy.arg("suite.yaml"), "--out", &toy.arg("x/y/run"), "--quiet"]).ok();
    // What a stored run says is changed: its hook point, its method, its explainer, its suite.
    for (file, changes) in [
        ("summary.json", [(HOOK, "../../x"), ("\"one\"", "\"/../../../up\""), ("\"toy\"", "\"../toy\"")]),
        ("scores.jsonl", [(HOOK, "../../x"), ("\"one\"", "\"/../../../up\""), ("\"toy\"", "\"../toy\"")]),
        ("manifest.json", [(HOOK, "../../x"), ("/one\"", "//../../../up\""), ("\"toy\"", "\"../toy\"")]),
    ] {
        let path = format!("x/y/run/{file}");
        let mut text = fs::read_to_string(toy.path(&path)).expect("a file");
        for (old, new) in changes.into_iter().chain([("\"token_lookup_fit\"", "\"../../explainer\"")]) {
            text = text.replace(old, new);
        }
        toy.write(&path, &text);
    }
    // Else the changed files would be refused as damaged.
    fs::remove_file(toy.path("x/y/run/digests.json")).expect("removed");
    let before = files(toy.home());
    call(toy.home(), &["report", &toy.arg("x/y/run"), "--quiet"]).ok();
    for form in ["saelens", "neuronpedia", "saebench", "neuron-record"] {
        // It may find nothing to export.
        call(toy.home(), &["export", &toy.arg("x/y/run"), "--to", form]);
    }
    let after = files(toy.home());
    for file in after.difference(&before) {
        assert!(file.starts_with("x/y/run/"), "{file} is outside the run folder");
    }
    assert!(
        after.iter().any(|file| file.contains("run/features/@2e.@2f..@2fx--")),
        "the page has a safe name"
    );
    assert!(after.iter().any(|file| file.contains("@2e@2e@2f@2e@2e@2fexplainer.svg")), "so has the chart");
}
