//! `init` writes suites that `check`, `plan` and `run` accept; `list` names what suites can name.

use std::fs;
use std::path::{Path, PathBuf};

use autointerp::base::Stream;
use autointerp::corpus::generator::Generator;
use autointerp::suite::reference;
use serde_json::{Value, json};

use crate::hub::write_dictionary;
use crate::program::{Done, autointerp, finish};
use crate::shared;
use crate::toy::{self, Toy};

fn call_in(home: &Path, args: &[&str]) -> Done {
    finish(autointerp(home, args).current_dir(home))
}

/// Writes a suite with `init`, asserts that `check` and `plan` accept it, and returns its text.
fn written(toy: &Toy, args: &[&str]) -> String {
    call_in(toy.home(), &[&["init", "--out", "mine.yaml"], args].concat()).ok();
    call_in(toy.home(), &["check", "mine.yaml"]).ok();
    call_in(toy.home(), &["plan", "mine.yaml"]).ok();
    fs::read_to_string(toy.path("mine.yaml")).expect("a suite")
}

fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in\n{text}");
    }
}

#[test]
fn the_embedded_model_gets_a_suite_with_the_reason_for_each_value() {
    let toy = Toy::new();
    let printed = call_in(toy.home(), &["init"]).ok().stdout;
    assert!(!toy.path("suite.schema.json").exists(), "nothing is written without `--out`");
    let text = written(&toy, &[]);
    assert_eq!(text, printed);
    assert!(text.starts_with("# yaml-language-server: $schema=suite.schema.json\n"), "{text}");
    assert_has(
        &text,
        &[
            "name: mine ",
            "blocks.{1,2,3}.hook_resid_post",
            "4 × width 128 = 512 features, 8 of them active",
            "match: topk",
            "baselines/ica.yaml",
            "oracle",
            "# dictionaries are fitted on these",
        ],
    );
    let long = text.lines().find(|line| line.chars().count() > 118);
    assert_eq!(long, None);

    let schema = fs::read_to_string(toy.path("suite.schema.json")).expect("the schema");
    assert_eq!(schema, call_in(toy.home(), &["list", "schema"]).ok().stdout);
    assert_eq!(serde_json::from_str::<Value>(&schema).expect("JSON"), reference::schema());
}

#[test]
fn a_file_that_exists_is_replaced_only_when_asked() {
    let toy = Toy::new();
    toy.write("mine.yaml", "mine");
    call_in(toy.home(), &["init", "--out", "mine.yaml"]).refused(2, &["`mine.yaml`", "--force"]);
    assert_eq!(fs::read_to_string(toy.path("mine.yaml")).expect("kept"), "mine");
    call_in(toy.home(), &["init", "--out", "mine.yaml", "--force", "--quiet"]).ok();
    assert_ne!(fs::read_to_string(toy.path("mine.yaml")).expect("replaced"), "mine");
    toy.write("suite.schema.json", "{\"title\": \"another\"}");
    call_in(toy.home(), &["init", "--out", "other.yaml"]).refused(2, &["suite.schema.json", "another file"]);
    assert!(!toy.path("other.yaml").exists());
}

/// A tokenizer of 20 pieces: single letters.
fn letters() -> Value {
    let pieces = ["<|endoftext|>".to_string(), "Ġ".into(), "Ċ".into()];
    let pieces = pieces.into_iter().chain(('a'..='q').map(String::from));
    let vocab: serde_json::Map<String, Value> =
        pieces.enumerate().map(|(id, piece)| (piece, id.into())).collect();
    assert_eq!(vocab.len(), 20);
    let mut tokenizer = toy::tokenizer();
    tokenizer["model"]["vocab"] = vocab.into();
    tokenizer["model"]["merges"] = json!([]);
    tokenizer
}

/// Documents of 160 of these letters and spaces.
fn text_of_letters(documents: usize) -> String {
    let mut stream = Stream::named(3, &["letters"]);
    let mut document = |_| -> String {
        let letter = |nth: usize, stream: &mut Stream| match nth % 5 {
            4 => ' ',
            _ => char::from(b'a' + stream.below(17) as u8),
        };
        (0..160).map(|nth| letter(nth, &mut stream)).collect::<String>() + "\n<|endoftext|>\n"
    };
    (0..documents).map(&mut document).collect()
}

#[test]
fn small_models_of_every_layout_get_shorter_fragments_and_sizes_that_the_text_has() {
    for family in ["gpt_neox", "gpt2", "llama"] {
        let toy = Toy::new();
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(family);
        for name in ["config.json", "model.safetensors"] {
            fs::copy(fixture.join(name), toy.path("model").join(name)).expect("copied");
        }
        toy.write("model/tokenizer.json", &letters().to_string());
        toy.write("letters.txt", &text_of_letters(600));
        let text = written(&toy, &["--model", "./model", "--text", "letters.txt"]);
        assert_has(
            &text,
            &[
                "fragment_tokens: 16",
                "ctx_tokens: 16",
                "blocks.*.hook_resid_post",
                "4 × width 8 = 32 features",
            ],
        );
        // 600 documents of about 160 tokens.
        assert_has(&text, &["# the text is small: "]);
        let fit = text.lines().find_map(|line| line.trim().strip_prefix("fit_tokens: ")).expect("a size");
        let fit: usize = fit.split(' ').next().expect("a number").replace('_', "").parse().expect("a number");
        assert!((40_000..90_000).contains(&fit), "{family}: {fit}");
    }
}

#[test]
fn a_dictionary_decides_where_it_is_compared_and_the_suite_runs() {
    let toy = Toy::new();
    write_dictionary(&toy.path("my saes/made"), 1);
    let text = written(&toy, &["--model", "./model", "--text", "corpus.txt", "--sae", "my saes/made"]);
    assert_has(
        &text,
        &[
            "hooks: [blocks.1.hook_resid_post]  # where the dictionaries were trained",
            "{name: made, kind: file, path: \"my saes/made\"}  # saelens: 32 features",
            "match: made",
            "statistics: {reference: made}",
        ],
    );
    let few = "statistics={reference: made, resamples: 200, permutations: 200}";
    let run = ["run", "mine.yaml", "--limit-features", "2", "--set", "methods.1.steps=60", "--set", few];
    call_in(toy.home(), &run).ok();
    let table = fs::read_to_string(toy.path("results/mine/table.md")).expect("a table");
    assert_has(&table, &["made", "topk", "pca_topk", "random_weights"]);

    call_in(toy.home(), &["init", "--sae", "my saes/made"])
        .refused(2, &["--sae", "width 16", "width 128", "another model"]);
    let sae = ["init", "--model", "./model", "--text", "corpus.txt", "--sae", "./nowhere"];
    call_in(toy.home(), &sae).refused(6, &["./nowhere"]);
}

#[test]
fn a_suite_in_another_folder_finds_its_files_from_anywhere() {
    let toy = Toy::new();
    let args = ["init", "--model", "model", "--text", "corpus.txt", "--out", "sub/mine.yaml", "--json"];
    let done = call_in(toy.home(), &args).ok();
    let started: Value = serde_json::from_str(&done.stdout).expect("JSON");
    assert_eq!((&started["path"], &started["ctx_tokens"]), (&"sub/mine.yaml".into(), &64.into()));
    assert_eq!(started["schema"], "sub/suite.schema.json");
    finish(autointerp(toy.home(), &["check", "mine.yaml"]).current_dir(toy.path("sub"))).ok();
}

#[test]
fn a_text_without_separators_is_divided_at_blank_lines_and_one_that_is_missing_is_asked_for() {
    let toy = Toy::new();
    toy.write("blank.txt", &toy::corpus(400).replace("\n<|endoftext|>\n", "\n\n"));
    let text = written(&toy, &["--model", "./model", "--text", "blank.txt"]);
    assert_has(&text, &["separator: \"\"", "documents end at blank lines"]);
    call_in(toy.home(), &["init", "--model", "./model"]).refused(2, &["`--text`", "hub:OWNER/NAME"]);
    call_in(toy.home(), &["init", "--model", "./model", "--text", "none.txt"]).refused(6, &["none.txt"]);
    toy.write("short.txt", &toy::corpus(3));
    call_in(toy.home(), &["init", "--model", "./model", "--text", "short.txt"])
        .refused(8, &["too little text", "short.txt"]);
    fs::remove_file(toy.path("model/tokenizer.json")).expect("removed");
    call_in(toy.home(), &["init", "--model", "./model", "--text", "blank.txt"])
        .refused(6, &["tokenizer.json"]);
}

#[test]
fn a_shared_autoencoder_sets_context_and_sparsity() {
    let Some(folder) = shared::folder() else { return };
    let toy = Toy::new();
    let path = |name: &str| folder.join(name).display().to_string();
    let (model, text) = (path("models/stories260K"), path("corpora/tinystories.txt"));
    let sae = path("sae/stories260K_resid_post_2_topk16");
    let text = written(&toy, &["--model", &model, "--text", &text, "--sae", &sae]);
    assert_has(
        &text,
        &[
            "hooks: [blocks.2.hook_resid_post]",
            "ctx_tokens: 512",
            "512 features at",
            "reference: stories260K_",
        ],
    );
}

#[test]
fn a_gguf_file_of_a_real_model_gets_three_layers() {
    let Some(shared) = shared::folder() else { return };
    let Some(models) = std::env::var_os("AUTOINTERP_REAL_MODELS").map(PathBuf::from) else {
        println!("skipped: AUTOINTERP_REAL_MODELS is not set");
        return;
    };
    let model = models.join("SmolLM2-135M-Instruct.Q4_1.gguf").display().to_string();
    if !Path::new(&model).exists() {
        println!("skipped: there is no {model}");
        return;
    }
    let toy = Toy::new();
    let text = shared.join("corpora/openwebtext-1k.txt").display().to_string();
    let text = written(&toy, &["--model", &model, "--text", &text]);
    assert_has(&text, &["blocks.{7,15,22}.hook_resid_post", "4 × width 576 = 2,304 features, 36 of them"]);
    let hooks = call_in(toy.home(), &["list", "hooks", &model]).ok().stdout;
    assert_has(&hooks, &["blocks.*.mlp.hook_post", "1,536"]);
}

#[test]
fn lists_name_what_suites_can_name_and_what_a_model_lacks() {
    let toy = Toy::new();
    let listed = |what: &[&str]| call_in(toy.home(), &[&["list"], what].concat()).ok().stdout;
    assert_has(&listed(&["methods"]), &["topk", "baselines/pca.yaml", "Principal components."]);
    assert_has(&listed(&["scorers"]), &["beyond_token", "a judge", "detection"]);
    assert_has(&listed(&["explainers"]), &["neuron_to_graph", "the subject model", "a language model"]);
    assert_has(&listed(&["simulators"]), &["exemplar", "a local language model", "token_lookup_fit"]);
    assert_has(&listed(&["formats"]), &["saelens", "refused", "temporal"]);
    assert_has(&listed(&["families"]), &["gpt_neox", "gemma3_text", "GPT-NeoX and Pythia."]);
    let hooks = listed(&["hooks", "model"]);
    assert_has(
        &hooks,
        &["hook_embed", "blocks.*.hook_resid_post", "16", "Residual stream leaving the block."],
    );
    assert_has(&hooks, &["no blocks.*.hook_resid_mid: attention and MLP of this model run in parallel"]);

    let variants = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/variants/variants.json");
    let variants: Value = serde_json::from_slice(&fs::read(variants).expect("configurations")).expect("JSON");
    toy.write("moe/config.json", &variants["qwen3_moe_every_other"].to_string());
    let hooks: Value = serde_json::from_str(&listed(&["hooks", "moe", "--json"])).expect("JSON");
    let rows = hooks["rows"].as_array().expect("rows");
    let neurons: Vec<&Value> =
        rows.iter().filter(|row| row["what"] == "MLP neurons: the input of the down projection.").collect();
    assert_eq!((neurons.len(), &neurons[0]["hook"]), (2, &"blocks.0.mlp.hook_post".into()));
    assert!(neurons[1]["missing"].as_str().is_some_and(|why| why.contains("mixture of experts")), "{hooks}");
    call_in(toy.home(), &["list", "hooks", "nowhere"]).refused(6, &["nowhere"]);
}

#[test]
fn a_suite_of_ones_own_uses_a_baseline_without_naming_a_match() {
    let toy = Toy::new();
    let head = toy.suite_text();
    let head = head.split("methods:").next().expect("a head");
    toy.write(
        "own.yaml",
        &format!("{head}methods:\n  - {{kind: topk, k: 4}}\n  - {{use: baselines/pca.yaml}}\n"),
    );
    let plan = call_in(toy.home(), &["plan", "own.yaml", "--json"]).ok().stdout;
    let plan: Value = serde_json::from_str(&plan).expect("JSON");
    assert_eq!(plan["rows"], json!(["topk", "pca", "pca_oriented", "pca_split", "pca_topk"]));
    toy.write(
        "none.yaml",
        &format!("{head}methods:\n  - {{kind: random}}\n  - {{use: baselines/pca.yaml}}\n"),
    );
    call_in(toy.home(), &["check", "none.yaml"]).refused(2, &["`methods.1.match`", "leave the variant out"]);
}

#[test]
fn no_weights_are_read() {
    let toy = Toy::new();
    let embedded = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/subject/embedded");
    fs::create_dir(toy.path("copy")).expect("a folder");
    for name in ["config.json", "tokenizer.json"] {
        fs::copy(embedded.join(name), toy.path("copy").join(name)).expect("copied");
    }
    let generator = Generator::new(5);
    let documents: String =
        (0..1_000).map(|nth| format!("{}\n<|endoftext|>\n", generator.document(nth).text)).collect();
    toy.write("text.txt", &documents);
    // No weights: `init` reads none.
    let text = call_in(toy.home(), &["init", "--model", "copy", "--text", "text.txt"]).ok().stdout;
    assert_has(&text, &["gpt_neox: 4 layers of width 128", "source: text.txt"]);
}
