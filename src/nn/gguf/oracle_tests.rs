//! The same files read by candle-transformers' quantised models.

use std::collections::HashMap;
use std::fs::File;

use candle_core::quantized::{GgmlDType, QTensor, gguf_file};
use candle_core::{Device, Tensor};
use candle_transformers::models::{quantized_llama, quantized_phi3, quantized_qwen2, quantized_qwen3};

use super::tests::{distance, logits, shared, written_as};
use super::*;
use crate::base::Stream;
use candle_core::quantized::gguf_file::Value;

/// Tokens of a text of [`logits`].
const N_TOKENS: usize = 48;
/// Folders of references and what llama.cpp calls their families. Not Gemma 3: candle-transformers 0.11.1 has SiLU in its
/// `quantized_gemma3` where the family has GELU. It has no Gemma 2 and no OLMo 2.
const FAMILIES: [(&str, &str); 4] =
    [("llama_gqa", "llama"), ("qwen2", "qwen2"), ("qwen3", "qwen3"), ("phi3", "phi3")];

/// The logits after the last of the same tokens.
fn last_logits_of_candle(path: &Path, architecture: &str, tokens: &[u32]) -> Vec<f32> {
    let mut file = File::open(path).expect("file");
    let content = gguf_file::Content::read(&mut file).expect("a GGUF file");
    let x = Tensor::new(tokens, &Device::Cpu).and_then(|x| x.unsqueeze(0)).expect("tokens");
    let (file, device) = (&mut file, &Device::Cpu);
    let logits = match architecture {
        "llama" => quantized_llama::ModelWeights::from_gguf(content, file, device)
            .and_then(|mut model| model.forward(&x, 0)),
        "qwen2" => quantized_qwen2::ModelWeights::from_gguf(content, file, device)
            .and_then(|mut model| model.forward(&x, 0)),
        "qwen3" => quantized_qwen3::ModelWeights::from_gguf(content, file, device)
            .and_then(|mut model| model.forward(&x, 0)),
        _ => quantized_phi3::ModelWeights::from_gguf(false, content, file, device)
            .and_then(|mut model| model.forward(&x, 0)),
    };
    logits.and_then(|logits| logits.flatten_all()?.to_vec1()).expect("logits")
}

/// A folder's family with random weights wide enough for blocks of 256 numbers.
fn widened(folder: &Path) -> tempfile::TempDir {
    let text = std::fs::read(folder.join("config.json")).expect("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    let wider = |size: u64| match size {
        199 => 199,  // the vocabulary
        88 => 512,   // the MLP
        176 => 1024, // gate and up in one matrix
        other => 8 * other,
    };
    for field in ["hidden_size", "intermediate_size", "head_dim"] {
        if let Some(size) = config[field].as_u64() {
            config[field] = wider(size).into();
        }
    }
    let mut stream = Stream::new(11, "widened");
    let narrow = candle_core::safetensors::load(folder.join("model.safetensors"), &Device::Cpu);
    let mut narrow: Vec<(String, Tensor)> = narrow.expect("weights").into_iter().collect();
    narrow.sort_by(|a, b| a.0.cmp(&b.0));
    let mut random = |name: &str, tensor: &Tensor| {
        let dims: Vec<usize> = tensor.dims().iter().map(|&size| wider(size as u64) as usize).collect();
        let (mean, deviation) = match dims.as_slice() {
            [_, cols] => (0.0, (*cols as f64).powf(-0.5)),
            _ => (f64::from(u8::from(name.contains("norm"))), 0.1),
        };
        let entries = (0..dims.iter().product()).map(|_| (mean + deviation * stream.normal()) as f32);
        Tensor::from_vec(entries.collect::<Vec<f32>>(), dims, &Device::Cpu).expect("filled")
    };
    let wide: HashMap<String, Tensor> =
        narrow.iter().map(|(name, tensor)| (name.clone(), random(name, tensor))).collect();
    let out = tempfile::tempdir().expect("folder");
    candle_core::safetensors::save(&wide, out.path().join("model.safetensors")).expect("saved");
    crate::base::write_atomic(&out.path().join("config.json"), config.to_string().as_bytes()).expect("saved");
    let any = folder.join("../../models/babyllama-char105/tokenizer.json");
    std::fs::copy(any, out.path().join("tokenizer.json")).expect("copied");
    out
}

#[test]
fn stored_numbers_give_the_logits_that_candle_transformers_computes() {
    use GgmlDType::{F16, F32, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
    let Some(shared) = shared() else { return };
    for (name, architecture) in FAMILIES {
        let folder = widened(&shared.join("golden").join(name));
        let rope = format!("{architecture}.rope.dimension_count");
        for kind in [F32, F16, Q8_0, Q4K, Q5K, Q6K, Q4_0, Q4_1, Q5_0, Q5_1] {
            let head = Value::U32(if architecture == "qwen3" { 128 } else { 64 });
            // Without this candle's Qwen 3 takes sines and cosines in 16 bits.
            let extra = [(rope.as_str(), head), ("general.dtype", Value::U32(0))];
            let quantised = |matrix: &Tensor| QTensor::quantize(matrix, kind).expect("quantises");
            let stored = written_as(folder.path(), architecture, &extra, quantised);
            let path = stored.path().join("m.gguf");
            let read = Gguf::open(&path).expect("reads");
            let all = logits(&read.config, &read.weights);
            let vocab = all.len() / N_TOKENS;
            let got = &all[all.len() - vocab..];
            let tokens: Vec<u32> = (0..N_TOKENS as u32).map(|at| (at * 37 + 11) % vocab as u32).collect();

            // The numbers that the file stands for, with products in f32: nothing is rounded but sums.
            let exact = |matrix: &Tensor| {
                let matrix = quantised(matrix).dequantize(&Device::Cpu).expect("dequantises");
                QTensor::quantize(&matrix, F32).expect("as they are")
            };
            let exact = written_as(folder.path(), architecture, &extra, exact);
            let expected = last_logits_of_candle(&exact.path().join("m.gguf"), architecture, &tokens);
            let apart = distance(got, &expected);
            assert!(apart < 1e-5, "{name} {kind:?}: {apart:.2e} from the stored numbers");

            // candle rounds what is multiplied with quantised rows to 8 bits a number, which these random weights
            // amplify from product to product.
            let rounded = last_logits_of_candle(&path, architecture, &tokens);
            let apart = distance(got, &rounded);
            assert!(apart < 0.05, "{name} {kind:?}: {apart:.2e} from candle's own products");
        }
    }
}
