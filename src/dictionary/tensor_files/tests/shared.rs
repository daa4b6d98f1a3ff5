//! Files as other libraries write them, where they are at hand.

use std::path::{Path, PathBuf};

use super::super::TensorFile;

fn folder() -> Option<PathBuf> {
    let folder =
        std::env::var_os("AUTOINTERP_SHARED").map(|shared| PathBuf::from(shared).join("sae-formats"));
    let found = folder.filter(|folder| folder.is_dir());
    if found.is_none() {
        println!("skipped: AUTOINTERP_SHARED has no sae-formats");
    }
    found
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.extension().and_then(|extension| extension.to_str()) {
            _ if path.is_dir() => files(&path, found),
            Some("pt" | "pth" | "npz" | "safetensors") => found.push(path),
            _ => {}
        }
    }
}

#[test]
fn files_of_other_libraries_are_read_whole() {
    let Some(folder) = folder() else { return };
    let mut found = Vec::new();
    files(&folder, &mut found);
    let mut layouts = std::collections::BTreeMap::new();
    for path in found.iter().filter(|path| !path.to_string_lossy().contains("refuse--")) {
        let file = TensorFile::open(path).unwrap_or_else(|error| panic!("{error}"));
        *layouts.entry(file.layout()).or_insert(0) += 1;
        for name in file.names() {
            let values = file.values(name).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(values.len(), file.shape(name).expect("shape").iter().product::<usize>(), "{name}");
        }
    }
    assert!(layouts["torch"] >= 13 && layouts["npz"] >= 1 && layouts["safetensors"] >= 80, "{layouts:?}");
}

/// Sums weighted by place modulo 97, as numpy computes them from the same files.
#[test]
fn values_are_those_that_numpy_reads() {
    let Some(folder) = folder() else { return };
    for (path, name, dtype, expected) in [
        (
            "deepseek-r1--l2/DeepSeek-R1-Distill-Llama-8B-SAE-l2.pt",
            "decoder.bias",
            "BF16",
            -65.22296142578125,
        ),
        ("dictlearn--autoencodernew/trainer_0/ae.pt", "decoder.weight", "F32", -116.5320262840055),
        ("dictlearn--batchtopk/trainer_0/ae.pt", "k", "I32", 8.0),
        ("dictlearn--matryoshka/trainer_0/ae.pt", "group_sizes", "I64", 224.0),
        ("dictlearn--standard/trainer_0/ae.pt", "decoder.weight", "F32", 575.4549748780337),
        (
            "e2e-sae--resid/samples_400000.pt",
            "blocks-2-hook_resid_post.decoder.bias",
            "F32",
            -26.677469063550234,
        ),
        ("gemma-scope--resid/layer_2/width_16k/average_l0_6/params.npz", "W_dec", "F32", 582.4765783718958),
        ("openai--topk-layer-norm/2.pt", "decoder.weight", "F32", 208.88536730205487),
        (
            "saelens6--batchtopk-checkpoint/sae_weights.safetensors",
            "topk_threshold",
            "F64",
            0.4356866180896759,
        ),
        ("saelens6--bfloat16/sae_weights.safetensors", "W_dec", "BF16", 498.2859208583832),
    ] {
        let file = TensorFile::open(&folder.join(path)).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(file.dtype(name), Some(dtype), "{path}");
        let values = file.values(name).unwrap_or_else(|error| panic!("{error}"));
        let weighted = values.iter().enumerate().map(|(at, value)| f64::from(*value) * (at % 97 + 1) as f64);
        assert_eq!(weighted.sum::<f64>(), expected, "{path} {name}");
    }
}

#[test]
fn files_that_could_run_code_are_refused_by_name() {
    let Some(folder) = folder() else { return };
    for (name, part) in [
        ("calls_print", "`builtins.print`"),
        ("whole_module", "`torch.nn.modules.linear.Linear`"),
        ("plain_pickle", "a plain pickle"),
        ("cut_short", "not a whole zip archive"),
        ("storage_too_short", "tensor `bias`: its storage `data/0`"),
    ] {
        let path = folder.join(format!("refuse--pickles/{name}.pt"));
        let error = TensorFile::open(&path).expect_err("refused").to_string();
        assert!(error.contains(part) && error.contains(name), "{error}");
    }
}
