use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor, Var};

use super::*;
use crate::base::Site;
use crate::nn::{PrefixCache, TokenTree};

mod edits;
mod mixtures;

fn shared() -> Option<PathBuf> {
    let folder = std::env::var_os("AUTOINTERP_SHARED").map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: AUTOINTERP_SHARED is not set");
    }
    folder
}

fn load(folder: &Path, config: &str) -> Transformer {
    let path = folder.join(config);
    let config = Config::parse(&std::fs::read(&path).expect("configuration"), config).expect("JSON object");
    let weights = Weights::from_folder(folder, &Device::Cpu).expect("weights");
    Transformer::new(&config, &weights).expect("fits")
}

/// ‖a − b‖₂/‖b‖₂ in f64.
fn distance(a: &Tensor, b: &Tensor) -> f64 {
    let entries = |t: &Tensor| t.flatten_all().expect("flat").to_dtype(DType::F64).expect("f64");
    let (a, b): (Vec<f64>, Vec<f64>) =
        (entries(a).to_vec1().expect("entries"), entries(b).to_vec1().expect("entries"));
    assert_eq!(a.len(), b.len());
    let difference: f64 = a.iter().zip(&b).map(|(a, b)| (a - b) * (a - b)).sum();
    (difference / b.iter().map(|b| b * b).sum::<f64>()).sqrt()
}

/// The name of a site in the golden files, if they have it.
fn golden_name(site: Site) -> Option<&'static str> {
    match site {
        Site::ResidPre => Some("resid_pre"),
        Site::ResidPost => Some("resid_post"),
        Site::AttnOut => Some("attn_out"),
        Site::MlpOut => Some("mlp_out"),
        Site::MlpPost => Some("mlp_post"),
        Site::ResidMid | Site::AttnZ | Site::MlpIn => None,
    }
}

/// Runs every hook point of a model in one pass and compares each with its golden tensor.
fn check_golden(model: &Transformer, golden: &Path) {
    let golden = candle_core::safetensors::load(golden, &Device::Cpu).expect("golden tensors");
    let ids = golden["input_ids"].to_dtype(DType::U32).expect("ids").to_vec1::<u32>().expect("ids");
    let tokens = TokenBatch::new(ids.clone(), ids.len()).expect("whole");
    let inputs =
        (0..model.architecture().n_layers).map(|layer| HookPoint::Block { layer, site: Site::MlpIn });
    let hooks: Vec<HookPoint> = every_hook(model).into_iter().chain(inputs).collect();
    let request = Request { hooks: &hooks, edits: &[], output: Output::Logits };
    let pass = model.forward(&tokens, request).expect("runs");
    let mut compared = 0;
    let mut compare = |name: &str, got: &Tensor, expected: &Tensor| {
        let distance = distance(got, expected);
        assert!(distance <= 1e-4, "{name}: {distance:.2e}");
        compared += 1;
    };
    let found = |wanted: HookPoint| {
        &pass.activations[hooks.iter().position(|&hook| hook == wanted).expect("asked for")]
    };
    for (&hook, got) in hooks.iter().zip(&pass.activations) {
        assert_eq!(got.dims(), [ids.len(), model.width(hook).expect("exists")]);
        let HookPoint::Block { layer, site } = hook else { continue };
        let at = |site| found(HookPoint::Block { layer, site });
        match (golden_name(site), site) {
            (Some(name), _) => compare(&hook.to_string(), got, &golden[&format!("{name}.{layer}")]),
            (None, Site::AttnZ) => {
                let out = model.parts.blocks[layer].attention_out.forward(got, None).expect("product");
                // With a norm after attention, the golden file also has the output before the norm.
                let (out, expected) = match golden.get(&format!("attn_raw_out.{layer}")) {
                    Some(raw) => (out, raw),
                    None => {
                        let out = scaled(out, model.architecture().residual_scale).expect("scaled");
                        (out, &golden[&format!("attn_out.{layer}")])
                    }
                };
                compare(&hook.to_string(), &out, expected);
            }
            (None, Site::MlpIn) => {
                // The neurons of the reference are those of this input.
                if let FeedForward::Dense(mlp) = &model.parts.blocks[layer].mlp {
                    let neurons = mlp.neurons(got, model.architecture()).expect("product");
                    compare(&hook.to_string(), &neurons, &golden[&format!("mlp_post.{layer}")]);
                }
            }
            (None, _) => {
                let sum = (at(Site::ResidPre) + at(Site::AttnOut)).expect("sum");
                compare(&hook.to_string(), got, &sum);
            }
        }
    }
    compare("logits", pass.output.as_ref().expect("logits"), &golden["logits"]);
    let losses = model.losses(&tokens, None).expect("losses");
    let losses = Tensor::from_vec(losses, ids.len() - 1, &Device::Cpu).expect("tensor");
    compare("losses", &losses, &golden["nll"]);
    let mixtures =
        model.parts.blocks.iter().filter(|block| matches!(block.mlp, FeedForward::Mixture(_))).count();
    assert!(compared >= 2 + 6 * model.architecture().n_layers - mixtures, "{compared} tensors compared");
}

/// Folders with random models and references among the shared golden files.
const RANDOM_MODELS: [&str; 24] = [
    "gptneox_parallel",
    "gptneox_sequential",
    "gptneox_f16_sharded",
    "gpt2",
    "gpt2_hub_names",
    "llama_gqa",
    "llama3_rope_tied",
    "llama_bf16_sharded",
    "mistral_sliding",
    "qwen2",
    "qwen3",
    "gemma2",
    "gemma3_text",
    "phi3",
    "olmo2",
    "gemma",
    "smollm3",
    "granite",
    "olmo",
    "mixtral",
    "qwen3_moe",
    "olmoe",
    "olmo3",
    "gpt_oss",
];

#[test]
fn random_models_of_every_family_agree_with_the_reference() {
    let Some(shared) = shared() else { return };
    for name in RANDOM_MODELS {
        let folder = shared.join("golden").join(name);
        for config in ["config.json", "config.v5.json"] {
            if folder.join(config).exists() {
                check_golden(&load(&folder, config), &folder.join("golden.safetensors"));
            }
        }
    }
}

#[test]
fn trained_models_agree_with_the_reference() {
    let Some(shared) = shared() else { return };
    for name in ["stories260K", "babyllama-char105", "prose-neox"] {
        let model = load(&shared.join("models").join(name), "config.json");
        check_golden(&model, &shared.join("golden").join(name).join("golden.safetensors"));
    }
}

fn fixture(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(family)
}

const FAMILIES: [&str; 3] = ["gpt_neox", "gpt2", "llama"];

/// Every hook point that references hold; they have no inputs of MLPs.
fn every_hook(model: &Transformer) -> Vec<HookPoint> {
    let blocks = (0..model.architecture().n_layers)
        .flat_map(|layer| Site::ALL.map(|site| HookPoint::Block { layer, site }));
    let mut hooks: Vec<HookPoint> = std::iter::once(HookPoint::Embed).chain(blocks).collect();
    let is_input = |hook| matches!(hook, HookPoint::Block { site: Site::MlpIn, .. });
    hooks.retain(|&hook| model.check_hook(hook).is_ok() && !is_input(hook));
    hooks
}

/// The reference of a fixture and its tokens, `[2, 10]`.
fn reference(family: &str) -> (HashMap<String, Tensor>, TokenBatch) {
    let path = fixture(family).join("reference.safetensors");
    let tensors = candle_core::safetensors::load(path, &Device::Cpu).expect("reference tensors");
    let ids = tensors["token_ids"].to_dtype(DType::U32).and_then(|ids| ids.flatten_all()).expect("ids");
    let tokens = TokenBatch::new(ids.to_vec1().expect("ids"), 10).expect("whole");
    (tensors, tokens)
}

fn weights_of(family: &str) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(fixture(family).join("model.safetensors"), &Device::Cpu).expect("weights")
}

fn config_of(family: &str) -> Config {
    Config::parse(&std::fs::read(fixture(family).join("config.json")).expect("file"), family).expect("JSON")
}

fn entries(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|flat| flat.to_vec1()).expect("entries")
}

#[test]
fn fixtures_of_every_family_agree_with_the_reference_in_one_pass() {
    for family in FAMILIES {
        let model = load(&fixture(family), "config.json");
        let (expected, tokens) = reference(family);
        let hooks = every_hook(&model);
        assert_eq!(hooks.len(), if family == "gpt_neox" { 13 } else { 15 });
        let request = Request { hooks: &hooks, edits: &[], output: Output::Logits };
        let pass = model.forward(&tokens, request).expect("runs");
        for (hook, got) in hooks.iter().zip(&pass.activations) {
            let distance = distance(got, &expected[&hook.to_string()]);
            assert!(distance < 2e-6, "{family} {hook}: {distance:.1e}");
        }
        assert!(distance(pass.output.as_ref().expect("logits"), &expected["logits"]) < 2e-6, "{family}");
    }
}

#[test]
fn a_pass_stops_after_the_last_hook_point_and_keeps_the_requested_order() {
    for family in FAMILIES {
        let mut weights = weights_of(family);
        for (name, tensor) in &mut weights {
            if name.contains(".1.") {
                *tensor = (&*tensor * f64::NAN).expect("product");
            }
        }
        let weights = Weights::from_tensors(weights, "spoilt second layer");
        let model = Transformer::new(&config_of(family), &weights).expect("fits");
        let (expected, tokens) = reference(family);
        let hooks = ["blocks.0.hook_resid_post", "hook_embed", "blocks.1.hook_resid_pre"]
            .map(|hook| hook.parse::<HookPoint>().expect("hook"));
        let request = Request { hooks: &hooks, edits: &[], output: Output::Nothing };
        let pass = model.forward(&tokens, request).expect("runs");
        for (hook, got) in hooks.iter().zip(&pass.activations) {
            assert!(distance(got, &expected[&hook.to_string()]) < 2e-6, "{family} {hook}");
        }
        assert!(pass.output.is_none());
    }
}

fn variables(family: &str) -> HashMap<String, Var> {
    let variable = |(name, tensor): (String, Tensor)| (name, Var::from_tensor(&tensor).expect("variable"));
    weights_of(family).into_iter().map(variable).collect()
}

fn trainable(family: &str, variables: &HashMap<String, Var>) -> Transformer {
    let tensors = variables.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect();
    Transformer::new(&config_of(family), &Weights::from_tensors(tensors, "variables")).expect("fits")
}

fn ids_of(tokens: &TokenBatch) -> Tensor {
    Tensor::from_slice(tokens.ids(), (tokens.rows(), tokens.cols()), &Device::Cpu).expect("ids")
}

#[test]
fn fused_and_differentiable_operations_agree() {
    for family in FAMILIES {
        let (expected, tokens) = reference(family);
        let model = trainable(family, &variables(family));
        let hooks = every_hook(&model);
        let request = Request { hooks: &hooks, edits: &[], output: Output::Logits };
        let pass = model.forward(&tokens, request).expect("runs");
        for (hook, got) in hooks.iter().zip(&pass.activations) {
            assert!(distance(got, &expected[&hook.to_string()]) < 2e-6, "{family} {hook}");
        }
        assert!(pass.output.as_ref().is_some_and(Tensor::track_op));
    }
}

#[test]
fn gradients_agree_with_finite_differences_and_updates_are_seen() {
    for family in FAMILIES {
        let variables = variables(family);
        let model = trainable(family, &variables);
        let (_, tokens) = reference(family);
        let loss = || {
            let logits = model.logits(&ids_of(&tokens)).expect("logits");
            assert_eq!(logits.dims(), [2, 10, 20]);
            logits.sqr().and_then(|squares| squares.mean_all()).expect("loss")
        };
        let value = || f64::from(loss().to_scalar::<f32>().expect("number"));
        let gradients = loss().backward().expect("gradients");
        for (name, var) in &variables {
            let gradient = entries(gradients.get(var).unwrap_or_else(|| panic!("{family}: {name}")));
            let at = (0..gradient.len()).max_by(|&a, &b| gradient[a].abs().total_cmp(&gradient[b].abs()));
            let at = at.expect("entries");
            let original = entries(var);
            let shifted = |by: f32| {
                let mut entries = original.clone();
                entries[at] += by;
                let shifted = Tensor::from_vec(entries, var.shape(), &Device::Cpu).expect("tensor");
                var.set(&shifted).expect("set");
                value()
            };
            let slope = (shifted(2e-3) - shifted(-2e-3)) / 4e-3;
            shifted(0.0);
            let expected = f64::from(gradient[at]);
            // The key bias shifts all scores of a query equally, so its gradient is 0 up to rounding.
            let tolerance = 0.02 * expected.abs() + 2e-3;
            assert!((slope - expected).abs() < tolerance, "{family} {name}: {slope} is not {expected}");
        }
    }
}

#[test]
fn sequences_in_parts_give_the_logits_of_the_whole() {
    for family in FAMILIES {
        let (expected, tokens) = reference(family);
        for model in [load(&fixture(family), "config.json"), trainable(family, &variables(family))] {
            let mut past = [PrefixCache::new(&model), PrefixCache::new(&model)];
            let part = |rows: &[usize], cols: std::ops::Range<usize>| {
                let ids = rows.iter().flat_map(|&row| tokens.row(row)[cols.clone()].iter().copied());
                TokenBatch::new(ids.collect(), cols.len()).expect("whole")
            };
            let mut logits: [Vec<f32>; 2] = [Vec::new(), Vec::new()];
            let mut read = |rows: std::ops::Range<usize>, cols: std::ops::Range<usize>| {
                let each: Vec<usize> = rows.clone().collect();
                let normed =
                    model.forward_cached(&part(&each, cols.clone()), &mut past[rows.clone()]).expect("runs");
                let read = model.logits_of(normed.data()).expect("logits");
                for (nth, row) in rows.enumerate() {
                    let part = &read.data()[nth * cols.len() * 20..][..cols.len() * 20];
                    logits[row].extend_from_slice(part);
                }
            };
            // The first sequence, then the second, then both together.
            read(0..1, 0..6);
            read(1..2, 0..6);
            read(0..2, 6..7);
            read(0..2, 7..10);
            for (row, parts) in logits.into_iter().enumerate() {
                let joined = Tensor::from_vec(parts, (10, 20), &Device::Cpu).expect("joined");
                let whole = expected["logits"].narrow(0, row, 1).expect("sequence");
                assert!(distance(&joined, &whole) < 4e-6, "{family}: {}", distance(&joined, &whole));
            }
        }
    }
}

/// A model with packed weights. Its results do not depend on the parts of a text or on the rest of the batch.
fn packed(family: &str) -> Transformer {
    let weights = Weights::packed_from_folder(&fixture(family)).expect("weights");
    Transformer::new(&config_of(family), &weights).expect("fits")
}

#[test]
fn packed_weights_give_logits_independent_of_parts_and_batch() {
    for family in FAMILIES {
        let (expected, tokens) = reference(family);
        let model = packed(family);
        let whole = model.forward(&tokens, Request { hooks: &[], edits: &[], output: Output::Logits });
        let whole = whole.expect("runs").output.expect("logits");
        assert!(distance(&whole, &expected["logits"]) < 2e-6, "{family}");
        let last = |past: &mut [PrefixCache], cuts: &[usize], rows: &[usize]| {
            let mut last = None;
            for pair in cuts.windows(2) {
                let ids = rows.iter().flat_map(|&row| tokens.row(row)[pair[0]..pair[1]].iter().copied());
                let part = TokenBatch::new(ids.collect(), pair[1] - pair[0]).expect("whole");
                last = Some(model.forward_cached(&part, past).expect("runs"));
            }
            let last = model.logits_of(last.expect("a part").data()).expect("logits");
            last.data()[last.data().len() - 20..].to_vec()
        };
        let new = || PrefixCache::new(&model);
        let at_once = last(&mut [new()], &[0, 10], &[1]);
        assert_eq!(last(&mut [new()], &[0, 3, 4, 9, 10], &[1]), at_once, "{family}: in parts");
        assert_eq!(last(&mut [new(), new(), new()], &[0, 9, 10], &[0, 0, 1]), at_once, "{family}: shared");
        let mut past = [new()];
        last(&mut past, &[0, 10], &[1]);
        let mut beginning = past[0].beginning(4);
        past[0].truncate(4);
        assert_eq!(last(&mut past, &[4, 10], &[1]), at_once, "{family}: after forgetting");
        assert_eq!(last(std::slice::from_mut(&mut beginning), &[4, 10], &[1]), at_once, "{family}: a copy");
        let long = TokenBatch::new(vec![1; 7], 7).expect("whole");
        let error = model.forward_cached(&long, &mut past).expect_err("too long");
        assert!(matches!(error, NnError::TooLong { cols: 17, n_ctx: 16 }), "{error}");
    }
}

#[test]
fn an_edit_changes_the_activation_and_later_ones() {
    for family in FAMILIES {
        let model = load(&fixture(family), "config.json");
        let (_, tokens) = reference(family);
        let run = |hook: &str, apply: &(dyn Fn(&mut Matrix) + Sync), hooks: &[&str]| {
            let hooks: Vec<HookPoint> = hooks.iter().map(|hook| hook.parse().expect("hook")).collect();
            let edit = Edit { hook: hook.parse().expect("hook"), apply };
            let request = Request { hooks: &hooks, edits: &[edit], output: Output::Logits };
            model.forward(&tokens, request)
        };
        let silence = |matrix: &mut Matrix| matrix.data_mut().fill(0.0);
        let pass =
            run("blocks.1.mlp.hook_post", &silence, &["blocks.1.mlp.hook_post", "blocks.1.hook_mlp_out"])
                .expect("runs");
        assert!(entries(&pass.activations[0]).iter().all(|&x| x == 0.0));
        let rows = entries(&pass.activations[1]);
        let bias = &rows[..8];
        assert!(rows.chunks_exact(8).all(|row| row == bias), "only the bias of the down projection is left");
        let shift = |matrix: &mut Matrix| {
            let (rows, cols) = (matrix.rows(), matrix.cols());
            assert_eq!((rows, cols), (20, 8), "whole sequences of the residual stream");
            matrix.data_mut().iter_mut().for_each(|x| *x += 1.0);
        };
        let plain = model.losses(&tokens, None).expect("losses");
        let hook = "blocks.0.hook_resid_post".parse().expect("hook");
        let edited = model.losses(&tokens, Some(Edit { hook, apply: &shift })).expect("losses");
        assert_eq!((plain.len(), edited.len()), (18, 18));
        assert_ne!(plain, edited);
        let nothing = model.losses(&tokens, Some(Edit { hook, apply: &|_| {} })).expect("losses");
        assert_eq!(plain, nothing);
        let drop_rows = |matrix: &mut Matrix| *matrix = Matrix::zeros(1, matrix.cols());
        let error = run("hook_embed", &drop_rows, &[]).expect_err("shape");
        assert!(matches!(error, NnError::EditShape { expected: [20, 8], got: [1, 8], .. }), "{error}");
    }
}

#[test]
fn losses_are_the_negative_log_probabilities_of_the_logits() {
    let model = load(&fixture("gpt2"), "config.json");
    let (expected, tokens) = reference("gpt2");
    let logits = expected["logits"].to_dtype(DType::F64).expect("f64").to_vec3::<f64>().expect("entries");
    let losses = model.losses(&tokens, None).expect("losses");
    for row in 0..2 {
        for col in 0..9 {
            let logits = &logits[row][col];
            let total: f64 = logits.iter().map(|x| x.exp()).sum();
            let expected = total.ln() - logits[tokens.row(row)[col + 1] as usize];
            assert!((f64::from(losses[row * 9 + col]) - expected).abs() < 1e-5);
        }
    }
}

#[test]
fn results_do_not_depend_on_the_threads() {
    let model = load(&fixture("llama"), "config.json");
    let (_, tokens) = reference("llama");
    let run = || {
        let request = Request { hooks: &[], edits: &[], output: Output::Logits };
        entries(&model.forward(&tokens, request).expect("runs").output.expect("logits"))
    };
    let outside = run();
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("pool");
        assert_eq!(pool.install(run), outside);
    }
}

#[test]
fn hook_points_and_tokens_that_do_not_exist_are_explained() {
    let neox = load(&fixture("gpt_neox"), "config.json");
    let (_, tokens) = reference("gpt_neox");
    let ask = |hook: &str| {
        let hooks = [hook.parse::<HookPoint>().expect("spelled right")];
        let request = Request { hooks: &hooks, edits: &[], output: Output::Nothing };
        neox.forward(&tokens, request).expect_err("no such hook point").to_string()
    };
    let message = ask("blocks.99.hook_resid_post");
    assert!(message.contains("blocks.99.hook_resid_post") && message.contains("2 layers"), "{message}");
    let message = ask("blocks.1.hook_resid_mid");
    assert!(message.contains("parallel"), "{message}");
    let outside = TokenBatch::new(vec![1, 2, 3, 20], 2).expect("whole");
    let error = neox.losses(&outside, None).expect_err("no such id");
    assert!(matches!(error, NnError::TokenOutOfVocabulary { id: 20, row: 1, col: 1, vocab: 20 }), "{error}");
    let long = TokenBatch::new(vec![1; 17], 17).expect("whole");
    let error = neox.losses(&long, None).expect_err("too long");
    assert!(matches!(error, NnError::TooLong { cols: 17, n_ctx: 16 }), "{error}");
}

#[test]
fn configurations_that_cannot_be_run_are_refused_by_field() {
    let refused = |family: &str, field: &str, value: serde_json::Value| {
        let weights = Weights::from_tensors(weights_of(family), "weights");
        let text = std::fs::read(fixture(family).join("config.json")).expect("file");
        let mut json: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        json[field] = value;
        let config = Config::parse(json.to_string().as_bytes(), "config.json").expect("object");
        Transformer::new(&config, &weights).expect_err("refused").to_string()
    };
    let message = refused("llama", "model_type", "mamba".into());
    for part in ["`mamba`", "`gpt_neox`", "`gpt2`", "`llama`", "config.json"] {
        assert!(message.contains(part), "{message}");
    }
    for (family, field, value) in [
        ("llama", "model_type", serde_json::Value::Null),
        ("llama", "hidden_size", serde_json::Value::Null),
        ("llama", "num_hidden_layers", 0.into()),
        ("llama", "hidden_act", "softplus".into()),
        ("llama", "num_key_value_heads", 3.into()),
        ("llama", "attention_bias", "yes".into()),
        ("gpt2", "scale_attn_by_inverse_layer_idx", true.into()),
        ("gpt2", "n_embd", 9.into()),
        ("gpt_neox", "layer_norm_eps", (-1).into()),
        ("gpt_neox", "rotary_pct", 0.3.into()),
    ] {
        let message = refused(family, field, value);
        assert!(message.contains(field) && message.contains("config.json"), "{message}");
    }
    let message = refused("llama", "rope_scaling", serde_json::json!({"rope_type": "ntk", "factor": 2.0}));
    assert!(message.contains("ntk") && message.contains("llama3"), "{message}");
}

mod spellings;
mod variants;

/// Sorted sequences of several lengths with common prefixes.
fn texts_with_common_prefixes(vocab: usize, longest: usize) -> Vec<Vec<u32>> {
    let token = |at: usize| ((at * 7919 + 13) % vocab) as u32;
    let mut texts = vec![vec![token(1)]];
    for length in 2..=longest.min(9) {
        let text: Vec<u32> = (0..length).map(token).collect();
        for replaced in 0..length {
            let mut other = text.clone();
            other[replaced] = token(replaced + 11);
            texts.push(other);
        }
        texts.push(text);
    }
    texts.sort();
    texts.dedup();
    texts
}

/// Compares the last rows at every hook point: each text run alone, and all texts in trees.
fn check_ends(name: &str, model: &Transformer) {
    let texts = texts_with_common_prefixes(model.architecture().vocab, model.architecture().n_ctx);
    let sorted: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
    for hook in every_hook(model) {
        let alone = texts.iter().flat_map(|text| {
            let tokens = TokenBatch::new(text.clone(), text.len()).expect("whole");
            let request = Request { hooks: &[hook], edits: &[], output: Output::Nothing };
            let found = matrix_of(model.forward(&tokens, request).expect("runs").activations.pop());
            found.expect("rows").row(text.len() - 1).to_vec()
        });
        let alone: Vec<f32> = alone.collect();
        let trees = TokenTree::of_sorted(&sorted, 20).expect("trees");
        assert!(trees.len() > 1);
        let in_trees: Vec<f32> = trees
            .iter()
            .flat_map(|tree| model.last_token_activations(tree, hook).expect("runs").into_vec())
            .collect();
        let tensor = |rows: Vec<f32>| Tensor::new(rows, &Device::Cpu).expect("rows");
        let distance = distance(&tensor(in_trees), &tensor(alone));
        assert!(distance <= 1e-5, "{name} {hook}: {distance:.2e}");
    }
}

#[test]
fn texts_in_a_tree_have_the_activations_of_each_text_alone() {
    for family in FAMILIES {
        check_ends(family, &load(&fixture(family), "config.json"));
    }
    let model = load(&fixture("llama"), "config.json");
    let tree = |ids: &[u32]| TokenTree::of_sorted(&[ids], 50).expect("a tree").remove(0);
    let beyond = tree(&[1, model.architecture().vocab as u32]);
    let beyond = model.last_token_activations(&beyond, HookPoint::Embed).expect_err("refused");
    assert!(matches!(beyond, NnError::TokenOutOfVocabulary { col: 1, .. }), "{beyond}");
    let long = tree(&vec![1; model.architecture().n_ctx + 1]);
    let long = model.last_token_activations(&long, HookPoint::Embed).expect_err("refused");
    assert!(matches!(long, NnError::TooLong { .. }), "{long}");
}
