use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor};

use super::*;

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

/// Golden names of the hook points, and whether `hook` exists.
fn golden_name(site: Site) -> Option<&'static str> {
    match site {
        Site::ResidPre => Some("resid_pre"),
        Site::ResidPost => Some("resid_post"),
        Site::AttnOut => Some("attn_out"),
        Site::MlpOut => Some("mlp_out"),
        Site::MlpPost => Some("mlp_post"),
        Site::ResidMid | Site::AttnZ => None,
    }
}

/// Runs every hook point of a model in one pass and compares each with its golden tensor.
fn check_golden(model: &Transformer, golden: &Path) {
    let golden = candle_core::safetensors::load(golden, &Device::Cpu).expect("golden tensors");
    let ids = golden["input_ids"].to_dtype(DType::U32).expect("ids").to_vec1::<u32>().expect("ids");
    let tokens = TokenBatch::new(ids.clone(), ids.len()).expect("whole");
    let mut hooks = vec![HookPoint::Embed];
    for layer in 0..model.architecture().n_layers {
        hooks.extend(Site::ALL.map(|site| HookPoint::Block { layer, site }));
    }
    hooks.retain(|&hook| model.check_hook(hook).is_ok());
    let request = Request { hooks: &hooks, edit: None, output: Output::Logits };
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
                let out = ops::linear(got, &model.parts.blocks[layer].attention_out, None).expect("product");
                compare(&hook.to_string(), &out, &golden[&format!("attn_out.{layer}")]);
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
    assert!(compared >= 2 + 6 * model.architecture().n_layers, "{compared} tensors compared");
}

#[test]
fn random_models_of_every_family_agree_with_the_reference() {
    let Some(shared) = shared() else { return };
    for name in [
        "gptneox_parallel",
        "gptneox_sequential",
        "gptneox_f16_sharded",
        "gpt2",
        "gpt2_hub_names",
        "llama_gqa",
        "llama3_rope_tied",
        "llama_bf16_sharded",
    ] {
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
