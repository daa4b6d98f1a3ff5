//! The description of a model that the forward pass follows, whatever the model's family.

use half::bf16;
use strum::{EnumMessage, VariantArray};

use super::error::{NnError, Result};
use super::{Config, Rotary};
use crate::base::{HookPoint, Site};

/// Model families that the runtime reads. The text of each is the `model_type` of its `config.json`.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    strum::VariantArray,
    strum::IntoStaticStr,
    strum::Display,
    strum::EnumString,
    strum::EnumMessage,
)]
#[strum(serialize_all = "snake_case")]
pub enum Family {
    /// GPT-NeoX and Pythia.
    GptNeox,
    /// GPT-2.
    Gpt2,
    /// GPT-Neo and the TinyStories models.
    GptNeo,
    /// GPT-J.
    Gptj,
    /// OPT.
    Opt,
    /// Phi-1, 1.5 and 2.
    Phi,
    /// Falcon.
    Falcon,
    /// BLOOM.
    Bloom,
    /// StableLM.
    #[strum(serialize = "stablelm")]
    StableLm,
    /// StarCoder 2.
    #[strum(serialize = "starcoder2")]
    StarCoder2,
    /// SantaCoder and StarCoder.
    #[strum(serialize = "gpt_bigcode")]
    GptBigCode,
    /// MPT.
    Mpt,
    /// Command R.
    Cohere,
    /// Nemotron and Minitron.
    Nemotron,
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
    /// Gemma 3, text only.
    #[strum(serialize = "gemma3_text")]
    Gemma3,
    /// Phi-3.
    Phi3,
    /// OLMo 2.
    Olmo2,
    /// Gemma 1.
    Gemma,
    /// SmolLM3.
    #[strum(serialize = "smollm3")]
    SmolLm3,
    /// Granite 3.
    Granite,
    /// OLMo 1.
    Olmo,
    /// OLMo 3.
    Olmo3,
    /// Mixtral, a mixture of experts.
    Mixtral,
    /// Qwen3 with mixtures of experts.
    Qwen3Moe,
    /// OLMoE, a mixture of experts.
    Olmoe,
    /// gpt-oss, a mixture of experts.
    GptOss,
}

impl Family {
    /// Every family.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// The `model_type` of its `config.json`.
    pub fn model_type(self) -> &'static str {
        self.into()
    }

    /// The models that it stands for.
    pub fn words(self) -> &'static str {
        self.get_documentation().unwrap_or_default()
    }

    /// The family of a configuration. The error for an unknown one lists the supported ones.
    pub fn of(config: &Config) -> Result<Self> {
        let got = config.text_or("model_type", "")?;
        if got.is_empty() {
            return Err(config.wrong("model_type", "the name of a model family"));
        }
        got.parse().map_err(|_| NnError::UnsupportedFamily {
            file: config.file().to_string(),
            got: got.to_string(),
            supported: Self::ALL.iter().map(|family| format!("`{family}`")).collect::<Vec<_>>().join(", "),
        })
    }
}

/// How a norm centres and scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// (x − mean)/√(variance + ε) · weight, plus the bias if there is one.
    Layer,
    /// x/√(mean square + ε) · weight.
    Rms,
}

/// Elementwise non-linearity of the MLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// x · Φ(x), exact.
    Gelu,
    /// The tanh approximation of `Gelu`.
    GeluTanh,
    /// x · σ(x).
    Silu,
    /// x · σ(1.702 x).
    QuickGelu,
    /// max(x, 0).
    Relu,
    /// max(x, 0)².
    ReluSquared,
}

impl Activation {
    /// The activation that `field` of a configuration names.
    pub fn of(config: &Config, field: &str, default: &str) -> Result<Self> {
        Ok(match config.text_or(field, default)? {
            "gelu" | "gelu_python" => Self::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" | "gelu_accurate" | "gelu_python_tanh" => {
                Self::GeluTanh
            }
            "silu" | "swish" => Self::Silu,
            "quick_gelu" => Self::QuickGelu,
            "relu" => Self::Relu,
            "relu2" => Self::ReluSquared,
            _ => {
                let known = "gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, silu, quick_gelu, relu, relu2";
                return Err(config.wrong(field, &format!("one of {known}")));
            }
        })
    }
}

/// How attention and MLP read and write a block's residual stream x.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Residual {
    /// x + attn(norm₁ x) + mlp(norm₂ x).
    Parallel,
    /// m = x + attn(norm₁ x); m + mlp(norm₂ m).
    Sequential,
    /// n = norm₁ x, m = n + attn(n); k = norm₂ m, norm₃(k + mlp(k)). A norm that the family lacks is the identity.
    Normed,
}

/// How an MLP with a gate computes its neurons.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Gating {
    /// act(gate) · up.
    Product,
    /// g · σ(slope · g) · (u + 1), with g = min(gate, limit) and u = up clamped to ±limit.
    Clamped {
        /// Slope of the sigmoid.
        slope: f64,
        /// Bound of gate and up.
        limit: f64,
    },
}

/// Mixtures of experts in place of MLPs: a router sends each token to some of the experts.
#[derive(Debug, Clone, PartialEq)]
pub struct Experts {
    /// Whether the MLP of each layer is a mixture.
    pub layers: Vec<bool>,
    /// Experts of a mixture.
    pub count: usize,
    /// Experts per token, at most `count`.
    pub chosen: usize,
    /// Neurons of an expert.
    pub d_expert: usize,
    /// True: the weights of a token's experts are scaled to sum to 1. False: they come from a softmax over all experts.
    pub normalised: bool,
}

/// How the model encodes positions.
#[derive(Debug, Clone, PartialEq)]
pub enum Positions {
    /// A learned position embedding is added to the token embedding.
    Learned,
    /// Queries and keys are rotated.
    Rotary(Rotary),
    /// Attention scores get a bias that is linear in the key's position.
    Alibi(Alibi),
}

/// Attention with linear biases (ALiBi; Press et al. 2022): slope · j is added to the score of the key at position j.
///
/// The paper adds −slope · distance. The difference is the same for all keys of a query, so the softmax is equal.
#[derive(Debug, Clone, PartialEq)]
pub struct Alibi {
    /// One slope per head.
    pub slopes: Vec<f32>,
    /// Whether slope, position and product are rounded to bf16, as in Falcon's training.
    pub half: bool,
    /// Factor on the bias.
    pub scale: f32,
}

impl Alibi {
    /// 2^(−8i/n) for heads i = 1..n, with n the largest power of two up to `n_heads`. The remaining heads get every
    /// other slope of 2n heads.
    pub fn slopes(n_heads: usize) -> Vec<f32> {
        let of = |n: usize, i: usize| (-8.0 * i as f64 / n as f64).exp2() as f32;
        let whole = if n_heads.is_power_of_two() { n_heads } else { n_heads.next_power_of_two() / 2 };
        let rest = (0..n_heads - whole).map(|i| of(2 * whole, 2 * i + 1));
        (1..=whole).map(|i| of(whole, i)).chain(rest).collect()
    }

    /// Bias on the scores of keys at positions `0..positions`, `[heads, positions]`.
    pub(super) fn key_bias(&self, positions: usize) -> Vec<f32> {
        let rounded = |x: f32| if self.half { bf16::from_f32(x).to_f32() } else { x };
        let of =
            |slope: f32, position: usize| rounded(rounded(slope) * rounded(position as f32)) * self.scale;
        self.slopes.iter().flat_map(|&slope| (0..positions).map(move |at| of(slope, at))).collect()
    }
}

/// Everything that a forward pass needs to know about a model besides its weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Architecture {
    /// The family that the configuration names.
    pub family: Family,
    /// Rows of the embedding; can exceed the tokenizer's vocabulary.
    pub vocab: usize,
    /// Longest sequence, in tokens.
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
    /// Position encoding.
    pub positions: Positions,
    /// MLP non-linearity.
    pub activation: Activation,
    /// Formula of MLPs with a gate.
    pub gating: Gating,
    /// Mixtures of experts, if the model has any.
    pub experts: Option<Experts>,
    /// How a block reads and writes the residual stream.
    pub residual: Residual,
    /// Factor on query·key before the softmax.
    pub attention_scale: f64,
    /// Attention window of each layer: a query sees itself and `window − 1` earlier keys. `None`, or an empty list: all.
    pub windows: Vec<Option<usize>>,
    /// Rotary positions of the layers with a window, if they differ from `positions`.
    pub local_rotary: Option<Rotary>,
    /// Whether each layer rotates queries and keys. Empty: every layer does.
    pub rotated: Vec<bool>,
    /// c in the soft cap c·tanh(score/c) of attention scores.
    pub attention_cap: Option<f64>,
    /// c in the soft cap c·tanh(logit/c) of logits.
    pub logit_cap: Option<f64>,
    /// Queries, keys and values are clamped to ±this.
    pub projection_limit: Option<f64>,
    /// Factor on embeddings before the first block.
    pub embedding_scale: Option<f64>,
    /// Factor on what attention and MLP add to the residual stream.
    pub residual_scale: Option<f64>,
    /// Factor on logits, before the soft cap.
    pub logit_scale: Option<f64>,
    /// Whether the unembedding is the embedding.
    pub tied: bool,
}

/// The sizes of an architecture.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub vocab: usize,
    pub n_ctx: usize,
    pub d_model: usize,
    pub n_layers: usize,
    pub n_heads: usize,
    pub n_kv_heads: usize,
    pub d_head: usize,
    pub d_mlp: usize,
}

impl Architecture {
    /// Width of the activations at a hook point. Fails if the architecture lacks it.
    pub fn width(&self, hook: HookPoint) -> Result<usize> {
        let HookPoint::Block { layer, site } = hook else { return Ok(self.d_model) };
        if layer >= self.n_layers {
            return Err(NnError::NoSuchLayer { hook, n_layers: self.n_layers });
        }
        match (self.lacks(layer, site), site) {
            (Some(reason), _) => Err(NnError::NoSuchHook { hook, reason }),
            (None, Site::AttnZ) => Ok(self.n_heads * self.d_head),
            (None, Site::MlpPost) => Ok(self.d_mlp),
            (None, _) => Ok(self.d_model),
        }
    }

    /// Why a block has no activation of this kind, and what to use; none if it has one.
    pub fn lacks(&self, layer: usize, site: Site) -> Option<&'static str> {
        let is_mixture =
            || self.experts.as_ref().is_some_and(|experts| experts.layers.get(layer) == Some(&true));
        match site {
            Site::ResidMid if self.residual == Residual::Parallel => Some(
                "attention and MLP of this model run in parallel on the same residual stream, so there is nothing \
                 between them; use hook_resid_pre or hook_resid_post",
            ),
            Site::MlpPost if is_mixture() => Some(
                "the MLP of this layer is a mixture of experts, and the neurons of experts that are not chosen for a \
                 token have no value; use hook_mlp_out",
            ),
            _ => None,
        }
    }

    /// Whether centring what is written to the residual stream can leave the outputs as they are, as far as the
    /// configuration tells: layer norms, and no mixture, for which it is not implemented.
    pub fn can_be_centred(&self) -> bool {
        self.norm == NormKind::Layer && self.residual != Residual::Normed && self.experts.is_none()
    }

    /// The default architecture of these sizes: layer norms, learned positions, full attention, no factors, caps or
    /// limits, an untied unembedding. Each family overrides what differs.
    pub(super) fn plain(family: Family, sizes: Sizes) -> Self {
        let Sizes { vocab, n_ctx, d_model, n_layers, n_heads, n_kv_heads, d_head, d_mlp } = sizes;
        Self {
            family,
            vocab,
            n_ctx,
            d_model,
            n_layers,
            n_heads,
            n_kv_heads,
            d_head,
            d_mlp,
            norm: NormKind::Layer,
            norm_eps: 1e-5,
            positions: Positions::Learned,
            activation: Activation::Gelu,
            gating: Gating::Product,
            experts: None,
            residual: Residual::Sequential,
            attention_scale: (d_head as f64).powf(-0.5),
            windows: Vec::new(),
            local_rotary: None,
            rotated: Vec::new(),
            attention_cap: None,
            logit_cap: None,
            projection_limit: None,
            embedding_scale: None,
            residual_scale: None,
            logit_scale: None,
            tied: false,
        }
    }

    /// Attention window of a layer: a query sees itself and `window − 1` earlier keys.
    pub fn window(&self, layer: usize) -> Option<usize> {
        self.windows.get(layer).copied().flatten()
    }

    /// MLP neurons computed per token and block.
    pub fn neurons_at_work(&self) -> usize {
        self.experts.as_ref().map_or(self.d_mlp, |experts| experts.chosen * experts.d_expert)
    }

    /// Whether a layer rotates queries and keys.
    pub fn rotates(&self, layer: usize) -> bool {
        self.rotated.get(layer).copied().unwrap_or(true)
    }

    /// Rotary positions of layers with full attention, and of layers with a window.
    pub fn rotaries(&self) -> [Option<&Rotary>; 2] {
        let full = match &self.positions {
            Positions::Rotary(rotary) => Some(rotary),
            Positions::Learned | Positions::Alibi(_) => None,
        };
        [full, self.local_rotary.as_ref().or(full)]
    }

    /// Checks what every family must satisfy. `kv_field` is the configuration field of `n_kv_heads`.
    pub(super) fn checked(mut self, config: &Config, kv_field: &str) -> Result<Self> {
        if !self.n_heads.is_multiple_of(self.n_kv_heads) {
            return Err(config.wrong(kv_field, &format!("a divisor of the {} query heads", self.n_heads)));
        }
        self.n_ctx = self.rotaries()[0].map_or(self.n_ctx, |rotary| rotary.longest(self.n_ctx));
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values that Press et al. give for 8 and for 12 heads.
    #[test]
    fn slopes_halve_from_head_to_head() {
        let eight: Vec<f32> = (1..=8).map(|i| 0.5f32.powi(i)).collect();
        assert_eq!(Alibi::slopes(8), eight);
        let between = [0.5f64, 1.5, 2.5, 3.5].map(|power| (-power).exp2() as f32);
        assert_eq!(Alibi::slopes(12), [eight, between.to_vec()].concat());
        assert_eq!(Alibi::slopes(1), [1.0 / 256.0]);
    }

    #[test]
    fn every_family_has_the_model_type_of_its_configuration() {
        let names: Vec<&str> = Family::ALL.iter().map(|family| family.model_type()).collect();
        let layer_norms =
            "gpt_neox gpt2 gpt_neo gptj opt phi falcon bloom stablelm starcoder2 gpt_bigcode mpt";
        let others = "cohere nemotron llama mistral qwen2 qwen3 gemma2 gemma3_text phi3 olmo2 gemma smollm3";
        let last = "granite olmo olmo3 mixtral qwen3_moe olmoe gpt_oss";
        assert_eq!(names.join(" "), [layer_norms, others, last].join(" "));
        assert!(Family::ALL.iter().all(|family| family.to_string().parse() == Ok(*family)));
        assert!(Family::ALL.iter().all(|family| family.words().ends_with('.')));
    }

    #[test]
    fn biases_grow_by_the_slope_and_are_rounded_where_asked() {
        let alibi = |half, scale| Alibi { slopes: vec![0.5, 0.7], half, scale };
        let plain = alibi(false, 1.0).key_bias(3);
        assert_eq!(plain, [0.0, 0.5, 1.0, 0.0, 0.7, 1.4]);
        // 0.7 is 0.69921875 in bf16, and 257 is 256.
        let rounded = alibi(true, 0.5).key_bias(258);
        assert_eq!(rounded[257], 0.5 * 0.5 * 256.0);
        assert_eq!(rounded[258 + 1], 0.5 * 0.699_218_75);
    }
}
