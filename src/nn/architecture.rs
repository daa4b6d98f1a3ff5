use std::fmt;

use half::bf16;

use super::{Config, NnError, Rotary};

/// Declares the families, each with the `model_type` of its `config.json`.
macro_rules! families {
    ($($(#[$doc:meta])* $name:ident = $model_type:literal,)*) => {
        /// Model families that the runtime reads.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Family {
            $($(#[$doc])* $name,)*
        }

        impl Family {
            /// Every family.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The `model_type` of its `config.json`.
            pub fn model_type(self) -> &'static str {
                match self {
                    $(Self::$name => $model_type,)*
                }
            }
        }
    };
}

families! {
    /// GPT-NeoX and Pythia.
    GptNeox = "gpt_neox",
    /// GPT-2.
    Gpt2 = "gpt2",
    /// GPT-Neo and the TinyStories models.
    GptNeo = "gpt_neo",
    /// GPT-J.
    Gptj = "gptj",
    /// OPT.
    Opt = "opt",
    /// Phi-1, 1.5 and 2.
    Phi = "phi",
    /// Falcon.
    Falcon = "falcon",
    /// BLOOM.
    Bloom = "bloom",
    /// StableLM.
    StableLm = "stablelm",
    /// StarCoder2.
    StarCoder2 = "starcoder2",
    /// GPT-BigCode: SantaCoder and StarCoder.
    GptBigCode = "gpt_bigcode",
    /// MPT.
    Mpt = "mpt",
    /// Cohere's Command R.
    Cohere = "cohere",
    /// Nemotron and Minitron.
    Nemotron = "nemotron",
    /// Llama 1 to 3.
    Llama = "llama",
    /// Mistral.
    Mistral = "mistral",
    /// Qwen2 and Qwen2.5.
    Qwen2 = "qwen2",
    /// Qwen3.
    Qwen3 = "qwen3",
    /// Gemma 2.
    Gemma2 = "gemma2",
    /// Gemma 3, text.
    Gemma3 = "gemma3_text",
    /// Phi-3.
    Phi3 = "phi3",
    /// OLMo 2.
    Olmo2 = "olmo2",
    /// Gemma 1.
    Gemma = "gemma",
    /// SmolLM3.
    SmolLm3 = "smollm3",
    /// Granite 3.
    Granite = "granite",
    /// OLMo 1.
    Olmo = "olmo",
    /// OLMo 3.
    Olmo3 = "olmo3",
    /// Mixtral.
    Mixtral = "mixtral",
    /// Qwen3, mixtures of experts.
    Qwen3Moe = "qwen3_moe",
    /// OLMoE.
    Olmoe = "olmoe",
    /// gpt-oss.
    GptOss = "gpt_oss",
}

impl Family {
    /// The family of a configuration; an unknown one is refused with the list of those supported.
    pub fn of(config: &Config) -> Result<Self, NnError> {
        let got = config.text_or("model_type", "")?;
        if got.is_empty() {
            return Err(config.wrong("model_type", "the name of a model family"));
        }
        Self::ALL.iter().copied().find(|family| family.model_type() == got).ok_or_else(|| {
            NnError::UnsupportedFamily {
                file: config.file().to_string(),
                got: got.to_string(),
                supported: Self::ALL
                    .iter()
                    .map(|family| format!("`{family}`"))
                    .collect::<Vec<_>>()
                    .join(", "),
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
    /// (x − mean)/√(variance + ε) · weight, + bias where there is one.
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
    /// x · σ(1.702 x).
    QuickGelu,
    /// max(x, 0).
    Relu,
    /// max(x, 0)².
    ReluSquared,
}

impl Activation {
    /// The activation that `field` of a configuration names.
    pub fn of(config: &Config, field: &str, default: &str) -> Result<Self, NnError> {
        match config.text_or(field, default)? {
            "gelu" | "gelu_python" => Ok(Self::Gelu),
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" | "gelu_accurate" | "gelu_python_tanh" => {
                Ok(Self::GeluTanh)
            }
            "silu" | "swish" => Ok(Self::Silu),
            "quick_gelu" => Ok(Self::QuickGelu),
            "relu" => Ok(Self::Relu),
            "relu2" => Ok(Self::ReluSquared),
            _ => Err(config.wrong(
                field,
                "one of gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, silu, quick_gelu, relu, relu2",
            )),
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
    /// The stream itself is normed: n = norm₁ x, m = n + attn(n); k = norm₂ m, norm₃(k + mlp(k)). Norms that a
    /// family does not have are left out.
    Normed,
}

/// How an MLP with a gate makes its neurons.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Gating {
    /// act(gate) · up.
    Product,
    /// g · σ(slope · g) · (u + 1), with g = min(gate, limit) and u = up limited to ±limit.
    Clamped {
        /// Of the sigmoid.
        slope: f64,
        /// Of gate and up.
        limit: f64,
    },
}

/// Mixtures of experts in place of MLPs: a router chooses some experts for each token.
#[derive(Debug, Clone, PartialEq)]
pub struct Experts {
    /// Whether the MLP of each layer is a mixture.
    pub layers: Vec<bool>,
    /// Experts of a mixture.
    pub count: usize,
    /// Experts that a token goes through, at most as many as there are.
    pub chosen: usize,
    /// Neurons of an expert.
    pub d_expert: usize,
    /// Whether the weights of a token's experts are scaled to sum to 1; else they are their share of a softmax
    /// over all experts.
    pub normalised: bool,
}

/// How a token's position enters.
#[derive(Debug, Clone, PartialEq)]
pub enum Positions {
    /// An embedding row per position is added to the token's.
    Learned,
    /// Queries and keys are rotated.
    Rotary(Rotary),
    /// Scores fall with the distance of the key.
    Alibi(Alibi),
}

/// Attention with linear biases (Press et al. 2022): the score of the key at position j gets slope · j, which is
/// the slope times minus its distance but for a number that all keys of a query share.
#[derive(Debug, Clone, PartialEq)]
pub struct Alibi {
    /// One for each head.
    pub slopes: Vec<f32>,
    /// Whether slope, position and product are rounded to bf16 first, as Falcon was trained.
    pub half: bool,
    /// Factor on what is added.
    pub scale: f32,
}

impl Alibi {
    /// 2^(−8i/n) for head i of n, where n is a power of two. The heads beyond the largest such n get every other
    /// slope of twice as many.
    pub fn slopes(n_heads: usize) -> Vec<f32> {
        let of = |n: usize, i: usize| (-8.0 * i as f64 / n as f64).exp2() as f32;
        let whole = if n_heads.is_power_of_two() { n_heads } else { n_heads.next_power_of_two() / 2 };
        let rest = (0..n_heads - whole).map(|i| of(2 * whole, 2 * i + 1));
        (1..=whole).map(|i| of(whole, i)).chain(rest).collect()
    }

    /// What is added to the scores of keys at positions `0..positions`, `[heads, positions]`.
    pub(super) fn key_bias(&self, positions: usize) -> Vec<f32> {
        let rounded = |x: f32| if self.half { bf16::from_f32(x).to_f32() } else { x };
        let of =
            |slope: f32, position: usize| rounded(rounded(slope) * rounded(position as f32)) * self.scale;
        self.slopes.iter().flat_map(|&slope| (0..positions).map(move |at| of(slope, at))).collect()
    }
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
    /// How gates work.
    pub gating: Gating,
    /// The layers whose MLP is a mixture.
    pub experts: Option<Experts>,
    /// Whether attention and MLP run in parallel.
    pub residual: Residual,
    /// Factor on query·key before the softmax.
    pub attention_scale: f64,
    /// Of each layer, how many positions back its queries see, their own included; none: all. Empty where
    /// that holds for every layer.
    pub windows: Vec<Option<usize>>,
    /// Rotary positions of the layers with a window, where they have their own.
    pub local_rotary: Option<Rotary>,
    /// Whether each layer rotates queries and keys. Empty where all do.
    pub rotated: Vec<bool>,
    /// c in c·tanh(score/c), which attention scores pass through.
    pub attention_cap: Option<f64>,
    /// The same for logits.
    pub logit_cap: Option<f64>,
    /// c in the clamping of queries, keys and values to −c..c.
    pub projection_limit: Option<f64>,
    /// Factor on embeddings before the first block.
    pub embedding_scale: Option<f64>,
    /// Factor on what attention and MLP add to the residual stream.
    pub residual_scale: Option<f64>,
    /// Factor on logits, before they are capped.
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
    /// The plainest architecture of these sizes: layer norms, learned positions, attention over everything, no
    /// factors, caps or limits, an unembedding of its own. Families state what is different.
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

    /// How many positions back the queries of a layer see, their own included.
    pub fn window(&self, layer: usize) -> Option<usize> {
        self.windows.get(layer).copied().flatten()
    }

    /// MLP neurons that one token goes through in a block.
    pub fn neurons_at_work(&self) -> usize {
        self.experts.as_ref().map_or(self.d_mlp, |experts| experts.chosen * experts.d_expert)
    }

    /// Whether a layer rotates queries and keys.
    pub fn rotates(&self, layer: usize) -> bool {
        self.rotated.get(layer).copied().unwrap_or(true)
    }

    /// The rotary positions of layers that see everything, and of those with a window; none where nothing rotates.
    pub fn rotaries(&self) -> [Option<&Rotary>; 2] {
        let everywhere = match &self.positions {
            Positions::Rotary(rotary) => Some(rotary),
            Positions::Learned | Positions::Alibi(_) => None,
        };
        [everywhere, self.local_rotary.as_ref().or(everywhere)]
    }

    /// Checks what every family must satisfy; `config` supplies the names for messages.
    pub(super) fn checked(mut self, config: &Config, kv_field: &str) -> Result<Self, NnError> {
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
