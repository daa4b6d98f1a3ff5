//! The sizes of a model, under the names that families have for them in `config.json`.

use crate::nn::architecture::Sizes;
use crate::nn::config::Config;
use crate::nn::error::NnError;

/// Field names of sizes in a family's configurations, its own name first; `context` has a default.
pub(super) struct Names {
    pub context: (&'static [&'static str], Option<usize>),
    pub width: &'static [&'static str],
    pub layers: &'static [&'static str],
    pub heads: &'static [&'static str],
}

impl Names {
    /// The usual names in transformers.
    pub const COMMON: Self = Self {
        context: (&["max_position_embeddings"], None),
        width: &["hidden_size"],
        layers: &["num_hidden_layers"],
        heads: &["num_attention_heads"],
    };

    /// The names of GPT-2 or the usual ones.
    pub const GPT2_OR_COMMON: Self = Self {
        context: (&["n_positions", "max_position_embeddings"], None),
        width: &["n_embd", "hidden_size"],
        layers: &["n_layer", "num_hidden_layers"],
        heads: &["n_head", "num_attention_heads"],
    };
}

/// A count that goes by several names; where more than one is there, they must agree.
pub(super) fn count_of(config: &Config, names: &[&str], default: Option<usize>) -> Result<usize, NnError> {
    let mut found = names.iter().filter(|name| config.has(name));
    let first = found.next().copied().unwrap_or(names[0]);
    let count = config.count_or(first, default)?;
    for other in found {
        if config.count(other)? != count {
            return Err(config.wrong(other, &format!("{count}, as `{first}` says")));
        }
    }
    Ok(count)
}

/// The sizes of a model with `d_head = d_model / n_heads`, as many key-value heads as query heads, and
/// `d_mlp = 4 · d_model`. Families overwrite what is different.
pub(super) fn sizes(config: &Config, names: &Names) -> Result<Sizes, NnError> {
    let d_model = count_of(config, names.width, None)?;
    let n_heads = count_of(config, names.heads, None)?;
    if !d_model.is_multiple_of(n_heads) {
        return Err(config.wrong(names.width[0], &format!("a multiple of the {n_heads} heads")));
    }
    Ok(Sizes {
        vocab: config.count("vocab_size")?,
        n_ctx: count_of(config, names.context.0, names.context.1)?,
        d_model,
        n_layers: count_of(config, names.layers, None)?,
        n_heads,
        n_kv_heads: n_heads,
        d_head: d_model / n_heads,
        d_mlp: 4 * d_model,
    })
}

/// The sizes of a model in transformers' usual names. The number of key-value heads is by default `n_kv_heads`, or
/// that of the query heads.
pub(super) fn common_sizes(config: &Config, n_kv_heads: Option<usize>) -> Result<Sizes, NnError> {
    let d_model = config.count("hidden_size")?;
    let n_heads = config.count("num_attention_heads")?;
    Ok(Sizes {
        vocab: config.count("vocab_size")?,
        n_ctx: config.count("max_position_embeddings")?,
        d_model,
        n_layers: config.count("num_hidden_layers")?,
        n_heads,
        n_kv_heads: config.count_or("num_key_value_heads", n_kv_heads.or(Some(n_heads)))?,
        d_head: config.count_or("head_dim", Some((d_model / n_heads).max(1)))?,
        d_mlp: config.count("intermediate_size")?,
    })
}
