//! Suites on activations made elsewhere: what `harvest` writes, and SAELens's cached activations.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use autointerp::base::{HookPoint, Matrix, write_atomic};
use autointerp::dictionary::load;
use autointerp::subject::embedded;
use autointerp::subject::stored::ActivationFiles;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;

use crate::arrow_stream;
use crate::program::call;
use crate::shared;
use crate::toy::{CONTEXT, Toy, WIDTH};

const HOOK: &str = "blocks.1.hook_resid_post";

/// Explains with tables by token, which need no model.
const METHODS: &str = "methods:
  - {name: topk, kind: topk, expansion: 2, k: 4, steps: 60}
  - {kind: random}
  - {name: pca, kind: pca, variants: [fitted, topk], match: topk}
features: {per_cell: 4}
explainer: token_lookup
pairs: [token_lookup_fit]
controls: [shuffled]
protocol: {base: standard, fragment_tokens: 32}
statistics: {reference: topk, resamples: 200, permutations: 200}
";

/// A suite on the activations at `path`.
fn suite(path: &str, more: &str) -> String {
    format!(
        "name: stored
seed: 7
subject: {{activations: {path}{more}}}
corpus: {{fit_tokens: 8_000, eval_fragments: 300}}
hooks: ['blocks.*.hook_resid_post']
{METHODS}"
    )
}

/// Harvests the toy's text, and returns the file's path.
fn harvested(toy: &Toy) -> String {
    let (model, text, out) = (toy.arg("model"), toy.arg("corpus.txt"), toy.arg("made.safetensors"));
    call(toy.home(), &["harvest", "--model", &model, "--text", &text, "--hooks", HOOK, "--out", &out]).ok();
    out
}

/// Runs a suite, and returns `summary.json` and `scores.jsonl`.
fn run(toy: &Toy, name: &str, text: &str) -> (String, String) {
    toy.write(&format!("{name}.yaml"), text);
    let (file, out) = (toy.arg(&format!("{name}.yaml")), toy.arg(name));
    call(toy.home(), &["check", &file]).ok();
    call(toy.home(), &["plan", &file]).ok();
    call(toy.home(), &["run", &file, "--out", &out]).ok();
    let read = |file: &str| fs::read_to_string(toy.path(name).join(file)).expect(file);
    (read("summary.json"), read("scores.jsonl"))
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// All rows `[sequences · positions, width]` and ids of a safetensors file with its record.
fn content(path: &str) -> (Matrix, Vec<u32>) {
    let bytes = fs::read(path).expect("a file");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
    let view = file.tensor(HOOK).expect("the hook point");
    let values: Vec<f32> = view.data().as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
    let files = ActivationFiles::open(Path::new(path)).expect("opens");
    let ids: Vec<u32> = (0..files.sequences()).flat_map(|nth| files.ids(nth).expect("ids")).collect();
    (Matrix::from_vec(ids.len(), WIDTH, values).expect("rows"), ids)
}

#[test]
fn a_suite_runs_on_what_harvest_wrote() {
    let toy = Toy::new();
    let made = harvested(&toy);
    let (summary, scores) = run(&toy, "whole", &suite(&made, ""));
    let summary = json(&summary);
    // What needs the model is null, with the reason.
    let quality = summary["quality"].as_array().expect("rows");
    assert_eq!(quality.len(), 4);
    for row in quality {
        assert_eq!(row["hook"], HOOK, "`*` means the stored layers");
        assert!(row["loss_recovered_zero"].is_null() && row["loss_recovered_mean"].is_null(), "{row}");
        let note = row["note"].as_str().expect("a note");
        assert!(
            note.contains("loss recovered: no model") && note.contains(&format!("{CONTEXT} tokens")),
            "{note}"
        );
        assert!(row["l0"].as_f64().is_some_and(|l0| l0 > 0.0));
    }
    let reconstructs = |row: &&Value| row["method"] == "topk" || row["method"] == "pca";
    assert!(quality.iter().filter(reconstructs).all(|row| row["fvu"].as_f64().is_some_and(|fvu| fvu < 1.0)));
    let table = fs::read_to_string(toy.path("whole/table.md")).expect("a table");
    assert!(table.contains("loss recovered: no model"), "{table}");
    for line in fs::read_to_string(toy.path("whole/profiles").join(HOOK).join("topk.jsonl"))
        .expect("profiles")
        .lines()
    {
        let line = json(line);
        assert!(line["logits"].is_null() && line["ablation"].is_null(), "{line}");
        for key in ["logits_note", "ablation_note"] {
            assert!(line[key].as_str().is_some_and(|note| note.contains("without a model")), "{line}");
        }
    }
    // Features are explained and scored.
    let scored = |explainer: &str| {
        let of = |line: &&str| {
            let line = json(line);
            line["explainer"] == explainer && line["status"] == "scored" && line["control"].is_null()
        };
        scores.lines().filter(of).count()
    };
    assert!(scored("token_lookup") > 4 && scored("token_lookup_fit") > 4, "{scores}");
    let manifest = json(&fs::read_to_string(toy.path("whole/manifest.json")).expect("a manifest"));
    assert_eq!(
        (&manifest["subject"]["name"], &manifest["subject"]["family"]),
        (&"model".into(), &"stored activations".into())
    );
    assert_eq!(manifest["suite"]["corpus"]["ctx_tokens"], CONTEXT);
    assert_records_are_of_the_file(&toy, &made);
}

/// The activations of records are the codes of the rows of the file at the same tokens.
fn assert_records_are_of_the_file(toy: &Toy, made: &str) {
    let (rows, ids) = content(made);
    let mut places: HashMap<Vec<u64>, Vec<usize>> = HashMap::new();
    for start in (0..ids.len()).filter(|start| start % CONTEXT + 32 <= CONTEXT) {
        let window = ids[start..start + 32].iter().map(|&id| u64::from(id)).collect();
        places.entry(window).or_default().push(start);
    }
    let topk = load(&toy.path("whole/dictionaries").join(HOOK).join("topk")).expect("a dictionary");
    let records =
        fs::read_to_string(toy.path("whole/records").join(HOOK).join("topk.jsonl")).expect("records");
    let mut seen = 0;
    for record in records.lines().map(json) {
        let feature = record["feature"].as_u64().expect("a number") as usize;
        for fragment in ["top", "random"].iter().flat_map(|kind| record[*kind].as_array().expect("fragments"))
        {
            let tokens: Vec<u64> = serde_json::from_value(fragment["tokens"].clone()).expect("ids");
            let stored: Vec<f32> = serde_json::from_value(fragment["activations"].clone()).expect("numbers");
            let at = &places[&tokens];
            let equals = |start: &usize| {
                let codes =
                    topk.encode(&rows.select_rows(&(*start..start + 32).collect::<Vec<_>>())).expect("codes");
                (0..32).all(|position| (codes.at(position, feature) - stored[position]).abs() < 1e-4)
            };
            assert!(at.iter().any(equals), "{tokens:?} at {at:?}");
            seen += 1;
        }
    }
    assert!(seen > 40, "{seen} fragments");
}

#[test]
fn every_form_of_the_same_activations_gives_the_same_scores() {
    let toy = Toy::new();
    let made = harvested(&toy);
    let (rows, ids) = content(&made);
    let scores = run(&toy, "whole", &suite(&made, "")).1;
    // Without the record: token ids as a tensor, the tokenizer named.
    let sequences = ids.len() / CONTEXT;
    let bytes: Vec<u8> = rows.data().iter().flat_map(|value| value.to_le_bytes()).collect();
    let tokens: Vec<u8> = ids.iter().flat_map(|&id| i64::from(id).to_le_bytes()).collect();
    let views = [
        (HOOK, TensorView::new(Dtype::F32, vec![sequences, CONTEXT, WIDTH], &bytes).expect("a tensor")),
        ("token_ids", TensorView::new(Dtype::I64, vec![sequences, CONTEXT], &tokens).expect("a tensor")),
    ];
    write_atomic(&toy.path("plain.safetensors"), &safetensors::serialize(views, None).expect("a file"))
        .expect("written");
    let tokenizer = format!(", tokenizer: {}", toy.arg("model"));
    let plain = run(&toy, "plain", &suite(&toy.arg("plain.safetensors"), &tokenizer)).1;
    assert!(plain == scores, "a plain file gives other scores");
    // A data set as SAELens caches it, in two files.
    let half = sequences / 2;
    for (nth, part) in [0..half, half..sequences].into_iter().enumerate() {
        let positions = part.start * CONTEXT..part.end * CONTEXT;
        let values = &rows.data()[positions.start * WIDTH..positions.end * WIDTH];
        let stream = arrow_stream::stream(HOOK, values, &ids[positions], CONTEXT, 100);
        write_atomic(&toy.path(&format!("cached/data-0000{nth}-of-00002.arrow")), &stream).expect("written");
    }
    let state = r#"{"_data_files": [{"filename": "data-00000-of-00002.arrow"}, {"filename": "data-00001-of-00002.arrow"}]}"#;
    toy.write("cached/state.json", state);
    fs::copy(toy.path("model/tokenizer.json"), toy.path("cached/tokenizer.json")).expect("copied");
    let cached = run(&toy, "cached-run", &suite(&toy.arg("cached"), "")).1;
    assert!(cached == scores, "a cached data set gives other scores");
    // Other bytes give another run.
    let digest = |name: &str| {
        json(&fs::read_to_string(toy.path(name).join("summary.json")).expect("a summary"))["run"].clone()
    };
    assert_ne!(digest("plain"), digest("cached-run"));
}

#[test]
fn what_needs_a_model_or_another_text_is_refused_by_name() {
    let toy = Toy::new();
    let made = harvested(&toy);
    let whole = suite(&made, "");
    let check = |text: &str, code: i32, named: &[&str]| {
        toy.write("wrong.yaml", text);
        call(toy.home(), &["check", &toy.arg("wrong.yaml")]).refused(code, named);
        call(toy.home(), &["run", &toy.arg("wrong.yaml"), "--out", &toy.arg("out")]).refused(code, named);
    };
    let no_explainer = whole.replace("explainer: token_lookup\n", "");
    check(
        &no_explainer,
        2,
        &["`explainer`", "neuron_to_graph", "token_lookup, token_lookup_fit", "token_activation"],
    );
    let probing = whole.replace("pairs: [token_lookup_fit]", "pairs: [neuron_to_graph_backoff]");
    check(&probing, 2, &["`pairs.0`", "neuron_to_graph_backoff", "no model"]);
    let permuted = whole.replace("controls: [shuffled]", "controls: [{random_weights: [topk]}]");
    check(&permuted, 2, &["`controls.0`", "model's weights"]);
    let oracle = whole.replace("controls: [shuffled]", "controls: [oracle]");
    check(&oracle, 2, &["`oracle`"]);
    check(
        &whole.replace("corpus: {", "corpus: {source: embedded, "),
        2,
        &["`corpus.source`", "those of the activations"],
    );
    check(&whole.replace("corpus: {", "corpus: {ctx_tokens: 64, "), 2, &["`corpus.ctx_tokens`"]);
    check(&suite(&made, ", model: embedded"), 2, &["`subject.model`", "already made"]);
    check(&suite(&made, ", processing: [fold_ln]"), 2, &["`subject.processing`"]);
    check(&suite(&made, ", bos: always"), 2, &["bos: always", "without a token"]);
    check(&suite(&toy.arg("absent.safetensors"), ""), 6, &["absent.safetensors"]);
    check(&suite(&made, &format!(", tokenizer: {}", toy.arg("absent"))), 6, &["absent"]);
    let absent = whole.replace("blocks.*.hook_resid_post", "blocks.0.hook_mlp_out");
    check(&absent, 2, &["blocks.0.hook_mlp_out", "it holds activations at `blocks.1.hook_resid_post`"]);
    let long = whole.replace("fragment_tokens: 32", "fragment_tokens: 80");
    check(&long, 2, &["`protocol.fragment_tokens` is 80", "64 tokens of text"]);
    check(&whole.replace("8_000", "8_000_000"), 8, &["too little text", "made.safetensors"]);
    // The tokenizer that was recorded is gone.
    fs::rename(toy.path("model"), toy.path("moved")).expect("moved");
    check(&whole, 6, &["subject.tokenizer"]);
    toy.write(
        "model.yaml",
        &toy.suite_text().replace("subject: {model: ", "subject: {tokenizer: x, model: "),
    );
    call(toy.home(), &["check", &toy.arg("model.yaml")])
        .refused(2, &["`subject.tokenizer`", "beside `activations`"]);
}

#[test]
fn a_broken_number_is_found_before_anything_is_fitted() {
    let toy = Toy::new();
    let made = harvested(&toy);
    let mut bytes = fs::read(&made).expect("a file");
    let header = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    for row in 0..(bytes.len() - 8 - header) / (4 * WIDTH) {
        let at = 8 + header + row * 4 * WIDTH;
        bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    }
    write_atomic(Path::new(&made), &bytes).expect("written");
    toy.write("broken.yaml", &suite(&made, ""));
    let out = toy.arg("out");
    call(toy.home(), &["run", &toy.arg("broken.yaml"), "--out", &out])
        .refused(8, &[HOOK, "NaN", "made.safetensors"]);
    assert!(!toy.path("out/dictionaries").exists());
}

#[test]
fn harvested_activations_of_a_trained_model_are_explained() {
    let Some(folder) = shared::folder() else { return };
    let toy = Toy::new();
    let model = folder.join("models/stories260K").display().to_string();
    let text = fs::read_to_string(folder.join("corpora/tinystories.txt")).expect("a text");
    let text: String = text.chars().take(300_000).collect();
    toy.write("stories.txt", &text);
    let (text, out) = (toy.arg("stories.txt"), toy.arg("stories.safetensors"));
    let hooks = "blocks.2.hook_resid_post";
    call(toy.home(), &["harvest", "--model", &model, "--text", &text, "--hooks", hooks, "--out", &out]).ok();
    let files = ActivationFiles::open(Path::new(&out)).expect("opens");
    let hook: HookPoint = hooks.parse().expect("a hook point");
    assert_eq!(files.width(hook).expect("a width"), 64);
    let suite = suite(&out, "")
        .replace("fit_tokens: 8_000", "fit_tokens: 20_000")
        .replace("eval_fragments: 300", "eval_fragments: 1_500")
        .replace("expansion: 2, k: 4, steps: 60", "expansion: 4, k: 4, steps: 200")
        .replace("fragment_tokens: 32", "fragment_tokens: 64");
    let (summary, scores) = run(&toy, "stories", &suite);
    let summary = json(&summary);
    let mean = |method: &str| {
        let cells = summary["cells"].as_array().expect("cells");
        let cell = cells.iter().find(|cell| {
            cell["method"] == method
                && cell["scorer"] == "top_and_random"
                && cell["explainer"] == "token_lookup_fit"
        });
        cell.and_then(|cell| cell["mean"].as_f64())
    };
    assert!(mean("topk").is_some_and(|mean| mean > 0.3), "{:?}", mean("topk"));
    assert!(!scores.contains("\"status\":\"failed\""));
}

#[test]
fn the_embedded_tokenizer_is_found_by_its_name() {
    let toy = Toy::new();
    let ids: Vec<Vec<u32>> = (0..3).map(|row| (0..16).map(|col| 5 + row * 16 + col).collect()).collect();
    toy.write("ids.json", &serde_json::to_string(&ids).expect("JSON"));
    let (ids_path, out) = (toy.arg("ids.json"), toy.arg("ids.safetensors"));
    let args =
        ["harvest", "--model", "embedded", "--token-ids", &ids_path, "--hooks", "hook_embed", "--out", &out];
    call(toy.home(), &args).ok();
    let first = fs::read(&out).expect("a file");
    call(toy.home(), &args).ok();
    assert_eq!(first, fs::read(&out).expect("a file"), "the same bytes every time");
    let files = ActivationFiles::open(Path::new(&out)).expect("opens");
    assert_eq!(files.ids(2).expect("ids"), ids[2]);
    let recorded = files.recorded();
    assert_eq!((recorded.tokenizer.as_deref(), recorded.prefix.as_ref()), (Some("embedded"), None));
    let tokenizer = embedded::tokenizer().expect("a tokenizer");
    assert_eq!(recorded.tokenizer_digest, Some(tokenizer.digest()));
}
