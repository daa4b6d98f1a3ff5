//! Runs over features that the suite chooses, and over dictionaries whose quality is not measured in full.

use std::fs;
use std::path::Path;

use autointerp::base::write_atomic;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program::{Done, call};

/// Width of the embedded model, and features of the dictionary made here.
const WIDTH: usize = 128;
const FEATURES: usize = 64;

/// A feature of that dictionary that never fires.
const DEAD: usize = 2;

const HOOK: &str = "blocks.2.hook_resid_post";

/// A JumpReLU dictionary in SAELens's layout: feature `f` is coordinate `f` of the activation where it exceeds 0.1.
fn write_dictionary(folder: &Path) {
    let unit = |row: usize, col: usize| if row == col { 1.0f32 } else { 0.0 };
    let encoder: Vec<f32> = (0..WIDTH * FEATURES).map(|i| unit(i / FEATURES, i % FEATURES)).collect();
    let decoder: Vec<f32> = (0..WIDTH * FEATURES).map(|i| unit(i / WIDTH, i % WIDTH)).collect();
    let bias: Vec<f32> = (0..FEATURES).map(|feature| if feature == DEAD { -1e6 } else { 0.0 }).collect();
    let tensors = [
        ("W_enc", vec![WIDTH, FEATURES], encoder),
        ("W_dec", vec![FEATURES, WIDTH], decoder),
        ("b_enc", vec![FEATURES], bias),
        ("b_dec", vec![WIDTH], vec![0.0; WIDTH]),
        ("threshold", vec![FEATURES], vec![0.1; FEATURES]),
    ];
    let tensors: Vec<(&str, Vec<usize>, Vec<u8>)> = tensors
        .into_iter()
        .map(|(name, shape, values)| {
            (name, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect())
        })
        .collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        (*name, TensorView::new(Dtype::F32, shape.clone(), bytes).expect("a tensor"))
    });
    let bytes = safetensors::serialize(views, None).expect("a file");
    let config = json!({"architecture": "jumprelu", "d_in": WIDTH, "d_sae": FEATURES,
        "apply_b_dec_to_input": false, "normalize_activations": "none"});
    write_atomic(&folder.join("sae_weights.safetensors"), &bytes).expect("written");
    write_atomic(&folder.join("cfg.json"), config.to_string().as_bytes()).expect("written");
}

/// A folder with `suite.yaml`, `ids.txt` and the dictionary `sae/`.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    write_dictionary(&folder.path().join("sae"));
    let suite = format!(
        "name: chosen
seed: 7
subject: {{model: embedded}}
corpus: {{source: embedded, fit_tokens: 20_000, ctx_tokens: 128, eval_fragments: 600}}
hooks: [{HOOK}]
methods:
  - {{name: topk, kind: topk, expansion: 1, k: 12, steps: 150, quality: sample, features: {{ids_file: ids.txt}}}}
  - {{name: pca, kind: pca, variants: [fitted, split], features: {{ids: [5, 1, 100]}}}}
  - {{kind: random, features: 32}}
  - {{name: sae, kind: file, path: sae, format: saelens, quality: false, features: {{ids: [9, {DEAD}, 4, 0]}}}}
features: {{per_cell: 4}}
explainer: token_lookup_fit
controls: [shuffled, {{random_weights: [topk]}}]
statistics: {{reference: topk, resamples: 200, permutations: 200}}
"
    );
    write_atomic(&folder.path().join("suite.yaml"), suite.as_bytes()).expect("written");
    let ids = "# features to look at\n77\n\n3 # the third\n120\n40\n";
    write_atomic(&folder.path().join("ids.txt"), ids.as_bytes()).expect("written");
    folder
}

fn command(home: &Path, verb: &str, more: &[&str]) -> Done {
    let suite = home.join("suite.yaml").display().to_string();
    call(home, &[&[verb, &suite], more].concat())
}

/// Runs the suite and gives the bytes of `summary.json` and `scores.jsonl`.
fn run(home: &Path, out: &str, more: &[&str]) -> (String, String) {
    let path = home.join(out).display().to_string();
    command(home, "run", &[&["--out", &path, "--quiet"], more].concat()).ok();
    let text = |name: &str| fs::read_to_string(home.join(out).join(name)).expect("a result");
    (text("summary.json"), text("scores.jsonl"))
}

fn lines<'a>(scores: &'a [Value], method: &str, control: Option<&str>) -> Vec<&'a Value> {
    let is_of = |line: &&Value| line["method"] == method && line["control"].as_str() == control;
    scores.iter().filter(is_of).collect()
}

fn features(lines: &[&Value]) -> Vec<u64> {
    lines.iter().map(|line| line["feature"].as_u64().expect("a feature")).collect()
}

fn parsed(lines: &str) -> Vec<Value> {
    lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn exactly_the_chosen_features_are_walked_in_their_order() {
    let folder = folder();
    let home = folder.path();
    let (summary, scores) = run(home, "out", &[]);
    let (summary, scores): (Value, Vec<Value>) =
        (serde_json::from_str(&summary).expect("JSON"), parsed(&scores));
    for (method, control, ids) in [
        ("topk", None, vec![77, 3, 120, 40]),
        ("topk", Some("shuffled"), vec![77, 3, 120, 40]),
        ("topk", Some("random_weights"), vec![77, 3, 120, 40]),
        ("pca", None, vec![5, 1, 100]),
        ("pca_split", None, vec![5, 1, 100]),
        ("sae", None, vec![9, DEAD as u64, 4, 0]),
        ("sae", Some("shuffled"), vec![9, DEAD as u64, 4, 0]),
    ] {
        assert_eq!(features(&lines(&scores, method, control)), ids, "{method} {control:?}");
    }
    let dead = lines(&scores, "sae", None)[1];
    assert_eq!((&dead["status"], &dead["reason"]), (&json!("skipped"), &json!("dead")));
    let others = lines(&scores, "sae", None);
    assert!(others.iter().any(|line| line["status"] == "scored"), "{others:?}");

    for cell in summary["cells"].as_array().expect("cells") {
        let chosen = cell["method"] != "random";
        assert_eq!(cell["features"].as_str(), chosen.then_some("chosen"), "{cell}");
        let note = cell["note"].as_str().unwrap_or_default();
        assert_eq!(note.contains("chosen features"), chosen, "{cell}");
    }
    let sae = |cell: &&Value| cell["method"] == "sae" && cell["control"].is_null();
    let cell = summary["cells"].as_array().expect("cells").iter().find(sae).expect("a cell");
    assert_eq!((&cell["n_requested"], &cell["tally"]["skipped"]["dead"]), (&json!(4), &json!(1)));
    let compared = summary["differences"].as_array().expect("differences");
    assert!(compared.iter().all(|row| row["note"].as_str().is_some_and(|note| note.contains("chosen"))));

    for ranking in summary["rankings"].as_array().expect("rankings") {
        let note = ranking["note"].as_str().expect("a note");
        assert!(note.contains("over chosen features") && !note.contains("random"), "{note}");
    }

    let row = |method: &str| {
        let rows = summary["quality"].as_array().expect("rows").iter();
        rows.clone().find(|row| row["method"] == method && row["control"].is_null()).expect("a row").clone()
    };
    assert_eq!(row("topk")["n_tokens"], 64 * 63);
    assert!(row("topk")["fvu"].is_number() && row("topk")["loss_recovered_zero"].is_number());
    assert!(row("topk")["note"].as_str().expect("a note").contains("measured on 4032 tokens"));
    assert_eq!(row("pca")["n_tokens"], 600 * 63);
    let empty = row("sae");
    for field in ["l0", "fvu", "loss_recovered_zero", "alive", "dead", "near_dead", "density_median"] {
        assert!(empty[field].is_null(), "{field} of {empty}");
    }
    assert_eq!((&empty["n_features"], &empty["n_tokens"]), (&json!(FEATURES), &json!(0)));
    assert!(empty["note"].as_str().expect("a note").contains("not measured (`quality: false`)"));

    let text = |name: &str| fs::read_to_string(home.join("out").join(name)).expect("a file");
    for file in ["table.md", "table.tex", "index.html"] {
        assert!(text(file).contains("over the chosen features: not a sample of the dictionary"), "{file}");
    }
    let manifest: Value = serde_json::from_str(&text("manifest.json")).expect("JSON");
    assert_eq!(manifest["suite"]["methods"][0]["features"], json!({"ids": [77, 3, 120, 40]}));
    let plan = command(home, "plan", &["--json"]).ok().stdout;
    let plan: Value = serde_json::from_str(&plan).expect("JSON");
    assert_eq!(plan["features"], 4 + 2 * 3 + 4 + 4);
    assert!(plan["notes"].to_string().contains("chosen features, not a sample"), "{}", plan["notes"]);
}

#[test]
fn neither_a_resumed_run_nor_the_quality_pass_changes_a_score() {
    let folder = folder();
    let home = folder.path();
    let first = run(home, "out", &[]);
    let rows = || {
        fs::read_dir(home.join("out/stages")).expect("stages").map(|entry| entry.expect("an entry").path())
    };
    let stored: Vec<_> = rows().filter(|path| path.to_string_lossy().contains("/row-")).collect();
    assert_eq!(stored.len(), 6);
    stored.iter().step_by(2).for_each(|path| fs::remove_file(path).expect("removed"));
    assert!(first == run(home, "out", &[]), "a resumed run gives other bytes");
    assert!(first == run(home, "again", &["--threads", "1"]), "one thread gives other bytes");
    let full: Vec<&str> =
        ["methods.0.quality=full", "methods.3.quality=full"].iter().flat_map(|set| ["--set", *set]).collect();
    let (summary, scores) = run(home, "full", &full);
    assert!(first.0 != summary);
    assert!(first.1 == scores, "features encoded alone have other scores");
    let off = run(home, "off", &["--set", "methods.0.quality=false", "--set", "methods.1.quality=sample"]);
    assert!(first.1 == off.1, "features of TopK and PCA have other scores without a quality pass");
}

#[test]
fn the_published_protocol_walks_chosen_features_too() {
    let folder = folder();
    let home = folder.path();
    let only =
        format!("methods=[{{name: sae, kind: file, path: {}, format: saelens}}]", home.join("sae").display());
    let set = [
        "--set",
        &only,
        "--set",
        "features={ids: [9, 2, 4, 0]}",
        "--set",
        "protocol=cunningham2023",
        "--set",
        "controls=[]",
        "--set",
        "statistics.reference=sae",
        "--set",
        "quality=sample",
    ];
    let scores = parsed(&run(home, "paper", &set).1);
    let lines = lines(&scores, "sae", None);
    assert_eq!(features(&lines), [9, DEAD as u64, 4, 0]);
    assert_eq!(lines[1]["reason"], "dead");
    assert!(lines.iter().any(|line| line["status"] == "scored"), "{lines:?}");
}

#[test]
fn a_feature_that_does_not_exist_is_named_before_any_evaluation() {
    let folder = folder();
    let home = folder.path();
    let out = home.join("out").display().to_string();
    let place = format!("at `{HOOK}` has no feature");
    for (set, verb, expected) in [
        ("methods.1.features={ids: [3, 128]}", "plan", format!("`pca` {place} 128: it has 128")),
        ("methods.0.features={ids: [128]}", "run", format!("`topk` {place} 128: it has 128")),
        ("methods.3.features={ids: [64]}", "run", format!("`sae` {place} 64: it has 64")),
    ] {
        let more: Vec<&str> =
            if verb == "run" { vec!["--out", &out, "--set", set] } else { vec!["--set", set] };
        command(home, verb, &more).refused(2, &[&expected]);
    }
    assert!(!home.join("out/scores.jsonl").exists());
    let both = command(home, "check", &["--set", "features.ids=[1]"]);
    both.refused(2, &["`features.ids` is given beside `per_cell`: keep `ids`"]);
}
