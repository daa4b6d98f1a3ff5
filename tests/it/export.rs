//! `export` on a finished run: what other programs would read, and what stays untouched.

use std::fs;
use std::path::Path;

use autointerp::stats::pearson;
use safetensors::SafeTensors;
use serde_json::Value;

use crate::program::call;
use crate::toy::Toy;

const HOOK: &str = "blocks.1.hook_resid_post";

fn ran() -> Toy {
    let toy = Toy::new();
    call(toy.home(), &["run", &toy.arg("suite.yaml"), "--out", &toy.arg("out"), "--quiet"]).ok();
    toy
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON")
}

#[test]
fn dictionaries_go_to_saelens_with_the_measured_sparsity() {
    let toy = ran();
    let done = call(toy.home(), &["export", &toy.arg("out"), "--to", "saelens"]).ok();
    assert!(done.stdout.contains("topk at blocks.1.hook_resid_post"), "{}", done.stdout);
    assert!(done.stderr.contains("left out: pca at") && done.stderr.contains("signed"), "{}", done.stderr);
    assert!(done.stderr.contains("random_weights"), "{}", done.stderr);
    let folder = toy.path("out/exports/saelens").join(HOOK).join("topk");
    let config = read(&folder.join("cfg.json"));
    assert_eq!(config["metadata"]["hook_name"], HOOK);
    assert_eq!(config["metadata"]["context_size"], 64);
    // The densities come from the stored measurements: their median is the one of the table.
    let bytes = fs::read(folder.join("sparsity.safetensors")).expect("densities were found");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let data = file.tensor("sparsity").expect("a tensor").data();
    let mut density: Vec<f64> = data
        .chunks_exact(4)
        .map(|b| 10f64.powf(f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]]))) - 1e-10)
        .collect();
    density.sort_by(f64::total_cmp);
    let n = density.len();
    let median = (density[(n - 1) / 2] + density[n / 2]) / 2.0;
    let quality = &read(&toy.path("out/summary.json"))["quality"];
    let row = quality.as_array().expect("rows").iter().find(|row| row["method"] == "topk").expect("a row");
    let expected = row["density_median"].as_f64().expect("a number");
    assert!((median - expected).abs() < 1e-6, "{median} and {expected}");
}

#[test]
fn an_exported_dictionary_can_be_used_again() {
    let toy = ran();
    call(
        toy.home(),
        &["export", &toy.arg("out"), "--to", "saelens", "--out", &toy.arg("sae"), "--method", "topk"],
    )
    .ok();
    let suite = toy.suite_text().replace(
        "  - {kind: random}\n",
        &format!(
            "  - {{name: again, kind: file, format: saelens, path: {}}}\n",
            toy.path("sae").join(HOOK).join("topk").display()
        ),
    );
    toy.write("again.yaml", &suite);
    call(toy.home(), &["run", &toy.arg("again.yaml"), "--out", &toy.arg("second"), "--quiet"]).ok();
    let summary = read(&toy.path("second/summary.json"));
    let rows = summary["quality"].as_array().expect("rows");
    let row = |method: &str| {
        rows.iter().find(|row| row["method"] == method && row["control"].is_null()).expect("a row")
    };
    for number in ["l0", "fvu", "loss_recovered_zero", "density_median"] {
        let (first, again) = (row("topk")[number].as_f64(), row("again")[number].as_f64());
        let apart = first.expect("a number") - again.expect("a number");
        assert!(apart.abs() < 1e-6, "`{number}` is off by {apart}");
    }
}

#[test]
fn scored_explanations_hold_the_tokens_behind_the_score() {
    let toy = ran();
    call(
        toy.home(),
        &["export", &toy.arg("out"), "--to", "neuron-record", "--hook", "blocks.*.hook_resid_post"],
    )
    .ok();
    let folder = toy.path("out/exports/neuron-record").join(HOOK).join("topk/explanations/1");
    let mut checked = 0;
    for entry in fs::read_dir(folder).expect("a folder") {
        let value = read(&entry.expect("an entry").path());
        for explanation in value["scored_explanations"].as_array().expect("a list") {
            let simulation = &explanation["scored_simulation"];
            let Some(score) = simulation["ev_correlation_score"].as_f64() else { continue };
            let numbers = |value: &Value| -> Vec<f64> {
                value.as_array().expect("a list").iter().map(|one| one.as_f64().expect("a number")).collect()
            };
            let sequences = simulation["scored_sequence_simulations"].as_array().expect("a list");
            let truth: Vec<f64> =
                sequences.iter().flat_map(|one| numbers(&one["true_activations"])).collect();
            let expected: Vec<f64> = sequences
                .iter()
                .flat_map(|one| numbers(&one["simulation"]["expected_activations"]))
                .collect();
            // Predictions are stored with four decimals.
            let again = pearson(&truth, &expected).expect("defined");
            assert!((again - score).abs() < 1e-3, "{again} and {score}");
            checked += 1;
        }
    }
    assert!(checked >= 2, "{checked} scores");
}

#[test]
fn what_cannot_be_exported_is_refused_and_nothing_of_others_is_touched() {
    let toy = ran();
    let out = toy.arg("out");
    call(toy.home(), &["export", &out, "--to", "saelens", "--method", "pca"]).refused(2, &["signed", "pca"]);
    call(toy.home(), &["export", &out, "--to", "saelens", "--method", "sae"])
        .refused(2, &["--method", "`topk`"]);
    call(toy.home(), &["export", &out, "--to", "pickle"]).refused(2, &["saelens", "neuron-record"]);
    call(toy.home(), &["export", &toy.arg("nowhere"), "--to", "saebench"]).refused(6, &["summary.json"]);
    toy.write("mine/notes.txt", "mine");
    call(toy.home(), &["export", &out, "--to", "saebench", "--out", &toy.arg("mine")])
        .refused(2, &["--out", "mine"]);
    assert_eq!(fs::read_dir(toy.path("mine")).expect("a folder").count(), 1);
    for form in ["saebench", "neuronpedia"] {
        let done = call(toy.home(), &["export", &out, "--to", form, "--json"]).ok();
        let value: Value = serde_json::from_str(&done.stdout).expect("JSON");
        assert_eq!(value["exported"].as_array().map(Vec::len), Some(4), "{form}: every row of the suite");
        assert_eq!(value["skipped"].as_array().map(Vec::len), Some(1), "{form}: the control");
    }
}
