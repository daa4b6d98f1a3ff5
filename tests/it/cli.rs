//! The verbs, as other programs and people rely on them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use serde_json::Value;

use crate::program::{autointerp, call, finish};
use crate::shared;
use crate::toy::{CONTEXT, LAYERS, Toy, WIDTH, vocabulary};

/// Largest ‖a−b‖₂/‖b‖₂ of a tensor against its reference.
const TOLERANCE: f64 = 1e-4;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("not one JSON value ({error}):\n{text}"))
}

/// Every file below a folder with its bytes.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => found.append(&mut files(&path)),
            false => {
                let bytes = fs::read(&path).expect("a file");
                found.insert(path, bytes);
            }
        }
    }
    found
}

/// A toy whose suite has run into `out`.
fn ran() -> Toy {
    let toy = Toy::new();
    call(toy.home(), &["run", &toy.arg("suite.yaml"), "--out", &toy.arg("out"), "--quiet"]).ok();
    toy
}

#[test]
fn help_and_version_go_to_stdout() {
    let toy = Toy::new();
    let help = call(toy.home(), &["--help"]).ok();
    for verb in ["run", "plan", "check", "report", "inspect", "steer", "trace", "harvest", "cache", "doctor"]
    {
        assert!(help.stdout.contains(&format!("\n  {verb} ")), "`{verb}` is not in\n{}", help.stdout);
    }
    assert!(help.stdout.contains("Exit codes"), "{}", help.stdout);
    let version = call(toy.home(), &["--version"]).ok();
    assert_eq!(version.stdout.trim(), format!("autointerp {}", env!("CARGO_PKG_VERSION")));
    assert_eq!(version.stderr, "");
}

#[test]
fn check_says_valid_or_gives_the_suite_with_every_default() {
    let toy = Toy::new();
    let suite = toy.arg("suite.yaml");
    assert!(call(toy.home(), &["check", &suite]).ok().stdout.contains("toy: valid"));
    let done =
        call(toy.home(), &["check", &suite, "--json", "--seed", "3", "--set", "features.per_cell=9"]).ok();
    let value = json(&done.stdout);
    assert_eq!((&value["seed"], &value["per_cell"]), (&3.into(), &9.into()));
    assert_eq!(value["statistics"]["confidence"], 0.95, "defaults are filled in");
    assert_eq!(value["methods"].as_array().map(Vec::len), Some(3));
    assert_eq!(done.stderr, "");
}

#[test]
fn plan_counts_without_running() {
    let toy = Toy::new();
    let suite = toy.arg("suite.yaml");
    let value = json(&call(toy.home(), &["plan", &suite, "--json"]).ok().stdout);
    for key in ["llm_requests", "llm_tokens_in", "llm_tokens_out", "usd"] {
        assert_eq!(value[key].as_f64(), Some(0.0), "`{key}` of an offline suite");
    }
    for key in ["fit_tokens", "evaluate_tokens", "features", "score_lines", "disk_gb", "memory_gb", "minutes"]
    {
        assert!(value[key].as_f64().is_some_and(|number| number > 0.0), "`{key}` is {}", value[key]);
    }
    assert_eq!(value["rows"], serde_json::json!(["topk", "random", "pca", "pca_topk"]));
    assert_eq!(value["features"], 16);
    assert!(value["smallest_difference"].as_f64().is_some_and(|difference| difference > 0.0));
    let dry = call(toy.home(), &["run", &suite, "--dry-run", "--out", &toy.arg("out")]).ok();
    assert!(dry.stdout.contains("fit tokens"), "{}", dry.stdout);
    assert!(!toy.path("out").exists() && !toy.path("cache").exists(), "a plan writes nothing");
}

/// The f32 entries of a tensor and its shape.
fn tensor(file: &SafeTensors<'_>, name: &str) -> (Vec<usize>, Vec<f64>) {
    let view = file.tensor(name).unwrap_or_else(|error| panic!("tensor `{name}`: {error}"));
    assert_eq!(view.dtype(), Dtype::F32, "`{name}`");
    let entries =
        view.data().chunks_exact(4).map(|b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]])));
    (view.shape().to_vec(), entries.collect())
}

/// Integers of a tensor, whatever their width.
fn integers(file: &SafeTensors<'_>, name: &str) -> Vec<u32> {
    let view = file.tensor(name).expect("token ids");
    let width = if view.dtype() == Dtype::I64 { 8 } else { 4 };
    view.data().chunks_exact(width).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

fn assert_close(name: &str, got: &[f64], expected: &[f64]) {
    assert_eq!(got.len(), expected.len(), "`{name}`");
    let apart = got.iter().zip(expected).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
    let size = expected.iter().map(|b| b * b).sum::<f64>().sqrt();
    assert!(apart <= TOLERANCE * size, "`{name}` is off by {:e} of its size", apart / size);
}

#[test]
fn harvest_equals_the_references_of_every_family() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    for family in ["gpt_neox", "gpt2", "llama"] {
        let toy = Toy::new();
        let bytes = fs::read(fixtures.join(family).join("reference.safetensors")).expect("a fixture");
        let reference = SafeTensors::deserialize(&bytes).expect("safetensors");
        let names: Vec<String> =
            reference.names().into_iter().filter(|name| *name != "token_ids").map(Into::into).collect();
        let shape = reference.tensor("token_ids").expect("token ids").shape().to_vec();
        let ids: Vec<Vec<u32>> =
            integers(&reference, "token_ids").chunks(shape[1]).map(<[u32]>::to_vec).collect();
        toy.write("ids.json", &serde_json::to_string(&ids).expect("JSON"));
        let hooks = names.iter().filter(|name| *name != "logits").cloned().collect::<Vec<_>>().join(",");
        let model = fixtures.join(family).display().to_string();
        let (ids, out) = (toy.arg("ids.json"), toy.arg("below/out.safetensors"));
        let args =
            ["harvest", "--model", &model, "--token-ids", &ids, "--hooks", &hooks, "--out", &out, "--logits"];
        call(toy.home(), &args).ok();
        let bytes = fs::read(&out).expect("written");
        let file = SafeTensors::deserialize(&bytes).expect("safetensors");
        assert_eq!(file.len(), names.len(), "{family}: one tensor per hook point, and the logits");
        for name in &names {
            let (got_shape, got) = tensor(&file, name);
            let (expected_shape, expected) = tensor(&reference, name);
            assert_eq!(got_shape, expected_shape, "{family} `{name}`");
            assert_close(&format!("{family} {name}"), &got, &expected);
        }
    }
}

#[test]
fn harvest_equals_the_reference_of_a_trained_model() {
    let Some(folder) = shared::folder() else { return };
    let toy = Toy::new();
    let bytes = fs::read(folder.join("golden/stories260K/golden.safetensors")).expect("golden file");
    let golden = SafeTensors::deserialize(&bytes).expect("safetensors");
    let ids = integers(&golden, "input_ids");
    toy.write("ids.json", &serde_json::to_string(&[&ids]).expect("JSON"));
    let kinds = [
        ("resid_pre", "hook_resid_pre"),
        ("attn_out", "hook_attn_out"),
        ("mlp_post", "mlp.hook_post"),
        ("mlp_out", "hook_mlp_out"),
        ("resid_post", "hook_resid_post"),
    ];
    let hooks = kinds.map(|(_, hook)| format!("blocks.*.{hook}")).join(",");
    let model = folder.join("models/stories260K").display().to_string();
    let (ids_file, out) = (toy.arg("ids.json"), toy.arg("out.safetensors"));
    let args = [
        "harvest",
        "--model",
        &model,
        "--token-ids",
        &ids_file,
        "--hooks",
        &hooks,
        "--out",
        &out,
        "--logits",
    ];
    call(toy.home(), &args).ok();
    let bytes = fs::read(&out).expect("written");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    assert_eq!(file.len(), 5 * kinds.len() + 1);
    for (name, hook) in kinds {
        for layer in 0..5 {
            let (shape, got) = tensor(&file, &format!("blocks.{layer}.{hook}"));
            assert_eq!(shape, [1, ids.len(), if name == "mlp_post" { 172 } else { 64 }]);
            assert_close(&format!("{name}.{layer}"), &got, &tensor(&golden, &format!("{name}.{layer}")).1);
        }
    }
    let (shape, got) = tensor(&file, "logits");
    assert_eq!(shape, [1, ids.len(), 512]);
    assert_close("logits", &got, &tensor(&golden, "logits").1);
}

#[test]
fn harvest_writes_batch_after_batch_in_the_order_of_the_sequences() {
    let toy = Toy::new();
    let vocab = vocabulary().len();
    // 9,600 tokens are more than go through the model at once.
    let ids: Vec<Vec<usize>> = (0..150)
        .map(|row| (0..CONTEXT).map(|col| (row * 31 + col * 7 + row * col) % vocab).collect())
        .collect();
    let model = toy.arg("model");
    let harvest = |name: &str, ids: &[Vec<usize>]| {
        toy.write(name, &serde_json::to_string(ids).expect("JSON"));
        let (ids, out) = (toy.arg(name), toy.arg("out.safetensors"));
        let hooks = "blocks.1.hook_resid_post,hook_embed";
        let args =
            ["harvest", "--model", &model, "--token-ids", &ids, "--hooks", hooks, "--out", &out, "--logits"];
        call(toy.home(), &args).ok();
        fs::read(&out).expect("written")
    };
    let (all, last) = (harvest("all.json", &ids), harvest("last.json", &ids[147..]));
    let all = SafeTensors::deserialize(&all).expect("safetensors");
    let last = SafeTensors::deserialize(&last).expect("safetensors");
    for (name, width) in [("blocks.1.hook_resid_post", WIDTH), ("hook_embed", WIDTH), ("logits", vocab)] {
        let (shape, got) = tensor(&all, name);
        assert_eq!(shape, [150, CONTEXT, width], "{name}");
        assert_close(name, &got[147 * CONTEXT * width..], &tensor(&last, name).1);
    }
}

#[test]
fn harvest_reads_text_in_whole_contexts() {
    let toy = Toy::new();
    toy.write("text.txt", &" the old dog".repeat(50));
    let (model, text, out) = (toy.arg("model"), toy.arg("text.txt"), toy.arg("out.safetensors"));
    let hooks = "hook_embed,blocks.{0,1}.hook_resid_post";
    let args = ["harvest", "--model", &model, "--text", &text, "--hooks", hooks, "--out", &out, "--json"];
    let shapes = json(&call(toy.home(), &args).ok().stdout);
    assert!(shapes.to_string().contains(&format!("[2,{CONTEXT},{WIDTH}]")), "{shapes}");
    let bytes = fs::read(&out).expect("written");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    assert_eq!(file.len(), 1 + LAYERS);
    // 150 words are one token each: two contexts of 64, the rest left out.
    let (shape, embedded) = tensor(&file, "hook_embed");
    assert_eq!(shape, [2, CONTEXT, WIDTH]);
    assert_eq!(embedded[..WIDTH], embedded[3 * WIDTH..4 * WIDTH], "every third token is the same word");
    assert!(vocabulary().contains(&"Ġdog".to_string()));
}

#[test]
fn no_secret_is_written_or_said() {
    let toy = Toy::new();
    const SECRETS: [(&str, &str); 2] =
        [("OPENAI_API_KEY", "sk-secret-value"), ("HF_TOKEN", "hf_secret_value")];
    let (suite, out) = (toy.arg("suite.yaml"), toy.arg("out"));
    let runs: [&[&str]; 4] = [
        &["run", &suite, "--out", &out],
        &["doctor"],
        &["run", &suite, "--out", &out, "--set", "subject.model=someone/something"],
        &["plan", &suite, "--json"],
    ];
    let mut said = String::new();
    for args in runs {
        let done = finish(autointerp(toy.home(), args).envs(SECRETS));
        said.push_str(&done.stdout);
        said.push_str(&done.stderr);
    }
    let written = files(toy.home());
    assert!(written.len() > 20, "the run wrote its folder");
    for (_, secret) in SECRETS {
        assert!(!said.contains(secret), "`{secret}` in\n{said}");
        for (path, bytes) in &written {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "`{secret}` in {}", path.display());
        }
    }
}

#[test]
fn json_puts_nothing_else_on_stdout() {
    let toy = Toy::new();
    let (suite, out) = (toy.arg("suite.yaml"), toy.arg("out"));
    let value = json(&call(toy.home(), &["run", &suite, "--out", &out, "--json"]).ok().stdout);
    assert_eq!(value["folder"], out.as_str());
    assert_eq!(value["failed"]["failed"], 0);
    let listed = value["files"].as_array().expect("files");
    assert!(listed.iter().all(|file| Path::new(file.as_str().expect("a path")).exists()), "{value}");
    let said = |value: &Value| value["verdict"]["sentences"].as_array().map_or(0, Vec::len);
    let again = json(&call(toy.home(), &["report", &out, "--json"]).ok().stdout);
    assert!(said(&value) > 0 && value["verdict"] == again["verdict"], "{}", again["verdict"]);
    for args in [vec!["report", &out], vec!["inspect", &out], vec!["cache"], vec!["doctor"]] {
        json(&call(toy.home(), &[args, vec!["--json"]].concat()).ok().stdout);
    }
}

#[test]
fn quiet_leaves_stderr_empty() {
    let toy = Toy::new();
    let done = call(toy.home(), &["run", &toy.arg("suite.yaml"), "--out", &toy.arg("out"), "--quiet"]).ok();
    assert_eq!(done.stderr, "");
    assert!(done.stdout.contains("topk") && done.stdout.contains("index.html"), "{}", done.stdout);
    assert!(!done.stdout.contains('\x1b'), "no colour goes into a pipe");
}

#[test]
fn cache_counts_and_cleans() {
    let toy = Toy::new();
    autointerp::base::write_atomic(&toy.path("cache/activations/old.act"), &[0; 1_000]).expect("written");
    let kind = |value: &Value, name: &str| {
        let entries = value["entries"].as_array().expect("entries").clone();
        entries.into_iter().find(|entry| entry["kind"] == name).expect("the kind")
    };
    let before = json(&call(toy.home(), &["cache", "--json"]).ok().stdout);
    assert_eq!(before["cache"], toy.arg("cache").as_str());
    assert_eq!(kind(&before, "activations")["bytes"], 1_000);
    let young = json(&call(toy.home(), &["cache", "--clean", "30d", "--json"]).ok().stdout);
    assert_eq!(kind(&young, "activations")["files"], 1, "nothing is 30 days old");
    let after = json(&call(toy.home(), &["cache", "--clean", "activations", "--json"]).ok().stdout);
    assert_eq!(kind(&after, "activations")["removed_bytes"], 1_000);
    assert!(!toy.path("cache/activations/old.act").exists());
}

#[test]
fn doctor_says_whether_a_key_is_set_and_where_the_cache_is() {
    let toy = Toy::new();
    let value = json(&call(toy.home(), &["doctor", "--json", "--threads", "2"]).ok().stdout);
    assert_eq!((&value["threads"], &value["openai_key_set"]), (&2.into(), &false.into()));
    assert_eq!(value["cache"], toy.arg("cache").as_str());
    let mut command = autointerp(toy.home(), &["doctor", "--json"]);
    let value = json(&finish(command.env("OPENAI_API_KEY", "x")).ok().stdout);
    assert_eq!(value["openai_key_set"], true);
}

#[test]
fn report_draws_the_same_bytes_again_from_the_folder_alone() {
    let toy = ran();
    let out = toy.path("out");
    let before = files(&out);
    let drawn = |path: &Path| {
        let name = path.strip_prefix(&out).expect("below").display().to_string();
        name.starts_with("charts")
            || name.starts_with("table")
            || name.ends_with("index.html")
            || name.ends_with(".csv")
    };
    let removed: Vec<&PathBuf> = before.keys().filter(|path| drawn(path)).collect();
    assert!(removed.len() > 10, "{removed:?}");
    removed.iter().for_each(|path| fs::remove_file(path).expect("removed"));
    for kept in ["model", "corpus.txt", "suite.yaml", "cache"] {
        let path = toy.path(kept);
        let gone = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        gone.expect("removed");
    }
    call(toy.home(), &["report", &toy.arg("out")]).ok();
    let after = files(&out);
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    for (path, bytes) in &before {
        assert!(after[path] == *bytes, "{} differs", path.display());
    }
}

#[test]
fn a_run_is_cited_by_version_and_digest() {
    let toy = ran();
    let out = toy.arg("out");
    let summary = fs::read_to_string(toy.path("out/summary.json")).expect("a summary");
    let summary: serde_json::Value = serde_json::from_str(&summary).expect("JSON");
    let run = summary["run"].as_str().expect("a digest");
    let entry = call(toy.home(), &["report", &out, "--cite"]).ok().stdout;
    assert!(
        entry.starts_with("@software{autointerp-") && entry.contains(&format!("Run {run} of")),
        "{entry}"
    );
    assert!(entry.contains(&format!("version = {{{}}}", env!("CARGO_PKG_VERSION"))), "{entry}");
    let drawn = call(toy.home(), &["report", &out]).ok().stdout;
    let line = drawn.lines().find_map(|line| line.strip_prefix("cite as: ")).expect("a citation");
    let page = fs::read_to_string(toy.path("out/index.html")).expect("a page");
    assert!(line.contains(run) && page.contains("How to cite this run") && page.contains(run));
    call(toy.home(), &["report", &toy.arg("nowhere"), "--cite"]).refused(6, &["nowhere"]);
    call(toy.home(), &["report", &out, "--cite", "--verify"]).refused(2, &["--cite"]);
}

#[test]
fn some_charts_are_drawn_alone_by_name() {
    let toy = ran();
    let out = toy.arg("out");
    let help = call(toy.home(), &["report", "--help"]).ok().stdout;
    for name in ["all", "scores_by_layer", "score_kurtosis", "dead_features", "topk_baselines"] {
        assert!(help.contains(name), "`{name}` is not in\n{help}");
    }
    call(toy.home(), &["report", &out, "--charts", "sparsity_fvu,violins"])
        .refused(2, &["violins", "sparsity_fvu", "score_density"]);
    fs::remove_file(toy.path("out/table.md")).expect("removed");
    let some = ["report", &out, "--charts", "sparsity_fvu,score_kurtosis,score_size"];
    let done = call(toy.home(), &some).ok();
    let drawn: Vec<&str> = done.stdout.lines().filter_map(|line| line.rsplit('/').next()).collect();
    let expected = [
        "score_kurtosis.neuron_to_graph.svg",
        "score_kurtosis.neuron_to_graph.png",
        "score_kurtosis.token_lookup_fit.svg",
        "score_kurtosis.token_lookup_fit.png",
        "sparsity_fvu.svg",
        "sparsity_fvu.png",
    ];
    assert_eq!(drawn, expected);
    assert!(done.stderr.contains("no `score_size`"), "{}", done.stderr);
    assert!(!toy.path("out/table.md").exists(), "charts alone were asked for");
    let all = call(toy.home(), &["report", &out, "--charts", "all"]).ok().stdout;
    assert!(all.contains("table.md") && toy.path("out/table.md").exists(), "{all}");
}

#[test]
fn inspect_lists_features_and_shows_one() {
    let toy = ran();
    let out = toy.arg("out");
    let list = call(toy.home(), &["inspect", &out]).ok().stdout;
    let row = "blocks.1.hook_resid_post/topk/";
    let first = list.lines().find(|line| line.starts_with(row)).expect("a feature of topk");
    let place = first.split_whitespace().next().expect("its place");
    let shown = call(toy.home(), &["inspect", &out, place]).ok().stdout;
    for text in [
        "neuron_to_graph",
        "token_lookup_fit",
        "(control: shuffled)",
        "top_and_random",
        "fires on",
        "true",
        "simul",
    ] {
        assert!(shown.contains(text), "`{text}` is not in\n{shown}");
    }
    let some = call(toy.home(), &["inspect", &out, "/pca/"]).ok().stdout;
    assert!(some.contains("/pca/") && !some.contains("/topk/"), "{some}");
    call(toy.home(), &["inspect", &out, "no/such/9"]).refused(2, &["no/such/9"]);
}
