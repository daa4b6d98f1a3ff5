use std::fs::File;
use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use serde_json::json;

use super::*;
use crate::base::TokenBatch;
use crate::nn::{Output, Request, Transformer};

pub(super) fn shared() -> Option<PathBuf> {
    let folder = std::env::var_os("AUTOINTERP_SHARED").map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: AUTOINTERP_SHARED is not set");
    }
    folder
}

/// The configuration of a folder without the kinds of its layers, which these files take from the family.
fn config_of(folder: &Path) -> Config {
    let text = std::fs::read(folder.join("config.json")).expect("config.json");
    let mut json: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    for field in ["layer_types", "no_rope_layers", "no_rope_layer_interval"] {
        json.as_object_mut().expect("an object").remove(field);
    }
    Config::parse(json.to_string().as_bytes(), "config.json").expect("an object")
}

/// Rows as llama.cpp's converter orders those of a Llama's queries and keys: two halves of a head interleaved.
fn interleaved(tensor: &Tensor, heads: usize) -> Tensor {
    let (rows, cols) = tensor.dims2().expect("a matrix");
    let halves = tensor.reshape((heads, 2, rows / heads / 2, cols)).expect("whole heads");
    let pairs = halves.transpose(1, 2).and_then(|pairs| pairs.contiguous()).expect("pairs");
    pairs.reshape((rows, cols)).expect("the same rows")
}

/// Writes a folder's model as llama.cpp's converter would, in one number form.
fn written(folder: &Path, architecture: &str, kind: GgmlDType, extra: &[(&str, Value)]) -> tempfile::TempDir {
    written_as(folder, architecture, extra, |matrix| QTensor::quantize(matrix, kind).expect("quantises"))
}

/// The same with matrices in any form; vectors stay f32.
pub(super) fn written_as(
    folder: &Path,
    architecture: &str,
    extra: &[(&str, Value)],
    stored: impl Fn(&Tensor) -> QTensor,
) -> tempfile::TempDir {
    let config = config_of(folder);
    let count = |field: &str| config.count(field).expect(field);
    let tensors =
        candle_core::safetensors::load(folder.join("model.safetensors"), &Device::Cpu).expect("weights");
    let heads = count("num_attention_heads");
    let kv_heads = config.count_or("num_key_value_heads", Some(heads)).expect("heads");
    let key = |name: &str| format!("{architecture}.{name}");
    let number = |field: &str| Value::U32(count(field) as u32);
    let mut metadata = vec![
        ("general.architecture".to_string(), Value::String(architecture.into())),
        (key("block_count"), number("num_hidden_layers")),
        (key("context_length"), number("max_position_embeddings")),
        (key("embedding_length"), number("hidden_size")),
        (key("feed_forward_length"), number("intermediate_size")),
        (key("attention.head_count"), Value::U32(heads as u32)),
        (key("attention.head_count_kv"), Value::U32(kv_heads as u32)),
        (
            key("attention.layer_norm_rms_epsilon"),
            Value::F32(config.positive_or("rms_norm_eps", 1e-6).expect("a number") as f32),
        ),
        (key("rope.freq_base"), Value::F32(config.positive_or("rope_theta", 1e4).expect("a number") as f32)),
    ];
    if config.has("head_dim") {
        metadata.push((key("attention.key_length"), number("head_dim")));
    }
    metadata.extend(extra.iter().map(|(name, value)| ((*name).to_string(), value.clone())));
    let both_sides = ["gemma2", "gemma3"].contains(&architecture);
    let interleaves = ["llama", "smollm3", "granite"].contains(&architecture);
    let names = [
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("self_attn.qkv_proj", "attn_qkv"),
        ("self_attn.q_norm", "attn_q_norm"),
        ("self_attn.k_norm", "attn_k_norm"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.gate_up_proj", "ffn_up"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
        ("pre_feedforward_layernorm", "ffn_norm"),
        ("post_feedforward_layernorm", "post_ffw_norm"),
        (
            "post_attention_layernorm",
            if both_sides || architecture == "olmo2" { "post_attention_norm" } else { "ffn_norm" },
        ),
        ("input_layernorm", "attn_norm"),
    ];
    let renamed = |name: &str| match name {
        "model.embed_tokens.weight" => "token_embd.weight".to_string(),
        "lm_head.weight" => "output.weight".to_string(),
        "model.norm.weight" => "output_norm.weight".to_string(),
        _ => {
            let rest = name.strip_prefix("model.layers.").expect("of a layer");
            let (layer, part) = rest.split_once('.').expect("a part");
            let (part, kind) = part.rsplit_once('.').expect("a kind");
            let to = names.iter().find(|(from, _)| *from == part).expect("a known part").1;
            format!("blk.{layer}.{to}.{kind}")
        }
    };
    let written: Vec<(String, QTensor)> = tensors
        .iter()
        .map(|(name, tensor)| {
            let mut tensor = tensor.to_dtype(candle_core::DType::F32).expect("f32");
            if interleaves && name.contains("q_proj") {
                tensor = interleaved(&tensor, heads);
            }
            if interleaves && name.contains("k_proj") {
                tensor = interleaved(&tensor, kv_heads);
            }
            if architecture.starts_with("gemma") && name.ends_with("norm.weight") {
                tensor = (tensor + 1.0).expect("sum");
            }
            let plain = || QTensor::quantize(&tensor, GgmlDType::F32).expect("as it is");
            (renamed(name), if tensor.rank() == 1 { plain() } else { stored(&tensor) })
        })
        .collect();
    let folder_out = tempfile::tempdir().expect("folder");
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
    let tensors: Vec<(&str, &QTensor)> =
        written.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let mut file = File::create(folder_out.path().join("m.gguf")).expect("file");
    gguf_file::write(&mut file, &metadata, &tensors).expect("written");
    std::fs::copy(tokenizer_of(folder), folder_out.path().join("tokenizer.json")).expect("copied");
    folder_out
}

/// Any tokenizer will do where only logits are compared.
fn tokenizer_of(folder: &Path) -> PathBuf {
    let own = folder.join("tokenizer.json");
    if own.is_file() { own } else { folder.join("../../models/babyllama-char105/tokenizer.json") }
}

pub(super) fn logits(config: &Config, weights: &Weights) -> Vec<f32> {
    let model = Transformer::new(config, weights).expect("fits");
    let vocab = model.architecture().vocab as u32;
    let tokens: Vec<u32> = (0..48).map(|at| (at * 37 + 11) % vocab).collect();
    let tokens = TokenBatch::new(tokens, 48).expect("whole");
    let request = Request { hooks: &[], edits: &[], output: Output::Logits };
    let logits = model.forward(&tokens, request).expect("runs").output.expect("logits");
    logits.flatten_all().and_then(|all| all.to_vec1()).expect("entries")
}

/// The residual stream after the first block, as a subject with hooks gives it.
fn stream(config: &Config, weights: &Weights) -> Vec<f32> {
    let model = Transformer::new(config, weights).expect("fits");
    let tokens = TokenBatch::new((0..24).map(|at| (at * 5 + 3) % 64).collect(), 24).expect("whole");
    let hook = "blocks.0.hook_resid_post".parse().expect("a hook point");
    let request = Request { hooks: &[hook], edits: &[], output: Output::Nothing };
    let pass = model.forward(&tokens, request).expect("runs");
    pass.activations[0].flatten_all().and_then(|all| all.to_vec1()).expect("entries")
}

pub(super) fn distance(got: &[f32], expected: &[f32]) -> f64 {
    let square = |x: f32| f64::from(x) * f64::from(x);
    let apart: f64 = got.iter().zip(expected).map(|(a, b)| square(a - b)).sum();
    (apart / expected.iter().map(|x| square(*x)).sum::<f64>()).sqrt()
}

/// Reference folder, name of the architecture, and metadata beside what every file has.
type Case = (&'static str, &'static str, Vec<(&'static str, Value)>);

#[test]
fn every_family_is_read_as_from_its_folder() {
    let Some(shared) = shared() else { return };
    let golden = shared.join("golden");
    let window = |name| (name, Value::U32(24));
    let cases: Vec<Case> = vec![
        ("llama_gqa", "llama", vec![]),
        ("qwen2", "qwen2", vec![]),
        ("qwen3", "qwen3", vec![]),
        (
            "gemma2",
            "gemma2",
            vec![
                window("gemma2.attention.sliding_window"),
                ("gemma2.attn_logit_softcapping", Value::F32(50.0)),
                ("gemma2.final_logit_softcapping", Value::F32(30.0)),
            ],
        ),
        (
            "gemma3_text",
            "gemma3",
            vec![
                window("gemma3.attention.sliding_window"),
                ("gemma3.rope.scaling.type", Value::String("linear".into())),
                ("gemma3.rope.scaling.factor", Value::F32(8.0)),
            ],
        ),
        ("gemma", "gemma", vec![]),
        ("smollm3", "smollm3", vec![]),
        (
            "granite",
            "granite",
            vec![
                ("granite.attention.scale", Value::F32(0.0625)),
                ("granite.embedding_scale", Value::F32(6.0)),
                ("granite.residual_scale", Value::F32(0.22)),
                ("granite.logit_scale", Value::F32(4.0)),
            ],
        ),
        ("phi3", "phi3", vec![]),
        ("olmo2", "olmo2", vec![]),
    ];
    for (name, architecture, extra) in cases {
        let folder = golden.join(name);
        let config = config_of(&folder);
        let window = format!("{architecture}.attention.sliding_window");
        let mut extra: Vec<(&str, Value)> = extra;
        if let (Some(size), false) =
            (config.positive("sliding_window").expect("a number"), architecture.starts_with("qwen"))
        {
            extra.retain(|(key, _)| *key != window);
            extra.push((window.as_str(), Value::U32(size as u32)));
        }
        let weights = Weights::from_folder(&folder, &Device::Cpu).expect("weights");
        let expected = logits(&config, &weights);
        let file = written(&folder, architecture, GgmlDType::F32, &extra);
        let read = Gguf::open(&file.path().join("m.gguf")).expect("reads");
        let got = logits(&read.config, &read.weights);
        assert!(distance(&got, &expected) < 1e-5, "{name}: {}", distance(&got, &expected));
        assert_eq!(
            crate::nn::weight_count(&file.path().join("m.gguf")).expect("counts"),
            crate::nn::weight_count(&folder).expect("counts"),
            "{name}"
        );
        let unpacked = read.weights.unpacked().expect("unpacks");
        let got = stream(&read.config, &unpacked);
        let apart = distance(&got, &stream(&config, &weights));
        assert!(apart < 1e-5, "{name}, stream after the first block: {apart}");
        let other = written(&folder, architecture, GgmlDType::F16, &extra);
        let other = Gguf::open(&other.path().join("m.gguf")).expect("reads");
        assert_ne!(other.weights.digest(), unpacked.digest());
        let got = logits(&other.config, &other.weights);
        assert!(distance(&got, &expected) < 4e-3, "{name} in f16: {}", distance(&got, &expected));
    }
}

#[test]
fn factors_of_frequencies_are_those_of_llama_3() {
    let Some(shared) = shared() else { return };
    let folder = shared.join("golden/llama3_rope_tied");
    let config = config_of(&folder);
    let weights = Weights::from_folder(&folder, &Device::Cpu).expect("weights");
    let file = written(&folder, "llama", GgmlDType::F32, &[]);
    let plain = Gguf::open(&file.path().join("m.gguf")).expect("reads");
    let expected = logits(&config, &weights);
    assert!(distance(&logits(&plain.config, &plain.weights), &expected) > 1e-4, "without factors");
    // As the converter writes them: what each frequency is divided by.
    let of = |config: &Config| {
        let model = Transformer::new(config, &weights).expect("fits");
        match &model.architecture().positions {
            crate::nn::Positions::Rotary(rotary) => rotary.frequencies.clone(),
            _ => Vec::new(),
        }
    };
    let factors: Vec<f64> =
        of(&plain.config).iter().zip(of(&config)).map(|(plain, scaled)| plain / scaled).collect();
    let mut fields = plain.config.fields().clone();
    fields.insert("rope_scaling".into(), json!({"rope_type": "factors", "factors": factors}));
    let text = serde_json::Value::Object(fields.clone()).to_string();
    let with = Config::parse(text.as_bytes(), "m.gguf").expect("an object");
    assert!(distance(&logits(&with, &plain.weights), &expected) < 1e-5);
    fields.insert("rope_scaling".into(), json!({"rope_type": "factors", "factors": [1.0]}));
    let text = serde_json::Value::Object(fields).to_string();
    let short = Config::parse(text.as_bytes(), "m.gguf").expect("an object");
    let error = Transformer::new(&short, &plain.weights).expect_err("too few").to_string();
    assert!(error.contains("factors") && error.contains("m.gguf"), "{error}");
}

#[test]
fn damaged_and_foreign_files_are_explained() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("m.gguf");
    let refused = |bytes: &[u8]| {
        crate::base::write_atomic(&path, bytes).expect("written");
        Gguf::open(&path).expect_err("refused").to_string()
    };
    for bytes in [b"".as_slice(), b"GGUF", b"not a model", b"GGUF\x03\0\0\0\xff\xff\xff\xff\xff\xff\xff\x0f"]
    {
        assert!(refused(bytes).contains("m.gguf"));
    }
    let write = |architecture: &str, kind: GgmlDType| {
        let tensor = Tensor::zeros((4, 256), candle_core::DType::F32, &Device::Cpu).expect("tensor");
        let tensor = QTensor::quantize(&tensor, kind).expect("quantises");
        let name = Value::String(architecture.into());
        let mut bytes = std::io::Cursor::new(Vec::new());
        gguf_file::write(&mut bytes, &[("general.architecture", &name)], &[("token_embd.weight", &tensor)])
            .expect("written");
        bytes.into_inner()
    };
    let message = refused(&write("mamba", GgmlDType::F32));
    assert!(message.contains("`mamba`") && message.contains("`qwen3`"), "{message}");
}

/// The tokenizer of a file that holds nothing else.
fn tokenizer_of_metadata(metadata: &[(&str, Value)]) -> Result<Tokenizer, NnError> {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("m.gguf");
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, value)| (*key, value)).collect();
    gguf_file::write(&mut File::create(&path).expect("file"), &metadata, &[]).expect("written");
    gguf_tokenizer(&path)
}

/// The bytes of pieces, scores and kinds as SentencePiece's models have them in such files.
#[test]
fn a_vocabulary_with_scores_cuts_texts_as_its_tokenizer_does() {
    let Some(shared) = shared() else { return };
    let folder = shared.join("models/stories260K");
    let text = std::fs::read(folder.join("tokenizer.json")).expect("file");
    let json: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    let vocab = json["model"]["vocab"].as_object().expect("a vocabulary");
    let mut tokens: Vec<&str> = vec![""; vocab.len()];
    for (token, id) in vocab {
        tokens[id.as_u64().expect("an id") as usize] = token;
    }
    // Pieces are listed by falling score there, bytes and control tokens first.
    let kind = |token: &str| match token {
        "<unk>" => 2,
        "<s>" | "</s>" => 3,
        _ if token.starts_with("<0x") => 6,
        _ => 1,
    };
    let metadata = [
        ("tokenizer.ggml.model", Value::String("llama".into())),
        (
            "tokenizer.ggml.tokens",
            Value::Array(tokens.iter().map(|token| Value::String((*token).to_string())).collect()),
        ),
        (
            "tokenizer.ggml.scores",
            Value::Array((0..tokens.len()).map(|id| Value::F32(-(id as f32))).collect()),
        ),
        (
            "tokenizer.ggml.token_type",
            Value::Array(tokens.iter().map(|token| Value::I32(kind(token))).collect()),
        ),
        ("tokenizer.ggml.bos_token_id", Value::U32(1)),
    ];
    let made = tokenizer_of_metadata(&metadata).expect("a tokenizer");
    let own = Tokenizer::from_file(&folder.join("tokenizer.json")).expect("a tokenizer");
    assert_eq!(made.lead_tokens(), [1]);
    let corpus = std::fs::read_to_string(shared.join("corpora/tinystories.txt")).expect("a corpus");
    let corpus: String = corpus.chars().take(20_000).collect();
    for text in [corpus.as_str(), "", " two  spaces", "caf\u{e9} \u{1F600}\n", "<s> spelt"] {
        assert_eq!(made.encode(text).expect("encodes"), own.encode(text).expect("encodes"), "{text:?}");
    }
}

#[test]
fn a_byte_level_vocabulary_cuts_texts_as_its_tokenizer_does() {
    let own =
        Tokenizer::from_bytes(crate::subject::embedded::TOKENIZER, "tokenizer.json").expect("a tokenizer");
    let json: serde_json::Value = serde_json::from_slice(crate::subject::embedded::TOKENIZER).expect("JSON");
    let vocab = json["model"]["vocab"].as_object().expect("a vocabulary");
    let mut tokens: Vec<&str> = vec![""; vocab.len()];
    for (token, id) in vocab {
        tokens[id.as_u64().expect("an id") as usize] = token;
    }
    let merges = json["model"]["merges"].as_array().expect("merges").iter().map(|merge| {
        let pair = merge.as_array().map(|pair| {
            format!("{} {}", pair[0].as_str().expect("a piece"), pair[1].as_str().expect("a piece"))
        });
        Value::String(pair.unwrap_or_else(|| merge.as_str().expect("a pair").to_string()))
    });
    let special = |id: u32| own.is_special(id);
    let text = |text: &str| Value::String(text.to_string());
    let metadata = |pre: &str| {
        vec![
            ("tokenizer.ggml.model", text("gpt2")),
            ("tokenizer.ggml.pre", text(pre)),
            ("tokenizer.ggml.tokens", Value::Array(tokens.iter().map(|token| text(token)).collect())),
            ("tokenizer.ggml.merges", Value::Array(merges.clone().collect())),
            (
                "tokenizer.ggml.token_type",
                Value::Array(
                    (0..tokens.len() as u32).map(|id| Value::I32(if special(id) { 3 } else { 1 })).collect(),
                ),
            ),
            ("tokenizer.ggml.bos_token_id", Value::U32(0)),
        ]
    };
    let read = |pre: &str| tokenizer_of_metadata(&metadata(pre));
    let made = read("gpt-2").expect("a tokenizer");
    assert!(made.lead_tokens().is_empty());
    for text in ["Two  words, isn't it?", "", " \n\tx = [1, 234567]", "caf\u{e9} \u{1F600}"] {
        assert_eq!(made.encode(text).expect("encodes"), own.encode(text).expect("encodes"), "{text:?}");
    }
    let pieces = |pre: &str, text: &str| {
        let tokenizer = read(pre).expect("a tokenizer");
        tokenizer.decode(&tokenizer.encode(text).expect("encodes")).expect("decodes")
    };
    for pre in ["llama-bpe", "qwen2", "dbrx"] {
        assert_eq!(pieces(pre, "It's 1234567\n\n  ok"), "It's 1234567\n\n  ok");
    }
    assert_eq!(read("llama-bpe").expect("a tokenizer").lead_tokens(), [0]);
    for kind in super::pre_tokenizers::PreTokenizerKind::names() {
        let text = "It's 1234567 \u{E9}\u{4E2D}\n\n  OkDone!! ";
        assert_eq!(pieces(kind, text), text, "{kind}");
    }
    assert!(read("gpt-2").expect("a tokenizer").notes().is_empty());
    let mut silent = metadata("");
    silent.retain(|(key, _)| *key != "tokenizer.ggml.pre");
    let notes = tokenizer_of_metadata(&silent).expect("a tokenizer").notes().to_vec();
    assert!(notes.len() == 1 && notes[0].contains("tokenizer.ggml.pre"), "{notes:?}");
    let message = read("whitespace").expect_err("not read").to_string();
    assert!(message.contains("`whitespace`") && message.contains("tokenizer.json"), "{message}");
}

/// Logits and reading speed of a file, to be held against llama.cpp's on the same file: see `tests/README.md`.
#[test]
#[ignore = "needs AUTOINTERP_GGUF, a file; prints tokens per second"]
fn reading_speed_of_a_file() {
    let path = PathBuf::from(std::env::var_os("AUTOINTERP_GGUF").expect("AUTOINTERP_GGUF names a file"));
    let read = Gguf::open(&path).expect("reads");
    let model = Transformer::new(&read.config, &read.weights).expect("fits");
    let vocab = model.architecture().vocab as u32;
    let ids: Vec<u32> = (0..512).map(|at| (at * 7919 + 13) % vocab).collect();
    let tokens = TokenBatch::new(ids, 512).expect("whole");
    let mut last = Vec::new();
    for _ in 0..5 {
        let watch = crate::base::Stopwatch::start();
        let mut past = [crate::nn::PrefixCache::new(&model)];
        let normed = model.forward_cached(&tokens, &mut past).expect("runs");
        let logits = model.logits_of(normed.row(511)).expect("logits");
        let seconds = watch.seconds();
        println!("prefill of 512: {:.0} tokens/s", 512.0 / seconds);
        last = logits.into_vec();
        let watch = crate::base::Stopwatch::start();
        let one = TokenBatch::new(vec![1], 1).expect("whole");
        for _ in 0..8 {
            let normed = model.forward_cached(&one, &mut past).expect("runs");
            model.logits_of(normed.data()).expect("logits");
        }
        println!("one by one: {:.1} tokens/s", 8.0 / watch.seconds());
        let mut sixteen = vec![past[0].beginning(100); 16];
        let next = TokenBatch::new((1..=16).collect(), 1).expect("whole");
        let watch = crate::base::Stopwatch::start();
        for _ in 0..8 {
            let normed = model.forward_cached(&next, &mut sixteen).expect("runs");
            model.logits_of(normed.data()).expect("logits");
        }
        println!("sixteen at once: {:.0} tokens/s", 16.0 * 8.0 / watch.seconds());
    }
    assert!(last.iter().all(|logit| logit.is_finite()));
    let text: Vec<String> = last.iter().map(f32::to_string).collect();
    println!("logits after the last: [{}]", text.join(","));
}
