//! The spellings of `config.json` and of tensor names that transformers 5 accepts.

use serde_json::{Value, json};

use super::*;

/// The folder with the weights of a variant: its own, or the one named in its README.
fn weights_folder(shared: &Path, variant: &Path) -> PathBuf {
    if variant.join("model.safetensors").exists() {
        return variant.to_path_buf();
    }
    let readme = std::fs::read_to_string(variant.join("README.md")).expect("README");
    let (_, rest) = readme.split_once("Weights: `shared/").expect("a line on weights");
    let (file, _) = rest.split_once("/model.safetensors`").expect("a file");
    shared.join(file)
}

/// A model with another configuration file, to which `change` is applied first.
fn variant(config: &Path, weights: &Path, change: impl Fn(&mut Value)) -> Result<Transformer, NnError> {
    let mut json: Value = serde_json::from_slice(&std::fs::read(config).expect("file")).expect("JSON");
    change(&mut json);
    let config = Config::parse(json.to_string().as_bytes(), "config.json")?;
    Transformer::new(&config, &Weights::from_folder(weights, &Device::Cpu)?)
}

fn logits(model: &Transformer, ids: &[u32]) -> Tensor {
    let tokens = TokenBatch::new(ids.to_vec(), ids.len()).expect("whole");
    let request = Request { hooks: &[], edits: &[], output: Output::Logits };
    model.forward(&tokens, request).expect("runs").output.expect("logits")
}

fn golden_logits(folder: &Path) -> (Vec<u32>, Tensor) {
    let golden =
        candle_core::safetensors::load(folder.join("logits.safetensors"), &Device::Cpu).expect("golden");
    let ids = golden["input_ids"].to_dtype(DType::U32).expect("ids").to_vec1::<u32>().expect("ids");
    (ids, golden["logits"].clone())
}

/// The largest absolute difference of two tensors.
fn largest_difference(a: &Tensor, b: &Tensor) -> f32 {
    entries(a).iter().zip(entries(b)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn every_spelling_gives_the_logits_of_the_reference() {
    let Some(shared) = shared() else { return };
    let folder = shared.join("golden/config_variants");
    let mut compared = 0;
    for entry in std::fs::read_dir(&folder).expect("folder") {
        let path = entry.expect("entry").path();
        if !path.is_dir() {
            continue;
        }
        let name = path.display();
        let model = variant(&path.join("config.json"), &weights_folder(&shared, &path), |_| {});
        let model = model.unwrap_or_else(|error| panic!("{name}: {error}"));
        let (ids, expected) = golden_logits(&path);
        let difference = largest_difference(&logits(&model, &ids), &expected);
        assert!(difference <= 1e-4, "{name}: {difference:.1e}");
        compared += 1;
    }
    assert_eq!(compared, 34);
}

#[test]
fn rotary_settings_are_read_from_every_place() {
    let Some(shared) = shared() else { return };
    let qwen = shared.join("golden/qwen3");
    let phi = shared.join("golden/phi3");
    let ids: Vec<u32> = (3..40).collect();
    let run = |folder: &Path, change: &dyn Fn(&mut Value)| {
        let model = variant(&folder.join("config.json"), folder, change).expect("fits");
        entries(&logits(&model, &ids))
    };
    let whole = run(&qwen, &|_| {});
    for section in ["rope_scaling", "rope_parameters"] {
        let inside = run(&qwen, &|config| {
            config[section] = json!({"rope_theta": config["rope_theta"].clone(), "rope_type": "default"});
            config["rope_theta"] = Value::Null;
        });
        assert_eq!(inside, whole, "{section}");
        let at_the_top = run(&phi, &|config| config["partial_rotary_factor"] = json!(0.5));
        let inside = run(&phi, &|config| {
            config[section] = json!({"partial_rotary_factor": 0.5, "type": "default"});
            config.as_object_mut().expect("object").remove("partial_rotary_factor");
        });
        assert_eq!(inside, at_the_top, "{section}");
        assert_ne!(at_the_top, run(&phi, &|_| {}), "a share changes the logits");
    }
}

#[test]
fn unsupported_settings_are_refused_by_name() {
    let Some(shared) = shared() else { return };
    let refused = |name: &str, change: &dyn Fn(&mut Value), parts: &[&str]| {
        let folder = shared.join("golden").join(name);
        let error = variant(&folder.join("config.json"), &folder, change).expect_err("refused").to_string();
        for part in parts {
            assert!(error.contains(part), "{name}: `{part}` is not in: {error}");
        }
    };
    let scaling = |scaling: Value| move |config: &mut Value| config["rope_scaling"] = scaling.clone();
    refused(
        "llama_gqa",
        &|c| c["residual_scale"] = json!(2),
        &["residual_scale", "2", "llama", "config.json"],
    );
    refused(
        "llama_gqa",
        &|c| c["quantization_config"] = json!({"bits": 4}),
        &["quantization_config", "bits"],
    );
    refused("llama_gqa", &|c| c["sliding_window"] = json!(8), &["sliding_window"]);
    refused("llama_gqa", &|c| c["partial_rotary_factor"] = json!(0.5), &["partial_rotary_factor"]);
    refused(
        "llama_gqa",
        &|c| c["num_hidden_layers"] = json!(1_u64 << 31),
        &["num_hidden_layers", "2147483648"],
    );
    refused(
        "llama_gqa",
        &|c| c["num_hidden_layers"] = json!(1000),
        &["num_hidden_layers", "tensors", "1000"],
    );
    refused("llama_gqa", &|c| c["head_dim"] = json!(1_u64 << 40), &["head_dim"]);
    refused("llama_gqa", &|c| c["rms_norm_eps"] = json!(1e300), &["rms_norm_eps", "1e+300"]);
    refused("mistral_sliding", &|c| c["attention_bias"] = json!(true), &["attention_bias", "true"]);
    refused("qwen2", &|c| c["use_mrope"] = json!(true), &["use_mrope", "true", "qwen2"]);
    refused("gemma2", &|c| c["use_bidirectional_attention"] = json!(true), &["use_bidirectional_attention"]);
    refused("llama_gqa", &scaling(json!({"type": "ntk", "factor": 2.0})), &["`type`", "ntk", "rope_scaling"]);
    refused(
        "llama_gqa",
        &scaling(json!({"type": "linear", "factor": 2.0, "alpha": 3})),
        &["rope_scaling.alpha"],
    );
    refused("llama_gqa", &scaling(json!({"rope_type": "linear"})), &["factor", "rope_scaling"]);
    refused(
        "llama_gqa",
        &scaling(json!({"rope_type": "linear", "type": "yarn", "factor": 2.0})),
        &["`type`"],
    );
    refused(
        "llama_gqa",
        &scaling(json!({"rope_type": "longrope", "short_factor": [1.0], "long_factor": [1.0]})),
        &["long_factor", "4 numbers"],
    );
    refused(
        "gemma3_text",
        &scaling(json!({"type": "linear", "factor": 8.0})),
        &["rope_type", "rope_scaling"],
    );
    refused("gemma3_text", &|c| c["rope_parameters"] = json!({"rope_theta": 5000.0}), &["rope_parameters"]);
}

#[test]
fn an_unknown_prefix_of_tensor_names_is_reported() {
    let Some(shared) = shared() else { return };
    let folder = shared.join("golden/llama_gqa");
    let tensors =
        candle_core::safetensors::load(folder.join("model.safetensors"), &Device::Cpu).expect("weights");
    let tensors = tensors.into_iter().map(|(name, tensor)| (format!("_orig_mod.{name}"), tensor)).collect();
    let weights = Weights::from_tensors(tensors, "compiled.safetensors");
    let config =
        Config::parse(&std::fs::read(folder.join("config.json")).expect("file"), "config").expect("JSON");
    let error = Transformer::new(&config, &weights).expect_err("refused").to_string();
    assert!(error.contains("prefix `_orig_mod.model.`") && error.contains("compiled"), "{error}");
}

/// Logits of `ids` read in parts of these lengths.
fn in_parts(model: &Transformer, ids: &[u32], parts: &[usize]) -> Tensor {
    let mut past = [PrefixCache::new(model)];
    let (mut logits, mut first) = (Vec::new(), 0);
    for &length in parts {
        let part = TokenBatch::new(ids[first..first + length].to_vec(), length).expect("whole");
        let normed = model.forward_cached(&part, &mut past).expect("runs");
        logits.extend(model.logits_of(normed.data()).expect("logits").into_vec());
        first += length;
    }
    Tensor::from_vec(logits, (first, model.architecture().vocab), &Device::Cpu).expect("tensor")
}

#[test]
fn sequences_in_parts_follow_length_dependent_rotations() {
    let Some(shared) = shared() else { return };
    let variants = shared.join("golden/config_variants");
    let open = |name: &str| {
        let path = variants.join(name);
        let model =
            variant(&path.join("config.json"), &weights_folder(&shared, &path), |_| {}).expect("fits");
        let (ids, expected) = golden_logits(&path);
        (model, ids, expected)
    };
    // Beyond 32 positions LongRoPE switches factors, and the sequence is recomputed.
    for name in ["phi3_type_longrope", "llama_type_longrope"] {
        let (model, ids, expected) = open(name);
        let parts = in_parts(&model, &ids, &[20, 10, 10, 1, 23]);
        let (of_parts, of_whole) = (parts.narrow(0, 30, 34), expected.narrow(0, 30, 34));
        let difference = largest_difference(&of_parts.expect("rows"), &of_whole.expect("rows"));
        assert!(difference <= 1e-4, "{name}: {difference:.1e}");
        let short = parts.narrow(0, 0, 30).expect("rows");
        assert!(largest_difference(&short, &logits(&model, &ids[..30])) <= 1e-4, "{name}: before");
        // A shorter prefix uses the short factors again. Sequences of both kinds can share a batch.
        let whole = TokenBatch::new(ids.clone(), ids.len()).expect("whole");
        let mut past = [PrefixCache::new(&model), PrefixCache::new(&model)];
        model.forward_cached(&whole, &mut past[..1]).expect("runs");
        past[0] = past[0].beginning(20);
        let next = |rows: &[u32], width| TokenBatch::new(rows.to_vec(), width).expect("whole");
        model.forward_cached(&next(&ids[..31], 31), &mut past[1..]).expect("runs");
        let both =
            model.forward_cached(&next(&[&ids[20..23], &ids[31..34]].concat(), 3), &mut past).expect("runs");
        let both = model.logits_of(both.data()).expect("logits").into_vec();
        let both = Tensor::from_vec(both, (6, model.architecture().vocab), &Device::Cpu).expect("tensor");
        for (first, count) in [(0, 23), (3, 34)] {
            let alone = logits(&model, &ids[..count]).narrow(0, count - 3, 3).expect("rows");
            let got = both.narrow(0, first, 3).expect("rows");
            assert!(largest_difference(&got, &alone) <= 1e-4, "{name}: {count} positions");
        }
    }
    // Up to the trained length dynamic scaling has no effect. A single part equals the whole.
    let (model, ids, expected) = open("llama_type_dynamic");
    assert_eq!(model.architecture().n_ctx, 64);
    assert!(largest_difference(&in_parts(&model, &ids, &[64]), &expected) <= 1e-4);
    let short = in_parts(&model, &ids, &[16, 16]);
    assert!(largest_difference(&short, &logits(&model, &ids[..32])) <= 1e-4);
    // Beyond it, keys of earlier parts keep their rotation, so the rows of later parts differ.
    let parts = in_parts(&model, &ids, &[40, 24]);
    let last = |all: &Tensor| all.narrow(0, 40, 24).expect("rows");
    assert!(largest_difference(&last(&parts), &last(&expected)) > 1e-3);
    // A sequence is independent of the length of earlier ones.
    assert!(largest_difference(&logits(&model, &ids[..50]), &logits(&model, &ids[..50])) == 0.0);
    let fifty = logits(&model, &ids[..50]);
    logits(&model, &ids);
    assert_eq!(entries(&logits(&model, &ids[..50])), entries(&fifty));
}
