//! Older families and families with layer norms, with plain, tracked and packed weights.

use super::*;
use crate::nn::{is_embedding, is_linear_in_block};

/// Their folders among the shared golden files, with the configurations of common checkpoints.
pub(super) const GOLDEN: [&str; 14] = [
    "gptneo",
    "gptj",
    "opt",
    "phi",
    "falcon",
    "falcon_new",
    "falcon_rw",
    "bloom",
    "stablelm",
    "starcoder2",
    "gpt_bigcode",
    "mpt",
    "cohere",
    "nemotron",
];

fn variants() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/variants")
}

/// The configurations of the variants by name, in the spelling of Hub checkpoints.
pub(super) fn configurations() -> serde_json::Map<String, serde_json::Value> {
    configurations_of("variants.json")
}

fn configurations_of(file: &str) -> serde_json::Map<String, serde_json::Value> {
    let text = std::fs::read(variants().join(file)).expect("configurations");
    serde_json::from_slice(&text).expect("an object")
}

pub(super) fn parsed(config: &serde_json::Value) -> Config {
    Config::parse(config.to_string().as_bytes(), "config.json").expect("an object")
}

/// Weights and reference of a variant, and its tokens, `[2, 10]`.
pub(super) fn tensors_of(name: &str) -> (HashMap<String, Tensor>, TokenBatch) {
    let path = variants().join(format!("{name}.safetensors"));
    let tensors = candle_core::safetensors::load(path, &Device::Cpu).expect("tensors");
    let ids = tensors["token_ids"].to_dtype(DType::U32).and_then(|ids| ids.flatten_all()).expect("ids");
    let tokens = TokenBatch::new(ids.to_vec1().expect("ids"), 10).expect("whole");
    (tensors, tokens)
}

/// As variables, which use the same operations as a GPU.
fn as_variables(tensors: &HashMap<String, Tensor>) -> Weights {
    let variable = |(name, tensor): (&String, &Tensor)| {
        let tensor = tensor.to_dtype(DType::F32).expect("numbers");
        (name.clone(), Var::from_tensor(&tensor).expect("variable").into_inner())
    };
    Weights::from_tensors(tensors.iter().map(variable).collect(), "variables")
}

/// As packed f32 matrices.
fn as_packed(tensors: &HashMap<String, Tensor>) -> Weights {
    let mut weights = Weights::empty("packed");
    for (name, tensor) in tensors {
        let dims = tensor.dims().to_vec();
        let tensor = tensor.to_dtype(DType::F32).expect("numbers");
        match *dims.as_slice() {
            [rows, cols] => {
                let bytes = entries(&tensor).iter().flat_map(|entry| entry.to_le_bytes()).collect();
                let form = crate::nn::Encoding::F32;
                weights.insert_packed(form, bytes, [rows, cols], name.clone(), "packed").expect("packs");
            }
            _ => weights.insert_plain(tensor, name.clone(), "packed").expect("finite"),
        }
    }
    weights
}

/// Logits of one sequence read in parts.
fn read_in_parts(model: &Transformer, ids: &[u32], cuts: &[usize]) -> Tensor {
    let mut past = [PrefixCache::new(model)];
    let mut rows = Vec::new();
    for pair in cuts.windows(2) {
        let part = TokenBatch::new(ids[pair[0]..pair[1]].to_vec(), pair[1] - pair[0]).expect("whole");
        rows.extend_from_slice(model.forward_cached(&part, &mut past).expect("runs").data());
    }
    let logits = model.logits_of(&rows).expect("logits");
    Tensor::from_slice(logits.data(), (logits.rows(), logits.cols()), &Device::Cpu).expect("logits")
}

#[test]
fn every_variant_agrees_with_the_reference_for_all_kinds_of_weights() {
    for (name, config) in configurations() {
        let config = parsed(&config);
        let (tensors, tokens) = tensors_of(&name);
        let plain =
            Transformer::new(&config, &Weights::from_tensors(tensors.clone(), "plain")).expect("fits");
        let tracked = Transformer::new(&config, &as_variables(&tensors)).expect("fits");
        let packed = Transformer::new(&config, &as_packed(&tensors)).expect("fits");
        for (way, model) in [("plain", &plain), ("tracked", &tracked), ("packed", &packed)] {
            let hooks = every_hook(model);
            let request = Request { hooks: &hooks, edits: &[], output: Output::Logits };
            let pass = model.forward(&tokens, request).expect("runs");
            for (hook, got) in hooks.iter().zip(&pass.activations) {
                let Some(expected) = tensors.get(&hook.to_string()) else {
                    panic!("{name}: the reference has no {hook}")
                };
                let distance = distance(got, expected);
                assert!(distance < 2e-6, "{name} {way} {hook}: {distance:.1e}");
            }
            let stored = tensors.keys().filter(|name| name.parse::<HookPoint>().is_ok()).count();
            assert_eq!(hooks.len(), stored, "{name}");
            let logits = pass.output.expect("logits");
            assert!(distance(&logits, &tensors["logits"]) < 2e-6, "{name} {way}: logits");
            let parts = read_in_parts(model, tokens.row(1), &[0, 4, 5, 10]);
            let whole = logits.narrow(0, 10, 10).expect("the second sequence");
            assert!(distance(&parts, &whole) < 4e-6, "{name} {way}: in parts");
            check_ends(&format!("{name} {way}"), model);
        }
    }
}

#[test]
fn older_families_agree_with_the_shared_reference_for_all_kinds_of_weights() {
    let Some(shared) = shared() else { return };
    for name in GOLDEN {
        let folder = shared.join("golden").join(name);
        let golden = folder.join("golden.safetensors");
        for config in ["config.json", "config.v5.json"] {
            check_golden(&load(&folder, config), &golden);
        }
        let tensors = candle_core::safetensors::load(folder.join("model.safetensors"), &Device::Cpu);
        let tensors = tensors.expect("weights");
        let text = std::fs::read(folder.join("config.json")).expect("configuration");
        let config = Config::parse(&text, "config.json").expect("an object");
        check_golden(&Transformer::new(&config, &as_variables(&tensors)).expect("fits"), &golden);
        let packed = Transformer::new(&config, &as_packed(&tensors)).expect("fits");
        check_golden(&packed, &golden);
        let golden = candle_core::safetensors::load(&golden, &Device::Cpu).expect("golden tensors");
        let ids = golden["input_ids"].to_dtype(DType::U32).and_then(|ids| ids.to_vec1()).expect("ids");
        let parts = read_in_parts(&packed, &ids, &[0, 7, 8, ids.len()]);
        assert!(distance(&parts, &golden["logits"]) < 1e-5, "{name}: in parts");
    }
}

#[test]
fn every_tensor_is_a_norm_an_embedding_or_a_linear_map() {
    let Some(shared) = shared() else { return };
    let of_golden = GOLDEN.iter().map(|name| shared.join("golden").join(name).join("model.safetensors"));
    for path in of_golden.filter(|path| path.exists()) {
        for name in candle_core::safetensors::load(&path, &Device::Cpu).expect("weights").keys() {
            let kinds = [is_linear_in_block(name), is_embedding(name)];
            let is_norm = name.contains("norm") || name.contains("ln_");
            let expected = match is_norm {
                true => [false, false],
                false => {
                    let block = name.split('.').any(|part| part.parse::<usize>().is_ok());
                    [block, !block]
                }
            };
            assert_eq!(kinds, expected, "{}: {name}", path.display());
        }
    }
    assert!(
        is_embedding("model.decoder.project_in.weight") && !is_embedding("word_embeddings_layernorm.weight")
    );
}

#[test]
fn configurations_of_transformers_5_give_the_same_architecture() {
    let written = configurations_of("variants.v5.json");
    for (name, config) in configurations() {
        let weights = Weights::from_tensors(tensors_of(&name).0, "weights");
        let read = |config| Transformer::new(&parsed(config), &weights).expect("fits").architecture().clone();
        assert_eq!(read(&written[&name]), read(&config), "{name}");
    }
}

#[test]
fn tensor_names_without_prefix_give_the_same_model() {
    for (name, config) in configurations() {
        let (tensors, tokens) = tensors_of(&name);
        let bare = |name: &String| {
            let bare = name.strip_prefix("transformer.").or_else(|| name.strip_prefix("model."));
            bare.unwrap_or(name).to_string()
        };
        let renamed = tensors.iter().map(|(name, tensor)| (bare(name), tensor.clone())).collect();
        let weights = Weights::from_tensors(renamed, "bare");
        let model = Transformer::new(&parsed(&config), &weights).expect("fits");
        let request = Request { hooks: &[], edits: &[], output: Output::Logits };
        let logits = model.forward(&tokens, request).expect("runs").output.expect("logits");
        assert!(distance(&logits, &tensors["logits"]) < 2e-6, "{name}");
    }
}

#[test]
fn values_that_are_not_implemented_are_refused_by_name() {
    let configurations = configurations();
    for (name, field, value) in [
        ("gpt_neo", "attention_types", serde_json::json!([[["global"], 1]])),
        ("gpt_neo", "attention_types", serde_json::json!([[["sideways"], 2]])),
        ("gpt_neo", "attention_types", serde_json::json!([[["global"], u64::MAX]])),
        ("gpt_neo", "attention_layers", serde_json::json!(["global", "local"])),
        ("gpt_neo", "num_hidden_layers", 3.into()),
        ("gptj_tied", "rotary_dim", 6.into()),
        ("gptj_tied", "rotary_dim", 3.into()),
        ("gptj_tied", "rotary_dim", serde_json::Value::Null),
        ("gptj_tied", "rotary", false.into()),
        ("gptj_tied", "rope_theta", 500.into()),
        ("gptj_tied", "n_embd", 13.into()),
        ("opt_bare", "activation_function", "mish".into()),
        ("opt_bare", "do_layer_norm_before", "no".into()),
        ("phi", "num_key_value_heads", 2.into()),
        ("falcon_one_norm", "parallel_attn", false.into()),
        ("falcon_one_norm", "partial_rotary_factor", 0.5.into()),
        ("falcon_one_norm", "num_ln_in_parallel_attn", 3.into()),
        ("falcon_one_norm", "num_kv_heads", 4.into()),
        ("falcon_multi_head", "num_ln_in_parallel_attn", 2.into()),
        ("falcon_multi_head", "apply_residual_connection_post_layernorm", true.into()),
        ("bloom_normed", "n_inner", 40.into()),
        ("bloom_normed", "hidden_size", 24.into()),
        ("stablelm_norms", "num_key_value_heads", 2.into()),
        ("starcoder2_bare", "mlp_type", "gated".into()),
        ("starcoder2_bare", "norm_type", "rms_norm".into()),
        ("gpt_bigcode_multi_head", "num_key_value_heads", 1.into()),
        ("gpt_bigcode_multi_head", "add_cross_attention", true.into()),
        ("mpt", "expansion_ratio", 3.into()),
        ("mpt", "no_bias", false.into()),
        ("mpt", "norm_type", "rmsnorm".into()),
        ("mpt", "logit_scale", "inv_sqrt_d_model".into()),
        ("mpt", "attn_config", serde_json::json!({"alibi": false})),
        ("mpt", "attn_config", serde_json::json!({"alibi_bias_max": 16})),
        ("mpt", "attn_config", serde_json::json!({"attn_type": "multiquery_attention"})),
        ("mpt", "attn_config", serde_json::json!({"qk_ln": true})),
        ("mpt", "attn_config", serde_json::json!({"prefix_lm": true})),
        ("cohere", "logit_scale", (-1).into()),
        ("cohere", "logit_scale", serde_json::Value::Null),
        ("cohere", "a_new_field", 1.into()),
    ] {
        let mut config = configurations[name].clone();
        config[field] = value.clone();
        let weights = Weights::from_tensors(tensors_of(name).0, "weights");
        let message = Transformer::new(&parsed(&config), &weights).expect_err("refused").to_string();
        let inner = value.as_object().and_then(|object| object.keys().next()).map_or(field, |key| key);
        assert!(message.contains(inner) && message.contains("config.json"), "{name}: {message}");
    }
}

#[test]
fn direct_logits_are_the_logits_without_the_division_by_the_norm() {
    // Neither has a bias after the last block, so only the division by the norm is left out.
    for name in ["cohere", "mpt"] {
        let config = parsed(&configurations()[name]);
        let (tensors, tokens) = tensors_of(name);
        let model = Transformer::new(&config, &Weights::from_tensors(tensors.clone(), name)).expect("fits");
        let rows = Matrix::from_vec(20, 12, entries(&tensors["blocks.1.hook_resid_post"])).expect("whole");
        let mut direct = model.direct_logits(&rows).expect("logits");
        for at in 0..tokens.ids().len() {
            let row: Vec<f64> = rows.row(at).iter().map(|&x| f64::from(x)).collect();
            let mean = row.iter().sum::<f64>() / 12.0;
            let variance = row.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / 12.0;
            let size = (variance + model.architecture().norm_eps).sqrt() as f32;
            direct.row_mut(at).iter_mut().for_each(|logit| *logit /= size);
        }
        let direct = Tensor::from_slice(direct.data(), (20, 20), &Device::Cpu).expect("logits");
        assert!(distance(&direct, &tensors["logits"]) < 2e-6, "{name}");
    }
}
