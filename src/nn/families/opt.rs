//! OPT (Zhang et al. 2022, arXiv 2205.01068): learned positions.
//!
//! The 350M model norms the residual stream after attention and after the MLP, has no final norm, and projects narrower
//! embeddings to and from the stream's width.

use super::*;

/// Rows of the position embedding before that of the first position.
const FIRST_POSITION: usize = 2;

pub(super) fn architecture(config: &Config, family: Family) -> Result<Architecture, NnError> {
    let mut sizes = sizes(config, &Names::COMMON)?;
    sizes.d_mlp = config.count("ffn_dim")?;
    let before = config.flag_or("do_layer_norm_before", true)?;
    // Fields of OPT's own training code.
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
        ..Architecture::plain(family, sizes)
    })
}

pub(super) fn parts(a: &Architecture, config: &Config, weights: &Weights) -> Result<Parts, NnError> {
    let bias = config.flag_or("enable_bias", true)?;
    let affine = config.flag_or("layer_norm_elementwise_affine", true)?;
    let before = a.residual == Residual::Sequential;
    let block = |layer: usize| -> Result<Block, NnError> {
        let scope = Scope { a, weights, prefix: format!("model.decoder.layers.{layer}.") };
        let block = Block::plain(
            scope.separate("self_attn", bias)?,
            scope.out_of_heads("self_attn.out_proj", bias)?,
            scope.mlp(["fc1", "fc2"], bias)?,
        );
        let attention_norm = Some(norm(&scope, "self_attn_layer_norm", affine)?);
        let mlp_norm = Some(norm(&scope, "final_layer_norm", affine)?);
        Ok(match before {
            true => Block { attention_norm, mlp_norm, ..block },
            false => Block { mlp_norm: attention_norm, stream_norm: mlp_norm, ..block },
        })
    };
    let blocks = (0..a.n_layers).map(block).collect::<Result<_, _>>()?;
    let root = Scope { a, weights, prefix: "model.decoder.".into() };
    let (embedding, unembedding) = embeddings(config, &root)?;
    let positions = root.tensor("embed_positions.weight", &[FIRST_POSITION + a.n_ctx, a.d_model])?;
    let final_norm = before && !config.flag_or("_remove_final_layer_norm", false)?;
    Ok(Parts {
        position_embedding: Some(positions.narrow(0, FIRST_POSITION, a.n_ctx)?),
        final_norm: final_norm.then(|| norm(&root, "final_layer_norm", affine)).transpose()?,
        ..Parts::without_norm(embedding, blocks, unembedding)
    })
}

/// A layer norm; without parameters its gain is 1.
fn norm(scope: &Scope<'_>, name: &str, affine: bool) -> Result<Norm, NnError> {
    if affine {
        return scope.norm(name);
    }
    Ok(Norm { weight: Tensor::ones(scope.a.d_model, DType::F32, &Device::Cpu)?, bias: None })
}

/// Embedding and unembedding, both `[vocab, d_model]`. Narrower ones are multiplied by their projections.
fn embeddings(config: &Config, root: &Scope<'_>) -> Result<(Rows, Linear), NnError> {
    let (a, weights) = (root.a, root.weights);
    let name = root.at("embed_tokens.weight");
    let width = config.count_or("word_embed_proj_dim", Some(a.d_model))?;
    if width == a.d_model {
        let embedding = weights.rows(&name, &[a.vocab, width])?;
        let unembedding =
            if a.tied { embedding.clone() } else { weights.rows("lm_head.weight", &[a.vocab, width])? };
        return Ok((embedding, Linear::new(unembedding, None)));
    }
    let narrow = weights.get(&name, &[a.vocab, width])?;
    let out = if a.tied { narrow.clone() } else { weights.get("lm_head.weight", &[a.vocab, width])? };
    let project_in = root.tensor("project_in.weight", &[a.d_model, width])?;
    let project_out = root.tensor("project_out.weight", &[width, a.d_model])?;
    let embedding = Rows::Plain(narrow.matmul(&project_in.t()?)?);
    Ok((embedding, Linear::new(Rows::Plain(out.matmul(&project_out)?), None)))
}
