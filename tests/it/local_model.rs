//! Runs whose language model is in the process, with the network off.

use std::fs;
use std::path::Path;

use autointerp::base::{Stream, write_atomic};
use autointerp::subject::embedded;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use crate::program::{Done, autointerp, finish};
use crate::toy::Toy;

const D_MODEL: usize = 32;
const D_MLP: usize = 48;

/// Writes a Llama of one layer with random weights, which likes to say numbers, and with a vocabulary that long
/// questions fit.
fn write_language_model(folder: &Path) {
    let tokenizer: Value = serde_json::from_slice(embedded::TOKENIZER).expect("JSON");
    let vocab = tokenizer["model"]["vocab"].as_object().expect("a vocabulary").len() + 16;
    let config = json!({
        "model_type": "llama", "hidden_size": D_MODEL, "intermediate_size": D_MLP, "num_hidden_layers": 1,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": vocab,
        "max_position_embeddings": 32_768, "tie_word_embeddings": false,
    });
    let shapes: Vec<(&str, Vec<usize>)> = vec![
        ("model.embed_tokens.weight", vec![vocab, D_MODEL]),
        ("lm_head.weight", vec![vocab, D_MODEL]),
        ("model.norm.weight", vec![D_MODEL]),
        ("model.layers.0.input_layernorm.weight", vec![D_MODEL]),
        ("model.layers.0.post_attention_layernorm.weight", vec![D_MODEL]),
        ("model.layers.0.self_attn.q_proj.weight", vec![D_MODEL, D_MODEL]),
        ("model.layers.0.self_attn.k_proj.weight", vec![D_MODEL / 2, D_MODEL]),
        ("model.layers.0.self_attn.v_proj.weight", vec![D_MODEL / 2, D_MODEL]),
        ("model.layers.0.self_attn.o_proj.weight", vec![D_MODEL, D_MODEL]),
        ("model.layers.0.mlp.gate_proj.weight", vec![D_MLP, D_MODEL]),
        ("model.layers.0.mlp.up_proj.weight", vec![D_MLP, D_MODEL]),
        ("model.layers.0.mlp.down_proj.weight", vec![D_MODEL, D_MLP]),
    ];
    let tensors: Vec<(&str, Vec<usize>, Vec<u8>)> = shapes
        .into_iter()
        .map(|(name, shape)| {
            let mut stream = Stream::new(5, name);
            let one = shape.len() == 1;
            let entry = |normal: f64| if one { 1.0 } else { 0.4 * normal as f32 };
            let mut entries: Vec<f32> = (0..shape.iter().product()).map(|_| entry(stream.normal())).collect();
            if name == "lm_head.weight" {
                for number in (0..=10).map(|number| number.to_string()) {
                    if let Some(id) = tokenizer["model"]["vocab"][&number].as_u64() {
                        let row = &mut entries[id as usize * D_MODEL..][..D_MODEL];
                        row.iter_mut().for_each(|entry| *entry *= 8.0);
                    }
                }
            }
            let bytes = entries.into_iter().flat_map(f32::to_le_bytes).collect();
            (name, shape, bytes)
        })
        .collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        (*name, TensorView::new(Dtype::F32, shape.clone(), bytes).expect("a tensor"))
    });
    let bytes = safetensors::serialize(views, None).expect("a file");
    write_atomic(&folder.join("model.safetensors"), &bytes).expect("written");
    write_atomic(&folder.join("config.json"), config.to_string().as_bytes()).expect("written");
    write_atomic(&folder.join("tokenizer.json"), embedded::TOKENIZER).expect("written");
}

/// The toy suite explained and simulated by the model `explainer/` beside the suite.
fn run(toy: &Toy, out: &str, simulator: &str, more: &[&str]) -> Done {
    let explainer = "explainer={kind: token_activation, attempts: 4, temperature: 1, llm: {client: local, model: explainer}}";
    let simulator = format!("simulator={{kind: {simulator}}}");
    let (suite, out) = (toy.arg("suite.yaml"), toy.arg(out));
    let mut arguments = vec!["run", &suite, "--out", &out, "--quiet", "--set", explainer];
    arguments.extend(["--set", &simulator, "--set", "features.per_cell=2"]);
    arguments.extend(more);
    finish(&mut autointerp(toy.home(), &arguments))
}

fn lines(toy: &Toy, out: &str, simulator: &str) -> Vec<Value> {
    let text = fs::read_to_string(toy.path(out).join("scores.jsonl")).expect("scores");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .filter(|line: &Value| line["explainer"] == "token_activation" && line["simulator"] == simulator)
        .collect()
}

#[test]
fn a_model_in_the_process_explains_and_simulates_without_a_network() {
    let toy = Toy::new();
    write_language_model(&toy.path("explainer"));
    let done = run(&toy, "out", "generated_expected", &["--set", "controls=[shuffled]"]).ok();
    assert!(done.stdout.contains("token_activation → generated_expected"), "{}", done.stdout);
    let found = lines(&toy, "out", "generated_expected");
    let explained: Vec<&Value> = found.iter().filter(|line| line["explanation"].is_string()).collect();
    assert!(explained.len() > 4, "{} of {} explained", explained.len(), found.len());
    // A model without sense may write no usable sentence; what it simulates is always whole.
    for line in &explained {
        assert_ne!(line["status"], "failed", "{line}");
    }
    // Without what is stored everything is asked again, side by side with other questions.
    fs::rename(toy.path("out"), toy.path("first")).expect("moved");
    fs::rename(toy.path("cache"), toy.path("first_cache")).expect("moved");
    run(&toy, "out", "generated_expected", &["--set", "controls=[shuffled]"]).ok();
    let summary = |out: &str| fs::read(toy.path(out).join("summary.json")).expect("a summary");
    assert_eq!(summary("first"), summary("out"));
}

#[test]
fn a_model_in_the_process_reads_prompts_and_judges() {
    let toy = Toy::new();
    write_language_model(&toy.path("explainer"));
    let scorers = "scorers=[top_and_random, detection, surprisal, intervention]";
    let written = "effects={prompts: 1, written_tokens: 4}";
    let fewer = ["--set", scorers, "--set", written, "--set", "controls=[shuffled]"];
    let done = run(&toy, "out", "prompt_logprobs", &fewer);
    // A model without sense writes some explanation that is none.
    assert!(matches!(done.code, Some(0 | 3)), "{}", done.stderr);
    let found = lines(&toy, "out", "prompt_logprobs");
    let explained: Vec<&Value> = found.iter().filter(|line| line["explanation"].is_string()).collect();
    assert!(!explained.is_empty());
    for score in ["detection", "surprisal", "intervention"] {
        let scored = explained.iter().filter(|line| line["scores"][score].is_number()).count();
        assert!(scored > 0, "{score} of {} features", explained.len());
    }
}

#[test]
fn a_model_that_is_not_there_and_fields_of_endpoints_are_refused() {
    let toy = Toy::new();
    run(&toy, "out", "generated", &[]).refused(6, &["explainer", "config.json", ".gguf"]);
    let with_address =
        "explainer={kind: highlighted, llm: {client: local, model: x, base_url: 'http://a/v1', price_in: 1}}";
    run(&toy, "out", "generated", &["--set", with_address]).refused(2, &["base_url", "price_in"]);
}

/// A template out of a file that takes all memory, or nests beyond the stack, ends no run.
#[test]
fn a_chat_template_that_no_process_survives_is_named() {
    let doubled =
        format!("{{% set a = 'x' * 1000000 %}}{}{{{{ a|length }}}}", "{% set a = a ~ a %}".repeat(20));
    let nested = format!("{{{{ {}1 }}}}", "not ".repeat(100_000));
    let padded = "{{ '%999999999999d'|format(1) }}".to_string();
    let toy = Toy::new();
    write_language_model(&toy.path("explainer"));
    for (name, template) in [("doubled", doubled), ("nested", nested), ("padded", padded)] {
        let path = toy.path("explainer").join("chat_template.jinja");
        write_atomic(&path, template.as_bytes()).expect("written");
        let told = ["explainer", "its chat template takes more than 512 MB of memory, or nests deeper"];
        run(&toy, name, "generated", &[]).refused(8, &told);
    }
}
