//! Whatever is wrong with an input: one message that names it, the documented exit code, no panic.

use std::fs;
use std::path::Path;

use autointerp::base::write_atomic;

use crate::program::{Done, autointerp, call, finish};
use crate::toy::{LAYERS, Toy, corpus, vocabulary};

/// Runs the toy suite with overrides into a folder of its own.
fn run(toy: &Toy, set: &[&str]) -> Done {
    let (suite, out) = (toy.arg("suite.yaml"), toy.arg("out"));
    let mut args = vec!["run", &suite, "--out", &out];
    set.iter().for_each(|item| args.extend(["--set", item]));
    call(toy.home(), &args)
}

/// Checks a suite that is the toy's with `old` replaced.
fn check_edited(old: &str, new: &str) -> Done {
    let toy = Toy::new();
    let text = toy.suite_text();
    assert!(text.contains(old), "`{old}` is not in the suite");
    toy.write("suite.yaml", &text.replace(old, new));
    call(toy.home(), &["check", &toy.arg("suite.yaml")])
}

/// Rewrites the toy's weights file.
fn edit_weights(toy: &Toy, edit: impl Fn(&mut Vec<u8>)) {
    let path = toy.path("model/model.safetensors");
    let mut bytes = fs::read(&path).expect("the toy's weights");
    edit(&mut bytes);
    write_atomic(&path, &bytes).expect("written");
}

#[test]
fn a_suite_file_that_is_missing() {
    let toy = Toy::new();
    let path = toy.arg("elsewhere.yaml");
    for verb in ["run", "plan", "check"] {
        let absent = if cfg!(windows) { "cannot find" } else { "No such file" };
        call(toy.home(), &[verb, &path]).refused(6, &["elsewhere.yaml", absent]);
    }
}

#[test]
fn a_model_folder_that_is_missing_or_lacks_a_file() {
    let toy = Toy::new();
    let absent = format!("subject.model={}", toy.arg("absent"));
    run(&toy, &[&absent]).refused(6, &["absent", "no such folder"]);
    for (file, code) in [("tokenizer.json", 6), ("model.safetensors", 6), ("config.json", 6)] {
        let toy = Toy::new();
        fs::remove_file(toy.path("model").join(file)).expect("removed");
        run(&toy, &[]).refused(code, &[file]);
    }
}

#[test]
fn a_sweep_that_is_none() {
    let line = "k: 4, steps: 60";
    for (written, words) in [
        ("steps: 60, sweep: 4", ["methods.0.sweep", "one field of the kind with a list of numbers"]),
        ("steps: 60, sweep: {k: []}", ["methods.0.sweep", "`{k: [4, 8, 16]}`"]),
        ("steps: 60, sweep: {kk: [1, 2]}", ["7:", "kk"]),
        ("steps: 60, sweep: {k: [4, 0]}", ["methods.0.k", "0"]),
        ("steps: 60, sweep: {k: [4, 4]}", ["topk_4", "used twice"]),
        ("k: 4, seeds: 0", ["methods.0.seeds", "from 1 to 100"]),
        ("k: 4, seeds: many", ["methods.0.seeds", "a whole number"]),
    ] {
        check_edited(line, written).refused(2, &words);
    }
    check_edited("kind: pca,", "kind: pca, seeds: 2,").refused(2, &["methods.2.seeds", "draws nothing"]);
}

#[test]
fn a_hub_id_while_the_network_is_off() {
    let toy = Toy::new();
    run(&toy, &["subject.model=someone/something"]).refused(6, &["someone/something", "offline"]);
}

#[test]
fn weights_that_are_truncated_or_corrupt() {
    let toy = Toy::new();
    edit_weights(&toy, |bytes| bytes.truncate(bytes.len() / 2));
    run(&toy, &[]).refused(8, &["model.safetensors", "copy or download it again"]);

    let toy = Toy::new();
    edit_weights(&toy, |bytes| bytes[8..24].fill(b'{'));
    run(&toy, &[]).refused(8, &["model.safetensors", "copy or download it again"]);

    let toy = Toy::new();
    edit_weights(&toy, |bytes| bytes[..8].fill(0xff));
    run(&toy, &[]).refused(8, &["model.safetensors", "copy or download it again"]);

    let toy = Toy::new();
    edit_weights(&toy, Vec::clear);
    run(&toy, &[]).refused(8, &["model.safetensors"]);
}

#[test]
fn a_configuration_that_is_no_json_or_of_another_shape_or_family() {
    let config = |toy: &Toy| fs::read_to_string(toy.path("model/config.json")).expect("config.json");
    let toy = Toy::new();
    toy.write("model/config.json", "{\"model_type\": ");
    run(&toy, &[]).refused(8, &["config.json"]);

    let toy = Toy::new();
    let narrower = config(&toy).replace("\"intermediate_size\":32", "\"intermediate_size\":24");
    toy.write("model/config.json", &narrower);
    run(&toy, &[]).refused(8, &["dense_h_to_4h", "[24, 16]", "[32, 16]", "config.json"]);

    let toy = Toy::new();
    let deeper = config(&toy).replace("\"num_hidden_layers\":2", "\"num_hidden_layers\":3");
    toy.write("model/config.json", &deeper);
    run(&toy, &[]).refused(8, &["gpt_neox.layers.2.", "model.safetensors"]);

    let toy = Toy::new();
    toy.write("model/config.json", &config(&toy).replace("\"gpt_neox\"", "\"mamba\""));
    run(&toy, &[]).refused(2, &["mamba", "gpt_neox", "gpt2", "llama"]);
}

#[test]
fn weights_that_are_not_finite() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let toy = Toy::new();
        toy.write_model(&toy.path("model"), vocabulary().len(), &|name, entries| {
            if name.ends_with("1.attention.dense.weight") {
                entries[3] = value;
            }
        });
        run(&toy, &[])
            .refused(8, &["gpt_neox.layers.1.attention.dense.weight", "entry 3", "model.safetensors"]);
    }
}

#[test]
fn a_tokenizer_that_is_larger_than_the_model_or_damaged() {
    let toy = Toy::new();
    let ids = vocabulary().len();
    toy.write_model(&toy.path("model"), ids - 5, &|_, _| {});
    run(&toy, &[]).refused(8, &["tokenizer", "id ", &(ids - 5).to_string()]);

    let toy = Toy::new();
    toy.write("model/tokenizer.json", "{\"version\": \"1.0\"}");
    run(&toy, &[]).refused(8, &["tokenizer.json"]);
}

#[test]
fn a_corpus_that_is_missing_empty_too_short_or_not_text() {
    let toy = Toy::new();
    let source = |name: &str| format!("corpus.source={}", toy.arg(name));
    run(&toy, &[&source("absent.txt")]).refused(6, &["absent.txt", "corpus"]);

    toy.write("empty.txt", "");
    run(&toy, &[&source("empty.txt")]).refused(8, &["empty.txt", "empty"]);
    toy.write("blank.txt", "\n \n<|endoftext|>\n\n");
    run(&toy, &[&source("blank.txt")]).refused(8, &["blank.txt", "empty"]);

    toy.write("short.txt", &corpus(40));
    run(&toy, &[&source("short.txt")]).refused(8, &["short.txt", "300 needed", "corpus.eval_fragments"]);

    let mut bytes = corpus(20).into_bytes();
    bytes[1_000] = 0xff;
    write_atomic(&toy.path("latin.txt"), &bytes).expect("written");
    run(&toy, &[&source("latin.txt")]).refused(8, &["latin.txt", "UTF-8", "1000"]);

    toy.write("lines.jsonl", "{\"text\": \"one\"}\n{\"txt\": \"two\"}\n");
    run(&toy, &[&source("lines.jsonl")]).refused(8, &["lines.jsonl", "line 2", "`text`", "`txt`"]);
    toy.write("broken.jsonl", "{\"text\": \"one\"}\n{\"text\": \n");
    run(&toy, &[&source("broken.jsonl")]).refused(8, &["broken.jsonl", "line 2"]);
}

#[test]
fn a_hook_point_whose_activations_are_constant() {
    let toy = Toy::new();
    toy.write_model(&toy.path("model"), vocabulary().len(), &|name, entries| {
        if name.contains("1.mlp.dense_4h_to_h") {
            entries.fill(0.0);
        }
    });
    run(&toy, &["hooks=[blocks.1.hook_mlp_out]"]).refused(8, &["blocks.1.hook_mlp_out", "constant"]);
    // Named first, and the other hook point is finished all the same: a run without it repeats nothing.
    run(&toy, &["hooks=[blocks.1.hook_mlp_out, blocks.1.hook_resid_post]"])
        .refused(8, &["blocks.1.hook_mlp_out", "constant"]);
    run(&toy, &["hooks=[blocks.1.hook_resid_post]"]).ok();
    let manifest = std::fs::read(toy.path("out/manifest.json")).expect("written");
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
    let stages = manifest["stages"].as_array().expect("a list");
    let reused = |name: &str| stages.iter().any(|stage| stage["name"] == name && stage["reused"] == true);
    assert!(reused("blocks.1.hook_resid_post"), "{stages:?}");
}

#[test]
fn a_suite_with_an_unknown_key() {
    check_edited("per_cell: 4", "per_cel: 4").refused(2, &["10:", "`features.per_cel`", "`per_cell`"]);
    check_edited("seed: 7", "sed: 7").refused(2, &["2:1:", "`sed`", "`seed`"]);
    check_edited("steps: 60", "stepz: 60").refused(2, &["7:", "`stepz`"]);
}

#[test]
fn a_suite_with_an_unknown_hook_point_kind_or_layer() {
    let hook = "blocks.1.hook_resid_post";
    check_edited(hook, "blocks.1.hook_residual").refused(2, &["5:", "hook_residual", "hook_resid_post"]);
    check_edited("kind: random", "kind: randm").refused(2, &["8:", "`randm`", "`random`"]);

    let toy = Toy::new();
    run(&toy, &["hooks=[blocks.99.hook_resid_post]"]).refused(2, &["99", &format!("0 to {}", LAYERS - 1)]);
    run(&toy, &["hooks=[blocks.0.hook_resid_mid]"]).refused(2, &["blocks.0.hook_resid_mid", "parallel"]);
    run(&toy, &["corpus.ctx_tokens=65"]).refused(2, &["corpus.ctx_tokens", "65", "64"]);
}

#[test]
fn a_suite_whose_language_model_cannot_be_asked() {
    let add = |text: &str| check_edited("pairs: [token_lookup_fit]", text);
    let llm = "llm: {client: openai, model: m}";
    add(&format!("explainer: {{kind: token_activation, {llm}}}"))
        .refused(2, &["11:", "`token_activation` writes sentences", "generated", "per_token"]);
    add("explainer: token_activation\nsimulator: generated")
        .refused(2, &["11:", "`explainer`", "asks a language model", "llm: {client: …, model: …}"]);
    add(&format!("explainer: {{kind: highlighted, {llm}}}\nsimulator: neuron_to_graph"))
        .refused(2, &["12:", "`neuron_to_graph` reads patterns"]);
    add(&format!("simulator: {{kind: generated, {llm}}}")).refused(2, &["11:", "`generated` cannot read"]);
    let explainer =
        |llm: &str| add(&format!("explainer: {{kind: contrastive, llm: {llm}}}\nsimulator: generated"));
    explainer("{client: opnai, model: m}").refused(2, &["11:", "`opnai`", "`openai`"]);
    explainer("{client: openai}").refused(2, &["11:", "`explainer.llm.model`", "missing"]);
    explainer("{client: openai, model: m, modle: n}").refused(2, &["11:", "`modle`", "`model`"]);
    explainer("{client: openai, model: m, price_in: 1}").refused(2, &["11:", "price_out"]);
    explainer("{client: openai, model: m, base_url: \"ftp://host\"}")
        .refused(2, &["11:", "base_url", "https://"]);
    add(&format!("explainer: {{kind: highlighted, shots: 3, {llm}}}\nsimulator: generated"))
        .refused(2, &["11:", "`explainer.shots`", "is 3", "2 worked examples"]);
    add(&format!("explainer: {{kind: highlighted, {llm}}}\nsimulator: {{kind: per_token, shots: 9}}"))
        .refused(2, &["12:", "`simulator.shots`", "is 9", "5 worked examples"]);
    add(&format!("explainer: {{kind: highlighted, {llm}}}\nsimulator: exemplar"))
        .refused(2, &["12:", "`simulator`", "`client: local`", "`likelihood`"]);
    explainer("{client: openai, model: m, extra_body: [repeat_penalty]}")
        .refused(2, &["11:", "`explainer.llm.extra_body`", "expected a mapping"]);
    explainer("{client: local, model: m, extra_body: {a: 1}}")
        .refused(2, &["11:", "extra_body", "for endpoints"]);
    explainer("{client: openai, model: m, extra_body: {repeat_penalty: 1.0, seed: null}}").ok();
    let key = explainer("{client: openai, model: m, headers: {Authorization: Bearer sk-4711}}");
    assert!(!key.stderr.contains("sk-4711"), "{}", key.stderr);
    key.refused(2, &["11:", "headers.Authorization", "api_key_env"]);
}

#[test]
fn questions_longer_than_what_the_model_reads() {
    let toy = Toy::new();
    let explainer = |kind: &str, context: usize| {
        format!(
            "explainer={{kind: {kind}, llm: {{client: openai, model: m, base_url: \"http://127.0.0.1:9/v1\", \
             context_tokens: {context}}}}}"
        )
    };
    let told = |command: &str, kind: &str, context: usize| {
        let explainer = explainer(kind, context);
        let settings = ["--set", &explainer, "--set", "simulator=generated", "--set", "pairs=[]"];
        call(toy.home(), &[&[command, &toy.arg("suite.yaml")], &settings[..]].concat())
    };
    for command in ["plan", "run"] {
        told(command, "token_activation", 900).refused(
            2,
            &["`explainer`", "about", "tokens", "the model reads 900", "explainer.shots", "strongest"],
        );
        // The simulator takes the explainer's model.
        told(command, "strongest", 1100)
            .refused(2, &["`simulator`", "the model reads 1100", "simulator.shots"]);
    }
    let plan = told("plan", "strongest", 20_000);
    assert_eq!(plan.code, Some(0), "{}", plan.stderr);
}

#[test]
fn every_problem_of_a_suite_at_once() {
    let toy = Toy::new();
    let text = toy.suite_text().replace("seed: 7", "seed: seven").replace("k: 4", "k: 0");
    toy.write("suite.yaml", &text.replace("per_cell: 4", "per_cell: 1, extra: 2"));
    let done = call(toy.home(), &["check", &toy.arg("suite.yaml")]);
    let done = done.refused(2, &["4 problems", "`seed`", "per_cell", "extra"]);
    let places = done.stderr.lines().filter(|line| line.starts_with("  ")).count();
    assert_eq!(places, 4, "{}", done.stderr);
}

#[test]
fn a_suite_that_is_no_yaml_or_no_text() {
    let toy = Toy::new();
    toy.write("broken.yaml", "name: x\nhooks: [a, b\nseed: 3\n");
    call(toy.home(), &["check", &toy.arg("broken.yaml")]).refused(2, &["broken.yaml", "line"]);
    write_atomic(&toy.path("bytes.yaml"), &[b'a', 0xff, 0xfe]).expect("written");
    call(toy.home(), &["check", &toy.arg("bytes.yaml")]).refused(2, &["bytes.yaml", "UTF-8"]);
    run(&toy, &["features.per_cel=3"]).refused(2, &["features.per_cel", "`per_cell`"]);
    run(&toy, &["features.per_cell"]).refused(2, &["features.per_cell", "="]);
}

#[test]
fn a_run_folder_that_cannot_be_written() {
    let toy = Toy::new();
    let out = toy.arg("corpus.txt/run");
    call(toy.home(), &["run", &toy.arg("suite.yaml"), "--out", &out])
        .refused(9, &["corpus.txt/run", "--out"]);
    let mut command = autointerp(toy.home(), &["run", &toy.arg("suite.yaml"), "--out", &toy.arg("out")]);
    finish(command.env("AUTOINTERP_CACHE", toy.path("corpus.txt"))).refused(9, &["corpus.txt/activations"]);
}

#[test]
fn less_disk_than_the_activations_need() {
    let toy = Toy::new();
    run(&toy, &["limits.disk_gb=0.001"]).refused(9, &["blocks.1.hook_resid_post", "limits.disk_gb"]);
}

/// A limit on the size of files stands in for a full disk: every write beyond it fails. What was
/// finished stays, and the same command goes on when there is room.
#[cfg(unix)]
#[test]
fn a_disk_that_is_full() {
    let toy = Toy::new();
    let (suite, out) = (toy.arg("suite.yaml"), toy.arg("out"));
    let program = autointerp(toy.home(), &["run", &suite, "--out", &out]);
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 200; exec \"$0\" \"$@\""]);
    limited.arg(program.get_program()).args(program.get_args());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    finish(&mut limited).refused(9, &["cannot write", ".act", "kept"]);
    let left: Vec<_> =
        files_below(&toy.path("cache")).into_iter().filter(|name| name.contains(".part")).collect();
    assert_eq!(left, Vec::<String>::new(), "half-written files are left behind");
    call(toy.home(), &["run", &suite, "--out", &out]).ok();
}

fn files_below(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.path().is_dir() {
            true => found.extend(files_below(&entry.path())),
            false => found.push(entry.path().display().to_string()),
        }
    }
    found
}

#[test]
fn token_ids_that_no_model_can_run() {
    let toy = Toy::new();
    let vocab = vocabulary().len();
    let harvest = |ids: &str, hooks: &str| {
        toy.write("ids.json", ids);
        let (model, ids, out) = (toy.arg("model"), toy.arg("ids.json"), toy.arg("out.safetensors"));
        call(
            toy.home(),
            &["harvest", "--model", &model, "--token-ids", &ids, "--hooks", hooks, "--out", &out],
        )
    };
    let hook = "blocks.0.hook_resid_post";
    harvest("[[1, 2, 3], [4, 5]]", hook).refused(8, &["ids.json", "2 ids in list 1", "3 in list 0"]);
    let id = format!("[[1, 2], [3, {vocab}]]");
    harvest(&id, hook).refused(8, &[&format!("id {vocab}"), "sequence 1", "position 1"]);
    harvest("[[1, -2]]", hook).refused(8, &["ids.json"]);
    harvest("{\"a\": 1}", hook).refused(8, &["ids.json", "JSON list of lists"]);
    harvest("[]", hook).refused(8, &["ids.json", "no token ids"]);
    harvest("[[]]", hook).refused(8, &["ids.json", "no token ids"]);
    let long = serde_json::to_string(&[vec![1; 65]]).expect("JSON");
    harvest(&long, hook).refused(8, &["65", "64 positions"]);
    harvest("[[1, 2]]", "blocks.2.hook_resid_post").refused(2, &["layer 2", "0 to 1"]);
    harvest("[[1, 2]]", "blocks.0.hook_nothing").refused(2, &["hook_nothing"]);
    assert!(!toy.path("out.safetensors").exists(), "a refused harvest writes nothing");
    let (model, ids) = (toy.arg("model"), toy.arg("ids.json"));
    let out = toy.arg("corpus.txt/x.safetensors");
    call(toy.home(), &["harvest", "--model", &model, "--token-ids", &ids, "--hooks", hook, "--out", &out])
        .refused(9, &["corpus.txt", "--out"]);
}

#[test]
fn arguments_that_make_no_sense() {
    let toy = Toy::new();
    let suite = toy.arg("suite.yaml");
    call(toy.home(), &["check", &suite, "--threads", "0"]).refused(2, &["--threads 0", "at least 1"]);
    call(toy.home(), &["explode"]).refused(2, &["explode"]);
    call(toy.home(), &["run", &suite, "--limit-features", "1"])
        .refused(2, &["--limit-features", "at least 2"]);
    call(toy.home(), &["cache", "--clean", "everything"]).refused(2, &["--clean", "activations"]);
    call(toy.home(), &["report", &toy.arg("nowhere")]).refused(6, &["nowhere"]);
    call(toy.home(), &["inspect", &toy.arg("nowhere")]).refused(6, &["nowhere"]);
}

#[test]
fn a_run_folder_that_was_damaged() {
    let toy = Toy::new();
    toy.write("out/summary.json", "{\"schema\": 1, \"cells\": ");
    call(toy.home(), &["report", &toy.arg("out")]).refused(8, &["summary.json"]);
    toy.write("out/summary.json", "{\"schema\": 99}");
    call(toy.home(), &["report", &toy.arg("out")]).refused(8, &["summary.json"]);
}

#[test]
fn an_error_asked_for_as_json_is_json() {
    let toy = Toy::new();
    let done = call(toy.home(), &["check", &toy.arg("elsewhere.yaml"), "--json"]);
    assert_eq!(done.code, Some(6));
    let value: serde_json::Value = serde_json::from_str(&done.stdout).expect("JSON and nothing else");
    assert_eq!(value["exit_code"], 6);
    assert!(value["error"].as_str().expect("a message").contains("elsewhere.yaml"));
}
