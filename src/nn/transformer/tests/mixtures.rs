//! Mixtures of experts, attention sinks and layers without rotation, beyond the golden files of whole models.

use super::*;

const MIXTURES: [&str; 4] = ["mixtral", "qwen3_moe", "olmoe", "gpt_oss"];

/// Families whose attention differs from that of the fixtures.
const ATTENTIONS: [&str; 6] = ["smollm3", "olmo", "olmo3", "gpt_oss", "mixtral", "granite"];

fn golden(shared: &Path, family: &str) -> PathBuf {
    shared.join("golden").join(family)
}

fn tensors(file: &Path) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(file, &Device::Cpu).expect("tensors")
}

fn config(folder: &Path) -> Config {
    Config::parse(&std::fs::read(folder.join("config.json")).expect("file"), "config.json").expect("JSON")
}

/// The sequence of a golden folder.
fn tokens_of(folder: &Path) -> TokenBatch {
    let ids = tensors(&folder.join("golden.safetensors"))["input_ids"].to_dtype(DType::U32).expect("ids");
    let ids = ids.to_vec1::<u32>().expect("ids");
    let length = ids.len();
    TokenBatch::new(ids, length).expect("whole")
}

fn logits(model: &Transformer, tokens: &TokenBatch) -> Tensor {
    let request = Request { hooks: &[], edits: &[], output: Output::Logits };
    model.forward(tokens, request).expect("runs").output.expect("logits")
}

#[test]
fn the_router_agrees_with_the_reference() {
    let Some(shared) = shared() else { return };
    for family in MIXTURES {
        let folder = golden(&shared, family);
        let (model, expected) = (load(&folder, "config.json"), tensors(&folder.join("router.safetensors")));
        let layers: Vec<usize> = (0..model.parts.blocks.len())
            .filter(|&layer| expected.contains_key(&format!("router_ids.{layer}")))
            .collect();
        let hooks: Vec<HookPoint> =
            layers.iter().map(|&layer| HookPoint::Block { layer, site: Site::ResidMid }).collect();
        let request = Request { hooks: &hooks, edits: &[], output: Output::Nothing };
        let pass = model.forward(&tokens_of(&folder), request).expect("runs");
        for (&layer, middle) in layers.iter().zip(&pass.activations) {
            let block = &model.parts.blocks[layer];
            let FeedForward::Mixture(mixture) = &block.mlp else {
                panic!("{family}: layer {layer} is dense")
            };
            let normed = model.normed(middle, &block.mlp_norm).expect("norm");
            let scores = mixture.router.forward(&normed, None).expect("product");
            let off = distance(&scores, &expected[&format!("router_logits.{layer}")]);
            assert!(off < 1e-5, "{family} {layer}: logits {off:.1e}");
            let routing = mixture.route(&normed).expect("routes");
            let ids = expected[&format!("router_ids.{layer}")].to_dtype(DType::U32).expect("ids");
            let ids = ids.flatten_all().and_then(|ids| ids.to_vec1::<u32>()).expect("ids");
            assert_eq!(routing.experts, ids, "{family} {layer}");
            let off = distance(&routing.weights, &expected[&format!("router_weights.{layer}")]);
            assert!(off < 1e-5, "{family} {layer}: weights {off:.1e}");
        }
        let dense =
            model.parts.blocks.iter().filter(|block| matches!(block.mlp, FeedForward::Dense(_))).count();
        assert_eq!(dense + layers.len(), model.parts.blocks.len(), "{family}");
    }
}

#[test]
fn neurons_of_a_mixture_are_refused_with_the_reason() {
    let Some(shared) = shared() else { return };
    for family in MIXTURES {
        let folder = golden(&shared, family);
        let model = load(&folder, "config.json");
        let refused = |layer: usize| model.check_hook(HookPoint::Block { layer, site: Site::MlpPost }).err();
        let message = refused(0).expect("refused").to_string();
        for part in ["blocks.0.mlp.hook_post", "mixture of experts", "hook_mlp_out"] {
            assert!(message.contains(part), "{family}: {message}");
        }
        // Layer 1 of Qwen3-MoE has an MLP.
        assert_eq!(refused(1).is_none(), family == "qwen3_moe");
        model.check_hook(HookPoint::Block { layer: 0, site: Site::MlpOut }).expect("exists");
    }
}

/// The same tensors with all experts in one tensor, as transformers 5 has them in memory.
fn joined(mut tensors: HashMap<String, Tensor>, [gate, up, down]: [&str; 3]) -> HashMap<String, Tensor> {
    let first = format!(".experts.0.{gate}.weight");
    let mixtures: Vec<String> =
        tensors.keys().filter_map(|name| name.strip_suffix(&first)).map(str::to_string).collect();
    assert!(!mixtures.is_empty());
    for old in mixtures {
        let new = old.replace("block_sparse_moe", "mlp");
        let (mut gates_and_ups, mut downs) = (Vec::new(), Vec::new());
        for expert in 0.. {
            let mut take = |part: &str| tensors.remove(&format!("{old}.experts.{expert}.{part}.weight"));
            let (Some(gate), Some(up), Some(down)) = (take(gate), take(up), take(down)) else { break };
            gates_and_ups.push(Tensor::cat(&[gate, up], 0).expect("joined"));
            downs.push(down);
        }
        let router = tensors.remove(&format!("{old}.gate.weight")).expect("router");
        tensors.insert(format!("{new}.gate.weight"), router);
        let all = |parts: &[Tensor]| Tensor::stack(parts, 0).expect("joined");
        tensors.insert(format!("{new}.experts.gate_up_proj"), all(&gates_and_ups));
        tensors.insert(format!("{new}.experts.down_proj"), all(&downs));
    }
    tensors
}

#[test]
fn joined_experts_equal_separate_experts() {
    let Some(shared) = shared() else { return };
    for (family, names) in [
        ("mixtral", ["w1", "w3", "w2"]),
        ("qwen3_moe", ["gate_proj", "up_proj", "down_proj"]),
        ("olmoe", ["gate_proj", "up_proj", "down_proj"]),
    ] {
        let folder = golden(&shared, family);
        let tensors = joined(tensors(&folder.join("model.safetensors")), names);
        let tokens = tokens_of(&folder);
        let expected = logits(&load(&folder, "config.json"), &tokens);
        let new = Transformer::new(&config(&folder), &Weights::from_tensors(tensors.clone(), "joined"))
            .expect("fits");
        assert_eq!(entries(&logits(&new, &tokens)), entries(&expected), "{family}");
        let stored = tempfile::tempdir().expect("folder");
        candle_core::safetensors::save(&tensors, stored.path().join("model.safetensors")).expect("saved");
        let weights = Weights::packed_from_folder(stored.path()).expect("weights");
        let packed = Transformer::new(&config(&folder), &weights).expect("fits");
        let off = distance(&logits(&packed, &tokens), &expected);
        assert!(off < 4e-6, "{family}: {off:.1e}");
    }
}

#[test]
fn fused_and_differentiable_attention_agree() {
    let Some(shared) = shared() else { return };
    for family in ATTENTIONS {
        let folder = golden(&shared, family);
        let variables: HashMap<String, Tensor> = tensors(&folder.join("model.safetensors"))
            .into_iter()
            .map(|(name, tensor)| (name, Var::from_tensor(&tensor).expect("variable").as_tensor().clone()))
            .collect();
        let weights = Weights::from_tensors(variables.clone(), "variables");
        let model = Transformer::new(&config(&folder), &weights).expect("fits");
        let tokens = tokens_of(&folder);
        let plain = logits(&load(&folder, "config.json"), &tokens);
        let off = distance(&logits(&model, &tokens), &plain);
        assert!(off < 4e-6, "{family}: {off:.1e}");
        let loss =
            model.logits(&ids_of(&tokens)).and_then(|logits| Ok(logits.sqr()?.mean_all()?)).expect("loss");
        let gradients = loss.backward().expect("gradients");
        for (name, variable) in &variables {
            // An expert that no token chose has no gradient.
            let expert = name.contains(".experts.");
            assert!(expert || gradients.get(variable).is_some(), "{family}: {name}");
        }
    }
}

#[test]
fn texts_in_parts_give_the_logits_of_the_whole_for_every_attention() {
    let Some(shared) = shared() else { return };
    for family in ATTENTIONS {
        let folder = golden(&shared, family);
        let model = load(&folder, "config.json");
        let tokens = tokens_of(&folder);
        let whole = logits(&model, &tokens);
        let mut past = [PrefixCache::new(&model)];
        let mut parts = Vec::new();
        for (start, end) in [(0, 11), (11, 12), (12, 20), (20, tokens.cols())] {
            let ids = tokens.row(0)[start..end].to_vec();
            let part = TokenBatch::new(ids, end - start).expect("whole");
            let normed = model.forward_cached(&part, &mut past).expect("runs");
            parts.extend_from_slice(model.logits_of(normed.data()).expect("logits").data());
        }
        let parts = Tensor::from_vec(parts, whole.shape(), &Device::Cpu).expect("logits");
        let off = distance(&parts, &whole);
        assert!(off < 4e-6, "{family}: {off:.1e}");
    }
}

#[test]
fn a_choice_of_more_experts_than_there_are_is_refused() {
    let Some(shared) = shared() else { return };
    let folder = golden(&shared, "mixtral");
    let mut json = config(&folder).fields().clone();
    json.insert("num_experts_per_tok".into(), 5.into());
    let text = serde_json::to_vec(&json).expect("JSON");
    let config = Config::parse(&text, "config.json").expect("object");
    let weights = Weights::from_folder(&folder, &Device::Cpu).expect("weights");
    let message = Transformer::new(&config, &weights).expect_err("refused").to_string();
    assert!(message.contains("num_experts_per_tok") && message.contains("4 experts"), "{message}");
}

#[test]
fn controls_permute_routers_and_experts_in_every_spelling_and_leave_sinks() {
    let Some(shared) = shared() else { return };
    for (family, names) in [("mixtral", Some(["w1", "w3", "w2"])), ("gpt_oss", None)] {
        let mut tensors = tensors(&golden(&shared, family).join("model.safetensors"));
        if let Some(names) = names {
            tensors.extend(joined(tensors.clone(), names));
        }
        let kept: Vec<&String> = tensors.keys().filter(|name| !families::is_linear_in_block(name)).collect();
        let expected = ["norm", "embed_tokens", "lm_head", "sinks"];
        assert!(kept.iter().all(|name| expected.iter().any(|part| name.contains(part))), "{kept:?}");
        assert!(tensors.keys().all(|name| !name.contains("sinks") || kept.contains(&name)), "{kept:?}");
        let weights = Weights::from_tensors(tensors.clone(), family);
        let permuted = weights.permuted(1, families::is_linear_in_block).expect("permutes");
        for (name, tensor) in &tensors {
            let got = entries(&permuted.get(name, tensor.dims()).expect("there"));
            let same = got == entries(tensor);
            // In a small tensor a permutation can be the identity by chance.
            let few = tensor.elem_count() < 10;
            assert!(few || same == kept.contains(&name), "{family}: {name}");
        }
    }
}

/// A tensor of deterministic numbers in −0.5..0.5.
fn made_up(shape: &[usize], seed: usize) -> Tensor {
    let count: usize = shape.iter().product();
    let entries = (0..count).map(|nth| (((nth + 1) * (2 * seed + 7919)) % 1013) as f32 / 1013.0 - 0.5);
    Tensor::from_iter(entries, &Device::Cpu).and_then(|flat| flat.reshape(shape)).expect("tensor")
}

#[test]
fn published_gpt_oss_weights_are_unpacked() {
    let (d, experts) = (32, 2);
    let config = serde_json::json!({
        "model_type": "gpt_oss", "vocab_size": 20, "hidden_size": d, "intermediate_size": d,
        "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
        "num_local_experts": experts, "num_experts_per_tok": 1, "sliding_window": 4,
        "max_position_embeddings": 16, "rope_theta": 150000.0, "rope_scaling": {"rope_type": "default"},
        "quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": ["model.embed_tokens"]},
    });
    let config = Config::parse(config.to_string().as_bytes(), "config.json").expect("object");
    let mut tensors = HashMap::new();
    for (nth, (name, shape)) in [
        ("lm_head.weight", vec![20, d]),
        ("model.embed_tokens.weight", vec![20, d]),
        ("model.norm.weight", vec![d]),
        ("input_layernorm.weight", vec![d]),
        ("post_attention_layernorm.weight", vec![d]),
        ("mlp.router.weight", vec![experts, d]),
        ("mlp.router.bias", vec![experts]),
        ("mlp.experts.gate_up_proj_bias", vec![experts, 2 * d]),
        ("mlp.experts.down_proj_bias", vec![experts, d]),
        ("self_attn.sinks", vec![2]),
        ("self_attn.q_proj.weight", vec![32, d]),
        ("self_attn.q_proj.bias", vec![32]),
        ("self_attn.k_proj.weight", vec![16, d]),
        ("self_attn.k_proj.bias", vec![16]),
        ("self_attn.v_proj.weight", vec![16, d]),
        ("self_attn.v_proj.bias", vec![16]),
        ("self_attn.o_proj.weight", vec![d, 32]),
        ("self_attn.o_proj.bias", vec![d]),
    ]
    .into_iter()
    .enumerate()
    {
        let outside = name.starts_with("model.") || name.starts_with("lm_head");
        let name = if outside { name.to_string() } else { format!("model.layers.0.{name}") };
        tensors.insert(name, made_up(&shape, nth));
    }
    let mut published = tensors.clone();
    for (name, out) in [("gate_up_proj", 2 * d), ("down_proj", d)] {
        let name = format!("model.layers.0.mlp.experts.{name}");
        // Each byte encodes 1 and −2 in the rows of even outputs, 0.5 and 6 in those of odd ones.
        let bytes = |nth: usize| if (nth / 16).is_multiple_of(2) { 0xc2u8 } else { 0x71 };
        let blocks: Vec<u8> = (0..experts * out * 16).map(bytes).collect();
        let scales: Vec<u8> = (0..experts * out).map(|nth| 124 + (nth % 3) as u8).collect();
        let number = |place: usize| {
            let (expert, d_in, row) = (place / out / d, place / out % d, place % out);
            let pair: [f32; 2] = if row.is_multiple_of(2) { [1.0, -2.0] } else { [0.5, 6.0] };
            pair[d_in % 2] * [0.125, 0.25, 0.5][(expert * out + row) % 3]
        };
        let numbers: Vec<f32> = (0..experts * d * out).map(number).collect();
        tensors.insert(
            name.clone(),
            Tensor::from_vec(numbers, (experts, d, out), &Device::Cpu).expect("tensor"),
        );
        let stored =
            |bytes: Vec<u8>, shape: &[usize]| Tensor::from_vec(bytes, shape, &Device::Cpu).expect("tensor");
        published.insert(format!("{name}_blocks"), stored(blocks, &[experts, out, 1, 16]));
        published.insert(format!("{name}_scales"), stored(scales, &[experts, out, 1]));
    }
    let folder = tempfile::tempdir().expect("folder");
    candle_core::safetensors::save(&published, folder.path().join("model.safetensors")).expect("saved");
    let tokens = TokenBatch::new((1..9).collect(), 8).expect("whole");
    let plain = Transformer::new(&config, &Weights::from_tensors(tensors.clone(), "plain")).expect("fits");
    let read = Weights::from_folder(folder.path(), &Device::Cpu).expect("weights");
    let read = Transformer::new(&config, &read).expect("fits");
    assert_eq!(entries(&logits(&read, &tokens)), entries(&logits(&plain, &tokens)));
    let count: usize = tensors.values().map(Tensor::elem_count).sum();
    assert_eq!(crate::nn::weight_count(folder.path()).expect("counts"), count as u64);
}
