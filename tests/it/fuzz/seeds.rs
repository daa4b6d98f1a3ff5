//! Seeds: whole inputs of each target, which are changed. Some are fixtures, the others are made on the spot.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use candle_core::quantized::gguf_file::{self, Value as Setting};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use flate2::Compression;
use flate2::write::GzEncoder;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use super::mutator::{Form, packed};
use super::written::{Pickler, deflated, npy, stored, torch, zip};
use crate::program::call;
use crate::toy::{self, Toy};

/// What a target is given.
pub struct Seeds {
    pub form: Form,
    pub inputs: Vec<Vec<u8>>,
    pub words: &'static [&'static str],
}

/// The seeds of a target.
pub fn of(target: &str) -> Seeds {
    use Form::{Bytes, Files, Headed, Json, Text, Yaml};
    let (form, inputs, words): (Form, Vec<Vec<u8>>, &'static [&'static str]) = match target {
        "arrow" => (Bytes, arrow(), &["token_ids", "blocks.1.hook_resid_post", "ARROW1\0\0"]),
        "config" => (Json, configs().into_iter().map(|(_, config)| text(&config)).collect(), CONFIG_WORDS),
        "corpus" => (Files, corpora(), &["text", "<|endoftext|>", "\r\n", "\u{feff}", "\\ud800"]),
        "dictionary" => (Files, dictionaries(), DICTIONARY_WORDS),
        "endpoint" => (Json, answers(), ANSWER_WORDS),
        "gate" => (
            Files,
            vec![run_folder(&["summary.json", "manifest.json", "scores.jsonl", "accepted.json"])],
            RESULT_WORDS,
        ),
        "gguf" => (Bytes, vec![gguf(&[]), gguf(&[("general.alignment", Setting::U32(64))])], GGUF_WORDS),
        "model" => (Files, models(), CONFIG_WORDS),
        "names" => (Text, lines(NAMES), &["*", "{", "}", ",", "..", "hub:", "\u{202e}", "\u{1b}[31m"]),
        "npz" => (Bytes, npz(), &["PK\x03\x04", "\u{93}NUMPY", "'<f4'", "False", "("]),
        "own_dictionary" => (Files, own_dictionaries(), DICTIONARY_WORDS),
        "replies" => (Json, replies(), REPLY_WORDS),
        "report" => (Files, vec![run_folder(&[""])], RESULT_WORDS),
        "safetensors" => {
            (Headed, safetensors(), &["F8_E4M3", "__metadata__", "dtype", "shape", "data_offsets", "F4"])
        }
        "set" => (Text, lines(OVERRIDES), &["=", "[", "]", ".", "features", "methods", "{", ": "]),
        "suite" => (Yaml, suites(), SUITE_WORDS),
        "template" => (Text, templates(), TEMPLATE_WORDS),
        "tokenizer" => (Json, tokenizers(), TOKENIZER_WORDS),
        "torch" => (Bytes, torches(), &["FloatStorage", "torch._utils", "OrderedDict", "cpu", "storage"]),
        other => panic!("`{other}` has no seeds"),
    };
    Seeds { form, inputs, words }
}

const CONFIG_WORDS: &[&str] = &[
    "model_type",
    "num_hidden_layers",
    "n_layer",
    "hidden_size",
    "head_dim",
    "rope_scaling",
    "rope_parameters",
    "yarn",
    "llama3",
    "longrope",
    "text_config",
    "sliding_window",
    "layer_types",
    "vocab_size",
    "gelu",
    "qwen3_moe",
];
const DICTIONARY_WORDS: &[&str] = &[
    "d_in",
    "d_sae",
    "architecture",
    "topk",
    "jumprelu",
    "gated",
    "k",
    "hook_name",
    "normalize_activations",
    "expected_average_only_in",
    "W_enc",
    "blocks.1.hook_resid_post",
    "layers.1",
    "activation_fn_kwargs",
    "dtype",
];
const ANSWER_WORDS: &[&str] = &[
    "choices",
    "message",
    "content",
    "logprobs",
    "top_logprobs",
    "usage",
    "error",
    "finish_reason",
    "length",
    "object",
];
const RESULT_WORDS: &[&str] = &[
    "cells", "method", "scorer", "control", "mean", "low", "high", "seed", "<script>", "../x", "feature",
    "status",
];
const REPLY_WORDS: &[&str] = &[
    "activations",
    "verdicts",
    "explanation",
    "{\"",
    "```",
    "<think>",
    "</think>",
    "chat",
    "prompt",
    "10",
    "[1, 0, 1]",
];
const SUITE_WORDS: &[&str] = &[
    "subject",
    "methods",
    "kind",
    "topk",
    "sae",
    "expansion",
    "k",
    "steps",
    "sweep",
    "use",
    "features",
    "per_cell",
    "resamples",
    "controls",
    "hooks",
    "explainer",
    "simulator",
    "llm",
    "baselines/pca.yaml",
    "limits",
    "corpus",
    "extra",
];
const TOKENIZER_WORDS: &[&str] = &[
    "BPE",
    "Unigram",
    "WordPiece",
    "WordLevel",
    "vocab",
    "merges",
    "unk_token",
    "ByteLevel",
    "Precompiled",
    "Replace",
    "Regex",
    "(a+)+$",
    "Prepend",
    "TemplateProcessing",
    "Strip",
    "unk_id",
    "id",
    "special",
    "Split",
    "NFKC",
    "Ġ",
    "",
];
const GGUF_WORDS: &[&str] = &[
    "llama",
    "gemma2",
    "tokenizer.ggml.model",
    "rope.scaling.type",
    "yarn",
    "split.count",
    "general.alignment",
    "gpt2",
];
const TEMPLATE_WORDS: &[&str] = &[
    "{% for m in messages %}",
    "{% endfor %}",
    "{{ ",
    " }}",
    "{% if ",
    "{% endif %}",
    " * 1000000",
    " ~ ",
    "range(10)",
    "| join",
    "| tojson(indent=99)",
    "[0]",
    ".content",
    "%}",
    "{% set x = x ~ x %}",
    "((((((((",
    "| replace('a', 'aa')",
    ".split('a')",
    "['a'] * 9999",
    "%999999999d",
    "| format(1)",
    "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
    "-1:",
];

const NAMES: &str = "blocks.1.hook_resid_post\nblocks.*.hook_mlp_out\nblocks.{0,2}.attn.hook_z\nhook_embed\n\
    hub:owner/name/folder/inner@main\nlayers.3\n../../x\nblocks.99999999999.hook_resid_pre\n| a\tb |";
const OVERRIDES: &str = "features.per_cell=5\nmethods[0].k=4\nseed=1\nfeatures={per_cell: 4}\nstatistics.resamples=100\n\
    subject.model=x\nhooks=[blocks.0.hook_resid_post]\nmethods[9999999999].k=1\n.=\n[0]=a";

fn text(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn lines(texts: &str) -> Vec<Vec<u8>> {
    texts.lines().map(|line| line.as_bytes().to_vec()).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> Vec<u8> {
    fs::read(root().join(path)).expect("a file of the project")
}

fn floats(count: usize) -> Vec<u8> {
    (0..count).flat_map(|nth| (nth as f32 * 0.25 - 1.0).to_le_bytes()).collect()
}

/// A safetensors file of tensors of floats.
fn tensors(tensors: &[(&str, &[usize])]) -> Vec<u8> {
    let data: Vec<Vec<u8>> = tensors.iter().map(|(_, shape)| floats(shape.iter().product())).collect();
    let view = |((name, shape), bytes): (&(&str, &[usize]), &Vec<u8>)| {
        let bytes = bytes.clone().leak();
        (name.to_string(), TensorView::new(Dtype::F32, shape.to_vec(), bytes).expect("a tensor"))
    };
    safetensors::serialize(tensors.iter().zip(&data).map(view), None).expect("a file")
}

fn arrow() -> Vec<Vec<u8>> {
    let folder = "tests/fixtures/cached_activations";
    let names = ["other_types.arrow", "compressed.arrow", "whole/data-00000-of-00002.arrow"];
    names.iter().map(|name| read(&format!("{folder}/{name}"))).collect()
}

/// Configurations with the files of their weights.
fn configs() -> Vec<(String, Value)> {
    let json = |path: &str| -> Value { serde_json::from_slice(&read(path)).expect("JSON") };
    let folder = |name: &str| {
        (
            format!("tests/fixtures/{name}/model.safetensors"),
            json(&format!("tests/fixtures/{name}/config.json")),
        )
    };
    let mut all: Vec<(String, Value)> = ["gpt2", "gpt_neox", "llama"].into_iter().map(folder).collect();
    for file in ["variants.json", "variants.v5.json"] {
        let variants = json(&format!("tests/fixtures/variants/{file}"));
        for (name, config) in variants.as_object().expect("an object") {
            all.push((format!("tests/fixtures/variants/{name}.safetensors"), config.clone()));
        }
    }
    all
}

fn models() -> Vec<Vec<u8>> {
    let tokenizer = text(&toy::tokenizer());
    let model = |(file, config): &(String, Value)| {
        let weights = fs::read(root().join(file)).ok().filter(|bytes| bytes.len() < 40_000)?;
        Some(packed(&[
            ("config.json", &text(config)),
            ("model.safetensors", &weights),
            ("tokenizer.json", &tokenizer),
        ]))
    };
    configs().iter().filter_map(model).collect()
}

fn corpora() -> Vec<Vec<u8>> {
    let lines = "{\"text\": \"one two three\", \"n\": 1}\n{\"text\": \"four five six seven eight nine\"}\n"
        .repeat(12);
    let plain =
        "one two three four\nfive six seven\n<|endoftext|>\neight nine ten eleven\n\ntwelve\n".repeat(6);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(lines.as_bytes()).expect("memory");
    let gzip = gzip.finish().expect("memory");
    let zstd =
        ruzstd::encoding::compress_to_vec(plain.as_bytes(), ruzstd::encoding::CompressionLevel::Fastest);
    vec![
        packed(&[("a.jsonl", lines.as_bytes())]),
        packed(&[("a.txt", plain.as_bytes())]),
        packed(&[("a.jsonl.gz", &gzip)]),
        packed(&[("a.txt.zst", &zstd)]),
        packed(&[
            ("a.json", b"[{\"text\": \"one two\"}, {\"text\": \"three\"}]"),
            ("b.csv", b"text,n\none,1\n"),
        ]),
    ]
}

fn dictionaries() -> Vec<Vec<u8>> {
    let saelens = json!({"d_in": 3, "d_sae": 5, "architecture": "topk", "k": 2, "hook_name": "blocks.1.hook_resid_post",
        "normalize_activations": "none", "apply_b_dec_to_input": true, "dtype": "float32", "model_name": "m",
        "metadata": {"hook_name": "blocks.1.hook_resid_post", "sae_lens_version": "6.0.0"}});
    let matrices: [(&str, &[usize]); 4] =
        [("W_enc", &[3, 5]), ("W_dec", &[5, 3]), ("b_dec", &[3]), ("b_enc", &[5])];
    let sparsify =
        json!({"expansion_factor": 2, "normalize_decoder": true, "num_latents": 5, "k": 2, "d_in": 3});
    let sparse: [(&str, &[usize]); 4] =
        [("encoder.weight", &[5, 3]), ("encoder.bias", &[5]), ("W_dec", &[5, 3]), ("b_dec", &[3])];
    let shaped = |dims: &[usize]| {
        let dims = dims.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        format!("({dims},)")
    };
    let arrays: Vec<_> = matrices
        .iter()
        .chain([&("threshold", &[5usize][..])])
        .map(|(name, dims)| {
            let array = npy(1, "'<f4'", "False", &shaped(dims), &floats(dims.iter().product()));
            stored(&format!("{name}.npy"), &array)
        })
        .collect();
    let trainer = json!({"trainer": {"dict_class": "AutoEncoderTopK", "k": 2, "activation_dim": 3, "dict_size": 5,
        "layer": 1, "lm_name": "m", "submodule_name": "resid_post_layer_1"}, "buffer": {"d_submodule": 3}});
    let weights = torch_of(&sparse.map(|(name, dims)| match name {
        "W_dec" => ("decoder.weight", &[3usize, 5][..]),
        name => (name, dims),
    }));
    vec![
        packed(&[("cfg.json", &text(&saelens)), ("sae_weights.safetensors", &tensors(&matrices))]),
        packed(&[("cfg.json", &text(&sparsify)), ("sae.safetensors", &tensors(&sparse))]),
        packed(&[("params.npz", &zip(&arrays, false))]),
        packed(&[("config.json", &text(&trainer)), ("ae.pt", &weights)]),
    ]
}

/// A torch file with tensors of floats.
fn torch_of(tensors: &[(&str, &[usize])]) -> Vec<u8> {
    let mut pickler = Pickler::new();
    pickler.op(b"}(");
    let mut storages = Vec::new();
    for (nth, (name, dims)) in tensors.iter().enumerate() {
        let count: usize = dims.iter().product();
        let strides: Vec<usize> = (0..dims.len()).map(|at| dims[at + 1..].iter().product()).collect();
        let key = nth.to_string();
        pickler.text(name).tensor(("FloatStorage", &key, count), 0, dims, &strides);
        storages.push((key, floats(count)));
    }
    let pickle = pickler.op(b"u").stop();
    let storages: Vec<(&str, &[u8])> =
        storages.iter().map(|(key, bytes)| (key.as_str(), bytes.as_slice())).collect();
    torch(&pickle, &storages)
}

fn torches() -> Vec<Vec<u8>> {
    let mut pickler = Pickler::new();
    pickler.op(b"}(").text("k").int(8).text("kw").op(b"}(").text("act").text("relu").text("list");
    let pickle = pickler.op(b"](K\x01Neu").text("_metadata").op(b"}u").stop();
    let entries = [deflated("a/data.pkl", &pickle), stored("a/version", b"3\n")];
    vec![torch_of(&[("W", &[2, 3]), ("b", &[3])]), zip(&entries, true)]
}

fn npz() -> Vec<Vec<u8>> {
    let arrays = [
        npy(1, "'<f4'", "False", "(3, 4)", &floats(12)),
        npy(2, "'<f2'", "True", "(2, 2)", &[0, 60].repeat(4)),
        npy(3, "'<i8'", "False", "()", &7_i64.to_le_bytes()),
    ];
    let entries = |pack: fn(&str, &[u8]) -> super::written::Entry| -> Vec<_> {
        arrays.iter().enumerate().map(|(at, array)| pack(&format!("{at}.npy"), array)).collect()
    };
    vec![zip(&entries(stored), false), zip(&entries(deflated), true)]
}

fn safetensors() -> Vec<Vec<u8>> {
    let bytes = floats(12);
    let view = |dtype, shape: &[usize], length: usize| {
        TensorView::new(dtype, shape.to_vec(), &bytes[..length]).expect("view")
    };
    let views = [
        ("W", view(Dtype::F32, &[3, 4], 48)),
        ("h", view(Dtype::BF16, &[2, 2], 8)),
        ("n", view(Dtype::I32, &[], 4)),
        ("e", view(Dtype::F8_E4M3, &[4], 4)),
        ("blocks.1.hook_resid_post", view(Dtype::F16, &[1, 2, 3], 12)),
        ("token_ids", view(Dtype::I64, &[1, 2], 16)),
    ];
    let metadata = [("autointerp".to_string(), "{}".to_string())].into();
    vec![
        safetensors::serialize(views, Some(metadata)).expect("a file"),
        read("tests/fixtures/gpt2/model.safetensors"),
    ]
}

/// A GGUF file of a small Llama.
fn gguf(more: &[(&str, Setting)]) -> Vec<u8> {
    let text = |text: &str| Setting::String(text.into());
    let piece = |byte: u32| {
        let shown = if (33..127).contains(&byte) { byte } else { 256 + byte };
        text(&char::from_u32(shown).expect("a character").to_string())
    };
    let mut pieces: Vec<Setting> = (0..256).map(piece).collect();
    pieces.extend(["<|begin|>", "<|end|>", "he"].map(text));
    let kinds =
        (0..pieces.len()).map(|id| Setting::I32(if (256..258).contains(&id) { 3 } else { 1 })).collect();
    let mut settings = vec![
        ("general.architecture", text("llama")),
        ("llama.block_count", Setting::U32(1)),
        ("llama.context_length", Setting::U32(64)),
        ("llama.embedding_length", Setting::U32(8)),
        ("llama.feed_forward_length", Setting::U32(16)),
        ("llama.attention.head_count", Setting::U32(2)),
        ("llama.attention.head_count_kv", Setting::U32(1)),
        ("llama.attention.layer_norm_rms_epsilon", Setting::F32(1e-5)),
        ("llama.rope.freq_base", Setting::F32(10_000.0)),
        ("llama.rope.dimension_count", Setting::U32(4)),
        ("llama.rope.scaling.type", text("linear")),
        ("llama.rope.scaling.factor", Setting::F32(2.0)),
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.pre", text("gpt-2")),
        ("tokenizer.ggml.tokens", Setting::Array(pieces)),
        ("tokenizer.ggml.token_type", Setting::Array(kinds)),
        ("tokenizer.ggml.merges", Setting::Array(vec![text("h e")])),
        ("tokenizer.ggml.bos_token_id", Setting::U32(256)),
        ("tokenizer.ggml.eos_token_id", Setting::U32(257)),
        ("tokenizer.chat_template", text("{{ messages[0].content }}")),
    ];
    settings.extend(more.iter().cloned());
    let shapes: [(&str, &[usize]); 11] = [
        ("token_embd.weight", &[259, 8]),
        ("output_norm.weight", &[8]),
        ("blk.0.attn_norm.weight", &[8]),
        ("blk.0.ffn_norm.weight", &[8]),
        ("blk.0.attn_q.weight", &[8, 8]),
        ("blk.0.attn_k.weight", &[4, 8]),
        ("blk.0.attn_v.weight", &[4, 8]),
        ("blk.0.attn_output.weight", &[8, 8]),
        ("blk.0.ffn_gate.weight", &[16, 8]),
        ("blk.0.ffn_up.weight", &[16, 8]),
        ("blk.0.ffn_down.weight", &[8, 16]),
    ];
    let tensors: Vec<(&str, QTensor)> = shapes
        .iter()
        .map(|(name, shape)| {
            let tensor = Tensor::full(0.125f32, *shape, &Device::Cpu).expect("filled");
            (*name, QTensor::quantize(&tensor, GgmlDType::F32).expect("as it is"))
        })
        .collect();
    let settings: Vec<(&str, &Setting)> = settings.iter().map(|(key, value)| (*key, value)).collect();
    let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, tensor)| (*name, tensor)).collect();
    let mut file = std::io::Cursor::new(Vec::new());
    gguf_file::write(&mut file, &settings, &tensors).expect("written");
    file.into_inner()
}

fn suites() -> Vec<Vec<u8>> {
    let names = [
        "smoke",
        "residual",
        "mlp",
        "attention",
        "api",
        "local-model",
        "paper-residual",
        "real-model",
        "sweep",
    ];
    names.iter().map(|name| read(&format!("suites/{name}.yaml"))).collect()
}

fn tokenizers() -> Vec<Vec<u8>> {
    let changed = |pointer: &str, value: Value| {
        let mut tokenizer = json!({
            "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "pre_tokenizer": null,
            "post_processor": null, "decoder": null,
            "added_tokens": [{"id": 0, "content": "<s>", "special": true, "single_word": false, "lstrip": false,
                              "rstrip": true, "normalized": false}],
            "model": {"type": "BPE", "byte_fallback": true, "unk_token": "a", "merges": [["▁", "a"], ["b", "a"]],
                      "vocab": {"<s>": 0, "<0xC3>": 1, "<0xA9>": 2, "▁": 3, "a": 4, "▁a": 5, "b": 6, "ba": 7}}
        });
        *tokenizer.pointer_mut(pointer).expect("a field") = value;
        text(&tokenizer)
    };
    let template = json!({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}}], "pair": [{"Sequence": {"id": "A", "type_id": 0}},
        {"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}});
    let charsmap = json!({"type": "Precompiled", "precompiled_charsmap": "BAAAAAAAAAA="});
    let normalizers = json!({"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"},
        {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        {"type": "Replace", "pattern": {"Regex": "a+b?"}, "content": "aa"}, {"type": "StripAccents"},
        {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
         "lowercase": true}, {"type": "Strip", "strip_left": true, "strip_right": true}]});
    let splits = json!({"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}, {"type": "Digits",
        "individual_digits": true}, {"type": "Split", "pattern": {"Regex": "\\p{L}+|\\s(?!\\S)"}, "behavior": "Isolated",
        "invert": false}, {"type": "Punctuation", "behavior": "Isolated"}, {"type": "Metaspace", "replacement": "▁",
        "prepend_scheme": "always", "split": true}, {"type": "FixedLength", "length": 3}]});
    let decoders = json!({"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        {"type": "WordPiece", "prefix": "##", "cleanup": true}, {"type": "CTC", "pad_token": "<pad>",
        "word_delimiter_token": "|", "cleanup": true}]});
    let unigram = json!({"type": "Unigram", "unk_id": 0, "byte_fallback": false,
        "vocab": [["<unk>", 0.0], ["▁", -1.5], ["a", -2.0], ["ab", -2.5]]});
    let pieces = json!({"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100, "vocab": {"[UNK]": 0, "a": 1, "##b": 2}});
    let words = json!({"type": "WordLevel", "unk_token": "<unk>", "vocab": {"<unk>": 0, "a": 1}});
    vec![
        text(&toy::tokenizer()),
        changed("/post_processor", template),
        changed("/normalizer", charsmap),
        changed("/normalizer", normalizers),
        changed("/pre_tokenizer", splits),
        changed("/decoder", decoders),
        changed("/model", unigram),
        changed("/model", pieces),
        changed("/model", words),
    ]
}

fn templates() -> Vec<Vec<u8>> {
    let texts = [
        "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}{{ raise_exception('no') }}\
         {% endif %}{{ '<|' ~ message.role ~ '|>\n' ~ message.content | trim }}{% endfor %}{% if add_generation_prompt %}\
         {{ '<|assistant|>\n' }}{% endif %}",
        "{%- set ns = namespace(n=0) -%}\n{%- for m in messages[1:] -%}\n{%- set ns.n = ns.n + 1 -%}\n{{ ns.n }}: \
         {{ m.content.strip().split('\\n')[0].upper() }}\n{%- generation -%}x{%- endgeneration -%}\n{%- endfor -%}",
        "{% macro turn(m, deep=0) %}{{ m | tojson(indent=2) }}{% endmacro %}\n{% for m in messages %}\
         {{ turn(m) }}{{ loop.index0 * 2 }}{{ '%s-%d' | format('a', 3) }}{% endfor %}{{ strftime_now('%d %b %Y') }}",
        "{{ messages | map(attribute='content') | join('\\n') | replace('a', 'bb') }}{{ 'ab' * 3 }}{{ range(5) | list }}\
         {{ [1, 2] + [3] }}{{ {'a': {'b': 1}}.a.b }}{{ 'x'.join(['1', '2']) }}{{ 'a b'.title() }}",
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn replies() -> Vec<Vec<u8>> {
    let said = |chat: &str, prompt: Value| {
        let choice = |c: char| json!({"token": c.to_string(), "logprob": -0.25, "top": [[c.to_string(), -0.25], ["3", -2.0]]});
        let logprobs: Vec<Value> = chat.chars().map(choice).collect();
        let chat =
            json!({"text": chat, "finish": "stop", "tokens_in": 3, "tokens_out": 4, "logprobs": logprobs});
        text(&json!({"chat": chat, "prompt": prompt}))
    };
    let token = |token: &str| json!({"token": token, "logprob": -1.0, "top": [["unknown", -1.0], ["7", -1.5], ["1", -2.0]]});
    let told = json!({"tokens": [token("a"), token("\n"), token("\" the\""), token("\t"), token("unknown"), token("\n")],
        "tokens_in": 6});
    let level = [Some(-1.0); 11];
    let slots = json!({"tokens": [], "tokens_in": 6, "slots": [level, level, level]});
    vec![
        said("{\"activations\": {\"0\": 3, \"1\": 10, \"2\": \"0\"}}", told.clone()),
        said("<think>so</think>\n```json\n{\"verdicts\": [1, 0, 1.0],}\n```", slots),
        said("Explanation: **names of rivers**", told.clone()),
        said("{\"explanation\": \"names of rivers\"}<|im_end|>", told.clone()),
        said("7", told),
        b"Sure:\n[1, 0, 1]".to_vec(),
        b"I'm sorry, but I can't help with that.".to_vec(),
    ]
}

fn answers() -> Vec<Vec<u8>> {
    let tops = json!([{"token": "a", "logprob": -0.1, "bytes": [97], "top_logprobs": [{"token": "a", "logprob": -0.1}]}]);
    let usage = json!({"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6});
    let columns = json!({"tokens": ["a", " b"], "token_logprobs": [null, -1.0], "top_logprobs": [null, {" b": -1.0}],
        "text_offset": [0, 1]});
    let candidates = json!([null, {"5": {"logprob": -1.0, "decoded_token": " b", "rank": 1},
        "6": {"logprob": -2.0, "decoded_token": "c"}}]);
    [
        json!({"choices": [{"index": 0, "message": {"role": "assistant", "content": "yes", "refusal": null,
            "tool_calls": null}, "finish_reason": "stop", "logprobs": {"content": tops}}], "usage": usage}),
        json!({"choices": [{"index": 0, "text": "a b", "finish_reason": "length", "logprobs": columns,
            "prompt_logprobs": candidates, "prompt_token_ids": [1, 5]}], "usage": usage}),
        json!({"content": [{"type": "text", "text": "yes"}, {"type": "tool_use", "input": {"a": 1}}],
            "stop_reason": "end_turn", "usage": {"input_tokens": 3, "output_tokens": 1, "cache_read_input_tokens": 0}}),
        json!({"error": {"message": "max_tokens is not supported, use max_completion_tokens", "type": "invalid_request",
            "code": 400, "param": "max_tokens"}}),
        json!({"object": "error", "message": "Rate limit reached. Please try again in 2s.", "code": 429}),
    ]
    .iter()
    .map(text)
    .collect()
}

type Files = Vec<(String, Vec<u8>)>;

fn borrowed(files: &[(String, Vec<u8>)]) -> Vec<(&str, &[u8])> {
    files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect()
}

/// The files below a folder of [`finished`], under their names in it.
fn below(folder: &str) -> Files {
    let inside =
        |(name, bytes): &(String, Vec<u8>)| Some((name.strip_prefix(folder)?.to_string(), bytes.clone()));
    finished().iter().filter_map(inside).collect()
}

/// Parts of a run folder that are made from the others.
const RENDERED: [&str; 8] = [
    "charts",
    "features",
    "index.html",
    "table",
    "quality.csv",
    "differences.csv",
    "specificity.csv",
    "dictionaries",
];

/// A finished run of a small suite: the files whose names begin so, and the file of runs that the gate accepted.
fn run_folder(wanted: &[&str]) -> Vec<u8> {
    let begins = |name: &str, starts: &[&str]| starts.iter().any(|start| name.starts_with(start));
    let mut files = below("run1/");
    files.retain(|(name, bytes)| begins(name, wanted) && !begins(name, &RENDERED) && bytes.len() < 200_000);
    assert!(files.iter().any(|(name, _)| name == "summary.json"), "no summary");
    files.extend(
        finished().iter().filter(|(name, _)| name == "accepted.json" && begins(name, wanted)).cloned(),
    );
    packed(&borrowed(&files))
}

/// The files of reseeded runs of a suite with few features, and what the gate accepted of them.
fn finished() -> &'static Files {
    static FILES: OnceLock<Files> = OnceLock::new();
    FILES.get_or_init(|| {
        let toy = Toy::new();
        let suite = toy
            .suite_text()
            .replace("per_cell: 4", "per_cell: 2")
            .replace("eval_fragments: 300", "eval_fragments: 200")
            .replace("steps: 60", "steps: 20");
        toy.write("suite.yaml", &suite);
        let (suite, accepted) = (toy.arg("suite.yaml"), toy.arg("accepted.json"));
        // As many runs as the gate needs.
        let seeds = ["1", "2", "3", "4", "5"];
        let runs = seeds.map(|seed| toy.arg(&format!("run{seed}")));
        for (run, seed) in runs.iter().zip(seeds) {
            call(toy.home(), &["run", &suite, "--out", run, "--quiet", "--seed", seed]).ok();
        }
        let runs = runs.iter().map(String::as_str);
        let accept: Vec<&str> = ["accept"].into_iter().chain(runs).chain(["--into", &accepted]).collect();
        call(toy.home(), &accept).ok();
        let mut files = Vec::new();
        collect(toy.home(), toy.home(), &mut files);
        files
    })
}

fn own_dictionaries() -> Vec<Vec<u8>> {
    const NAME: &str = "dictionary.safetensors";
    let folders = finished().iter().filter_map(|(name, _)| name.strip_suffix(NAME));
    let seed = |folder: &str| {
        let mut files = below(folder);
        files.retain(|(name, _)| !name.contains('/'));
        packed(&borrowed(&files))
    };
    let seeds: Vec<Vec<u8>> = folders.map(seed).filter(|seed| seed.len() < 60_000).take(4).collect();
    assert!(!seeds.is_empty(), "no dictionary among {} files", finished().len());
    seeds
}

/// The files of a folder and of those in it, in the order of their paths.
fn collect(folder: &Path, below: &Path, files: &mut Files) {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            collect(&path, below, files);
        } else if let (Ok(bytes), Ok(inside)) = (fs::read(&path), path.strip_prefix(below)) {
            files.push((inside.to_string_lossy().replace('\\', "/"), bytes));
        }
    }
}
