//! What a file says is honoured or refused by name, and costs no more than it is worth.

use std::fs::File;

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use serde_json::Value as Json;

use super::*;
use crate::base::Stream;

const LAYERS: usize = 2;
const WIDTH: usize = 32;

/// Metadata of a small model of random weights, with those of `changed` in place of its own.
fn metadata(changed: &[(&str, Value)]) -> Vec<(String, Value)> {
    let text = |text: &str| Value::String(text.into());
    let number = |number: usize| Value::U32(number as u32);
    let pieces: Vec<String> = (0..256u32)
        .map(|byte| {
            char::from_u32(if (33..127).contains(&byte) { byte } else { 256 + byte }).expect("a character")
        })
        .map(String::from)
        .chain(["<|begin|>".to_string(), "<|end|>".to_string()])
        .collect();
    let kinds = pieces.iter().map(|piece| Value::I32(if piece.len() > 4 { 3 } else { 1 })).collect();
    let mut all = vec![
        ("general.architecture", text("llama")),
        ("llama.block_count", number(LAYERS)),
        ("llama.context_length", number(64)),
        ("llama.embedding_length", number(WIDTH)),
        ("llama.feed_forward_length", number(64)),
        ("llama.attention.head_count", number(4)),
        ("llama.attention.head_count_kv", number(2)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
        ("llama.rope.freq_base", Value::F32(10_000.0)),
        ("llama.rope.dimension_count", number(8)),
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.pre", text("gpt-2")),
        ("tokenizer.ggml.tokens", Value::Array(pieces.iter().map(|piece| text(piece)).collect())),
        ("tokenizer.ggml.token_type", Value::Array(kinds)),
        ("tokenizer.ggml.merges", Value::Array(vec![text("h e")])),
        ("tokenizer.ggml.bos_token_id", number(256)),
        ("tokenizer.ggml.eos_token_id", number(257)),
    ];
    // A merge needs its result.
    if let (_, Value::Array(tokens)) = &mut all[12] {
        tokens[0] = text("he");
    }
    all.retain(|(key, _)| !changed.iter().any(|(other, _)| other == key));
    all.extend(changed.iter().map(|(key, value)| (*key, value.clone())));
    all.into_iter().map(|(key, value)| (key.to_string(), value)).collect()
}

fn tensors() -> Vec<(String, QTensor)> {
    let mut stream = Stream::new(5, "settings");
    let mut all = Vec::new();
    let mut add = |name: String, dims: &[usize]| {
        let entries: Vec<f32> = (0..dims.iter().product()).map(|_| 0.2 * stream.normal() as f32).collect();
        let tensor = Tensor::from_vec(entries, dims, &Device::Cpu).expect("filled");
        all.push((name, QTensor::quantize(&tensor, GgmlDType::F32).expect("as it is")));
    };
    add("token_embd.weight".into(), &[258, WIDTH]);
    add("output_norm.weight".into(), &[WIDTH]);
    for layer in 0..LAYERS {
        for (part, dims) in [
            ("attn_norm", &[WIDTH][..]),
            ("ffn_norm", &[WIDTH]),
            ("attn_q", &[WIDTH, WIDTH]),
            ("attn_k", &[WIDTH / 2, WIDTH]),
            ("attn_v", &[WIDTH / 2, WIDTH]),
            ("attn_output", &[WIDTH, WIDTH]),
            ("ffn_gate", &[64, WIDTH]),
            ("ffn_up", &[64, WIDTH]),
            ("ffn_down", &[WIDTH, 64]),
        ] {
            add(format!("blk.{layer}.{part}.weight"), dims);
        }
    }
    all
}

fn write(path: &Path, metadata: &[(String, Value)], tensors: &[(String, QTensor)]) {
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
    let tensors: Vec<(&str, &QTensor)> =
        tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    gguf_file::write(&mut File::create(path).expect("file"), &metadata, &tensors).expect("written");
}

fn opened(changed: &[(&str, Value)]) -> Result<Gguf, NnError> {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("m.gguf");
    write(&path, &metadata(changed), &tensors());
    Gguf::open(&path)
}

fn refused(changed: &[(&str, Value)]) -> String {
    let message = opened(changed).expect_err("refused").to_string();
    assert!(message.contains("m.gguf"), "{message}");
    message
}

#[test]
fn numbers_that_are_none_are_refused_by_name() {
    let opened = opened(&[]).expect("a model");
    assert_eq!((opened.weights.has("model.norm.weight"), opened.tokenizer.vocab_size()), (true, 258));
    assert_eq!(opened.tokens["eos_token"], "<|end|>");
    for key in ["llama.attention.layer_norm_rms_epsilon", "llama.rope.freq_base", "llama.rope.scaling.factor"]
    {
        for value in [f32::NAN, f32::INFINITY, -1.0] {
            let message = refused(&[(key, Value::F32(value))]);
            assert!(message.contains(key) && message.contains(&value.to_string()), "{message}");
        }
        assert!(refused(&[(key, Value::String("1".into()))]).contains(key));
    }
    for key in [
        "llama.block_count",
        "llama.embedding_length",
        "llama.feed_forward_length",
        "llama.attention.head_count",
        "llama.attention.head_count_kv",
        "llama.attention.key_length",
        "llama.attention.value_length",
        "llama.rope.dimension_count",
        "tokenizer.ggml.bos_token_id",
        "tokenizer.ggml.eos_token_id",
    ] {
        for value in [Value::U32(1 << 31), Value::U64(u64::MAX), Value::I32(-3), Value::F32(1.5)] {
            assert!(refused(&[(key, value)]).contains(key));
        }
    }
    assert!(refused(&[("llama.context_length", Value::U32(0))]).contains("llama.context_length"));
    assert!(refused(&[("general.alignment", Value::U32(0))]).contains("general.alignment"));
}

#[test]
fn settings_that_are_not_implemented_are_refused_by_name() {
    for (key, value) in [
        ("llama.attention.some_new_thing", Value::F32(1.0)),
        ("llama.expert_count", Value::U32(8)),
        ("llama.logit_scale", Value::F32(0.5)),
        ("llama.attention.causal", Value::Bool(false)),
        ("llama.attn_logit_softcapping", Value::F32(50.0)),
        ("llama.attention.sliding_window", Value::U32(16)),
        ("llama.rope.scaling.type", Value::String("other".into())),
        ("llama.rope.scaling.attn_factor", Value::F32(1.2)),
        ("llama.rope.dimension_sections", Value::Array(vec![Value::I32(1)])),
        ("tokenizer.ggml.remove_extra_whitespaces_and_more", Value::Bool(true)),
        ("tokenizer.ggml.pre", Value::String("unheard-of".into())),
    ] {
        assert!(refused(&[(key, value)]).contains(key), "{key}");
    }
    let harmless = [
        ("llama.vocab_size", Value::U32(258)),
        ("llama.attention.sliding_window", Value::U32(64)),
        ("llama.expert_count", Value::U32(0)),
        ("llama.attention.causal", Value::Bool(true)),
        ("tokenizer.ggml.padding_token_id", Value::I32(-1)),
        ("general.some_new_thing", Value::F32(1.0)),
    ];
    assert_eq!(
        opened(&harmless).expect("a model").config.fields(),
        opened(&[]).expect("a model").config.fields()
    );
}

#[test]
fn rotary_scaling_has_one_meaning_under_all_its_names() {
    let scaling = |changed: &[(&str, Value)]| -> Json {
        let fields = opened(changed).expect("a model").config.fields().clone();
        fields.get("rope_scaling").cloned().unwrap_or_default()
    };
    let kind = |kind: &str| ("llama.rope.scaling.type", Value::String(kind.into()));
    let factor = |x: f32| ("llama.rope.scaling.factor", Value::F32(x));
    let old = |x: f32| ("llama.rope.scale_linear", Value::F32(x));
    let linear = scaling(&[kind("linear"), factor(4.0)]);
    assert_eq!(linear, serde_json::json!({"rope_type": "linear", "factor": 4.0}));
    assert_eq!(scaling(&[factor(4.0)]), linear);
    assert_eq!(scaling(&[old(4.0)]), linear);
    assert_eq!(scaling(&[old(4.0), factor(4.0)]), linear);
    for nothing in [&[factor(1.0)][..], &[old(0.0)], &[kind("none"), factor(4.0)], &[kind("linear")]] {
        assert_eq!(scaling(nothing), Json::Null);
    }
    assert!(refused(&[old(2.0), factor(4.0)]).contains("llama.rope.scale_linear"));
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("m.gguf");
    let changed = [
        kind("yarn"),
        factor(4.0),
        ("llama.rope.scaling.original_context_length", Value::U32(16)),
        ("llama.rope.scaling.yarn_beta_fast", Value::F32(16.0)),
    ];
    write(&path, &metadata(&changed), &tensors());
    let parts = Parts::open(&path).expect("whole");
    let settings = Settings { file: "m.gguf", metadata: parts.settings().metadata };
    let family = settings.family().expect("a family");
    let config = keys::config(&settings, family, &parts, keys::Factors::default()).expect("settings");
    let yarn = &config.fields()["rope_scaling"];
    assert_eq!(yarn["rope_type"], "yarn");
    assert_eq!((&yarn["factor"], &yarn["beta_fast"]), (&4.0.into(), &16.0.into()));
    assert_eq!(yarn["original_max_position_embeddings"], 16);
    let whole = yarn["attention_factor"].as_f64().expect("a number");
    assert!((whole - (1.0 + 0.1 * 4f64.ln())).abs() < 1e-12, "{whole}");
    let message =
        refused(&[kind("yarn"), factor(4.0), ("llama.rope.scaling.yarn_attn_factor", Value::F32(2.0))]);
    assert!(message.contains("yarn_attn_factor"), "{message}");
}

#[test]
fn lengths_are_held_against_the_file() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("m.gguf");
    write(&path, &metadata(&[]), &tensors());
    let whole = std::fs::read(&path).expect("bytes");
    let find =
        |text: &str| whole.windows(text.len()).position(|window| window == text.as_bytes()).expect("found");
    let huge = (1u64 << 40).to_le_bytes();
    let arrays = find("tokenizer.ggml.tokens") + "tokenizer.ggml.tokens".len() + 8;
    let text = find("tokenizer.ggml.model") + "tokenizer.ggml.model".len() + 4;
    let dims = find("blk.1.ffn_down.weight") + "blk.1.ffn_down.weight".len() + 4;
    for (at, named) in [
        (8, "tensors"),
        (16, "metadata"),
        (arrays, "tokenizer.ggml.tokens"),
        (text, "tokenizer.ggml.model"),
        (dims, "blk.1.ffn_down.weight"),
        (dims + 20, "blk.1.ffn_down.weight"),
    ] {
        let mut bytes = whole.clone();
        bytes[at..at + 8].copy_from_slice(&huge);
        crate::base::write_atomic(&path, &bytes).expect("written");
        let message = Gguf::open(&path).expect_err("refused").to_string();
        assert!(message.contains("m.gguf") && message.contains(named), "{named}: {message}");
    }
    for length in (0..whole.len()).step_by(whole.len() / 60) {
        crate::base::write_atomic(&path, &whole[..length]).expect("written");
        assert!(Gguf::open(&path).is_err(), "{length} bytes");
    }
    let mut bytes = whole.clone();
    bytes[dims + 16] = 10;
    crate::base::write_atomic(&path, &bytes).expect("written");
    let message = Gguf::open(&path).expect_err("refused").to_string();
    assert!(message.contains("blk.1.ffn_down.weight") && message.contains("Q2_K"), "{message}");
    // Any byte of the header may be damaged: an error or another model, never an end of the program.
    let mut stream = Stream::new(9, "damage");
    let header = find("blk.1.ffn_down.weight");
    for _ in 0..150 {
        let mut bytes = whole.clone();
        bytes[stream.below(header)] ^= 1 << stream.below(8);
        crate::base::write_atomic(&path, &bytes).expect("written");
        let _ = Gguf::open(&path);
    }
}

#[test]
fn parts_of_a_split_file_are_one_model() {
    let folder = tempfile::tempdir().expect("folder");
    let at = |name: &str| folder.path().join(name);
    let all = tensors();
    write(&at("whole.gguf"), &metadata(&[]), &all);
    let whole = Gguf::open(&at("whole.gguf")).expect("a model");
    let split = |no: u16, tensors: i32| {
        [
            ("split.no", Value::U16(no)),
            ("split.count", Value::U16(3)),
            ("split.tensors.count", Value::I32(tensors)),
        ]
    };
    let mut rest = tensors().into_iter();
    let mut part = |no: u16, n_tensors: usize| {
        let tensors: Vec<(String, QTensor)> = rest.by_ref().take(n_tensors).collect();
        let own = split(no, all.len() as i32).map(|(key, value)| (key.to_string(), value));
        let metadata = if no == 0 { metadata(&split(0, all.len() as i32)) } else { own.to_vec() };
        write(&at(&format!("m-{:05}-of-00003.gguf", no + 1)), &metadata, &tensors);
    };
    part(0, 0);
    part(1, 9);
    let message = Gguf::open(&at("m-00001-of-00003.gguf")).expect_err("a part is missing");
    assert!(message.is_missing());
    let message = message.to_string();
    assert!(message.contains("part 1 of 3") && message.contains("`m-00003-of-00003.gguf`"), "{message}");
    part(2, 99);
    for number in 1..=3 {
        let path = at(&format!("m-{number:05}-of-00003.gguf"));
        let read = Gguf::open(&path).expect("a model");
        assert_eq!(read.config.fields(), whole.config.fields());
        let entries = |gguf: &Gguf| -> Vec<f32> {
            let tensor =
                gguf.weights.get("model.layers.1.mlp.down_proj.weight", &[WIDTH, 64]).expect("there");
            tensor.flatten_all().and_then(|all| all.to_vec1()).expect("entries")
        };
        assert_eq!(entries(&read), entries(&whole));
        assert_ne!(read.weights.digest(), whole.weights.digest());
        assert_eq!(weight_count(&path).expect("counts"), weight_count(&at("whole.gguf")).expect("counts"));
        assert_eq!(gguf_tokenizer(&path).expect("a tokenizer").vocab_size(), 258);
    }
    std::fs::rename(at("m-00001-of-00003.gguf"), at("renamed.gguf")).expect("renamed");
    let message = Gguf::open(&at("renamed.gguf")).expect_err("its name leads nowhere").to_string();
    assert!(message.contains("-00001-of-00003.gguf"), "{message}");
}

#[test]
fn a_template_may_have_a_name() {
    let text = |text: &str| Value::String(text.into());
    let names = ("tokenizer.chat_templates", Value::Array(vec![text("tool_use"), text("rag")]));
    let named = ("tokenizer.chat_template.rag", text("of rag"));
    let template = |changed: &[(&str, Value)]| opened(changed).expect("a model").chat_template;
    assert_eq!(template(&[]), None);
    assert_eq!(template(&[names.clone(), named.clone()]).as_deref(), Some("of rag"));
    let default = ("tokenizer.chat_template", text("the default"));
    assert_eq!(template(&[names, named, default]).as_deref(), Some("the default"));
}

#[test]
fn tensors_that_share_bytes_and_absurd_values_are_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("m.gguf");
    write(&path, &metadata(&[]), &tensors());
    let mut bytes = std::fs::read(&path).expect("bytes");
    let name = "blk.1.ffn_down.weight";
    let at = bytes.windows(name.len()).position(|window| window == name.as_bytes()).expect("found");
    // Behind the name: the number of dimensions, two of them and the format.
    let offset = at + name.len() + 4 + 16 + 4;
    bytes[offset..offset + 8].fill(0);
    crate::base::write_atomic(&path, &bytes).expect("written");
    let message = Gguf::open(&path).expect_err("refused").to_string();
    assert!(message.contains(name) && message.contains("share bytes"), "{message}");
    for (key, value) in [
        ("llama.attention.layer_norm_rms_epsilon", 1e30),
        ("llama.rope.freq_base", 1e-3),
        ("llama.rope.freq_base", 1e30),
        ("llama.rope.scaling.factor", 1e20),
    ] {
        let message = refused(&[(key, Value::F32(value))]);
        assert!(message.contains(key) && message.contains("a number from"), "{message}");
    }
    let long = Value::Array(vec![Value::String("y".repeat(2000)); 258]);
    assert!(refused(&[("tokenizer.ggml.tokens", long)]).contains("not of 2000"));
}
