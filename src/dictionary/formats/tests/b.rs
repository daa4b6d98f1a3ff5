//! Gemma Scope, Llama Scope, llamascopium and the formats of single releases.

use serde_json::{Value, json};

use super::super::super::hook_of;
use super::super::super::tensors::{Activation, RowScale};
use super::super::{FileFormat, ThresholdUnits, rows};
use super::*;

const GOLDENS: &[Golden] = &[
    ("circuit-tracer--relu", None, None),
    ("connor-rob--hook-z", None, None),
    ("deepseek-r1--l2", None, None),
    ("e2e-sae--resid", None, None),
    ("gemma-scope--resid", None, None),
    ("gemma-scope-2--resid-post", None, None),
    ("goodfire--linear", None, None),
    ("llama-scope--lxr", None, None),
    ("llama-scope-r1--distill", None, None),
    ("openmoss--jumprelu", None, None),
    ("qwen-scope--square", Some(8), None),
];

#[test]
fn every_golden_gives_its_codes_and_reconstructions() {
    let Some(root) = shared("sae-formats") else { return };
    GOLDENS.iter().for_each(|golden| check(&root, golden));
}

#[test]
fn formats_are_recognised_and_say_where_they_were_trained() {
    let Some(root) = shared("sae-formats") else { return };
    let resid = Some("blocks.2.hook_resid_post");
    for (folder, k, format, model, hook) in [
        (
            "circuit-tracer--relu",
            None,
            FileFormat::CircuitTracer,
            Some("stories260K"),
            Some("blocks.2.mlp.hook_in"),
        ),
        ("connor-rob--hook-z", None, FileFormat::ConnorRob, Some("gpt2-small"), Some("blocks.2.attn.hook_z")),
        (
            "deepseek-r1--l2",
            None,
            FileFormat::DeepseekR1,
            Some("deepseek-ai/DeepSeek-R1-Distill-Llama-8B"),
            resid,
        ),
        ("e2e-sae--resid", None, FileFormat::E2eSae, Some("stories260K"), resid),
        ("gemma-scope--resid", None, FileFormat::GemmaScope, None, None),
        ("gemma-scope-2--resid-post", None, FileFormat::GemmaScope2, Some("google/gemma-3-270m"), resid),
        (
            "goodfire--linear",
            None,
            FileFormat::Goodfire,
            Some("meta-llama/Llama-3.1-8B-Instruct"),
            Some("blocks.19.hook_resid_post"),
        ),
        ("llama-scope--lxr", None, FileFormat::LlamaScope, Some("meta-llama/Llama-3.1-8B"), resid),
        ("llama-scope-r1--distill", None, FileFormat::LlamaScopeR1, None, resid),
        ("openmoss--jumprelu", None, FileFormat::Llamascopium, None, resid),
        ("qwen-scope--square", Some(8), FileFormat::QwenScope, None, resid),
    ] {
        let path = root.join(folder);
        let blueprint = open(&path, &Ask { k, ..ask_at(&path) });
        let blueprint = blueprint.unwrap_or_else(|error| panic!("{folder}: {error}"));
        assert_eq!(blueprint.card.format, format.name(), "{folder}");
        assert_eq!(blueprint.stated.model.as_deref(), model, "{folder}");
        let stated = blueprint.stated.hook.as_deref().and_then(hook_of).map(|hook| hook.to_string());
        assert_eq!(stated.as_deref(), hook, "{folder}");
        assert!(blueprint.card.dropped.is_empty(), "{folder}: {:?}", blueprint.card.dropped);
    }
}

#[test]
fn thresholds_of_llama_scope_are_read_in_both_units() {
    let Some(root) = shared("sae-formats") else { return };
    let path = root.join("llama-scope--lxr");
    let golden = path.join("golden.safetensors");
    let x = tensor(&golden, "x");
    for (threshold, name, other) in [
        (None, "code", "`threshold: stored`"),
        (Some(ThresholdUnits::Scaled), "code", "`threshold: stored`"),
        (Some(ThresholdUnits::Stored), "code_theta_as_stored", "`threshold: scaled`"),
    ] {
        let blueprint = open(&path, &Ask { threshold, ..ask_at(&path) }).expect("read");
        let codes = dictionary(&blueprint, None).encode(&x).expect("encoded");
        assert!(gap(&codes, &tensor(&golden, name)) < 2e-5, "{threshold:?}");
        assert!(blueprint.card.notes.iter().any(|note| note.contains(other)), "{:?}", blueprint.card.notes);
    }
}

#[test]
fn what_single_rows_do_not_decide_is_refused_by_name() {
    let Some(root) = shared("sae-formats") else { return };
    for (folder, words) in
        [("mntss--clt", "cross-layer transcoder"), ("openmoss--relu-glu-inference", "use_glu_encoder")]
    {
        let problem = refusal(&root.join(folder));
        assert!(problem.contains(words) && !problem.contains("unknown settings"), "{folder}: {problem}");
    }
    let problem = refusal(&root.join("qwen-scope--square"));
    assert!(problem.contains("`k: 50`") && problem.contains("--k"), "{problem}");
}

#[test]
fn fields_without_meaning_for_a_format_are_refused() {
    let Some(root) = shared("sae-formats") else { return };
    let refused = |folder: &str, ask: Ask, words: &str| {
        let path = root.join(folder);
        let ask = Ask { place: path.display().to_string(), ..ask };
        let problem = open(&path, &ask).expect_err(folder).to_string();
        assert!(problem.contains(words), "{folder}: {problem}");
    };
    let threshold = Some(ThresholdUnits::Stored);
    refused(
        "goodfire--linear",
        Ask { threshold, ..Ask::default() },
        "`threshold` has no meaning for format goodfire",
    );
    refused(
        "gemma-scope--resid",
        Ask { k: Some(3), ..Ask::default() },
        "`k` has no meaning for format gemma_scope",
    );
    refused("circuit-tracer--relu", Ask { k: Some(3), ..Ask::default() }, "`k` has no meaning here");
    let factor = Ask { input_scale: Some(2.0), ..Ask::default() };
    refused("openmoss--jumprelu", factor.clone(), "`input_scale` has no meaning here");
    refused("deepseek-r1--l2", factor, "`input_scale` has no meaning for format deepseek_r1");
    let part = Ask { part: Some("blocks.9.hook_resid_post".into()), ..Ask::default() };
    refused("e2e-sae--resid", part, "found blocks.2.hook_resid_post");
}

#[test]
fn every_format_is_described() {
    let rows = rows();
    for row in &rows {
        assert!(!row.words.is_empty() && !row.recognised_by.is_empty(), "{row:?}");
        assert_eq!(row.name.parse::<FileFormat>().map(FileFormat::name), Ok(row.name));
    }
    let mut names: Vec<&str> = rows.iter().map(|row| row.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), rows.len());
    assert_eq!(rows.iter().filter(|row| !row.supported).count(), 2);
    let alias: FileFormat = serde_json::from_value(json!("mwhanna")).expect("an alias");
    assert_eq!((alias, "mwhanna".parse()), (FileFormat::CircuitTracer, Ok(FileFormat::CircuitTracer)));
}

/// Tensors of a llamascopium dictionary of width 4 with 6 features.
const MOSS: &[(&str, &[usize])] = &[("W_E", &[4, 6]), ("W_D", &[6, 4]), ("b_E", &[6]), ("b_D", &[4])];

fn moss(config: Value, extra: &[(&str, &[usize])]) -> Result<Blueprint, DictionaryError> {
    let mut all = json!({"sae_type": "sae", "d_model": 4, "hook_point_in": "blocks.1.hook_resid_pre"});
    all.as_object_mut().expect("an object").extend(config.as_object().expect("an object").clone());
    let tensors: Vec<_> = MOSS.iter().chain(extra).copied().collect();
    opened(&folder_of(("config.json", all), "sae_weights.safetensors", &tensors))
}

#[test]
fn llamascopium_is_read_by_its_settings() {
    let topk =
        moss(json!({"act_fn": "topk", "top_k": 2, "norm_activation": "token-wise"}), &[]).expect("read");
    assert_eq!(topk.row_scale, RowScale::ConstantNorm);
    let tensors = topk.build(None).expect("built");
    assert!(matches!(tensors.activation, Activation::RankedTopK { k: 2, .. }), "ranks count decoder norms");
    let default = json!({"act_fn": "topk", "norm_activation": "inference"});
    let default = moss(default, &[]).expect_err("50 is the default, of 6 features").to_string();
    assert!(default.contains("`k` is 50"), "{default}");
    let plain = json!({"act_fn": "topk", "top_k": 2, "sparsity_include_decoder_norm": false,
        "norm_activation": "inference"});
    let plain = moss(plain, &[]).expect("read").build(None).expect("built");
    assert_eq!(plain.activation, Activation::TopK(2));
    let lacking = moss(json!({"norm_activation": "batch-wise"}), &[]).expect("read");
    assert!(lacking.lacks_scale && lacking.card.notes.iter().any(|note| note.contains("batch-wise")));
    let file: &[(&str, &[usize])] = &[("activation_function.log_jumprelu_threshold", &[6])];
    let jump = moss(json!({"act_fn": "jumprelu", "norm_activation": "inference"}), file).expect("read");
    assert!(jump.card.activation.contains("exp(activation_function.log_jumprelu_threshold)"));
    assert!(jump.card.notes.iter().any(|note| note.contains("leaves thresholds")));
    let without = moss(json!({"use_decoder_bias": false}), &[]).expect_err("b_D is there").to_string();
    assert!(without.contains("b_D"), "{without}");
}

#[test]
fn llamascopium_refuses_what_it_cannot_compute() {
    for (config, words) in [
        (json!({"sae_type": "crosscoder"}), "`sae_type: crosscoder`"),
        (json!({"sae_type": "clt", "surprise": 1}), "several layers"),
        (json!({"sae_type": "lorsa"}), "earlier tokens"),
        (json!({"sae_type": "molt"}), "decoder row per feature"),
        (json!({"sae_type": "other"}), "no other type"),
        (json!({"act_fn": "batchtopk"}), "depend on other rows"),
        (json!({"act_fn": "gelu"}), "one of relu, jumprelu, topk"),
        (json!({"use_glu_encoder": true, "surprise": 1}), "gated linear unit"),
        (
            json!({"norm_activation": "token-wise", "hook_point_out": "blocks.1.hook_mlp_out"}),
            "of a transcoder",
        ),
        (
            json!({"norm_activation": "dataset-wise", "hook_point_out": "blocks.1.hook_mlp_out"}),
            "do not hold both",
        ),
        (json!({"norm_activation": "median-wise"}), "`norm_activation` is"),
        (json!({"d_model": 8}), "the width of the tensors"),
        (json!({"surprise": 1}), "unknown settings surprise"),
    ] {
        let problem = moss(config.clone(), &[]).err().map(|error| error.to_string());
        assert!(problem.as_ref().is_some_and(|problem| problem.contains(words)), "{config}: {problem:?}");
    }
}

#[test]
fn a_setting_that_is_left_out_is_told() {
    let config = json!({"sae_type": "sae", "hook_point_in": "blocks.1.hook_resid_pre", "surprise": 1});
    let folder = folder_of(("config.json", config), "sae_weights.safetensors", MOSS);
    let ask = Ask { ignore: vec!["surprise".into()], ..ask_at(folder.path()) };
    let blueprint = open(folder.path(), &ask).expect("read");
    assert_eq!(blueprint.card.dropped, ["setting surprise = 1"]);
}

#[test]
fn gemma_scope_2_is_read_with_and_without_a_configuration() {
    let tensors: &[(&str, &[usize])] =
        &[("w_enc", &[4, 6]), ("w_dec", &[6, 4]), ("b_enc", &[6]), ("b_dec", &[4]), ("threshold", &[6])];
    let skip: &[(&str, &[usize])] = &[("affine_skip_connection", &[4, 4])];
    let read = |config: Value, tensors: &[(&str, &[usize])]| {
        opened(&folder_of(("config.json", config), "params.safetensors", tensors))
    };
    let config = json!({"architecture": "jump_relu", "type": "transcoder", "affine_connection": true, "l0": 7,
        "hf_hook_point_in": "model.layers.3.pre_feedforward_layernorm.output",
        "hf_hook_point_out": "model.layers.3.post_feedforward_layernorm.output"});
    let transcoder = read(config.clone(), &[tensors, skip].concat()).expect("read");
    assert!(transcoder.skip.as_ref().is_some_and(|skip| !skip.by_row), "[in, out]");
    assert_eq!(transcoder.stated.l0, Some(7.0));
    let output = transcoder.stated.hook_out.as_deref().and_then(hook_of).expect("a hook point");
    assert_eq!(output.to_string(), "blocks.3.hook_mlp_out");
    let missing = read(config, tensors).expect_err("no skip connection").to_string();
    assert!(missing.contains("affine_connection"), "{missing}");
    let other = opened(&folder_of(("notes.json", json!({})), "params.safetensors", tensors))
        .expect("no configuration");
    assert_eq!(other.card.format, "gemma_scope_2");
    let clt = read(json!({"type": "clt"}), tensors).expect_err("cross-layer").to_string();
    assert!(clt.contains("`type: clt`"), "{clt}");
    let deep: Vec<_> = tensors
        .iter()
        .map(|&(name, shape)| (name, if name == "w_dec" { &[6, 2, 4][..] } else { shape }))
        .collect();
    let deep = read(json!({}), &deep).expect_err("cross-layer").to_string();
    assert!(deep.contains("three dimensions"), "{deep}");
}

#[test]
fn circuit_tracer_follows_its_configuration() {
    let tensors: &[(&str, &[usize])] =
        &[("W_enc", &[6, 4]), ("W_dec", &[6, 4]), ("b_enc", &[6]), ("b_dec", &[4])];
    let extra: &[(&str, &[usize])] = &[("activation_function.threshold", &[6]), ("W_skip", &[4, 4])];
    let read = |config: Value, tensors: &[(&str, &[usize])], k| {
        let folder = folder_of(("config.yaml", config), "layer_5.safetensors", tensors);
        open(folder.path(), &Ask { k, ..ask_at(folder.path()) })
    };
    let jump = read(
        json!({"model_kind": "transcoder_set", "feature_input_hook": "hook_resid_mid",
        "feature_output_hook": "hook_mlp_out"}),
        &[tensors, extra].concat(),
        None,
    )
    .expect("read");
    assert!(jump.card.activation.contains("JumpReLU") && jump.skip.as_ref().is_some_and(|skip| skip.by_row));
    assert_eq!(jump.stated.hook.as_deref(), Some("blocks.5.hook_resid_mid"));
    assert_eq!(jump.stated.hook_out.as_deref(), Some("blocks.5.hook_mlp_out"));
    let topk = json!({"activation": "topk"});
    let problem = read(topk.clone(), tensors, None).expect_err("no k").to_string();
    assert!(problem.contains("`k: 128`"), "{problem}");
    let blueprint = read(topk, tensors, Some(2)).expect("read");
    assert_eq!(blueprint.build(None).expect("built").activation, Activation::TopK(2));
    for (config, words) in [
        (json!({"model_kind": "cross_layer_transcoder"}), "several layers"),
        (json!({"activation": "jumprelu"}), "activation_function.threshold is missing"),
        (json!({"surprise": 1}), "unknown settings surprise"),
    ] {
        let problem = read(config, tensors, None).expect_err(words).to_string();
        assert!(problem.contains(words), "{problem}");
    }
}

#[test]
fn temporal_autoencoders_and_unknown_folders_say_what_they_are() {
    let attention: &[(&str, &[usize])] =
        &[("D", &[6, 4]), ("b", &[4]), ("attn_layers.0.c_fc.weight", &[4, 4])];
    let folder = folder_of(("conf.yaml", json!({"llm": {"dimin": 4}})), "latest_ckpt.safetensors", attention);
    let problem = refusal(folder.path());
    assert!(problem.contains("temporal") && problem.contains("tokens before it"), "{problem}");
    let several: &[(&str, &[usize])] = &[("encoder.weight", &[2, 4, 6]), ("decoder.weight", &[2, 6, 4])];
    let folder = folder_of(("other.json", json!({})), "model.safetensors", several);
    let problem = refusal(folder.path());
    assert!(problem.contains("three dimensions") && problem.contains("Known formats"), "{problem}");
    let folder = tempfile::tempdir().expect("temporary folder");
    write_atomic(&folder.path().join("__0_0.distcp"), b"0").expect("written");
    assert!(refusal(folder.path()).contains("distributed checkpoint"));
}
