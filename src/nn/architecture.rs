use std::fmt;

use super::{Config, NnError};

/// Model families that the runtime reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// GPT-NeoX and Pythia.
    GptNeox,
    /// GPT-2.
    Gpt2,
    /// Llama 1 to 3.
    Llama,
    /// Mistral.
    Mistral,
    /// Qwen2 and Qwen2.5.
    Qwen2,
    /// Qwen3.
    Qwen3,
    /// Gemma 2.
    Gemma2,
    /// Gemma 3, text.
    Gemma3,
    /// Phi-3.
    Phi3,
    /// OLMo 2.
    Olmo2,
}

impl Family {
    /// Every family.
    pub const ALL: [Self; 10] = [
        Self::GptNeox,
        Self::Gpt2,
        Self::Llama,
        Self::Mistral,
        Self::Qwen2,
        Self::Qwen3,
        Self::Gemma2,
        Self::Gemma3,
        Self::Phi3,
        Self::Olmo2,
    ];

    /// The `model_type` of its `config.json`.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::GptNeox => "gpt_neox",
            Self::Gpt2 => "gpt2",
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Gemma2 => "gemma2",
            Self::Gemma3 => "gemma3_text",
            Self::Phi3 => "phi3",
            Self::Olmo2 => "olmo2",
        }
    }

    /// The family of a configuration; an unknown one is refused with the list of those supported.
    pub fn of(config: &Config) -> Result<Self, NnError> {
        let got = config.text_or("model_type", "")?;
        if got.is_empty() {
            return Err(config.wrong("model_type", "the name of a model family"));
        }
        Self::ALL.into_iter().find(|family| family.model_type() == got).ok_or_else(|| {
            NnError::UnsupportedFamily {
                file: config.file().to_string(),
                got: got.to_string(),
                supported: Self::ALL.map(|family| format!("`{family}`")).join(", "),
            }
        })
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.model_type())
    }
}

/// How a norm centres and scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// (x − mean)/√(variance + ε) · weight + bias.
    Layer,
    /// x/√(mean square + ε) · weight.
    Rms,
}

/// Elementwise non-linearity of the MLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// x · Φ(x), exact.
    Gelu,
    /// The tanh approximation of the same.
    GeluTanh,
    /// x · σ(x).
    Silu,
    /// max(x, 0).
    Relu,
}

impl Activation {
    /// The activation that `field` of a configuration names.
    pub fn of(config: &Config, field: &str, default: &str) -> Result<Self, NnError> {
        match config.text_or(field, default)? {
            "gelu" => Ok(Self::Gelu),
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Ok(Self::GeluTanh),
            "silu" | "swish" => Ok(Self::Silu),
            "relu" => Ok(Self::Relu),
            _ => Err(config.wrong(field, "one of gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, silu, relu")),
        }
    }
}

/// How attention and MLP share a block's residual stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Residual {
    /// x + attn(norm₁ x) + mlp(norm₂ x).
    Parallel,
    /// m = x + attn(norm₁ x); m + mlp(norm₂ m).
    Sequential,
}

/// How a token's position enters.
#[derive(Debug, Clone, PartialEq)]
pub enum Positions {
    /// An embedding row per position is added to the token's.
    Learned,
    /// Queries and keys are rotated.
    Rotary(Rotary),
}

/// Rotary positions: coordinate pairs (i, i + pairs) of the first `2 · pairs` of each head turn by
/// position · frequency; the remaining coordinates pass through.
#[derive(Debug, Clone, PartialEq)]
pub struct Rotary {
    /// Radians per position of each pair.
    pub frequencies: Vec<f64>,
}

impl Rotary {
    /// Reads base, share and scaling from either spelling of the configuration.
    ///
    /// `share` is the family's own top-level name and default of the rotated share of a head, `base_field` its
    /// name of the base.
    pub fn of(config: &Config, d_head: usize, share: (&str, f64), base_field: &str) -> Result<Self, NnError> {
        let (share_field, default_share) = share;
        let share = config.positive_or(share_field, default_share)?;
        let base = config.positive_or(base_field, 10_000.0)?;
        match config.section("rope_parameters")? {
            Some(rope) => Self::from_section(&rope, d_head, share, base),
            None => {
                let plain = Self::plain(config, d_head, (share_field, share), base)?;
                config.section("rope_scaling")?.map_or(Ok(plain.clone()), |scaling| plain.scaled(&scaling))
            }
        }
    }

    /// Reads a section that holds everything: base, share and scaling; `share` and `base` are its defaults.
    pub fn from_section(rope: &Config, d_head: usize, share: f64, base: f64) -> Result<Self, NnError> {
        let share = rope.positive_or("partial_rotary_factor", share)?;
        let base = rope.positive_or("rope_theta", base)?;
        Self::plain(rope, d_head, ("partial_rotary_factor", share), base)?.scaled(rope)
    }

    /// base^(−2i/dims) for each pair; `config` and `share`'s field are named where the share is wrong.
    pub fn plain(
        config: &Config,
        d_head: usize,
        (share_field, share): (&str, f64),
        base: f64,
    ) -> Result<Self, NnError> {
        let dims = (d_head as f64 * share) as usize;
        if share > 1.0 || dims < 2 || !dims.is_multiple_of(2) {
            return Err(NnError::Field {
                file: config.file().to_string(),
                field: share_field.to_string(),
                expected: format!("a share of {d_head} head coordinates that is an even number of them"),
                got: format!("`{share}`"),
            });
        }
        let frequencies = (0..dims / 2).map(|pair| base.powf(-2.0 * pair as f64 / dims as f64)).collect();
        Ok(Self { frequencies })
    }

    /// After the scaling that `rope` asks for.
    pub fn scaled(self, rope: &Config) -> Result<Self, NnError> {
        Ok(Self { frequencies: scaled(self.frequencies, rope)? })
    }

    /// Rotated coordinates of a head.
    pub fn dims(&self) -> usize {
        2 * self.frequencies.len()
    }
}

/// Frequencies after the scaling that `rope` asks for (`rope_type`, in older files `type`).
fn scaled(plain: Vec<f64>, rope: &Config) -> Result<Vec<f64>, NnError> {
    let kind = rope.text_or("rope_type", rope.text_or("type", "default")?)?;
    match kind {
        "default" => Ok(plain),
        "linear" => {
            let factor = rope.positive_or("factor", 1.0)?;
            Ok(plain.into_iter().map(|frequency| frequency / factor).collect())
        }
        "llama3" => llama3(plain, rope),
        // GGUF files carry what Llama 3's scaling comes to, a factor for each pair.
        "factors" => {
            let factors = rope.positives("factors")?;
            if factors.len() != plain.len() {
                return Err(rope.wrong("factors", &format!("{} numbers, one for each pair", plain.len())));
            }
            Ok(plain.into_iter().zip(factors).map(|(frequency, factor)| frequency / factor).collect())
        }
        _ => Err(rope.wrong("rope_type", "one of default, linear, llama3")),
    }
}

/// Llama 3's scaling: waves longer than the original context over `low_freq_factor` are slowed by `factor`,
/// waves shorter than it over `high_freq_factor` kept, those between interpolated.
fn llama3(plain: Vec<f64>, rope: &Config) -> Result<Vec<f64>, NnError> {
    let factor = rope.positive_or("factor", 8.0)?;
    let low = rope.positive_or("low_freq_factor", 1.0)?;
    let high = rope.positive_or("high_freq_factor", 4.0)?;
    let context = rope.count("original_max_position_embeddings")? as f64;
    if high <= low {
        return Err(rope.wrong("high_freq_factor", &format!("greater than low_freq_factor ({low})")));
    }
    let slow = |frequency: f64| {
        let waves = context * frequency / (2.0 * std::f64::consts::PI);
        let kept = ((waves - low) / (high - low)).clamp(0.0, 1.0);
        frequency * (kept + (1.0 - kept) / factor)
    };
    Ok(plain.into_iter().map(slow).collect())
}

/// What a forward pass needs to know of a model, whatever its family.
#[derive(Debug, Clone, PartialEq)]
pub struct Architecture {
    /// The family it was read as.
    pub family: Family,
    /// Rows of the embedding; may exceed the tokenizer's pieces.
    pub vocab: usize,
    /// Longest sequence.
    pub n_ctx: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Number of blocks.
    pub n_layers: usize,
    /// Query heads.
    pub n_heads: usize,
    /// Key and value heads; each serves `n_heads / n_kv_heads` query heads.
    pub n_kv_heads: usize,
    /// Width of a head.
    pub d_head: usize,
    /// MLP neurons.
    pub d_mlp: usize,
    /// Kind of every norm.
    pub norm: NormKind,
    /// ε of every norm.
    pub norm_eps: f64,
    /// Where positions enter.
    pub positions: Positions,
    /// MLP non-linearity.
    pub activation: Activation,
    /// Whether attention and MLP run in parallel.
    pub residual: Residual,
    /// Factor on query·key before the softmax.
    pub attention_scale: f64,
    /// Of each layer, how many positions back its queries see, their own included; none: all. Empty where
    /// that holds for every layer.
    pub windows: Vec<Option<usize>>,
    /// Rotary positions of the layers with a window, where they have their own.
    pub local_rotary: Option<Rotary>,
    /// c in c·tanh(score/c), which attention scores pass through.
    pub attention_cap: Option<f64>,
    /// The same for logits.
    pub logit_cap: Option<f64>,
    /// Factor on embeddings before the first block.
    pub embedding_scale: Option<f64>,
    /// Whether the unembedding is the embedding.
    pub tied: bool,
}

impl Architecture {
    /// How many positions back the queries of a layer see, their own included.
    pub fn window(&self, layer: usize) -> Option<usize> {
        self.windows.get(layer).copied().flatten()
    }

    /// Checks what every family must satisfy; `config` supplies the names for messages.
    pub(super) fn checked(self, config: &Config, kv_field: &str) -> Result<Self, NnError> {
        if !self.n_heads.is_multiple_of(self.n_kv_heads) {
            return Err(config.wrong(kv_field, &format!("a divisor of the {} query heads", self.n_heads)));
        }
        Ok(self)
    }
}
