//! Dictionaries of other programs through the binary: codes by command, the place where one was trained, its load
//! proof, transcoders.

use std::fs;
use std::path::{Path, PathBuf};

use autointerp::base::write_atomic;
use safetensors::SafeTensors;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program::{Done, call};
use crate::shared::folder;

/// A file of the shared folder.
fn shared(name: &str) -> Option<PathBuf> {
    folder().map(|root| root.join(name))
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A tensor of f32 with its shape.
fn tensor(path: &Path, name: &str) -> (Vec<usize>, Vec<f32>) {
    let bytes = fs::read(path).expect("a file");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let view = file.tensor(name).expect("a tensor");
    let values = view.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    (view.shape().to_vec(), values)
}

#[test]
fn codes_by_command_equal_those_of_the_library_dense_and_sparse() {
    let Some(dictionary) = shared("sae-formats/saelens6--gated") else { return };
    let home = tempfile::tempdir().expect("a folder");
    let golden = dictionary.join("golden.safetensors");
    let (dense, sparse) = (home.path().join("dense.safetensors"), home.path().join("sparse.safetensors"));
    let args = |out: &Path| {
        [
            "encode",
            "--json",
            "--dictionary",
            &text(&dictionary),
            "--input",
            &text(&golden),
            "--out",
            &text(out),
        ]
        .map(String::from)
        .to_vec()
    };
    let encode = |out: &Path, more: &[&str]| -> Value {
        let args = args(out);
        let args: Vec<&str> = args.iter().map(String::as_str).chain(more.iter().copied()).collect();
        serde_json::from_str(&call(home.path(), &args).ok().stdout).expect("JSON")
    };
    let told = encode(&dense, &[]);
    assert_eq!(told["card"]["format"], "saelens");
    let (shape, code) = tensor(&dense, "code");
    let (expected_shape, expected) = tensor(&golden, "code");
    assert_eq!(shape, expected_shape);
    let largest = expected.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    let far = |(a, b): (&f32, &f32)| (a - b).abs() > 2e-5 * largest || (*a == 0.0) != (*b == 0.0);
    assert!(!code.iter().zip(&expected).any(far));
    encode(&sparse, &["--sparse"]);
    let bytes = fs::read(&sparse).expect("a file");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let indices = file.tensor("indices").expect("indices");
    let places: Vec<usize> =
        indices.data().as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes) as usize).collect();
    let (rows, features) = places.split_at(places.len() / 2);
    let (_, values) = tensor(&sparse, "values");
    let mut rebuilt = vec![0.0; code.len()];
    for ((row, feature), value) in rows.iter().zip(features).zip(values) {
        rebuilt[row * shape[1] + feature] = value;
    }
    assert_eq!(rebuilt, code, "the sparse form holds the same codes");
    assert_eq!(tensor(&sparse, "recon"), tensor(&dense, "recon"));
    let missing = [
        "encode",
        "--dictionary",
        &text(&dictionary),
        "--input",
        &text(&golden),
        "--tensor",
        "z",
        "--out",
        "z",
    ];
    call(home.path(), &missing).refused(8, &["tensor `z`", "code"]);
}

/// A folder with a suite over the small real model, and a copy of its ReLU autoencoder whose configuration names `hook`.
struct Placed {
    home: TempDir,
}

impl Placed {
    fn new(hook: &str) -> Option<Self> {
        let (sae, model) = (shared("sae/stories260K_resid_post_2_relu_l1")?, shared("models/stories260K")?);
        let home = tempfile::tempdir().expect("a folder");
        let config = fs::read_to_string(sae.join("cfg.json")).expect("a configuration");
        let mut config: Value = serde_json::from_str(&config).expect("JSON");
        config["hook_name"] = json!(hook);
        config.as_object_mut().expect("an object").remove("hook_layer");
        let copied = fs::read(sae.join("sae_weights.safetensors")).expect("weights");
        write_atomic(&home.path().join("sae/sae_weights.safetensors"), &copied).expect("written");
        write_atomic(&home.path().join("sae/cfg.json"), config.to_string().as_bytes()).expect("written");
        let corpus = shared("corpora/tinystories.txt")?;
        let suite = format!(
            "name: placed
seed: 7
subject: {{model: '{}'}}
corpus: {{source: '{}', fit_tokens: 4_000, ctx_tokens: 128, eval_fragments: 250}}
hooks: [blocks.2.hook_resid_post]
methods:
  - {{name: ext, kind: file, path: sae}}
features: {{per_cell: 2}}
explainer: token_lookup
controls: []
statistics: {{resamples: 200, permutations: 200}}
",
            text(&model),
            text(&corpus)
        );
        write_atomic(&home.path().join("suite.yaml"), suite.as_bytes()).expect("written");
        Some(Self { home })
    }

    fn call(&self, verb: &str, more: &[&str]) -> Done {
        let (suite, out) = (text(&self.home.path().join("suite.yaml")), text(&self.home.path().join("out")));
        let out = if verb == "run" { vec!["--out", &out] } else { Vec::new() };
        call(self.home.path(), &[&[verb, &suite], &out[..], more].concat())
    }

    fn result(&self, name: &str) -> String {
        fs::read_to_string(self.home.path().join("out").join(name)).expect("a result")
    }
}

#[test]
fn a_dictionary_at_another_hook_point_is_refused_or_marked() {
    let Some(placed) = Placed::new("blocks.4.hook_resid_post") else { return };
    let named = ["blocks.4.hook_resid_post", "blocks.2.hook_resid_post", "elsewhere: true"];
    placed.call("check", &[]).refused(2, &named);
    placed.call("plan", &[]).refused(2, &named);
    placed.call("run", &[]).refused(2, &named);
    // Where its files say it belongs, it runs, and the proof says that it does not belong there.
    placed.call("run", &["--set", "hooks=[blocks.4.hook_resid_post]"]).ok();
    let manifest: Value = serde_json::from_str(&placed.result("manifest.json")).expect("JSON");
    let proof = &manifest["dictionaries"]["blocks.4.hook_resid_post/ext"]["proof"];
    let verdict = proof["looks_like"].as_str().expect("a verdict");
    assert!(verdict.contains("looks like `blocks.2.hook_resid_post`"), "{verdict}");
    // The table escapes the backticks of the verdict.
    assert!(placed.result("table.md").contains("looks like"), "the table says it");
    assert!(placed.result("index.html").contains("Dictionaries trained elsewhere"));
    // Applied at layer 2 on purpose: marked in table and charts.
    placed.call("run", &["--set", "methods.0.elsewhere=true"]).ok();
    let summary: Value = serde_json::from_str(&placed.result("summary.json")).expect("JSON");
    assert_eq!(summary["quality"][0]["elsewhere"], "trained at blocks.4.hook_resid_post");
    let table = placed.result("table.md");
    assert!(table.contains("ext ‡") && table.contains("‡: not applied where it was trained"), "{table}");
    let charts = fs::read_dir(placed.home.path().join("out/charts")).expect("charts");
    let svgs = charts
        .map(|file| file.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|e| e == "svg"));
    for path in svgs {
        assert!(fs::read_to_string(&path).expect("a chart").contains('‡'), "{}", path.display());
    }
}

#[test]
fn over_several_hook_points_a_dictionary_stands_at_its_own_alone() {
    let Some(placed) = Placed::new("blocks.2.hook_resid_post") else { return };
    let suite = placed.home.path().join("suite.yaml");
    let text = fs::read_to_string(&suite).expect("a suite");
    let text = text
        .replace("hooks: [blocks.2.hook_resid_post]", "hooks: ['blocks.{2,3}.hook_resid_post']")
        .replace("features: {per_cell", "  - {kind: random, features: 32}\nfeatures: {per_cell");
    write_atomic(&suite, text.as_bytes()).expect("written");
    let said = placed.call("check", &[]).ok().stderr;
    assert!(said.contains("applied at `blocks.2.hook_resid_post` alone"), "{said}");
    placed.call("run", &[]).ok();
    let summary = placed.result("summary.json");
    let value: Value = serde_json::from_str(&summary).expect("JSON");
    let rows: Vec<(&str, &str)> = value["quality"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| (row["hook"].as_str().expect("a hook"), row["method"].as_str().expect("a method")))
        .collect();
    let [own, other] = ["blocks.2.hook_resid_post", "blocks.3.hook_resid_post"];
    assert_eq!(rows, [(own, "ext"), (own, "random"), (other, "random")]);
    assert!(placed.result("manifest.json").contains("applied at `blocks.2.hook_resid_post` alone"));
    // The same command finds everything done.
    placed.call("run", &[]).ok();
    assert_eq!(placed.result("summary.json"), summary);
    let matched = ["--set", "methods.1={kind: pca, variants: [topk], match: ext}"];
    placed.call("check", &matched).refused(2, &["methods.pca.match", "blocks.2.hook_resid_post"]);
}

#[test]
fn a_dictionary_where_it_was_trained_has_a_card_without_doubt() {
    let Some(placed) = Placed::new("blocks.2.hook_resid_post") else { return };
    placed.call("check", &[]).ok();
    placed.call("run", &[]).ok();
    let card = placed.result("dictionaries/blocks.2.hook_resid_post/ext/card.json");
    let card: Value = serde_json::from_str(&card).expect("JSON");
    assert_eq!(card["read"]["card"]["format"], "saelens");
    assert_eq!(card["proof"]["looks_like"], Value::Null, "{card:#}");
    assert!(card["proof"]["here"]["fvu"].as_f64().expect("an FVU") < 0.3);
    assert!(card["proof"]["others"].as_array().expect("trials").len() >= 6);
    let out = text(&placed.home.path().join("out"));
    let shown = call(placed.home.path(), &["inspect", &out]).ok().stdout;
    assert!(shown.contains("recognised by") && shown.contains("load proof"), "{shown}");
    // Without a proof, no measurement and no card of one.
    placed.call("run", &["--set", "methods.0.load_proof=false"]).ok();
    let manifest: Value = serde_json::from_str(&placed.result("manifest.json")).expect("JSON");
    let record = &manifest["dictionaries"]["blocks.2.hook_resid_post/ext"];
    assert!(record.get("proof").is_none() && record["report"]["read"]["card"]["format"] == "saelens");
}

#[test]
fn chosen_features_are_read_alone_and_score_the_same() {
    let Some(placed) = Placed::new("blocks.2.hook_resid_post") else { return };
    let chosen = ["--set", "methods.0.features={ids: [300, 3, 77, 12]}", "--set", "methods.0.quality=false"];
    let more = ["--set", "corpus.eval_fragments=1500"];
    placed.call("run", &[&chosen[..], &more].concat()).ok();
    let whole = placed.result("scores.jsonl");
    let folder = "dictionaries/blocks.2.hook_resid_post/ext";
    let size = |file: &str| {
        fs::metadata(placed.home.path().join("out").join(folder).join(file)).expect("a file").len()
    };
    let all = size("dictionary.safetensors");
    placed.call("run", &[&chosen[..], &more, &["--set", "methods.0.load_proof=false"]].concat()).ok();
    assert_eq!(placed.result("scores.jsonl"), whole, "the same scores");
    assert!(whole.contains("\"status\":\"scored\""), "{whole}");
    assert!(size("dictionary.safetensors") * 50 < all, "four features of 512");
    let config: Value = serde_json::from_str(&placed.result(&format!("{folder}/config.json"))).expect("JSON");
    assert_eq!((&config["kept"], &config["d_sae"]), (&json!([3, 12, 77, 300]), &json!(512)));
    let manifest = placed.result("manifest.json");
    assert!(manifest.contains("only the 4 chosen features of 512 were read"), "{manifest}");
}

#[test]
fn a_transcoder_is_measured_at_its_output() {
    let Some(placed) = Placed::new("blocks.2.hook_resid_post") else { return };
    let Some(transcoder) = shared("sae-formats/saelens6--skip-transcoder") else { return };
    placed.call("run", &["--set", &format!("methods.0.path={}", text(&transcoder))]).ok();
    let summary: Value = serde_json::from_str(&placed.result("summary.json")).expect("JSON");
    let quality = &summary["quality"][0];
    let note = quality["note"].as_str().expect("a note");
    assert!(note.contains("transcoder: FVU over") && note.contains("`blocks.2.hook_mlp_out`"), "{note}");
    assert!(quality["fvu"].as_f64().is_some() && quality["loss_recovered_zero"].as_f64().is_some());
    let config = placed.result("dictionaries/blocks.2.hook_resid_post/ext/config.json");
    let config: Value = serde_json::from_str(&config).expect("JSON");
    assert_eq!(config["hook_name_out"], "blocks.2.hook_mlp_out");
    assert_eq!(config["version"], 2);
}

#[test]
fn check_names_every_missing_or_unfit_file_at_once() {
    let Some(placed) = Placed::new("blocks.2.hook_resid_post") else { return };
    let absent = ["--set", "corpus.source=./wiki.txt", "--set", "methods.0.path=./nothing"];
    placed.call("check", &absent).refused(6, &["corpus.source", "wiki.txt", "methods.ext.path", "nothing"]);
    let unfit = ["--set", "hooks=[blocks.1.mlp.hook_post]", "--set", "methods.0.elsewhere=true"];
    placed.call("check", &unfit).refused(2, &["methods.ext.path", "width 64", "blocks.1.mlp.hook_post"]);
    placed.call("check", &["--set", "subject.model=./neox"]).refused(6, &["neox"]);
}

#[test]
fn dictionaries_that_cannot_be_read_are_refused_by_name() {
    let Some(root) = shared("sae-formats") else { return };
    let home = tempfile::tempdir().expect("a folder");
    let golden = text(&root.join("saelens6--standard/golden.safetensors"));
    for (folder, words) in [
        ("saelens6--matching-pursuit", "matching_pursuit"),
        ("saelens6--temporal", "temporal"),
        ("mntss--clt", "cross-layer transcoder"),
        ("openmoss--relu-glu-inference", "use_glu_encoder"),
        ("refuse--pickles/calls_print.pt", "`builtins.print`"),
        ("refuse--pickles/whole_module.pt", "`torch.nn.modules.linear.Linear`"),
        ("refuse--pickles/plain_pickle.pt", "torch"),
        ("refuse--pickles/cut_short.pt", "not a whole zip archive"),
        ("refuse--pickles/storage_too_short.pt", "storage"),
        ("qwen-scope--square", "`k`"),
    ] {
        let path = text(&root.join(folder));
        let done = call(
            home.path(),
            &["encode", "--dictionary", &path, "--input", &golden, "--out", "y.safetensors"],
        );
        assert!(!done.stdout.contains("print"), "nothing is run");
        done.refused(8, &[words]);
        assert!(!home.path().join("y.safetensors").exists());
    }
}
