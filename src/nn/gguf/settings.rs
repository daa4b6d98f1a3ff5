//! The metadata of a file under the names that `config.json` has for them.
//!
//! Every key that begins with the architecture's name is in one of the tables below: it is honoured, it is known
//! to be harmless, or the file is refused and the key named. Sources: llama.cpp's `llama-arch.cpp` (names),
//! `llama-model.cpp` and `llama-context.cpp` (what they do), `convert_hf_to_gguf.py` (what writers put there).

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::super::{Config, Family, NnError};
use super::header::Value;
use super::parts::Parts;

/// Names of a family's metadata, and the families they stand for.
const ARCHITECTURES: [(&str, Family); 10] = [
    ("llama", Family::Llama),
    ("smollm3", Family::SmolLm3),
    ("granite", Family::Granite),
    ("qwen2", Family::Qwen2),
    ("qwen3", Family::Qwen3),
    ("gemma", Family::Gemma),
    ("gemma2", Family::Gemma2),
    ("gemma3", Family::Gemma3),
    ("phi3", Family::Phi3),
    ("olmo2", Family::Olmo2),
];

/// How a key reaches the configuration.
enum Use {
    /// A size that no dimension of a tensor falls short of.
    Width(&'static str),
    /// A positive integer.
    Count(&'static str),
    /// A positive number.
    Positive(&'static str),
    /// By code below.
    Read,
    /// Changes nothing that this program computes, for the reason given.
    Harmless,
    /// Changes nothing where it has this value; any other is refused.
    Only(f64),
}

/// Keys of every family, without the architecture's name in front.
const KEYS: [(&str, Use); 43] = [
    ("block_count", Use::Read),
    ("context_length", Use::Count("max_position_embeddings")),
    ("embedding_length", Use::Width("hidden_size")),
    ("feed_forward_length", Use::Width("intermediate_size")),
    ("attention.head_count", Use::Width("num_attention_heads")),
    ("attention.head_count_kv", Use::Width("num_key_value_heads")),
    ("attention.key_length", Use::Width("head_dim")),
    ("attention.value_length", Use::Read),
    ("attention.sliding_window", Use::Read),
    ("attention.sliding_window_pattern", Use::Read),
    ("attention.layer_norm_rms_epsilon", Use::Positive("rms_norm_eps")),
    ("attention.causal", Use::Only(1.0)),
    ("attention.scale", Use::Read),
    ("attention.clamp_kqv", Use::Only(0.0)),
    ("attention.max_alibi_bias", Use::Only(0.0)),
    ("attention.temperature_scale", Use::Only(0.0)),
    ("attn_logit_softcapping", Use::Read),
    ("final_logit_softcapping", Use::Read),
    ("logit_scale", Use::Read),
    ("residual_scale", Use::Read),
    ("embedding_scale", Use::Read),
    ("use_parallel_residual", Use::Only(0.0)),
    ("expert_count", Use::Only(0.0)),
    ("expert_used_count", Use::Only(0.0)),
    ("nextn_predict_layers", Use::Only(0.0)),
    ("rope.freq_base", Use::Positive("rope_theta")),
    ("rope.freq_base_swa", Use::Positive("rope_local_base_freq")),
    ("rope.dimension_count", Use::Read),
    ("rope.scale_linear", Use::Read),
    ("rope.scaling.type", Use::Read),
    ("rope.scaling.factor", Use::Read),
    ("rope.scaling.attn_factor", Use::Read),
    ("rope.scaling.original_context_length", Use::Read),
    ("rope.scaling.yarn_ext_factor", Use::Read),
    ("rope.scaling.yarn_attn_factor", Use::Read),
    ("rope.scaling.yarn_beta_fast", Use::Read),
    ("rope.scaling.yarn_beta_slow", Use::Read),
    ("rope.scaling.yarn_log_multiplier", Use::Only(0.0)),
    // A remark on how the model was made; llama.cpp prints it.
    ("rope.scaling.finetuned", Use::Harmless),
    // The embedding's rows say the same.
    ("vocab_size", Use::Harmless),
    // `Meta AI original pth`: the order of rows that files of this architecture always have.
    ("tensor_data_layout", Use::Harmless),
    // How an embedding model sums up a text; hidden states do not depend on it.
    ("pooling_type", Use::Harmless),
    // Which experts' weights are summed how; nothing without experts.
    ("expert_gating_func", Use::Harmless),
];

/// A file's metadata.
pub(super) struct Settings<'a> {
    pub file: &'a str,
    pub metadata: &'a BTreeMap<String, Value>,
}

impl<'a> Settings<'a> {
    /// The error that `key` is not what it should be.
    pub fn wrong(&self, key: &str, expected: &str) -> NnError {
        NnError::Field {
            file: self.file.to_string(),
            field: key.to_string(),
            expected: expected.to_string(),
            got: self.metadata.get(key).map_or_else(|| "nothing".into(), Value::shown),
        }
    }

    /// A text, where there is one.
    pub fn text(&self, key: &str) -> Result<Option<&'a str>, NnError> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(key, "a text")),
        }
    }

    pub fn flag(&self, key: &str) -> Result<Option<bool>, NnError> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Value::Flag(flag)) => Ok(Some(*flag)),
            Some(_) => Err(self.wrong(key, "true or false")),
        }
    }

    pub fn texts(&self, key: &str) -> Result<Option<&'a [String]>, NnError> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Value::Texts(list)) => Ok(Some(list)),
            Some(_) => Err(self.wrong(key, "a list of texts")),
        }
    }

    /// An integer from `least` to `most`. A list, as files have where layers differ, must hold one and the same
    /// number for all.
    pub fn integer(&self, key: &str, least: i64, most: u64) -> Result<Option<u64>, NnError> {
        let Some(value) = self.metadata.get(key) else { return Ok(None) };
        let number = match value {
            Value::Integer(number) => Some(*number),
            Value::Integers(list) => match list.split_first() {
                Some((first, rest)) if rest.iter().all(|other| other == first) => Some((*first).into()),
                _ => {
                    return Err(
                        self.wrong(key, "the same number for every layer (nothing else is implemented)")
                    );
                }
            },
            _ => None,
        };
        match number {
            Some(number) if number >= least.into() && number <= most.into() => Ok(Some(number as u64)),
            _ => Err(self.wrong(key, &format!("an integer from {least} to {most}"))),
        }
    }

    /// A finite number that is not negative.
    pub fn number(&self, key: &str) -> Result<Option<f64>, NnError> {
        let number = match self.metadata.get(key) {
            None => return Ok(None),
            Some(Value::Integer(number)) => Some(*number as f64),
            Some(Value::Real(number)) => Some(*number),
            Some(_) => None,
        };
        match number {
            Some(number) if number.is_finite() && number >= 0.0 => Ok(Some(number)),
            _ => Err(self.wrong(key, "a finite number, not negative")),
        }
    }

    /// A finite number above 0.
    pub fn positive(&self, key: &str) -> Result<Option<f64>, NnError> {
        match self.number(key) {
            Ok(Some(0.0)) | Err(_) => Err(self.wrong(key, "a finite positive number")),
            other => other,
        }
    }

    pub fn architecture(&self) -> Result<&'a str, NnError> {
        Ok(self.text("general.architecture")?.unwrap_or("nothing"))
    }

    pub fn family(&self) -> Result<Family, NnError> {
        let got = self.architecture()?;
        let known = ARCHITECTURES.iter().find(|(name, _)| *name == got).map(|(_, family)| *family);
        known.ok_or_else(|| NnError::UnsupportedFamily {
            file: format!("{}: general.architecture", self.file),
            got: got.to_string(),
            supported: ARCHITECTURES.map(|(name, _)| format!("`{name}`")).join(", "),
        })
    }

    /// The metadata under the names that `config.json` has for them.
    pub fn config(&self, family: Family, tensors: &Parts, factors: Factors) -> Result<Config, NnError> {
        let architecture = self.architecture()?;
        let keys = Keys { settings: self, architecture };
        let mut fields = Map::new();
        fields.insert("model_type".into(), family.model_type().into());
        let shapes = Shapes::of(tensors);
        keys.fill(&mut fields, shapes.widest)?;
        let n_layers = keys.layers(&shapes)?;
        fields.insert("num_hidden_layers".into(), n_layers.into());
        if let Some(vocab) = shapes.vocab {
            fields.insert("vocab_size".into(), vocab.into());
        }
        let has = |name: &str| tensors.tensor(name).is_some();
        fields.insert("tie_word_embeddings".into(), (!has("output.weight")).into());
        if family == Family::Llama {
            let biased = ["blk.0.attn_q.bias", "blk.0.attn_output.bias"].into_iter().any(has);
            fields.insert("attention_bias".into(), biased.into());
            fields.insert("mlp_bias".into(), has("blk.0.ffn_up.bias").into());
        }
        keys.soft_caps(&mut fields, family)?;
        keys.multipliers(&mut fields, family)?;
        keys.windows(&mut fields, family)?;
        let d_head = keys.head_width(&fields)?;
        keys.rotated_share(&mut fields, d_head)?;
        // Gemma divides by the head's width, the largest of each generation by the model's width per head.
        if matches!(family, Family::Gemma2 | Family::Gemma3) && d_head > 0.0 {
            fields.insert("query_pre_attn_scalar".into(), d_head.into());
        }
        if let (true, Some(width), Some(heads)) = (
            matches!((family, n_layers), (Family::Gemma2, 46) | (Family::Gemma3, 62)),
            fields.get("hidden_size").and_then(Json::as_f64),
            fields.get("num_attention_heads").and_then(Json::as_f64),
        ) {
            fields.insert("query_pre_attn_scalar".into(), (width / heads).into());
        }
        if let Some(scaling) = keys.rotary_scaling(factors)? {
            fields.insert("rope_scaling".into(), scaling);
        }
        Config::parse(Json::Object(fields).to_string().as_bytes(), self.file)
    }
}

/// What each frequency is divided by, as tensors of the file have it.
#[derive(Default)]
pub(super) struct Factors {
    /// At every length: what Llama 3's scaling comes to.
    pub always: Option<Vec<f32>>,
    /// In sequences up to the original length, and in longer ones: LongRoPE.
    pub short: Option<Vec<f32>>,
    /// See `short`.
    pub long: Option<Vec<f32>>,
}

/// What the tensors say about sizes.
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

/// The keys of an architecture.
struct Keys<'a> {
    settings: &'a Settings<'a>,
    architecture: &'a str,
}

impl Keys<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    fn number(&self, name: &str) -> Result<Option<f64>, NnError> {
        self.settings.number(&self.key(name))
    }

    fn positive(&self, name: &str) -> Result<Option<f64>, NnError> {
        self.settings.positive(&self.key(name))
    }

    fn count(&self, name: &str) -> Result<Option<u64>, NnError> {
        self.settings.integer(&self.key(name), 1, u32::MAX.into())
    }

    fn wrong(&self, name: &str, expected: &str) -> NnError {
        self.settings.wrong(&self.key(name), expected)
    }

    /// Takes every key of the architecture, and refuses those that it does not know.
    fn fill(&self, fields: &mut Map<String, Json>, widest: u64) -> Result<(), NnError> {
        let prefix = self.key("");
        for key in self.settings.metadata.keys() {
            let Some(name) = key.strip_prefix(&prefix) else { continue };
            let Some((_, meaning)) = KEYS.iter().find(|(known, _)| *known == name) else {
                let expected = "absent: it may change what the model computes, and is not implemented";
                return Err(self.settings.wrong(key, expected));
            };
            let entry = match meaning {
                Use::Width(field) => (field, self.settings.integer(key, 1, widest)?.map(Json::from)),
                Use::Count(field) => (field, self.count(name)?.map(Json::from)),
                Use::Positive(field) => (field, self.positive(name)?.map(Json::from)),
                Use::Read | Use::Harmless => continue,
                Use::Only(value) => {
                    self.only(key, *value)?;
                    continue;
                }
            };
            if let (field, Some(value)) = entry {
                fields.insert((*field).to_string(), value);
            }
        }
        Ok(())
    }

    fn only(&self, key: &str, value: f64) -> Result<(), NnError> {
        let got = match self.settings.metadata.get(key) {
            Some(Value::Flag(flag)) => f64::from(u8::from(*flag)),
            Some(Value::Integer(number)) => *number as f64,
            Some(Value::Real(number)) => *number,
            _ => f64::NAN,
        };
        if got == value {
            return Ok(());
        }
        let shown = match self.settings.metadata.get(key) {
            Some(Value::Flag(_)) => (value != 0.0).to_string(),
            _ => value.to_string(),
        };
        Err(self.settings.wrong(key, &format!("{shown} (nothing else is implemented)")))
    }

    /// The number of blocks, of which the file must hold tensors.
    fn layers(&self, shapes: &Shapes) -> Result<u64, NnError> {
        let layers = self.settings.integer(&self.key("block_count"), 1, shapes.layers.max(1))?;
        layers.ok_or_else(|| self.wrong("block_count", "a positive integer"))
    }

    fn soft_caps(&self, fields: &mut Map<String, Json>, family: Family) -> Result<(), NnError> {
        for name in ["attn_logit_softcapping", "final_logit_softcapping"] {
            let Some(cap) = self.number(name)?.filter(|&cap| cap != 0.0) else { continue };
            if !matches!(family, Family::Gemma2 | Family::Gemma3) {
                return Err(self.wrong(name, "0 in this family (nothing else is implemented)"));
            }
            fields.insert(name.into(), cap.into());
        }
        Ok(())
    }

    /// Factors that Granite has throughout.
    fn multipliers(&self, fields: &mut Map<String, Json>, family: Family) -> Result<(), NnError> {
        for (name, field) in [
            ("attention.scale", "attention_multiplier"),
            ("embedding_scale", "embedding_multiplier"),
            ("residual_scale", "residual_multiplier"),
            ("logit_scale", "logits_scaling"),
        ] {
            let Some(factor) = self.number(name)?.filter(|&factor| factor != 0.0) else { continue };
            if family != Family::Granite {
                return Err(self.wrong(name, "0 in this family (nothing else is implemented)"));
            }
            fields.insert(field.into(), factor.into());
        }
        Ok(())
    }

    /// Which layers see how much. Where the family's own layers all see everything, a window as long as the
    /// context changes nothing.
    fn windows(&self, fields: &mut Map<String, Json>, family: Family) -> Result<(), NnError> {
        const WINDOW: &str = "attention.sliding_window";
        const PATTERN: &str = "attention.sliding_window_pattern";
        let size = self.settings.integer(&self.key(WINDOW), 0, u32::MAX.into())?.filter(|&size| size > 0);
        let context = fields.get("max_position_embeddings").and_then(Json::as_u64).unwrap_or(u64::MAX);
        let windowed = matches!(family, Family::Gemma2 | Family::Gemma3 | Family::Phi3);
        match size {
            Some(size) if windowed => drop(fields.insert("sliding_window".into(), size.into())),
            Some(size) if size < context => {
                return Err(self.wrong(WINDOW, "at least the context length (nothing else is implemented)"));
            }
            _ => {}
        }
        match self.settings.metadata.get(&self.key(PATTERN)) {
            None => {}
            Some(Value::Integer(every @ 1..=0xffff)) if windowed && family != Family::Phi3 => {
                fields.insert("sliding_window_pattern".into(), (*every as u64).into());
            }
            Some(Value::Flags(list)) if windowed => {
                let kind = |&sliding: &bool| if sliding { "sliding_attention" } else { "full_attention" };
                fields.insert("layer_types".into(), list.iter().map(kind).collect());
            }
            Some(_) => {
                return Err(
                    self.wrong(PATTERN, "a period or a flag for each layer, of a family that has windows")
                );
            }
        }
        Ok(())
    }

    /// The width of a head; values must be as wide as keys.
    fn head_width(&self, fields: &Map<String, Json>) -> Result<f64, NnError> {
        let of = |field: &str| fields.get(field).and_then(Json::as_f64);
        let plain = of("hidden_size").zip(of("num_attention_heads")).map(|(width, heads)| width / heads);
        let d_head = of("head_dim").or(plain).unwrap_or(0.0);
        if self.count("attention.value_length")?.is_some_and(|values| values as f64 != d_head) {
            return Err(self.wrong("attention.value_length", &format!("{d_head}, the width of a key")));
        }
        Ok(d_head)
    }

    fn rotated_share(&self, fields: &mut Map<String, Json>, d_head: f64) -> Result<(), NnError> {
        let Some(rotated) = self.count("rope.dimension_count")? else { return Ok(()) };
        if rotated as f64 > d_head {
            return Err(self.wrong("rope.dimension_count", &format!("at most {d_head}, the width of a head")));
        }
        if (rotated as f64) < d_head {
            fields.insert("partial_rotary_factor".into(), (rotated as f64 / d_head).into());
        }
        Ok(())
    }

    /// `rope_scaling` as `config.json` has it, or nothing. A factor without a type is linear, under the old name
    /// too; 0 and 1 change nothing.
    fn rotary_scaling(&self, factors: Factors) -> Result<Option<Json>, NnError> {
        const TYPE: &str = "rope.scaling.type";
        const FACTOR: &str = "rope.scaling.factor";
        const OLD: &str = "rope.scale_linear";
        let (factor, old) = (self.number(FACTOR)?, self.number(OLD)?);
        if factor.is_some() && old.is_some() && factor != old {
            return Err(self.wrong(OLD, &format!("the same as `{}`", self.key(FACTOR))));
        }
        let factor = factor.or(old).filter(|&factor| factor != 0.0);
        let kind = self.settings.text(&self.key(TYPE))?;
        if let (Some(short), Some(long)) = (factors.short, factors.long) {
            return self.longrope(kind, factor, &short, &long).map(Some);
        }
        if let Some(factors) = factors.always {
            if factor.is_some_and(|factor| factor != 1.0) && kind != Some("none") {
                return Err(self.wrong(FACTOR, "absent beside the tensor `rope_freqs.weight`"));
            }
            return Ok(Some(json!({"rope_type": "factors", "factors": factors})));
        }
        let attention = self.positive("rope.scaling.attn_factor")?.unwrap_or(1.0);
        if attention != 1.0 && kind != Some("yarn") {
            return Err(
                self.wrong("rope.scaling.attn_factor", "1 without `yarn` and without factors of LongRoPE")
            );
        }
        match kind {
            Some("none") => Ok(None),
            None | Some("linear") => Ok(factor
                .filter(|&x| x != 1.0)
                .map(|factor| json!({"rope_type": "linear", "factor": factor}))),
            Some("yarn") => self.yarn(factor.unwrap_or(1.0), attention).map(Some),
            Some(_) => Err(self.wrong(TYPE, "none, linear or yarn, or longrope with its tensors of factors")),
        }
    }

    /// The factor on attention is `attn_factor` times 1 + 0.1·ln(factor). Writers do not agree on what
    /// `yarn_attn_factor` is, so it must say the same.
    fn yarn(&self, factor: f64, attention: f64) -> Result<Json, NnError> {
        let whole = attention * (1.0 + 0.1 * factor.max(1.0).ln());
        let stated = self.positive("rope.scaling.yarn_attn_factor")?;
        if stated.is_some_and(|stated| (stated - whole).abs() > 1e-4) {
            return Err(self.wrong(
                "rope.scaling.yarn_attn_factor",
                &format!("{whole:.4}, which `rope.scaling.factor` implies (nothing else is implemented)"),
            ));
        }
        if self.number_signed("rope.scaling.yarn_ext_factor")?.is_some_and(|x| x != 1.0 && x != -1.0) {
            return Err(self.wrong("rope.scaling.yarn_ext_factor", "1 (nothing else is implemented)"));
        }
        let mut scaling = json!({"rope_type": "yarn", "factor": factor, "attention_factor": whole});
        let optional = [
            ("beta_fast", self.positive("rope.scaling.yarn_beta_fast")?),
            ("beta_slow", self.positive("rope.scaling.yarn_beta_slow")?),
        ];
        for (field, value) in optional {
            if let Some(value) = value {
                scaling[field] = value.into();
            }
        }
        if let Some(original) = self.count("rope.scaling.original_context_length")? {
            scaling["original_max_position_embeddings"] = original.into();
        }
        Ok(scaling)
    }

    fn number_signed(&self, name: &str) -> Result<Option<f64>, NnError> {
        match self.settings.metadata.get(&self.key(name)) {
            Some(Value::Real(number)) if number.is_finite() => Ok(Some(*number)),
            _ => self.number(name),
        }
    }

    fn longrope(
        &self,
        kind: Option<&str>,
        factor: Option<f64>,
        short: &[f32],
        long: &[f32],
    ) -> Result<Json, NnError> {
        if !matches!(kind, None | Some("longrope")) {
            return Err(self.wrong("rope.scaling.type", "longrope, by its tensors of factors"));
        }
        if factor.is_some_and(|factor| factor != 1.0) {
            return Err(self.wrong("rope.scaling.factor", "absent beside tensors of factors"));
        }
        const ORIGINAL: &str = "rope.scaling.original_context_length";
        let original = self.count(ORIGINAL)?;
        let original = original.ok_or_else(|| self.wrong(ORIGINAL, "the length that factors change at"))?;
        let attention = self.positive("rope.scaling.attn_factor")?;
        let mut scaling = json!({
            "rope_type": "longrope", "short_factor": short, "long_factor": long,
            "original_max_position_embeddings": original,
        });
        if let Some(attention) = attention {
            scaling["attention_factor"] = attention.into();
        }
        Ok(scaling)
    }
}
