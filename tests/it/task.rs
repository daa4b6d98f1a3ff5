//! A suite with a task: its prompts, what is recorded of patching, and that the same suite gives the same bytes.

use std::fs;
use std::path::Path;

use autointerp::base::write_atomic;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program::{Done, call};
use crate::smoke::results;

const SUITE: &str = "name: task
seed: 7
subject: {model: embedded}
corpus: {source: embedded, fit_tokens: 8_000, ctx_tokens: 128, eval_fragments: 300}
hooks: [blocks.1.hook_resid_post]
methods:
  - {name: topk, kind: topk, expansion: 2, k: 8, steps: 200}
  - {name: pca, kind: pca}
  - {kind: random}
features: {per_cell: 2}
explainer: token_lookup
scorers: [top_and_random]
controls: []
statistics: {reference: topk, resamples: 300, permutations: 300}
task: {kind: ioi, pairs: 8, max_exact: 6, max_features: 32, thresholds: 3}
";

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().expect("a temporary folder"));
        folder.write("suite.yaml", SUITE);
        folder
    }

    fn arg(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) {
        write_atomic(&self.0.path().join(name), text.as_bytes()).expect("written");
    }

    fn run(&self, out: &str, more: &[&str]) -> Done {
        let (suite, out) = (self.arg("suite.yaml"), self.arg(out));
        call(self.0.path(), &[&["run", &suite, "--out", &out, "--quiet"], more].concat())
    }

    fn summary(&self, out: &str) -> Value {
        serde_json::from_str(&results(&self.0.path().join(out)).0).expect("JSON")
    }
}

fn list<'v>(value: &'v Value, name: &str) -> &'v Vec<Value> {
    value[name].as_array().unwrap_or_else(|| panic!("{name} of {value}"))
}

fn number(value: &Value) -> f64 {
    value["value"].as_f64().unwrap_or_else(|| panic!("a number: {value}"))
}

/// Erasure for the same runs.
const ERASURE: [&str; 2] = ["--set", "erasure={prompts: 16, features: [1, 4]}"];

/// Every dictionary has its two curves beside the two baselines, on every concept.
fn assert_erased(erasure: &Value) {
    let concepts = list(erasure, "concepts");
    let names: Vec<&str> = concepts.iter().filter_map(|one| one["concept"].as_str()).collect();
    assert_eq!(names, ["noun_number", "name_gender", "text_kind"]);
    for concept in concepts {
        assert_eq!((&concept["n_prompts"], &concept["n_held_out"]), (&json!([16, 16]), &json!(10)));
        let dictionaries = list(concept, "dictionaries");
        assert_eq!(dictionaries.len(), 3);
        for dictionary in dictionaries {
            assert_eq!(number(&dictionary["majority"]), 0.5);
            let curves = list(dictionary, "curves");
            let erasers: Vec<&str> = curves.iter().filter_map(|curve| curve["eraser"].as_str()).collect();
            assert_eq!(erasers, ["features", "random_features", "leace", "mean_projection"]);
            let first = &list(&curves[0], "points")[0];
            assert_eq!((number(&first["kl"]), number(&first["edit_size"])), (0.0, 0.0));
            assert!(list(&curves[0], "points").iter().all(|point| number(&point["accuracy"]) <= 1.0));
            for baseline in &curves[2..] {
                assert!(number(&list(baseline, "points")[0]["kl"]) > 0.0, "{baseline}");
                assert!(baseline["half"].is_null());
            }
            let half = &curves[0]["half"];
            assert_eq!(
                half["value"].is_null(),
                !half["reason"].is_null() && half["ci_low"].is_null(),
                "{half}"
            );
        }
    }
}

/// Each curve runs from nothing to everything, which is closer to the target.
fn assert_measured(patching: &Value) {
    assert_eq!((patching["n_pairs"].as_u64(), &patching["task"]), (Some(8), &json!("ioi")));
    assert!(patching["n_right"].as_u64() >= Some(7), "the embedded model solves the task: {patching}");
    let methods: Vec<&str> =
        list(patching, "dictionaries").iter().filter_map(|one| one["method"].as_str()).collect();
    assert_eq!(methods, ["topk", "pca", "random"]);
    for dictionary in list(patching, "dictionaries") {
        let curves = list(dictionary, "curves");
        let orders: Vec<&str> = curves.iter().filter_map(|curve| curve["order"].as_str()).collect();
        assert_eq!(orders, ["attribution", "exact", "acdc", "random_features", "random_directions"]);
        for curve in curves {
            let points = list(curve, "points");
            let counts: Vec<u64> = points.iter().filter_map(|point| point["n_features"].as_u64()).collect();
            assert!(counts.is_sorted() && counts.first() == Some(&0), "{counts:?}");
            let (first, last) = (&points[0], &points[points.len() - 1]);
            assert_eq!(number(&first["edit_size"]), 0.0);
            assert!(number(&first["logit_difference"]).abs() < 1e-6, "{first}");
            for point in points {
                let (low, high) = (point["kl"]["ci_low"].as_f64(), point["kl"]["ci_high"].as_f64());
                assert!(low <= high && low.is_some(), "{point}");
            }
            if dictionary["method"] != "random" && curve["is_control"] == false {
                assert!(number(&first["kl"]) > number(&last["kl"]), "{dictionary}");
                assert!(number(&curve["area"]) < number(&first["kl"]), "{curve}");
            }
        }
    }
    // Principal components are complete, so all of them are the whole activation.
    let pca = &list(&list(patching, "dictionaries")[1], "curves")[0];
    let all = list(pca, "points").last().expect("points");
    assert!((number(&all["logit_difference"]) - 1.0).abs() < 1e-2, "{all}");
    let differences = list(patching, "differences");
    assert_eq!(differences.len(), 2 * 3 * 2, "two methods, three orders, two numbers");
    for row in differences {
        assert_eq!(row["method_a"], "topk");
        assert_eq!(row["difference"].is_null(), row["p"].is_null(), "{row}");
        assert!(row["p"].is_null() || row["p_adjusted"].as_f64() >= row["p"].as_f64(), "{row}");
    }
}

#[test]
fn patching_is_measured_and_its_bytes_depend_on_nothing_else() {
    let folder = Folder::new();
    let run = |out: &str, more: &[&str]| folder.run(out, &[&ERASURE[..], more].concat()).ok();
    run("one", &["--threads", "1"]);
    assert_measured(&folder.summary("one")["patching"]);
    assert_erased(&folder.summary("one")["erasure"]);
    let table = fs::read_to_string(folder.0.path().join("one/patching.csv")).expect("patching.csv");
    assert!(table.starts_with("task,hook,method,control,order,"), "{table}");
    run("two", &["--threads", "2"]);
    let all = |out: &str| {
        let table = |name: &str| fs::read(folder.0.path().join(out).join(name)).expect("a table");
        (results(&folder.0.path().join(out)), table("patching.csv"), table("erasure.csv"))
    };
    assert!(all("one") == all("two"), "the number of threads changes the results");
    // A run that was killed has some of its stages.
    let stages = folder.0.path().join("two/stages");
    for stage in ["patch-", "erase-"] {
        let stored: Vec<_> = fs::read_dir(&stages)
            .expect("stages")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(stage)))
            .collect();
        assert_eq!(stored.len(), 3);
        fs::remove_file(&stored[0]).expect("removed");
    }
    fs::remove_file(folder.0.path().join("two/summary.json")).expect("removed");
    run("two", &[]);
    assert!(all("one") == all("two"), "a resumed run has other results");
}

#[test]
fn a_run_without_a_task_says_nothing_of_one() {
    let folder = Folder::new();
    folder.run("with", &["--set", "task.orders=[attribution]"]).ok();
    folder.run("without", &["--set", "task=null"]).ok();
    let (with, without) = (folder.summary("with"), folder.summary("without"));
    assert_eq!(with["cells"], without["cells"]);
    assert!(without.get("patching").is_none() && with["run"] != without["run"]);
    let manifest = fs::read_to_string(folder.0.path().join("without/manifest.json")).expect("a manifest");
    assert!(!manifest.contains("\"task\":") && !manifest.contains("\"patching\":"));
    assert!(!folder.0.path().join("without/patching.csv").exists());
    // The table of an earlier run goes with its task.
    folder.run("with", &["--set", "task=null"]).ok();
    assert!(!folder.0.path().join("with/patching.csv").exists());
}

#[test]
fn pairs_of_a_file_are_read_and_what_cannot_be_used_is_counted() {
    let folder = Folder::new();
    let pair = |base: &str, target: &str, answers: [&str; 2]| {
        let line = json!({
            "clean_prefix": base, "patch_prefix": target, "clean_answer": answers[0], "patch_answer": answers[1], "case": "x",
        });
        format!("{line}\n")
    };
    let lines = [
        pair("The man saw the", "The man found the", [" garden", " market"]),
        pair("The", "The old", [" garden", " market"]),
        pair("They went to the", "They came to the", [" garden", " zzzzqqqqxxxx"]),
        pair("They went to the", "They came to the", [" garden", " garden"]),
        pair("They went to the", "They came to the", [" garden", " market"]),
        pair("Then they went to the", "Then they came to the", [" garden", " market"]),
    ];
    folder.write("pairs.jsonl", &lines.concat());
    let task = "task={kind: pairs, prompts: pairs.jsonl, orders: [attribution], controls: false}";
    folder.run("out", &["--set", task]).ok();
    let patching = &folder.summary("out")["patching"];
    let counts = (&patching["n_pairs"], &patching["skipped"]);
    let expected = json!({"answer_of_several_tokens": 1, "equal_answers": 1, "unequal_lengths": 1});
    assert_eq!(counts, (&json!(3), &expected), "{patching}");
    // What the file says decides the run's digest, and where it lies does not.
    let run = folder.summary("out")["run"].clone();
    fs::rename(folder.0.path().join("pairs.jsonl"), folder.0.path().join("moved.jsonl")).expect("moved");
    let moved = task.replace("pairs.jsonl", "moved.jsonl");
    folder.run("moved", &["--set", &moved]).ok();
    assert_eq!(folder.summary("moved")["run"], run);
    folder.write("moved.jsonl", &(lines.concat() + "\n"));
    folder.run("changed", &["--set", &moved]).ok();
    assert_ne!(folder.summary("changed")["run"], run);
}

#[test]
fn bad_tasks_are_refused_with_their_reason() {
    let folder = Folder::new();
    let refused = |task: &str, code: i32, named: &[&str]| {
        folder.run("out", &["--set", &format!("task={task}")]).refused(code, named);
    };
    refused("{kind: iio}", 2, &["task.kind", "known: ioi, pairs"]);
    refused("{pairs: 1}", 2, &["task.pairs", "from 2 to 10000"]);
    refused("{max_exat: 3}", 2, &["did you mean `max_exact`"]);
    refused("ioi", 2, &["write `task: {kind: ioi}`"]);
    refused("{kind: pairs}", 2, &["task.prompts", "name the file"]);
    refused("{kind: pairs, prompts: nowhere.jsonl}", 6, &["nowhere.jsonl"]);
    folder.write("half.jsonl", "{\"base\": \"a\", \"target\": \"b\"}\n");
    refused("{kind: pairs, prompts: half.jsonl}", 8, &["half.jsonl", "line 1", "base_answer"]);
    refused("{kind: ioi, prompts: half.jsonl}", 8, &["half.jsonl", "has no template"]);
    let line = "{\"base\": \"The\", \"target\": \"The old\", \"base_answer\": \" garden\", \"target_answer\": \" market\"}\n";
    folder.write("uneven.jsonl", &line.repeat(3));
    refused("{kind: pairs, prompts: uneven.jsonl}", 8, &["gives 0 usable pairs", "unequal_lengths 3"]);
    let suite = folder.arg("suite.yaml");
    let checked = ["check", &suite, "--set", "task={kind: pairs, prompts: half.jsonl}"];
    call(folder.0.path(), &checked).refused(8, &["half.jsonl", "line 1"]);
}

#[test]
fn bad_concepts_are_refused_with_their_reason() {
    let folder = Folder::new();
    let suite = folder.arg("suite.yaml");
    let refused = |erasure: &str, code: i32, named: &[&str]| {
        let set = format!("erasure={erasure}");
        call(folder.0.path(), &["check", &suite, "--set", &set]).refused(code, named);
    };
    refused("{prompts: 4}", 2, &["erasure.prompts", "from 8 to 2000"]);
    refused("{concept: embedded}", 2, &["did you mean `concepts`"]);
    refused("{concepts: nowhere.jsonl}", 6, &["nowhere.jsonl"]);
    folder.write("one.jsonl", &"{\"text\": \"The man\", \"label\": \"x\"}\n".repeat(9));
    refused("{concepts: one.jsonl}", 8, &["one.jsonl", "1 labels of the concept `one`"]);
}

#[test]
fn a_plan_counts_the_passes_of_a_task() {
    let folder = Folder::new();
    let suite = folder.arg("suite.yaml");
    let arguments = [&["plan", &suite, "--json"], &ERASURE[..]].concat();
    let plan = call(folder.0.path(), &arguments).ok();
    let plan: Value = serde_json::from_str(&plan.stdout).expect("JSON");
    let notes = list(&plan, "notes");
    let is_ours = |note: &&Value| {
        note.as_str().is_some_and(|note| note.starts_with("task ioi: 8 pairs of prompts, 3 dict"))
    };
    assert!(notes.iter().any(|note| is_ours(&note)), "{notes:?}");
    let is_erasure =
        |note: &Value| note.as_str().is_some_and(|note| note.starts_with("erasure: at most 10 held-out"));
    assert!(notes.iter().any(is_erasure), "{notes:?}");
    for work in ["patch", "erase"] {
        assert!(list(&plan, "parts").iter().any(|part| part["work"] == work), "{plan}");
    }
}

/// The prompts that real models solve.
#[test]
fn shared_prompts_fit_the_embedded_model_or_say_why_not() {
    let Some(shared) = crate::shared::folder() else { return };
    let folder = Folder::new();
    let file = |name: &str| shared.join("tasks").join(name).display().to_string();
    assert!(Path::new(&file("ioi.json")).exists());
    let task = format!(
        "task={{kind: ioi, prompts: {}, pairs: 4, orders: [attribution], controls: false}}",
        file("ioi.json")
    );
    let done = folder.run("ioi", &["--set", &task]);
    assert!([Some(0), Some(8)].contains(&done.code), "{}", done.stderr);
    assert!(done.code == Some(0) || done.stderr.contains("ioi.json"), "{}", done.stderr);
}
