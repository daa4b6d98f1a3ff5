//! A subject and a text of our own making, small enough that a whole run takes a second or two: a
//! GPT-NeoX with random weights, a byte-level tokenizer whose pieces are words, and made-up sentences.

use std::path::{Path, PathBuf};

use autointerp::base::{Stream, write_atomic};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use tempfile::TempDir;

pub const WIDTH: usize = 16;
pub const LAYERS: usize = 2;
pub const CONTEXT: usize = 64;
const MLP: usize = 32;
const SEED: u64 = 11;

const WORDS: [&str; 36] = [
    "the", "a", "one", "old", "small", "red", "cold", "bright", "dog", "cat", "river", "stone", "house",
    "child", "bird", "garden", "saw", "found", "left", "heard", "held", "made", "took", "and", "but", "then",
    "so", "in", "near", "over", "under", "with", "slowly", "again", "today", "never",
];

/// Words that a planted model has a feature for, one per coordinate.
pub const PLANTED: [&str; WIDTH] = [
    "dog", "cat", "river", "stone", "house", "child", "bird", "garden", "saw", "found", "left", "heard",
    "held", "made", "took", "never",
];

/// What a speaking model says where a feature is on, one word per coordinate. None of them has a feature.
pub const SAID: [&str; WIDTH] = [
    "the", "a", "one", "old", "small", "red", "cold", "bright", "and", "but", "then", "so", "in", "near",
    "over", "under",
];

/// A folder that holds `model/`, `corpus.txt`, `suite.yaml` and whatever a test writes beside them.
pub struct Toy {
    folder: TempDir,
}

impl Toy {
    /// A valid subject, text and suite.
    pub fn new() -> Self {
        let toy = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        toy.write_model(&toy.path("model"), vocabulary().len(), &|_, _| {});
        toy.write("corpus.txt", &corpus(400));
        let suite = toy.suite_text();
        toy.write("suite.yaml", &suite);
        toy
    }

    /// The folder.
    pub fn home(&self) -> &Path {
        self.folder.path()
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A path in the folder, as an argument.
    pub fn arg(&self, name: &str) -> String {
        self.path(name).to_str().expect("a UTF-8 path").to_string()
    }

    /// Writes a file in the folder.
    pub fn write(&self, name: &str, text: &str) {
        write_atomic(&self.path(name), text.as_bytes()).expect("written");
    }

    /// As `new`, with a model in which coordinate `k` of the embedding is positive on the `k`-th word of
    /// [`PLANTED`] and negative on every other token: a feature whose explanation is known.
    pub fn planted() -> Self {
        let toy = Self::new();
        let vocabulary = vocabulary();
        toy.write_model(&toy.path("model"), vocabulary.len(), &|name, entries| {
            if name == "gpt_neox.embed_in.weight" {
                plant(entries, &vocabulary, &PLANTED, [3.0, -0.1]);
            }
        });
        toy
    }

    /// As `planted`, with blocks that add nothing, and an output that answers coordinate `k` with the `k`-th word of
    /// [`SAID`], and anything else with `again`: what each feature does is known, too.
    pub fn speaking() -> Self {
        let toy = Self::new();
        let vocabulary = vocabulary();
        toy.write_model(&toy.path("model"), vocabulary.len(), &|name, entries| match name {
            "gpt_neox.embed_in.weight" => plant(entries, &vocabulary, &PLANTED, [3.0, -0.1]),
            "gpt_neox.final_layer_norm.bias" => entries.fill(1.0),
            "embed_out.weight" => {
                plant(entries, &vocabulary, &SAID, [8.0, 0.0]);
                let again = vocabulary.iter().position(|piece| piece == "Ġagain").expect("a word");
                entries[again * WIDTH..][..WIDTH].fill(1.0);
            }
            name if name.contains("attention.dense") || name.contains("dense_4h_to_h") => entries.fill(0.0),
            _ => {}
        });
        toy
    }

    /// The suite: a trained dictionary, one that is not trained, a matched one, two explainers, both controls.
    pub fn suite_text(&self) -> String {
        format!(
            "name: toy
seed: 7
subject: {{model: {}}}
corpus: {{source: {}, fit_tokens: 8_000, ctx_tokens: {CONTEXT}, eval_fragments: 300}}
hooks: [blocks.1.hook_resid_post]
methods:
  - {{name: topk, kind: topk, expansion: 2, k: 4, steps: 60}}
  - {{kind: random}}
  - {{name: pca, kind: pca, variants: [fitted, topk], match: topk}}
features: {{per_cell: 4}}
pairs: [token_lookup_fit]
controls: [shuffled, {{random_weights: [topk]}}]
statistics: {{reference: topk, resamples: 200, permutations: 200}}
",
            self.arg("model"),
            self.arg("corpus.txt")
        )
    }

    /// Writes a model with `vocab` embeddings; `alter` may change a tensor's entries by its name.
    pub fn write_model(&self, folder: &Path, vocab: usize, alter: &dyn Fn(&str, &mut [f32])) {
        let config = json!({
            "model_type": "gpt_neox", "vocab_size": vocab, "hidden_size": WIDTH, "num_hidden_layers": LAYERS,
            "num_attention_heads": 2, "intermediate_size": MLP, "max_position_embeddings": CONTEXT,
            "hidden_act": "gelu", "layer_norm_eps": 1e-5, "use_parallel_residual": true, "rotary_pct": 0.5,
            "rotary_emb_base": 10000, "tie_word_embeddings": false
        });
        let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = shapes(vocab)
            .into_iter()
            .map(|(name, shape)| {
                let mut entries = weights(&name, shape.iter().product());
                alter(&name, &mut entries);
                let bytes = entries.iter().flat_map(|entry| entry.to_le_bytes()).collect();
                (name, shape, bytes)
            })
            .collect();
        let views = tensors.iter().map(|(name, shape, bytes)| {
            (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).expect("a tensor"))
        });
        let bytes = safetensors::serialize(views, None).expect("a file");
        write_atomic(&folder.join("model.safetensors"), &bytes).expect("written");
        write_atomic(&folder.join("config.json"), config.to_string().as_bytes()).expect("written");
        write_atomic(&folder.join("tokenizer.json"), tokenizer().to_string().as_bytes()).expect("written");
    }
}

/// Sets coordinate `k` of each token's row to `on` for the `k`-th of `words`, and to `off` for every other token.
fn plant(entries: &mut [f32], vocabulary: &[String], words: &[&str; WIDTH], [on, off]: [f32; 2]) {
    for (id, piece) in vocabulary.iter().enumerate() {
        let word = piece.strip_prefix('Ġ');
        for (place, planted) in words.iter().enumerate() {
            entries[id * WIDTH + place] = if word == Some(planted) { on } else { off };
        }
    }
}

fn shapes(vocab: usize) -> Vec<(String, Vec<usize>)> {
    let mut shapes = vec![
        ("gpt_neox.embed_in.weight".to_string(), vec![vocab, WIDTH]),
        ("embed_out.weight".to_string(), vec![vocab, WIDTH]),
        ("gpt_neox.final_layer_norm.weight".to_string(), vec![WIDTH]),
        ("gpt_neox.final_layer_norm.bias".to_string(), vec![WIDTH]),
    ];
    for layer in 0..LAYERS {
        let mut add = |name: &str, shape: &[usize]| {
            shapes.push((format!("gpt_neox.layers.{layer}.{name}"), shape.to_vec()));
        };
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            add(&format!("{norm}.weight"), &[WIDTH]);
            add(&format!("{norm}.bias"), &[WIDTH]);
        }
        for (name, rows, cols) in [
            ("attention.query_key_value", 3 * WIDTH, WIDTH),
            ("attention.dense", WIDTH, WIDTH),
            ("mlp.dense_h_to_4h", MLP, WIDTH),
            ("mlp.dense_4h_to_h", WIDTH, MLP),
        ] {
            add(&format!("{name}.weight"), &[rows, cols]);
            add(&format!("{name}.bias"), &[rows]);
        }
    }
    shapes
}

fn weights(name: &str, n: usize) -> Vec<f32> {
    if name.contains("norm") {
        return vec![if name.ends_with("weight") { 1.0 } else { 0.0 }; n];
    }
    let scale = if name.contains("embed") { 1.0 } else { 0.4 };
    let mut stream = Stream::named(SEED, &["toy", name]);
    (0..n).map(|_| scale * stream.normal() as f32).collect()
}

/// Pieces in the order of their ids, each longer one with the two that it is merged from.
fn pieces() -> Vec<(String, Option<(String, String)>)> {
    let mut pieces: Vec<(String, Option<(String, String)>)> = vec![("<|endoftext|>".into(), None)];
    pieces.extend(('!'..='~').chain(['Ġ', 'Ċ']).map(|c| (c.to_string(), None)));
    for word in WORDS {
        let mut built = "Ġ".to_string();
        for c in word.chars() {
            let longer = format!("{built}{c}");
            if !pieces.iter().any(|(piece, _)| *piece == longer) {
                pieces.push((longer.clone(), Some((built, c.to_string()))));
            }
            built = longer;
        }
    }
    pieces
}

/// Every piece, by id.
pub fn vocabulary() -> Vec<String> {
    pieces().into_iter().map(|(piece, _)| piece).collect()
}

/// The tokenizer of those pieces.
pub fn tokenizer() -> Value {
    let pieces = pieces();
    let vocab: serde_json::Map<String, Value> =
        pieces.iter().enumerate().map(|(id, (piece, _))| (piece.clone(), id.into())).collect();
    let merges: Vec<[&String; 2]> =
        pieces.iter().filter_map(|(_, parts)| parts.as_ref().map(|(a, b)| [a, b])).collect();
    let bytes =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": [{"id": 0, "content": "<|endoftext|>", "single_word": false, "lstrip": false,
                          "rstrip": false, "normalized": false, "special": true}],
        "pre_tokenizer": bytes, "decoder": bytes,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
                  "vocab": vocab, "merges": merges}
    })
}

/// Documents of about 160 words.
pub fn corpus(documents: usize) -> String {
    let mut stream = Stream::named(SEED, &["toy", "corpus"]);
    let mut text = String::new();
    for _ in 0..documents {
        for _ in 0..20 {
            for _ in 0..8 {
                text.push(' ');
                text.push_str(WORDS[stream.below(WORDS.len())]);
            }
            text.push('.');
        }
        text.push_str("\n<|endoftext|>\n");
    }
    text
}
