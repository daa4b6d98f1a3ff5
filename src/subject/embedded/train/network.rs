//! The GPT-NeoX network in training: weights as candle variables, and a differentiable forward pass.
//!
//!   x = E[ids];  per block: x = x + attention(LN x) + W_out gelu(W_in LN' x + b_in) + b_out;  logits = LN(x) Uᵀ

use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Tensor, Var};

use super::EmbeddedError;
use super::attention::{Heads, attention};
use super::ops::{AddBias, BiasGelu, LayerNorm};
use crate::base::{Stream, TokenBatch};

/// Sizes of the model; everything else about its architecture is fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Shape {
    /// Pieces of the tokenizer.
    pub vocabulary: usize,
    /// Layers.
    pub n_layers: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Attention heads.
    pub n_heads: usize,
    /// Neurons of each MLP.
    pub d_mlp: usize,
    /// Context length in tokens.
    pub context: usize,
}

const EPS: f64 = 1e-5;
const ROTARY_BASE: f64 = 10_000.0;
const ROTARY_SHARE: f64 = 0.25;

/// The weights, by their names in a Hugging Face GPT-NeoX file.
#[derive(Debug)]
pub struct Network {
    shape: Shape,
    weights: BTreeMap<String, Var>,
}

impl Network {
    /// Initial weights: matrices normal with standard deviation √(2/5d), or 2/(layers·√d) if they write to the residual
    /// stream; biases 0, gains 1.
    pub fn new(shape: Shape, seed: u64) -> Result<Self> {
        let d = shape.d_model as f64;
        let (small, output) = ((0.4 / d).sqrt(), 2.0 / (shape.n_layers as f64 * d.sqrt()));
        let mut weights = BTreeMap::new();
        for (name, dims) in Self::tensors(&shape) {
            let count: usize = dims.iter().product();
            let mut stream = Stream::named(seed, &["embedded", "init", &name]);
            let writes = name.ends_with("attention.dense.weight") || name.ends_with("dense_4h_to_h.weight");
            let deviation = if writes { output } else { small };
            let data: Vec<f32> = match (dims.len(), name.ends_with("weight")) {
                (1, true) => vec![1.0; count],
                (1, false) => vec![0.0; count],
                _ => (0..count).map(|_| (stream.normal() * deviation) as f32).collect(),
            };
            weights.insert(name, Var::from_tensor(&Tensor::from_vec(data, dims, &Device::Cpu)?)?);
        }
        Ok(Self { shape, weights })
    }

    /// Weights from a safetensors file, stored in any float type.
    #[cfg(test)]
    pub fn from_safetensors(shape: Shape, bytes: &[u8]) -> Result<Self> {
        let stored = candle_core::safetensors::load_buffer(bytes, &Device::Cpu)?;
        let mut weights = BTreeMap::new();
        for (name, dims) in Self::tensors(&shape) {
            let Some(tensor) = stored.get(&name) else { candle_core::bail!("tensor `{name}` is missing") };
            if tensor.dims() != dims {
                candle_core::bail!("tensor `{name}` is {:?}, expected {dims:?}", tensor.dims());
            }
            weights.insert(name, Var::from_tensor(&tensor.to_dtype(DType::F32)?)?);
        }
        Ok(Self { shape, weights })
    }

    /// Names and dimensions of all weights.
    fn tensors(shape: &Shape) -> Vec<(String, Vec<usize>)> {
        let Shape { vocabulary, d_model: d, d_mlp, .. } = *shape;
        let mut tensors = vec![
            ("gpt_neox.embed_in.weight".to_owned(), vec![vocabulary, d]),
            ("embed_out.weight".to_owned(), vec![vocabulary, d]),
            ("gpt_neox.final_layer_norm.weight".to_owned(), vec![d]),
            ("gpt_neox.final_layer_norm.bias".to_owned(), vec![d]),
        ];
        let maps = [
            ("attention.query_key_value", 3 * d, d),
            ("attention.dense", d, d),
            ("mlp.dense_h_to_4h", d_mlp, d),
            ("mlp.dense_4h_to_h", d, d_mlp),
        ];
        for layer in 0..shape.n_layers {
            let mut add = |name: &str, dims| tensors.push((format!("gpt_neox.layers.{layer}.{name}"), dims));
            for norm in ["input_layernorm", "post_attention_layernorm"] {
                add(&format!("{norm}.weight"), vec![d]);
                add(&format!("{norm}.bias"), vec![d]);
            }
            for (map, to, from) in maps {
                add(&format!("{map}.weight"), vec![to, from]);
                add(&format!("{map}.bias"), vec![to]);
            }
        }
        tensors
    }

    /// Sizes.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Rounds the weights to f16, as a file stores them.
    pub(super) fn round_to_half(&self) -> Result<()> {
        for weight in self.weights.values() {
            weight.set(&weight.as_tensor().to_dtype(DType::F16)?.to_dtype(DType::F32)?)?;
        }
        Ok(())
    }

    /// All weights, in the order of their names.
    pub(super) fn weights(&self) -> &BTreeMap<String, Var> {
        &self.weights
    }

    /// The weights as a safetensors file in f16, names sorted.
    pub fn to_safetensors(&self) -> std::result::Result<Vec<u8>, EmbeddedError> {
        let half =
            |(name, weight): (&String, &Var)| Ok((name.clone(), weight.as_tensor().to_dtype(DType::F16)?));
        let halves = self.weights.iter().map(half).collect::<Result<BTreeMap<String, Tensor>>>()?;
        Ok(safetensors::serialize(halves.iter().map(|(name, tensor)| (name.as_str(), tensor)), None)?)
    }

    fn weight(&self, name: &str) -> Result<&Tensor> {
        match self.weights.get(name) {
            Some(weight) => Ok(weight.as_tensor()),
            None => candle_core::bail!("tensor `{name}` is missing"),
        }
    }

    fn norm(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        let [weight, bias] = [format!("{name}.weight"), format!("{name}.bias")];
        x.apply_op3(self.weight(&weight)?, self.weight(&bias)?, LayerNorm { eps: EPS as f32 })
    }

    fn product(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        x.matmul(&self.weight(&format!("{name}.weight"))?.t()?)
    }

    /// Logits `[rows · cols, vocabulary]`.
    pub fn logits(&self, tokens: &TokenBatch) -> Result<Tensor> {
        let (batch, positions) = (tokens.rows(), tokens.cols());
        let ids = Tensor::from_slice(tokens.ids(), tokens.ids().len(), &Device::Cpu)?;
        let mut x = self.weight("gpt_neox.embed_in.weight")?.index_select(&ids, 0)?; // [B·T, D]
        let width = self.shape.d_model / self.shape.n_heads;
        let pairs = (width as f64 * ROTARY_SHARE) as usize / 2;
        let heads = Heads { batch, positions, count: self.shape.n_heads, width, pairs };
        for layer in 0..self.shape.n_layers {
            x = self.block(&x, &format!("gpt_neox.layers.{layer}"), heads)?;
        }
        self.product(&self.norm(&x, "gpt_neox.final_layer_norm")?, "embed_out")
    }

    /// x + attention(LN x) + MLP(LN' x).
    fn block(&self, x: &Tensor, name: &str, heads: Heads) -> Result<Tensor> {
        let at = |part: &str| format!("{name}.{part}");
        let bias = |part: &str| self.weight(&format!("{name}.{part}.bias"));
        let normed = self.norm(x, &at("input_layernorm"))?;
        let qkv = self.product(&normed, &at("attention.query_key_value"))?;
        let qkv = qkv.apply_op2(bias("attention.query_key_value")?, AddBias)?;
        let mixed = attention(&qkv, heads, ROTARY_BASE)?;
        let attended = self.product(&mixed, &at("attention.dense"))?;
        let normed = self.norm(x, &at("post_attention_layernorm"))?;
        let hidden = self.product(&normed, &at("mlp.dense_h_to_4h"))?;
        let hidden = hidden.apply_op2(bias("mlp.dense_h_to_4h")?, BiasGelu)?;
        let mlp = self.product(&hidden, &at("mlp.dense_4h_to_h"))?;
        let biases = (bias("attention.dense")? + bias("mlp.dense_4h_to_h")?)?;
        ((x + attended)? + mlp)?.apply_op2(&biases, AddBias)
    }

    /// The model's `config.json`, as for Hugging Face's GPT-NeoX.
    pub fn config_json(shape: &Shape) -> String {
        let config = serde_json::json!({
            "architectures": ["GPTNeoXForCausalLM"],
            "model_type": "gpt_neox",
            "vocab_size": shape.vocabulary,
            "hidden_size": shape.d_model,
            "num_hidden_layers": shape.n_layers,
            "num_attention_heads": shape.n_heads,
            "intermediate_size": shape.d_mlp,
            "max_position_embeddings": shape.context,
            "hidden_act": "gelu",
            "layer_norm_eps": EPS,
            "rotary_pct": ROTARY_SHARE,
            "rotary_emb_base": ROTARY_BASE as u64,
            "use_parallel_residual": true,
            "attention_bias": true,
            "tie_word_embeddings": false,
            "bos_token_id": 0,
            "eos_token_id": 0,
            "torch_dtype": "float16",
        });
        format!("{config:#}\n")
    }
}
