//! Models in one GGUF file.
//!
//! In: a file. Out: the configuration and the names that Hugging Face folders have, matrices in the numbers they
//! are stored in, the tokenizer and the chat template.
//!
//! Sources: the format's description and, for names and for what its writers change about weights, llama.cpp's
//! `convert_hf_to_gguf.py`; checked by reading files written from the families' reference folders, and against the
//! quantised models of candle-transformers.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::{Content, TensorInfo, Value};
use candle_core::{Device, Tensor};
use serde_json::{Map, json};

use super::packed::{Encoding, Packed};
use super::{Config, Family, NnError, Tokenizer, Weights};
use crate::base::{Digester, FileError};

/// What a file holds.
#[derive(Debug)]
pub struct Gguf {
    /// As a `config.json` would have it.
    pub config: Config,
    /// Matrices stay as they are stored.
    pub weights: Weights,
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// The template for conversations, if there is one.
    pub chat_template: Option<String>,
    /// Texts of the tokens that begin and end a text, where the file names them.
    pub bos: Option<String>,
    /// See `bos`.
    pub eos: Option<String>,
}

/// Names of a family's metadata, and the families they stand for.
const ARCHITECTURES: [(&str, Family); 7] = [
    ("llama", Family::Llama),
    ("qwen2", Family::Qwen2),
    ("qwen3", Family::Qwen3),
    ("gemma2", Family::Gemma2),
    ("gemma3", Family::Gemma3),
    ("phi3", Family::Phi3),
    ("olmo2", Family::Olmo2),
];

impl Gguf {
    /// Reads a file. A `tokenizer.json` beside it is taken instead of its own tokenizer.
    ///
    /// Fails where it is cut short or corrupt, of another family, or holds numbers of a form that is not read.
    pub fn open(path: &Path) -> Result<Self, NnError> {
        let name = path.display().to_string();
        let (mut reader, content) = opened(path, &name)?;
        let header = Header { file: &name, metadata: &content.metadata };
        let family = header.family()?;
        let factors = match content.tensor_infos.get("rope_freqs.weight") {
            Some(info) => Some(entries(&mut reader, &content, info, &name)?),
            None => None,
        };
        let config = header.config(family, &content.tensor_infos, factors)?;
        let weights = read_weights(&mut reader, &content, &name, family, &config)?;
        let tokenizer = tokenizer(path, &header)?;
        let piece = |key: &str| {
            let id = header.number(key)?;
            Some(String::from_utf8_lossy(tokenizer.bytes_of(id as u32)).into_owned())
        };
        let (bos, eos) = (piece("tokenizer.ggml.bos_token_id"), piece("tokenizer.ggml.eos_token_id"));
        let chat_template = header.text("tokenizer.chat_template").map(str::to_string);
        Ok(Self { config, weights, tokenizer, chat_template, bos, eos })
    }
}

/// Whether a path is that of a GGUF file, by its ending.
pub fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
}

/// How many numbers the weights of a file are, whatever they are stored as.
pub fn gguf_weight_count(path: &Path) -> Result<u64, NnError> {
    let (_, content) = opened(path, &path.display().to_string())?;
    Ok(content.tensor_infos.values().map(|info| info.shape.elem_count() as u64).sum())
}

/// The tokenizer of a file, without its weights.
pub fn gguf_tokenizer(path: &Path) -> Result<Tokenizer, NnError> {
    let name = path.display().to_string();
    let (_, content) = opened(path, &name)?;
    tokenizer(path, &Header { file: &name, metadata: &content.metadata })
}

fn opened(path: &Path, name: &str) -> Result<(BufReader<File>, Content), NnError> {
    let failed = |source| FileError { action: "read", path: path.to_path_buf(), source };
    let mut reader = BufReader::new(File::open(path).map_err(failed)?);
    let content = Content::read(&mut reader).map_err(|error| corrupt(name, &first_line(&error)))?;
    Ok((reader, content))
}

fn tokenizer(path: &Path, header: &Header<'_>) -> Result<Tokenizer, NnError> {
    let beside = path.with_file_name("tokenizer.json");
    if beside.is_file() { Tokenizer::from_file(&beside) } else { header.tokenizer() }
}

fn corrupt(file: &str, reason: &str) -> NnError {
    NnError::Corrupt { file: file.to_string(), reason: reason.to_string() }
}

/// An error without the stack that may follow it.
fn first_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_string()
}

struct Header<'a> {
    file: &'a str,
    metadata: &'a HashMap<String, Value>,
}

impl Header<'_> {
    fn text(&self, key: &str) -> Option<&str> {
        self.metadata.get(key)?.to_string().ok().map(String::as_str)
    }

    fn number(&self, key: &str) -> Option<f64> {
        Some(match self.metadata.get(key)? {
            Value::U8(x) => f64::from(*x),
            Value::I8(x) => f64::from(*x),
            Value::U16(x) => f64::from(*x),
            Value::I16(x) => f64::from(*x),
            Value::U32(x) => f64::from(*x),
            Value::I32(x) => f64::from(*x),
            Value::U64(x) => *x as f64,
            Value::I64(x) => *x as f64,
            Value::F32(x) => f64::from(*x),
            Value::F64(x) => *x,
            _ => return None,
        })
    }

    fn flag(&self, key: &str) -> Option<bool> {
        self.metadata.get(key)?.to_bool().ok()
    }

    fn list(&self, key: &str) -> Option<&Vec<Value>> {
        self.metadata.get(key)?.to_vec().ok()
    }

    fn architecture(&self) -> &str {
        self.text("general.architecture").unwrap_or("nothing")
    }

    fn family(&self) -> Result<Family, NnError> {
        let got = self.architecture();
        let known = ARCHITECTURES.iter().find(|(name, _)| *name == got).map(|(_, family)| *family);
        known.ok_or_else(|| NnError::UnsupportedFamily {
            file: format!("{}: general.architecture", self.file),
            got: got.to_string(),
            supported: ARCHITECTURES.map(|(name, _)| format!("`{name}`")).join(", "),
        })
    }

    /// The metadata under the names that `config.json` has for them.
    fn config(
        &self,
        family: Family,
        tensors: &HashMap<String, TensorInfo>,
        factors: Option<Vec<f32>>,
    ) -> Result<Config, NnError> {
        let prefix = self.architecture();
        let of = |key: &str| self.number(&format!("{prefix}.{key}"));
        let mut fields = Map::new();
        fields.insert("model_type".into(), family.model_type().into());
        for (field, key) in [
            ("num_hidden_layers", "block_count"),
            ("max_position_embeddings", "context_length"),
            ("hidden_size", "embedding_length"),
            ("intermediate_size", "feed_forward_length"),
            ("num_attention_heads", "attention.head_count"),
            ("num_key_value_heads", "attention.head_count_kv"),
            ("head_dim", "attention.key_length"),
            ("sliding_window", "attention.sliding_window"),
        ] {
            if let Some(value) = of(key) {
                fields.insert(field.into(), (value as u64).into());
            }
        }
        for (field, key) in [
            ("rms_norm_eps", "attention.layer_norm_rms_epsilon"),
            ("rope_theta", "rope.freq_base"),
            ("attn_logit_softcapping", "attn_logit_softcapping"),
            ("final_logit_softcapping", "final_logit_softcapping"),
        ] {
            if let Some(value) = of(key) {
                fields.insert(field.into(), value.into());
            }
        }
        let embedding = tensors.get("token_embd.weight").map(|info| info.shape.dims());
        if let Some([vocab, _]) = embedding {
            fields.insert("vocab_size".into(), (*vocab as u64).into());
        }
        let has = |name: &str| tensors.contains_key(name);
        fields.insert("tie_word_embeddings".into(), (!has("output.weight")).into());
        if family == Family::Llama {
            fields.insert("attention_bias".into(), has("blk.0.attn_output.bias").into());
        }
        if let (Some(rotated), Some(width), Some(heads)) =
            (of("rope.dimension_count"), of("embedding_length"), of("attention.head_count"))
        {
            let d_head = of("attention.key_length").unwrap_or(width / heads.max(1.0));
            if rotated < d_head {
                fields.insert("partial_rotary_factor".into(), (rotated / d_head).into());
            }
        }
        // The largest Gemma of each generation divides by its width per head rather than by the head's.
        let layers = of("block_count").unwrap_or(0.0) as usize;
        if let (true, Some(width), Some(heads)) = (
            matches!((family, layers), (Family::Gemma2, 46) | (Family::Gemma3, 62)),
            of("embedding_length"),
            of("attention.head_count"),
        ) {
            fields.insert("query_pre_attn_scalar".into(), (width / heads.max(1.0)).into());
        }
        if has("rope_factors_long.weight") {
            fields.insert("rope_scaling".into(), json!({"rope_type": "longrope"}));
        } else if let Some(factors) = factors {
            fields.insert("rope_scaling".into(), json!({"rope_type": "factors", "factors": factors}));
        } else if let Some(kind) = self.text(&format!("{prefix}.rope.scaling.type"))
            && kind != "none"
        {
            let factor = of("rope.scaling.factor").unwrap_or(1.0);
            fields.insert("rope_scaling".into(), json!({"rope_type": kind, "factor": factor}));
        }
        let text = serde_json::Value::Object(fields).to_string();
        Config::parse(text.as_bytes(), self.file)
    }

    fn tokenizer(&self) -> Result<Tokenizer, NnError> {
        let unusable = |reason: String| NnError::Tokenizer { file: self.file.to_string(), reason };
        let incomplete = || unusable("its lists of pieces are missing or of unequal length".into());
        let beside = "put a `tokenizer.json` beside it";
        let json = match self.text("tokenizer.ggml.model") {
            Some("gpt2") => {
                let kind = self.text("tokenizer.ggml.pre").unwrap_or("default");
                let cut = Cut::named(kind).ok_or_else(|| {
                    unusable(format!("it cuts texts in the way `{kind}`, which is not read; {beside}"))
                })?;
                self.byte_pairs(cut).ok_or_else(incomplete)?
            }
            Some("llama") => self.sentence_pieces().ok_or_else(incomplete)?,
            other => {
                let other = other.unwrap_or("nothing");
                return Err(unusable(format!(
                    "its tokenizer is `{other}`, and `gpt2` and `llama` are read; {beside}"
                )));
            }
        };
        Tokenizer::from_bytes(json.to_string().as_bytes(), self.file)
    }

    /// A list of texts.
    fn texts(&self, key: &str) -> Option<Vec<&str>> {
        self.list(key)?.iter().map(|text| text.to_string().ok().map(String::as_str)).collect()
    }

    fn pieces(&self) -> Option<Vec<&str>> {
        self.texts("tokenizer.ggml.tokens")
    }

    /// What each piece is: text, or one of the kinds below.
    fn kinds(&self) -> Option<Vec<i32>> {
        self.list("tokenizer.ggml.token_type")?.iter().map(|kind| kind.to_i32().ok()).collect()
    }

    /// The token that is put before a text.
    fn lead(&self, tokens: &[&str], by_default: bool) -> Option<serde_json::Value> {
        let id = self.number("tokenizer.ggml.bos_token_id")? as usize;
        let bos = *tokens.get(id)?;
        let leads = self.flag("tokenizer.ggml.add_bos_token").unwrap_or(by_default);
        leads.then(|| {
            json!({
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": bos, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
                "special_tokens": {bos: {"id": bos, "ids": [id], "tokens": [bos]}},
            })
        })
    }

    /// A byte-level vocabulary with its merges, as a `tokenizer.json`. candle's own reading of these files puts a
    /// space before every text and does not know Llama 3's way of cutting by the name it has there.
    fn byte_pairs(&self, cut: Cut) -> Option<serde_json::Value> {
        let (tokens, kinds) = (self.pieces()?, self.kinds()?);
        let merges = self.texts("tokenizer.ggml.merges")?;
        if tokens.len() != kinds.len() {
            return None;
        }
        let byte_level = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": use_regex});
        let pre_tokenizer = match cut.pattern() {
            None => byte_level(true),
            Some(pattern) => json!({"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false},
                byte_level(false),
            ]}),
        };
        let normalizer = (cut == Cut::Qwen2).then(|| json!({"type": "NFC"}));
        Some(json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": added(&tokens, &kinds),
            "normalizer": normalizer, "pre_tokenizer": pre_tokenizer,
            "post_processor": self.lead(&tokens, cut == Cut::Llama3), "decoder": byte_level(true),
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
                "ignore_merges": cut == Cut::Llama3, "vocab": vocabulary(&tokens), "merges": merges,
            },
        }))
    }

    /// A vocabulary of SentencePiece's as byte-pair encoding: of two neighbours those are joined first whose
    /// join has the highest score. Source: the algorithm of SentencePiece's BPE models.
    fn sentence_pieces(&self) -> Option<serde_json::Value> {
        let (tokens, kinds) = (self.pieces()?, self.kinds()?);
        let score = |value: &Value| value.to_f32().ok();
        let scores: Vec<f32> =
            self.list("tokenizer.ggml.scores")?.iter().map(score).collect::<Option<_>>()?;
        if tokens.len() != scores.len() || tokens.len() != kinds.len() {
            return None;
        }
        let ids: HashMap<&str, usize> = tokens.iter().enumerate().map(|(id, token)| (*token, id)).collect();
        let mut merges: Vec<(usize, usize, [&str; 2])> = Vec::new();
        for (id, token) in tokens.iter().enumerate() {
            for (at, _) in token.char_indices().skip(1) {
                let (a, b) = token.split_at(at);
                if let (Some(&first), Some(&second)) = (ids.get(a), ids.get(b)) {
                    merges.push((id, first.max(second), [a, b]));
                }
            }
        }
        merges.sort_by(|a, b| scores[b.0].total_cmp(&scores[a.0]).then(a.0.cmp(&b.0)).then(a.1.cmp(&b.1)));
        let merges: Vec<[&str; 2]> = merges.into_iter().map(|(_, _, pair)| pair).collect();
        let mut normalizers = Vec::new();
        let mut decoders = vec![
            json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
            json!({"type": "ByteFallback"}),
            json!({"type": "Fuse"}),
        ];
        if self.flag("tokenizer.ggml.add_space_prefix").unwrap_or(true) {
            normalizers.push(json!({"type": "Prepend", "prepend": "▁"}));
            decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        }
        normalizers.push(json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"}));
        let unknown = self.number("tokenizer.ggml.unknown_token_id").map(|id| id as usize);
        let unknown = unknown.or_else(|| kinds.iter().position(|&kind| kind == UNKNOWN));
        Some(json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": added(&tokens, &kinds),
            "normalizer": {"type": "Sequence", "normalizers": normalizers},
            "pre_tokenizer": null, "post_processor": self.lead(&tokens, true),
            "decoder": {"type": "Sequence", "decoders": decoders},
            "model": {
                "type": "BPE", "dropout": null, "unk_token": unknown.and_then(|id| tokens.get(id)),
                "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": true,
                "byte_fallback": true, "ignore_merges": false, "vocab": vocabulary(&tokens), "merges": merges,
            },
        }))
    }
}

/// Kinds of pieces that are no text of the vocabulary's own.
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const DEFINED: i32 = 4;

/// Pieces that are found in a text before it is cut.
fn added(tokens: &[&str], kinds: &[i32]) -> Vec<serde_json::Value> {
    (0..tokens.len())
        .filter(|&id| [UNKNOWN, CONTROL, DEFINED].contains(&kinds[id]))
        .map(|id| {
            json!({"id": id, "content": tokens[id], "single_word": false, "lstrip": false, "rstrip": false,
                   "normalized": false, "special": kinds[id] != DEFINED})
        })
        .collect()
}

fn vocabulary(tokens: &[&str]) -> Map<String, serde_json::Value> {
    tokens.iter().enumerate().map(|(id, token)| ((*token).to_string(), id.into())).collect()
}

/// How a text is cut before pieces are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    Gpt2,
    Llama3,
    /// As Llama 3, with other roles of the first token.
    Dbrx,
    Qwen2,
}

impl Cut {
    /// By the name that llama.cpp gives it.
    fn named(name: &str) -> Option<Self> {
        match name {
            "gpt-2" | "default" | "phi-2" | "olmo" => Some(Self::Gpt2),
            "llama-bpe" | "llama3" | "llama-v3" => Some(Self::Llama3),
            "dbrx" | "smaug-bpe" => Some(Self::Dbrx),
            "qwen2" | "deepseek-r1-qwen" => Some(Self::Qwen2),
            _ => None,
        }
    }

    /// The pattern of the model's own `tokenizer.json`; none: GPT-2's, which the tokenizer library has built in.
    fn pattern(self) -> Option<String> {
        let digits = match self {
            Self::Gpt2 => return None,
            Self::Llama3 | Self::Dbrx => r"\p{N}{1,3}",
            Self::Qwen2 => r"\p{N}",
        };
        Some(format!(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        ))
    }
}

fn encoding(kind: GgmlDType) -> Option<Encoding> {
    Some(match kind {
        GgmlDType::F32 => Encoding::F32,
        GgmlDType::F16 => Encoding::F16,
        GgmlDType::BF16 => Encoding::Bf16,
        GgmlDType::Q4_0 => Encoding::Q4_0,
        GgmlDType::Q4_1 => Encoding::Q4_1,
        GgmlDType::Q5_0 => Encoding::Q5_0,
        GgmlDType::Q5_1 => Encoding::Q5_1,
        GgmlDType::Q8_0 => Encoding::Q8_0,
        GgmlDType::Q4K => Encoding::Q4K,
        GgmlDType::Q5K => Encoding::Q5K,
        GgmlDType::Q6K => Encoding::Q6K,
        _ => return None,
    })
}

/// The name that a tensor has in Hugging Face folders; none for those that are not needed.
fn name_of(name: &str, family: Family) -> Option<String> {
    match name {
        "token_embd.weight" => return Some("model.embed_tokens.weight".into()),
        "output.weight" => return Some("lm_head.weight".into()),
        "output_norm.weight" => return Some("model.norm.weight".into()),
        _ => {}
    }
    let (layer, rest) = name.strip_prefix("blk.")?.split_once('.')?;
    let (part, kind) = rest.rsplit_once('.')?;
    let both_sides = matches!(family, Family::Gemma2 | Family::Gemma3);
    let part = match part {
        "attn_norm" => "input_layernorm",
        "attn_q" => "self_attn.q_proj",
        "attn_k" => "self_attn.k_proj",
        "attn_v" => "self_attn.v_proj",
        "attn_qkv" => "self_attn.qkv_proj",
        "attn_output" => "self_attn.o_proj",
        "attn_q_norm" => "self_attn.q_norm",
        "attn_k_norm" => "self_attn.k_norm",
        "post_attention_norm" => "post_attention_layernorm",
        "ffn_norm" if both_sides => "pre_feedforward_layernorm",
        "ffn_norm" => "post_attention_layernorm",
        "post_ffw_norm" => "post_feedforward_layernorm",
        "ffn_gate" => "mlp.gate_proj",
        "ffn_up" if family == Family::Phi3 => "mlp.gate_up_proj",
        "ffn_up" => "mlp.up_proj",
        "ffn_down" => "mlp.down_proj",
        _ => return None,
    };
    Some(format!("model.layers.{layer}.{part}.{kind}"))
}

/// A tensor's bytes with their encoding and its one or two dimensions.
fn stored(
    reader: &mut (impl Read + Seek),
    content: &Content,
    info: &TensorInfo,
    name: &str,
    file: &str,
) -> Result<(Encoding, Vec<usize>, Vec<u8>), NnError> {
    let io = |error: std::io::Error| corrupt(file, &error.to_string());
    let dims = info.shape.dims();
    let Some(encoding) = encoding(info.ggml_dtype) else {
        let (name, file) = (name.to_string(), file.to_string());
        return Err(NnError::WrongNumbers { name, file, got: format!("{:?}", info.ggml_dtype) });
    };
    let (rows, cols) = match *dims {
        [cols] => (1, cols),
        [rows, cols] => (rows, cols),
        _ => return Err(corrupt(file, &format!("`{name}` has {} dimensions", dims.len()))),
    };
    let length = reader.seek(SeekFrom::End(0)).map_err(io)?;
    let start = content.tensor_data_offset.checked_add(info.offset);
    let size = encoding.bytes(cols).and_then(|row| row.checked_mul(rows));
    let end = start.zip(size).and_then(|(start, size)| start.checked_add(size as u64));
    let (Some(start), Some(size), true) = (start, size, end.is_some_and(|end| end <= length)) else {
        return Err(corrupt(
            file,
            &format!("`{name}` {dims:?} in {encoding:?} does not fit its {length} bytes"),
        ));
    };
    let mut bytes = vec![0; size];
    reader.seek(SeekFrom::Start(start)).map_err(io)?;
    reader.read_exact(&mut bytes).map_err(io)?;
    Ok((encoding, dims.to_vec(), bytes))
}

fn unpacked(encoding: Encoding, bytes: Vec<u8>, name: &str, file: &str) -> Result<Vec<f32>, NnError> {
    let count = bytes.len() / encoding.block_bytes() * encoding.block();
    let packed = Packed::new(encoding, bytes, 1, count);
    let packed = packed.ok_or_else(|| corrupt(file, &format!("`{name}` is no whole number of blocks")))?;
    Ok(packed.to_f32())
}

fn entries(
    reader: &mut (impl Read + Seek),
    content: &Content,
    info: &TensorInfo,
    file: &str,
) -> Result<Vec<f32>, NnError> {
    let (encoding, _, bytes) = stored(reader, content, info, "rope_freqs.weight", file)?;
    unpacked(encoding, bytes, "rope_freqs.weight", file)
}

fn read_weights(
    reader: &mut (impl Read + Seek),
    content: &Content,
    file: &str,
    family: Family,
    config: &Config,
) -> Result<Weights, NnError> {
    let io = |error: std::io::Error| corrupt(file, &error.to_string());
    let mut weights = Weights::empty(file);
    let mut digester = Digester::new("gguf");
    let mut header = vec![0; usize::try_from(content.tensor_data_offset).unwrap_or(0)];
    let length = reader.seek(SeekFrom::End(0)).map_err(io)?;
    reader.seek(SeekFrom::Start(0)).map_err(io)?;
    let whole = header.len().min(usize::try_from(length).unwrap_or(usize::MAX));
    reader.read_exact(&mut header[..whole]).map_err(io)?;
    digester.bytes(&header);
    let mut names: Vec<&String> = content.tensor_infos.keys().collect();
    names.sort();
    for name in names {
        let info = &content.tensor_infos[name];
        let Some(target) = name_of(name, family) else { continue };
        let (encoding, dims, mut bytes) = stored(reader, content, info, name, file)?;
        digester.text(name).bytes(&bytes);
        if family == Family::Llama {
            let heads = match target.rsplit_once('.').map(|(part, _)| part) {
                Some(part) if part.ends_with("q_proj") => Some(config.count("num_attention_heads")?),
                Some(part) if part.ends_with("k_proj") => Some(config.count("num_key_value_heads")?),
                _ => None,
            };
            if let Some(heads) = heads {
                bytes = paired_again(&bytes, dims[0], heads);
            }
        }
        match *dims.as_slice() {
            [rows, cols] => weights.insert_packed(encoding, bytes, [rows, cols], target, file)?,
            _ => {
                let mut entries = unpacked(encoding, bytes, name, file)?;
                if matches!(family, Family::Gemma2 | Family::Gemma3) && target.ends_with("norm.weight") {
                    // Such files hold the factors themselves, the folders what they are above 1.
                    entries.iter_mut().for_each(|entry| *entry -= 1.0);
                }
                let count = entries.len();
                weights.insert_plain(Tensor::from_vec(entries, count, &Device::Cpu)?, target, file)?;
            }
        }
    }
    Ok(weights.with_digest(digester.finish()))
}

/// Rows of queries or keys in the order in which the runtime rotates them. Files of the family `llama` have the
/// two coordinates of a pair side by side, row h·d + 2i + half; the runtime has them half a head apart, row
/// h·d + half·d/2 + i.
fn paired_again(bytes: &[u8], rows: usize, heads: usize) -> Vec<u8> {
    let width = rows / heads.max(1);
    if rows == 0 || width < 2 || !bytes.len().is_multiple_of(rows) || !rows.is_multiple_of(heads) {
        return bytes.to_vec();
    }
    let size = bytes.len() / rows;
    let mut out = Vec::with_capacity(bytes.len());
    for row in 0..rows {
        let (head, at) = (row / width, row % width);
        let (half, pair) = (at / (width / 2), at % (width / 2));
        let from = head * width + 2 * pair + half;
        out.extend_from_slice(&bytes[from * size..][..size]);
    }
    out
}

#[cfg(test)]
mod oracle_tests;
#[cfg(test)]
mod tests;
