//! The configuration that a file's metadata describes, under the names of `config.json`.
//!
//! Every key that begins with the architecture's name is in a table below: it is translated, it is known to be
//! harmless, or the file is refused and the key named. Sources: llama.cpp's `llama-arch.cpp` (names), `llama-model.cpp`
//! and `llama-context.cpp` (effects), `convert_hf_to_gguf.py` (what writers store).

use serde_json::{Map, Value as Json};

use super::super::{Config, Family, NnError};
use super::header::Value;
use super::parts::Parts;
use super::settings::Settings;

/// How a key reaches the configuration.
enum Use {
    /// A size that is at most the largest dimension of a tensor.
    Width(&'static str),
    /// A positive integer.
    Count(&'static str),
    /// A positive number.
    Positive(&'static str),
    /// Changes nothing at this value; any other is refused.
    Only(f64),
}

/// Keys of every family, without the architecture's name in front.
const KEYS: [(&str, Use); 18] = [
    ("context_length", Use::Count("max_position_embeddings")),
    ("embedding_length", Use::Width("hidden_size")),
    ("feed_forward_length", Use::Width("intermediate_size")),
    ("attention.head_count", Use::Width("num_attention_heads")),
    ("attention.head_count_kv", Use::Width("num_key_value_heads")),
    ("attention.key_length", Use::Width("head_dim")),
    ("attention.layer_norm_rms_epsilon", Use::Positive("rms_norm_eps")),
    ("rope.freq_base", Use::Positive("rope_theta")),
    ("rope.freq_base_swa", Use::Positive("rope_local_base_freq")),
    ("attention.causal", Use::Only(1.0)),
    ("attention.clamp_kqv", Use::Only(0.0)),
    ("attention.max_alibi_bias", Use::Only(0.0)),
    ("attention.temperature_scale", Use::Only(0.0)),
    ("use_parallel_residual", Use::Only(0.0)),
    ("expert_count", Use::Only(0.0)),
    ("expert_used_count", Use::Only(0.0)),
    ("nextn_predict_layers", Use::Only(0.0)),
    ("rope.scaling.yarn_log_multiplier", Use::Only(0.0)),
];

/// Keys that methods of [`Keys`] translate.
const TRANSLATED: &str = "block_count attention.value_length attention.sliding_window attention.sliding_window_pattern \
    attention.scale attn_logit_softcapping final_logit_softcapping logit_scale residual_scale \
    embedding_scale rope.dimension_count rope.scale_linear rope.scaling.type rope.scaling.factor \
    rope.scaling.attn_factor rope.scaling.original_context_length rope.scaling.yarn_ext_factor \
    rope.scaling.yarn_attn_factor rope.scaling.yarn_beta_fast rope.scaling.yarn_beta_slow";

/// Keys that change nothing this program computes: a remark on fine-tuning, the rows of the embedding (stated by the
/// tensor), the order of rows (always the same), how an embedding model pools its hidden states, how experts are
/// weighted (there are none).
const HARMLESS: &str = "rope.scaling.finetuned vocab_size tensor_data_layout pooling_type expert_gating_func";

/// What each frequency is divided by, from tensors of the file.
#[derive(Default)]
pub(super) struct Factors {
    /// For every sequence length: the factors of Llama 3's scaling.
    pub always: Option<Vec<f32>>,
    /// LongRoPE, for sequences up to the original length.
    pub short: Option<Vec<f32>>,
    /// LongRoPE, for longer sequences.
    pub long: Option<Vec<f32>>,
}

/// The metadata under the names that `config.json` has for it.
pub(super) fn config(
    settings: &Settings<'_>,
    family: Family,
    tensors: &Parts,
    factors: Factors,
) -> Result<Config, NnError> {
    let mut keys = Keys { settings, architecture: settings.architecture()?, family, fields: Map::new() };
    let shapes = Shapes::of(tensors);
    let has = |name: &str| tensors.tensor(name).is_some();
    keys.set("model_type", family.model_type());
    keys.fill(shapes.widest)?;
    let n_layers = settings.integer(&keys.key("block_count"), 1, shapes.layers.max(1))?;
    let n_layers = n_layers.ok_or_else(|| keys.wrong("block_count", "a positive integer"))?;
    keys.set("num_hidden_layers", n_layers);
    if let Some(vocab) = shapes.vocab {
        keys.set("vocab_size", vocab);
    }
    keys.set("tie_word_embeddings", !has("output.weight"));
    if family == Family::Llama {
        keys.set("attention_bias", has("blk.0.attn_q.bias") || has("blk.0.attn_output.bias"));
        keys.set("mlp_bias", has("blk.0.ffn_up.bias"));
    }
    keys.soft_caps()?;
    keys.multipliers()?;
    keys.windows()?;
    let d_head = keys.head_width()?;
    keys.rotated_share(d_head)?;
    keys.query_scalar(n_layers, d_head);
    if let Some(scaling) = keys.rotary_scaling(factors)? {
        keys.set("rope_scaling", scaling);
    }
    Config::parse(Json::Object(keys.fields).to_string().as_bytes(), settings.file)
}

/// Sizes by the shapes and names of tensors.
struct Shapes {
    widest: u64,
    layers: u64,
    vocab: Option<u64>,
}

impl Shapes {
    fn of(tensors: &Parts) -> Self {
        let mut shapes = Self { widest: 0, layers: 0, vocab: None };
        for name in tensors.names() {
            let dims = tensors.tensor(name).map_or(&[][..], |info| &info.dims);
            shapes.widest = dims.iter().map(|&dim| dim as u64).fold(shapes.widest, u64::max);
            let layer =
                name.strip_prefix("blk.").and_then(|rest| rest.split('.').next()?.parse::<u64>().ok());
            shapes.layers = shapes.layers.max(layer.map_or(0, |layer| layer.saturating_add(1)));
            if let ("token_embd.weight", [vocab, _]) = (name.as_str(), dims) {
                shapes.vocab = Some(*vocab as u64);
            }
        }
        shapes
    }
}

/// The keys of an architecture, and the fields of the configuration they become.
pub(super) struct Keys<'a> {
    pub settings: &'a Settings<'a>,
    architecture: &'a str,
    family: Family,
    fields: Map<String, Json>,
}

impl Keys<'_> {
    pub fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    pub fn number(&self, name: &str) -> Result<Option<f64>, NnError> {
        self.settings.number(&self.key(name))
    }

    pub fn positive(&self, name: &str) -> Result<Option<f64>, NnError> {
        self.settings.positive(&self.key(name))
    }

    pub fn count(&self, name: &str) -> Result<Option<u64>, NnError> {
        self.settings.integer(&self.key(name), 1, u32::MAX.into())
    }

    pub fn wrong(&self, name: &str, expected: &str) -> NnError {
        self.settings.wrong(&self.key(name), expected)
    }

    fn set(&mut self, field: &str, value: impl Into<Json>) {
        self.fields.insert(field.to_string(), value.into());
    }

    fn field(&self, field: &str) -> Option<f64> {
        self.fields.get(field).and_then(Json::as_f64)
    }

    /// Takes every key of the architecture, and refuses unknown ones.
    fn fill(&mut self, widest: u64) -> Result<(), NnError> {
        let (prefix, settings) = (self.key(""), self.settings);
        for key in settings.metadata.keys() {
            let Some(name) = key.strip_prefix(&prefix) else { continue };
            if [TRANSLATED, HARMLESS].iter().any(|list| list.split(' ').any(|known| known == name)) {
                continue;
            }
            let Some((_, meaning)) = KEYS.iter().find(|(known, _)| *known == name) else {
                let expected = "absent: it may change what the model computes, and is not implemented";
                return Err(settings.wrong(key, expected));
            };
            let (field, value) = match meaning {
                Use::Width(field) => (field, settings.integer(key, 1, widest)?.map(Json::from)),
                Use::Count(field) => (field, self.count(name)?.map(Json::from)),
                Use::Positive(field) => (field, self.positive(name)?.map(Json::from)),
                Use::Only(value) => {
                    self.only(key, *value)?;
                    continue;
                }
            };
            if let Some(value) = value {
                self.set(field, value);
            }
        }
        Ok(())
    }

    fn only(&self, key: &str, value: f64) -> Result<(), NnError> {
        let (got, shown) = match self.settings.metadata.get(key) {
            Some(Value::Flag(flag)) => (f64::from(u8::from(*flag)), (value != 0.0).to_string()),
            Some(Value::Integer(number)) => (*number as f64, value.to_string()),
            Some(Value::Real(number)) => (*number, value.to_string()),
            _ => (f64::NAN, value.to_string()),
        };
        if got == value {
            return Ok(());
        }
        Err(self.settings.wrong(key, &format!("{shown} (nothing else is implemented)")))
    }

    /// A number that is not 0, which only `allowed` families may have.
    fn nonzero(&self, name: &str, allowed: bool) -> Result<Option<f64>, NnError> {
        let number = self.number(name)?.filter(|&number| number != 0.0);
        if number.is_some() && !allowed {
            return Err(self.wrong(name, "0 in this family (nothing else is implemented)"));
        }
        Ok(number)
    }

    fn soft_caps(&mut self) -> Result<(), NnError> {
        for name in ["attn_logit_softcapping", "final_logit_softcapping"] {
            if let Some(cap) = self.nonzero(name, matches!(self.family, Family::Gemma2 | Family::Gemma3))? {
                self.set(name, cap);
            }
        }
        Ok(())
    }

    /// Granite's multipliers.
    fn multipliers(&mut self) -> Result<(), NnError> {
        for (name, field) in [
            ("attention.scale", "attention_multiplier"),
            ("embedding_scale", "embedding_multiplier"),
            ("residual_scale", "residual_multiplier"),
            ("logit_scale", "logits_scaling"),
        ] {
            if let Some(factor) = self.nonzero(name, self.family == Family::Granite)? {
                self.set(field, factor);
            }
        }
        Ok(())
    }

    /// Windows of layers. In families without windows, one of at least the context length changes nothing.
    fn windows(&mut self) -> Result<(), NnError> {
        const WINDOW: &str = "attention.sliding_window";
        const PATTERN: &str = "attention.sliding_window_pattern";
        let size = self.settings.integer(&self.key(WINDOW), 0, u32::MAX.into())?.filter(|&size| size > 0);
        let context = self.fields.get("max_position_embeddings").and_then(Json::as_u64).unwrap_or(u64::MAX);
        let windowed = matches!(self.family, Family::Gemma2 | Family::Gemma3 | Family::Phi3);
        match size {
            Some(size) if windowed => self.set("sliding_window", size),
            Some(size) if size < context => {
                return Err(self.wrong(WINDOW, "at least the context length (nothing else is implemented)"));
            }
            _ => {}
        }
        match self.settings.metadata.get(&self.key(PATTERN)) {
            None => Ok(()),
            Some(Value::Integer(every @ 1..=0xffff)) if windowed && self.family != Family::Phi3 => {
                self.set("sliding_window_pattern", *every as u64);
                Ok(())
            }
            Some(Value::Flags(list)) if windowed => {
                let kind = |&sliding: &bool| if sliding { "sliding_attention" } else { "full_attention" };
                self.set("layer_types", list.iter().map(kind).collect::<Json>());
                Ok(())
            }
            Some(_) => {
                Err(self.wrong(PATTERN, "a period or a flag for each layer, of a family that has windows"))
            }
        }
    }

    /// The width of a head; values must be as wide as keys.
    fn head_width(&self) -> Result<f64, NnError> {
        let per_head = self.field("hidden_size").zip(self.field("num_attention_heads"));
        let d_head = self.field("head_dim").or(per_head.map(|(width, heads)| width / heads)).unwrap_or(0.0);
        if self.count("attention.value_length")?.is_some_and(|values| values as f64 != d_head) {
            return Err(self.wrong("attention.value_length", &format!("{d_head}, the width of a key")));
        }
        Ok(d_head)
    }

    fn rotated_share(&mut self, d_head: f64) -> Result<(), NnError> {
        let Some(rotated) = self.count("rope.dimension_count")? else { return Ok(()) };
        if rotated as f64 > d_head {
            return Err(self.wrong("rope.dimension_count", &format!("at most {d_head}, the width of a head")));
        }
        if (rotated as f64) < d_head {
            self.set("partial_rotary_factor", rotated as f64 / d_head);
        }
        Ok(())
    }

    /// Gemma's factor on query·key is s^(−1/2): s is the head's width, or `d_model / n_heads` in the largest model of
    /// each generation.
    fn query_scalar(&mut self, n_layers: u64, d_head: f64) {
        if matches!(self.family, Family::Gemma2 | Family::Gemma3) && d_head > 0.0 {
            self.set("query_pre_attn_scalar", d_head);
        }
        let largest = matches!((self.family, n_layers), (Family::Gemma2, 46) | (Family::Gemma3, 62));
        let sizes = self.field("hidden_size").zip(self.field("num_attention_heads"));
        if let Some((width, heads)) = sizes.filter(|_| largest) {
            self.set("query_pre_attn_scalar", width / heads);
        }
    }
}
