//! What stands in front of every text: in runs, in harvested files, in what the verbs say.

use std::fs;
use std::path::{Path, PathBuf};

use autointerp::base::{HookPoint, TokenBatch};
use autointerp::dictionary::load;
use autointerp::subject::LoadedSubject;
use safetensors::SafeTensors;
use serde_json::{Value, json};

use crate::program::{Done, call};
use crate::shared;
use crate::toy::{Toy, WIDTH};

const HOOK: &str = "blocks.1.hook_resid_post";
const BOS: u32 = 0;

/// A toy with room for one more token, whose tokenizer asks for BOS in front of every text.
fn toy() -> Toy {
    let toy = Toy::new();
    let config = fs::read_to_string(toy.path("model/config.json")).expect("a configuration");
    let mut config: Value = serde_json::from_str(&config).expect("JSON");
    config["max_position_embeddings"] = 80.into();
    toy.write("model/config.json", &config.to_string());
    let names = json!({"add_bos_token": true, "bos_token": "<|endoftext|>"});
    toy.write("model/tokenizer_config.json", &names.to_string());
    toy
}

fn run(toy: &Toy, out: &str, more: &[&str]) -> PathBuf {
    let (suite, folder) = (toy.arg("suite.yaml"), toy.arg(out));
    call(toy.home(), &[&["run", &suite, "--out", &folder, "--quiet"], more].concat()).ok();
    toy.path(out)
}

fn json_file(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON")
}

fn records(out: &Path) -> Vec<Value> {
    let text = fs::read_to_string(out.join(format!("records/{HOOK}/topk.jsonl"))).expect("records");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn ids(list: &Value) -> Vec<u32> {
    serde_json::from_value(list.clone()).expect("ids")
}

#[test]
fn a_run_puts_bos_in_front_of_every_text_and_counts_it_nowhere() {
    let toy = toy();
    let out = run(&toy, "out", &[]);
    let manifest = json_file(&out.join("manifest.json"));
    assert_eq!(manifest["bos"]["ids"], json!([BOS]));
    assert_eq!(manifest["bos"]["texts"], json!(["<|endoftext|>"]));
    let because = manifest["bos"]["because"].as_str().expect("a reason");
    assert!(because.contains("add_bos_token"), "{because}");
    assert_eq!(
        manifest["fillers"]["lead"],
        Value::Null,
        "position 0 is BOS: no further token is spent on it"
    );
    assert_eq!(manifest["corpus"]["counts"]["special_tokens"], Value::Null, "the text itself holds none");
    // 127 contexts of 63 tokens of text; of these only the separators between documents are not fitted on.
    let dictionary = &manifest["dictionaries"][format!("{HOOK}/topk")];
    let count = |name: &str| dictionary[name].as_u64().expect("a count");
    let separators = 127 * 63 - count("rows") - count("rows_left_out");
    assert!((20..=60).contains(&separators), "{separators} of about 8,001 tokens in 160 a document");
    // What records say is what the model does behind BOS; position 0 of the text counts, and BOS is none of it.
    let subject = LoadedSubject::from_folder(&toy.path("model")).expect("loads");
    let hook: HookPoint = HOOK.parse().expect("a hook point");
    let topk = load(&out.join("dictionaries").join(HOOK).join("topk")).expect("a dictionary");
    let mut seen = 0;
    for record in records(&out) {
        assert_eq!((&record["first_scored"], &record["n_tokens"]), (&0.into(), &(300 * 64).into()));
        let feature = record["feature"].as_u64().expect("a feature") as usize;
        for kind in ["top", "random", "non_firing"] {
            for fragment in record[kind].as_array().expect("fragments") {
                let tokens = ids(&fragment["tokens"]);
                assert_eq!(tokens.len(), 64);
                assert!(!tokens.contains(&BOS), "{tokens:?}");
                let with = TokenBatch::new([vec![BOS], tokens].concat(), 65).expect("tokens");
                let rows = subject.model().activations(&with, &[hook]).expect("activations").swap_remove(0);
                let codes = topk.encode(&rows).expect("codes");
                let stored: Vec<f32> =
                    serde_json::from_value(fragment["activations"].clone()).expect("numbers");
                assert_eq!(stored.len(), 64);
                for (position, stored) in stored.iter().enumerate() {
                    let code = codes.at(1 + position, feature);
                    assert!((code - stored).abs() < 1e-3 * (1.0 + code.abs()), "{feature} {position}");
                }
                seen += 1;
            }
        }
    }
    assert!(seen > 50, "{seen}");
    // Losses: every token of a text has one.
    let summary = json_file(&out.join("summary.json"));
    assert!(summary["quality"].as_array().is_some_and(|all| !all.is_empty()));
}

#[test]
fn runs_behind_bos_are_the_same_for_any_threads_and_however_far_a_run_had_come() {
    let toy = toy();
    let both = ["--set", "hooks=[blocks.0.hook_resid_post, blocks.1.hook_resid_post]"];
    let one = run(&toy, "one", &[&both[..], &["--threads", "1"]].concat());
    let two = run(&toy, "two", &[&both[..], &["--threads", "2"]].concat());
    let grown = run(&toy, "grown", &["--set", "hooks=[blocks.0.hook_resid_post]"]);
    assert!(grown.join("summary.json").exists());
    let grown = run(&toy, "grown", &both);
    for file in ["summary.json", "scores.jsonl"] {
        let read = |out: &Path| fs::read_to_string(out.join(file)).expect("a file");
        assert!(read(&one) == read(&two), "{file} depends on the number of threads");
        assert!(read(&one) == read(&grown), "{file} depends on how the run got there");
    }
    // Another setting is another run, and nothing of the first is taken for it.
    let never = run(&toy, "one", &[&both[..], &["--set", "subject.bos=never"]].concat());
    let (with, without) = (json_file(&two.join("summary.json")), json_file(&never.join("summary.json")));
    assert_ne!(with["run"], without["run"]);
    assert_ne!(with["quality"], without["quality"]);
    assert!(records(&never).iter().all(|record| record["first_scored"] == 1));
    assert_eq!(json_file(&never.join("manifest.json"))["bos"]["ids"], json!([]));
    // What the tokenizer asks for and what is forced are the same tokens, so the same numbers.
    let always = run(&toy, "always", &[&both[..], &["--set", "subject.bos=always"]].concat());
    let read = |out: &Path| fs::read_to_string(out.join("scores.jsonl")).expect("scores");
    assert!(read(&always) == read(&two));
}

#[test]
fn a_context_without_room_for_bos_is_refused_with_the_numbers() {
    // Of 64 positions a fragment of 64 tokens leaves none.
    let toy = Toy::new();
    let (suite, out) = (toy.arg("suite.yaml"), toy.arg("out"));
    let args = ["run", &suite, "--out", &out, "--set", "subject.bos=always"];
    call(toy.home(), &args).refused(2, &["protocol.fragment_tokens", "65 positions", "<|endoftext|>", "64"]);
    let args = ["check", &suite, "--set", "subject.bos=sometimes"];
    call(toy.home(), &args).refused(2, &["sometimes", "auto", "always", "never"]);
}

#[test]
fn special_tokens_inside_the_text_are_data_and_counted() {
    let toy = toy();
    let text = fs::read_to_string(toy.path("corpus.txt")).expect("a text");
    // A separator is a line of its own; inside a line the same characters are text, encoded as the token.
    toy.write("corpus.txt", &text.replace(" the", " the<|endoftext|>"));
    let out = run(&toy, "out", &[]);
    let manifest = json_file(&out.join("manifest.json"));
    let held = manifest["corpus"]["counts"]["special_tokens"]["0"].as_u64().expect("a count");
    assert!(held > 10, "{held}");
    let in_text = records(&out).iter().any(|record| {
        record["top"].as_array().into_iter().flatten().any(|one| ids(&one["tokens"]).contains(&BOS))
    });
    assert!(in_text, "a fragment holds the token that its text does");
}

#[test]
fn plan_and_doctor_say_what_stands_in_front() {
    let toy = toy();
    let (suite, model) = (toy.arg("suite.yaml"), toy.arg("model"));
    let value: Value =
        serde_json::from_str(&call(toy.home(), &["plan", &suite, "--json"]).ok().stdout).expect("JSON");
    assert_eq!(value["bos"]["ids"], json!([BOS]));
    let plan = call(toy.home(), &["plan", &suite, "--set", "subject.bos=never"]).ok().stdout;
    assert!(plan.contains("in front of texts") && plan.contains("nothing: `bos: never`"), "{plan}");
    let doctor = call(toy.home(), &["doctor", &model]).ok().stdout;
    assert!(doctor.contains("\"<|endoftext|>\" (0): `add_bos_token`"), "{doctor}");
    let text = call(toy.home(), &["doctor", &model, "--json"]).ok().stdout;
    let value: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&value["model"]["bos"]["ids"], &value["model"]["n_ctx"]), (&json!([BOS]), &80.into()));
    let embedded = call(toy.home(), &["doctor", "embedded"]).ok().stdout;
    assert!(embedded.contains("nothing: "), "{embedded}");
    call(toy.home(), &["doctor", &toy.arg("none")]).refused(6, &["none"]);
}

/// What `harvest` writes for a text or for ids, and what it says.
fn harvest(home: &Path, model: &str, out: &Path, hooks: &str, more: &[&str]) -> (Vec<u8>, Done) {
    let file = out.to_str().expect("UTF-8");
    let args = [&["harvest", "--model", model, "--hooks", hooks, "--out", file][..], more].concat();
    let done = call(home, &args).ok();
    (fs::read(out).expect("written"), done)
}

/// Name, shape and bytes of every tensor. The header also says how the tokens came about, so whole files may differ.
fn tensors(bytes: &[u8]) -> Vec<(String, Vec<usize>, Vec<u8>)> {
    let file = SafeTensors::deserialize(bytes).expect("safetensors");
    let one = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
        (name, view.shape().to_vec(), view.data().to_vec())
    };
    let mut all: Vec<_> = file.tensors().into_iter().map(one).collect();
    all.sort();
    all
}

#[test]
fn harvested_text_stands_behind_bos_and_ids_are_taken_as_they_are() {
    let toy = toy();
    toy.write("text.txt", &" the old dog".repeat(60));
    let (model, text, out) = (toy.arg("model"), toy.arg("text.txt"), toy.path("out.safetensors"));
    let harvest = |more: &[&str]| harvest(toy.home(), &model, &out, HOOK, more);
    // 180 tokens of text: two contexts of 79 behind BOS.
    let (from_text, said) = harvest(&["--text", &text]);
    assert!(said.stderr.contains("<|endoftext|>"), "{}", said.stderr);
    let subject = LoadedSubject::from_folder(&toy.path("model")).expect("loads");
    let tokens =
        subject.tokenizer().expect("a tokenizer").encode(&" the old dog".repeat(60)).expect("encodes");
    let rows: Vec<Vec<u32>> = tokens.chunks_exact(79).map(|text| [&[BOS], text].concat()).collect();
    assert_eq!(rows.len(), 2);
    toy.write("ids.json", &json!(rows).to_string());
    let (from_ids, said) = harvest(&["--token-ids", &toy.arg("ids.json")]);
    assert!(tensors(&from_text) == tensors(&from_ids));
    assert!(!said.stderr.contains("note:"), "{}", said.stderr);
    assert_eq!(
        SafeTensors::deserialize(&from_ids).expect("a file").tensor(HOOK).expect("a tensor").shape(),
        [2, 80, WIDTH]
    );
    let (first, second) = (&tokens[..80], &tokens[80..160]);
    toy.write("bare.json", &json!([first, second]).to_string());
    let (bare, said) = harvest(&["--token-ids", &toy.arg("bare.json")]);
    assert!(
        said.stderr.contains("2 of 2 sequences do not begin with \"<|endoftext|>\" (0)"),
        "{}",
        said.stderr
    );
    let (never, said) = harvest(&["--text", &text, "--bos", "never"]);
    assert!(said.stderr.contains("nothing: `bos: never`"), "{}", said.stderr);
    assert!(tensors(&never) == tensors(&bare), "two contexts of 80 tokens of text");
    let ids = toy.arg("ids.json");
    let args = [
        "harvest",
        "--model",
        &model,
        "--token-ids",
        &ids,
        "--bos",
        "always",
        "--hooks",
        HOOK,
        "--out",
        &text,
    ];
    call(toy.home(), &args).refused(2, &["--bos", "as they are"]);
}

fn tensor(bytes: &[u8], name: &str) -> (Vec<usize>, Vec<u8>) {
    let file = SafeTensors::deserialize(bytes).expect("safetensors");
    let view = file.tensor(name).expect("a tensor");
    (view.shape().to_vec(), view.data().to_vec())
}

#[test]
fn a_trained_model_gets_its_bos() {
    let Some(folder) = shared::folder() else { return };
    let toy = Toy::new();
    let model = folder.join("models/stories260K").display().to_string();
    let subject = LoadedSubject::from_folder(Path::new(&model)).expect("loads");
    let story = "Once upon a time there was a little dog who liked to sing.";
    let text = subject.tokenizer().expect("a tokenizer").encode(story).expect("encodes");
    toy.write("text.txt", story);
    let with = [vec![1], text.clone()].concat();
    toy.write("ids.json", &json!([with]).to_string());
    let hooks = "blocks.*.hook_resid_post";
    let out = toy.path("out.safetensors");
    let (from_text, _) = harvest(toy.home(), &model, &out, hooks, &["--text", &toy.arg("text.txt")]);
    let (from_ids, _) = harvest(toy.home(), &model, &out, hooks, &["--token-ids", &toy.arg("ids.json")]);
    assert!(tensors(&from_text) == tensors(&from_ids), "`<s>` stands in front");
    assert_eq!(tensor(&from_text, "blocks.2.hook_resid_post").0[1], 1 + text.len());
}

#[test]
fn gemma_gets_its_bos_and_smollm2_none() {
    let Some(folder) = shared::folder() else { return };
    let Some(models) = std::env::var_os("AUTOINTERP_REAL_MODELS").map(PathBuf::from) else {
        println!("skipped: AUTOINTERP_REAL_MODELS is not set");
        return;
    };
    let toy = Toy::new();
    let case = folder.join("cases/bos-missing");
    let (text, given) = (case.join("capital.txt").display().to_string(), case.join("capital.ids.json"));
    let out = toy.path("out.safetensors");
    let hook = "blocks.9.hook_resid_post";
    for (file, bos) in [("gemma-3-270m-q4_k_m.gguf", true), ("SmolLM2-135M-Instruct.Q4_1.gguf", false)] {
        let model = models.join(file).display().to_string();
        if !Path::new(&model).exists() {
            println!("skipped: there is no {model}");
            continue;
        }
        let (from_text, said) = harvest(toy.home(), &model, &out, hook, &["--text", &text]);
        if bos {
            assert!(said.stderr.contains("\"<bos>\" (2)"), "{}", said.stderr);
            let ids = given.display().to_string();
            let (from_ids, _) = harvest(toy.home(), &model, &out, hook, &["--token-ids", &ids]);
            assert_eq!(tensor(&from_text, hook).0[..2], [1, 6]);
            assert!(tensors(&from_text) == tensors(&from_ids), "the text makes the rows of the ids with BOS");
        } else {
            assert!(said.stderr.contains("nothing: "), "{}", said.stderr);
        }
    }
}
