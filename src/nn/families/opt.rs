use super::{Names, SEPARATE, linear, mlp, separate, sizes, unembedding};
use crate::nn::architecture::{Activation, Architecture, Family, Residual};
use crate::nn::config::Config;
use crate::nn::error::NnError;
use crate::nn::rows::Rows;
use crate::nn::transformer::{Block, Linear, Norm, Parts};
use crate::nn::weights::Weights;

/// Rows of the position embedding before that of the first position.
const FIRST_POSITION: usize = 2;

/// OPT: learned positions. The one of 350 million parameters norms the stream itself, after attention and after
/// the MLP, has no final norm, and reads and writes narrower embeddings through maps of their own.
pub(super) fn architecture(config: &Config) -> Result<Architecture, NnError> {
    let mut sizes = sizes(config, &Names::COMMON)?;
    sizes.d_mlp = config.count("ffn_dim")?;
    let before = config.flag_or("do_layer_norm_before", true)?;
    // Written with the models that were trained with OPT's code.
    config.require_flag("learned_embeddings", true)?;
    config.require_flag("scale_embeddings", false)?;
    for flag in ["_remove_final_layer_norm", "enable_bias", "layer_norm_elementwise_affine"] {
        config.flag_or(flag, true)?;
    }
    config.count_or("word_embed_proj_dim", Some(sizes.d_model))?;
    Ok(Architecture {
        activation: Activation::of(config, "activation_function", "relu")?,
        residual: if before { Residual::Sequential } else { Residual::Normed },
        tied: config.flag_or("tie_word_embeddings", true)?,
        ..Architecture::plain(Family::Opt, sizes)
    })
}

pub(super) fn parts(a: &Architecture, config: &Config, weights: &Weights) -> Result<Parts, NnError> {
    let outside = |name: &str| format!("model.decoder.{name}");
    let bias = config.flag_or("enable_bias", true)?;
    let affine = config.flag_or("layer_norm_elementwise_affine", true)?;
    let norm = |name: &str| norm(a, weights, name, affine);
    let before = a.residual == Residual::Sequential;
    let mut blocks = Vec::with_capacity(a.n_layers);
    for layer in 0..a.n_layers {
        let at = |name: &str| outside(&format!("layers.{layer}.{name}"));
        let attention = |name: &str| at(&format!("self_attn.{name}"));
        let block = Block::plain(
            separate(a, weights, SEPARATE.map(attention), bias)?,
            linear(weights, &attention("out_proj"), a.d_model, a.d_model, bias)?,
            mlp(a, weights, [&at("fc1"), &at("fc2")], bias)?,
        );
        let [of_attention, of_mlp] = [norm(&at("self_attn_layer_norm"))?, norm(&at("final_layer_norm"))?];
        blocks.push(if before {
            Block { attention_norm: Some(of_attention), mlp_norm: Some(of_mlp), ..block }
        } else {
            Block { mlp_norm: Some(of_attention), stream_norm: Some(of_mlp), ..block }
        });
    }
    let (embedding, unembedding) = embeddings(a, config, weights, &outside)?;
    let rows = FIRST_POSITION + a.n_ctx;
    let positions = weights.get(&outside("embed_positions.weight"), &[rows, a.d_model])?;
    let final_norm = if before && !config.flag_or("_remove_final_layer_norm", false)? {
        Some(norm(&outside("final_layer_norm"))?)
    } else {
        None
    };
    Ok(Parts {
        position_embedding: Some(positions.narrow(0, FIRST_POSITION, a.n_ctx)?),
        final_norm,
        ..Parts::without_norm(embedding, blocks, unembedding)
    })
}

/// A layer norm; without parameters it scales and shifts nothing.
fn norm(a: &Architecture, weights: &Weights, name: &str, affine: bool) -> Result<Norm, NnError> {
    if affine {
        return super::norm(weights, name, a);
    }
    let device = &candle_core::Device::Cpu;
    let weight = candle_core::Tensor::ones(a.d_model, candle_core::DType::F32, device)?;
    Ok(Norm { weight, bias: None })
}

/// Embedding and unembedding. Where they are narrower than the stream they are taken together with the maps
/// between, so that both have the stream's width like any others.
fn embeddings(
    a: &Architecture,
    config: &Config,
    weights: &Weights,
    outside: &dyn Fn(&str) -> String,
) -> Result<(Rows, Linear), NnError> {
    let name = outside("embed_tokens.weight");
    let width = config.count_or("word_embed_proj_dim", Some(a.d_model))?;
    if width == a.d_model {
        let embedding = weights.rows(&name, &[a.vocab, a.d_model])?;
        let unembedding = unembedding(a, weights, &embedding, false)?;
        return Ok((embedding, unembedding));
    }
    let narrow = weights.get(&name, &[a.vocab, width])?;
    let out = if a.tied { narrow.clone() } else { weights.get("lm_head.weight", &[a.vocab, width])? };
    let project_in = weights.get(&outside("project_in.weight"), &[a.d_model, width])?;
    let project_out = weights.get(&outside("project_out.weight"), &[width, a.d_model])?;
    let embedding = Rows::Plain(narrow.matmul(&project_in.t()?)?);
    Ok((embedding, Linear::new(Rows::Plain(out.matmul(&project_out)?), None)))
}
