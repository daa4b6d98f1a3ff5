//! Published files, where `AUTOINTERP_REAL_MODELS` names their folder, held against transformers.

use std::path::PathBuf;

use serde_json::Value as Json;

use super::tests::shared;
use super::*;
use crate::base::TokenBatch;
use crate::nn::{Output, Request, Transformer};

/// Files, the names of their goldens, and the layers that those have.
const MODELS: [(&str, &str, [usize; 3]); 2] = [
    ("SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2", [8, 15, 29]),
    ("gemma-3-270m-q4_k_m.gguf", "gemma", [4, 9, 17]),
];

fn real(file: &str) -> Option<PathBuf> {
    let path = std::env::var_os("AUTOINTERP_REAL_MODELS").map(|folder| PathBuf::from(folder).join(file));
    let path = path.filter(|path| path.is_file());
    if path.is_none() {
        println!("skipped: AUTOINTERP_REAL_MODELS names no folder with {file}");
    }
    path
}

fn golden(name: &str) -> Option<Json> {
    let bytes = std::fs::read(shared()?.join("golden/bos").join(name)).expect("golden file");
    Some(serde_json::from_slice(&bytes).expect("JSON"))
}

fn ids(value: &Json) -> Vec<u32> {
    serde_json::from_value(value.clone()).expect("ids")
}

#[test]
fn tokenizers_of_published_files_give_the_reference_ids() {
    for (file, name, _) in MODELS {
        let (Some(path), Some(golden)) = (real(file), golden(&format!("{name}_tokenizer_golden.json")))
        else {
            return;
        };
        let tokenizer = gguf_tokenizer(&path).expect("a tokenizer");
        assert!(tokenizer.notes().is_empty(), "{:?}", tokenizer.notes());
        let cases = golden["cases"].as_array().expect("cases");
        assert!(cases.len() >= 60, "{} cases", cases.len());
        for case in cases {
            let text = case["text"].as_str().expect("text");
            let got = tokenizer.encode(text).expect("encodes");
            assert_eq!(got, ids(&case["ids"]), "{name}: {text:?}");
            assert_eq!(
                tokenizer.decode(&got).expect("decodes"),
                case["decoded"].as_str().expect("text"),
                "{name}: {text:?}"
            );
            if case.get("ids_with_special").is_some() {
                let with = [tokenizer.lead_tokens(), &got].concat();
                assert_eq!(with, ids(&case["ids_with_special"]), "{name}: {text:?}");
            }
        }
    }
}

/// Largest distance of a row from the reference, over the reference's norm. Position 0 is apart: attention that is
/// not needed goes there, and its entries are thousands of times larger.
fn worst_row(got: &[f32], expected: &[f32], width: usize) -> (f64, f64) {
    let norm = |row: &[f32]| row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    let distances: Vec<f64> = got
        .chunks(width)
        .zip(expected.chunks(width))
        .map(|(got, expected)| {
            let apart: Vec<f32> = got.iter().zip(expected).map(|(a, b)| a - b).collect();
            norm(&apart) / norm(expected)
        })
        .collect();
    (distances[0], distances[1..].iter().copied().fold(0.0, f64::max))
}

#[test]
fn activations_and_losses_of_published_files_are_those_of_transformers() {
    for (file, name, layers) in MODELS {
        let (Some(path), Some(golden)) = (real(file), golden(&format!("{name}.json"))) else { return };
        let Some(shared) = shared() else { return };
        let tensors = shared.join("golden/bos").join(format!("{name}_resid.safetensors"));
        let tensors = candle_core::safetensors::load(tensors, &candle_core::Device::Cpu).expect("tensors");
        let entries = |name: &str| -> Vec<f32> {
            tensors[name].flatten_all().and_then(|all| all.to_vec1()).expect("entries")
        };
        let read = Gguf::open(&path).expect("reads");
        let weights = read.weights.unpacked().expect("unpacks");
        let model = Transformer::new(&read.config, &weights).expect("fits");
        let width = model.architecture().d_model;
        let sentences = golden["sentences"].as_array().or_else(|| golden.as_array()).expect("sentences");
        for (nth, sentence) in sentences.iter().enumerate() {
            for (kind, of_kind) in [("with_bos", "ids_with_bos"), ("without_bos", "ids_without_bos")] {
                let tokens = ids(&sentence[of_kind]);
                let batch = TokenBatch::new(tokens.clone(), tokens.len()).expect("whole");
                let losses = model.losses(&batch, None).expect("runs");
                let expected: Vec<f32> =
                    serde_json::from_value(sentence[format!("nll_{kind}")].clone()).expect("losses");
                assert_eq!(losses.len(), expected.len(), "{name} {kind}");
                for (got, expected) in losses.iter().zip(&expected) {
                    assert!(
                        (got - expected).abs() < 2e-3,
                        "{name} {kind}, sentence {nth}: {got} for {expected}"
                    );
                }
                if nth > 0 {
                    continue;
                }
                let hooks: Vec<_> = layers
                    .iter()
                    .map(|layer| format!("blocks.{layer}.hook_resid_post").parse().expect("a hook point"))
                    .collect();
                let request = Request { hooks: &hooks, edits: &[], output: Output::Nothing };
                let pass = model.forward(&batch, request).expect("runs");
                for (activation, layer) in pass.activations.iter().zip(layers) {
                    let got: Vec<f32> =
                        activation.flatten_all().and_then(|all| all.to_vec1()).expect("entries");
                    let (first, rest) =
                        worst_row(&got, &entries(&format!("resid_post.{layer}.{kind}")), width);
                    println!("{name} {kind} layer {layer}: position 0 {first:.1e}, others {rest:.1e}");
                    assert!(
                        first < 1e-4 && rest < 1e-3,
                        "{name} {kind} layer {layer}: {first:.1e}, {rest:.1e}"
                    );
                }
            }
        }
    }
}
