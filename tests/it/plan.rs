//! A plan beside the run that it is for: lines, sizes, and what each flag changes.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::program::{autointerp, call, finish};
use crate::toy::Toy;

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

fn plan(toy: &Toy, more: &[&str]) -> Value {
    let suite = toy.arg("suite.yaml");
    json(&call(toy.home(), &[&["plan", &suite, "--json"], more].concat()).ok().stdout)
}

/// Bytes of all files below a folder.
fn bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries
        .map(|path| if path.is_dir() { bytes(&path) } else { path.metadata().expect("a file").len() })
        .sum()
}

/// A run's counts are those of its plan, and its sizes are near.
#[test]
fn a_run_takes_what_was_planned() {
    let toy = Toy::new();
    let plan = plan(&toy, &[]);
    call(toy.home(), &["run", &toy.arg("suite.yaml"), "--out", &toy.arg("out")]).ok();
    let scores = fs::read_to_string(toy.path("out/scores.jsonl")).expect("scores");
    let lines: Vec<Value> = scores.lines().map(json).collect();
    let skipped: Vec<&Value> = lines.iter().filter(|line| line["status"] == "skipped").collect();
    let planned = |name: &str| plan[name].as_u64().expect("a count") as usize;
    // A skipped feature has a line under each explainer, and another one is walked in its place.
    assert_eq!(lines.len(), planned("score_lines") + skipped.len(), "{skipped:?}");
    assert!(lines.len() <= planned("score_lines_most"), "{plan}");
    let real = |line: &&Value| line["control"].is_null() && line["explainer"] == "neuron_to_graph";
    let walked = lines.iter().filter(real).filter(|line| line["status"] != "skipped").count();
    assert_eq!(walked, planned("features"));

    let manifest = json(&fs::read_to_string(toy.path("out/manifest.json")).expect("a manifest"));
    let names = |value: &Value| -> Vec<String> {
        value
            .as_array()
            .expect("a list")
            .iter()
            .map(|name| name.as_str().expect("a name").to_string())
            .collect()
    };
    let real = |name: &&String| !name.contains('(');
    let dictionaries: Vec<String> =
        manifest["dictionaries"].as_object().expect("rows").keys().cloned().collect();
    let mut rows: Vec<String> = Vec::new();
    for hook in names(&plan["hooks"]) {
        rows.extend(names(&plan["rows"]).iter().map(|row| format!("{hook}/{row}")));
    }
    rows.sort();
    assert_eq!(rows, dictionaries.iter().filter(real).cloned().collect::<Vec<_>>());
    assert_eq!(plan["threads"], manifest["machine"]["threads"]);
    assert_eq!(plan["device"], manifest["machine"]["device"]);
    let fitted = manifest["dictionaries"][&rows[0]]["rows"].as_u64().expect("a count");
    assert!(fitted as usize <= planned("fit_tokens") && fitted as usize * 10 > planned("fit_tokens") * 9);

    let near = |what: &str, planned: f64, found: f64, factor: f64| {
        assert!(planned < factor * found && found < factor * planned, "{what}: {planned}, found {found}");
    };
    let size = |name: &str| plan[name].as_f64().expect("a size") * 1e9;
    near("run folder", size("run_folder_gb"), bytes(&toy.path("out")) as f64, 3.0);
    let stages = manifest["stages"].as_array().expect("stages").iter();
    let peak = stages.filter_map(|stage| stage["peak_memory_bytes"].as_u64()).max();
    if let Some(peak) = peak {
        near("memory", size("memory_gb"), peak as f64, 4.0);
    }
    // 8,000 contexts' tokens in f16 and 300 fragments in f32, each with its id.
    assert_eq!(plan["disk_gb"].as_f64(), Some((8_000.0 * 36.0 + 19_200.0 * 68.0) / 1e9));
    assert_eq!(
        plan["parts"].as_array().expect("parts").iter().filter(|part| part["work"] == "harvest").count(),
        1
    );
}

#[test]
fn a_plan_knows_the_flags_of_a_run() {
    let toy = Toy::new();
    let suite = toy.arg("suite.yaml");
    let one = plan(&toy, &["--threads", "1"]);
    let three = plan(&toy, &["--threads", "3", "--seed", "9"]);
    assert_eq!((&one["threads"], &three["threads"]), (&1.into(), &3.into()));
    let fewer = plan(&toy, &["--limit-features", "2"]);
    assert_eq!((&fewer["features"], &one["features"]), (&8.into(), &16.into()));
    let lines = |plan: &Value| plan["score_lines"].as_u64().expect("a count");
    assert_eq!(lines(&one), 2 * lines(&fewer));
    // Four rows with two explainers, again for `shuffled`, and one row on permuted weights.
    assert_eq!(lines(&one), 4 * (4 * 2 * 2 + 2));
    assert!(fewer["run_folder_gb"].as_f64() < one["run_folder_gb"].as_f64());
    let args = ["--set", "controls=[]", "--set", "pairs=[]"];
    assert_eq!(lines(&plan(&toy, &args)), 16);

    // The same words as `run` has for a device that is not there.
    for verb in ["plan", "run"] {
        let refused = call(toy.home(), &[verb, &suite, "--device", "cuda:7", "--out", &toy.arg("out")]);
        refused.refused(2, &["cuda"]);
    }
    call(toy.home(), &["run", &suite, "--out", &toy.arg("out"), "--quiet"]).ok();
    let notes = plan(&toy, &["--out", &toy.arg("out")])["notes"].to_string();
    assert!(notes.contains("stored stages"), "{notes}");
    let dry = call(toy.home(), &["run", &suite, "--dry-run", "--out", &toy.arg("out")]).ok();
    assert!(dry.stdout.contains("no language model") && !dry.stdout.contains('$'), "{}", dry.stdout);
    assert!(dry.stdout.contains("stored stages"), "{}", dry.stdout);
}

#[test]
fn other_machines_and_parts_that_fail_are_planned_by_formulas() {
    let toy = Toy::new();
    let suite = toy.arg("suite.yaml");
    let usual = plan(&toy, &[]);
    let found = plan(&toy, &["--engine", "h100,here", "--parts", "3", "--failures", "0.01"]);
    for name in ["suite", "evaluate_tokens", "llm_requests"] {
        assert_eq!(found[name], usual[name], "{name}");
    }
    let engines = found["engines"].as_array().expect("engines");
    assert_eq!(engines.len(), 2);
    for engine in engines {
        let number = |path: &str| engine.pointer(path).and_then(Value::as_f64).expect(path);
        assert!(number("/hours/low") > 0.0 && number("/hours/low") < number("/hours/high"), "{engine}");
        assert!(number("/parts/bound/high") <= number("/parts/hours/high"), "{engine}");
        assert!((1.0..=3.0).contains(&number("/parts/speed_up")), "{engine}");
        let shares = ["/parts/repeated_high/expected_share", "/parts/repeated_high/share/mean"].map(number);
        assert!(shares.iter().all(|share| (0.0..0.01).contains(share)), "{engine}");
    }
    let text = call(toy.home(), &["plan", &suite, "--engine", "a100", "--parts", "2"]).ok().stdout;
    assert!(text.contains("a100: ") && text.contains("no division takes less than"), "{text}");
    for (flags, named) in [
        (["--utilisation", "0.6,0.2"], "--utilisation"),
        (["--storage-bandwidth", "0"], "--storage-bandwidth"),
        (["--parts", "0"], "--parts"),
    ] {
        let arguments = [&["plan", &suite, "--engine", "h100"], flags.as_slice()].concat();
        call(toy.home(), &arguments).refused(2, &[named]);
    }
}

#[test]
fn a_plan_measures_in_a_folder_that_it_removes() {
    let toy = Toy::new();
    let suite = toy.arg("suite.yaml");
    let scratch = toy.path("scratch");
    fs::create_dir(&scratch).expect("a folder");
    let with = |folder: &Path| {
        finish(autointerp(toy.home(), &["plan", &suite, "--json"]).env("TMPDIR", folder)).ok()
    };
    let measured = json(&with(&scratch).stdout);
    assert!(
        measured["minutes"].as_f64().is_some_and(|minutes| minutes > 0.0 && minutes < 10.0),
        "{measured}"
    );
    assert_eq!(fs::read_dir(&scratch).expect("a folder").count(), 0);
    // Without a place to write, the plan is the same but for the time.
    let file = toy.path("corpus.txt");
    let unmeasured = json(&with(&file).stdout);
    assert!(unmeasured["minutes"].is_null() && unmeasured["parts"] == json("[]"), "{unmeasured}");
    assert!(unmeasured["notes"].to_string().contains("could not be measured"), "{}", unmeasured["notes"]);
    assert_eq!(unmeasured["score_lines"], measured["score_lines"]);
}

#[test]
fn a_text_that_is_too_short_is_told() {
    let toy = Toy::new();
    let notes = plan(&toy, &["--set", "corpus.fit_tokens=9_000_000"])["notes"].to_string();
    assert!(notes.contains("the text has about") && notes.contains("`run` will refuse it"), "{notes}");
    assert!(!plan(&toy, &[])["notes"].to_string().contains("refuse"));
}
