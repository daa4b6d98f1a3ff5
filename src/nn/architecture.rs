use std::fmt;

use super::{Config, NnError};

/// Model families that the runtime reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// GPT-NeoX and Pythia.
    GptNeox,
    /// GPT-2.
    Gpt2,
    /// Llama.
    Llama,
}

impl Family {
    /// Every family.
    pub const ALL: [Self; 3] = [Self::GptNeox, Self::Gpt2, Self::Llama];

    /// The `model_type` of its `config.json`.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::GptNeox => "gpt_neox",
            Self::Gpt2 => "gpt2",
            Self::Llama => "llama",
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
        let nested = config.section("rope_parameters")?;
        let mut share = config.positive_or(share_field, default_share)?;
        let mut base = config.positive_or(base_field, 10_000.0)?;
        if let Some(rope) = &nested {
            share = rope.positive_or("partial_rotary_factor", share)?;
            base = rope.positive_or("rope_theta", base)?;
        }
        let dims = (d_head as f64 * share) as usize;
        if share > 1.0 || dims < 2 || !dims.is_multiple_of(2) {
            return Err(NnError::Field {
                file: config.file().to_string(),
                field: share_field.to_string(),
                expected: format!("a share of {d_head} head coordinates that is an even number of them"),
                got: format!("`{share}`"),
            });
        }
        let plain =
            (0..dims / 2).map(|pair| base.powf(-2.0 * pair as f64 / dims as f64)).collect::<Vec<f64>>();
        let scaling = match nested {
            Some(rope) => Some(rope),
            None => config.section("rope_scaling")?,
        };
        let frequencies = match scaling {
            Some(scaling) => scaled(plain, &scaling)?,
            None => plain,
        };
        Ok(Self { frequencies })
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
    /// Whether the unembedding is the embedding.
    pub tied: bool,
}

impl Architecture {
    /// Checks what every family must satisfy; `config` supplies the names for messages.
    pub(super) fn checked(self, config: &Config, kv_field: &str) -> Result<Self, NnError> {
        if !self.n_heads.is_multiple_of(self.n_kv_heads) {
            return Err(config.wrong(kv_field, &format!("a divisor of the {} query heads", self.n_heads)));
        }
        Ok(self)
    }
}
