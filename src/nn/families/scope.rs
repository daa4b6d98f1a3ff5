//! Linear maps, norms and blocks by the names of their tensors; every shape is checked.

use candle_core::{DType, Device, Tensor};

use crate::nn::architecture::{Architecture, Family, NormKind, Positions};
use crate::nn::error::NnError;
use crate::nn::transformer::{Block, FeedForward, Linear, Mlp, Norm, Parts, Projections};
use crate::nn::weights::Weights;

/// The weights whose names begin with `prefix`, a name that ends in a dot or is empty.
pub(super) struct Scope<'a> {
    pub a: &'a Architecture,
    pub weights: &'a Weights,
    pub prefix: String,
}

impl Scope<'_> {
    /// The whole name of a tensor or module.
    pub fn at(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, NnError> {
        self.weights.get(&self.at(name), shape)
    }

    /// A linear map stored as `[out, in]`, with a bias if `bias`.
    pub fn linear(&self, name: &str, [out, d_in]: [usize; 2], bias: bool) -> Result<Linear, NnError> {
        let weight = self.weights.rows(&self.at(&format!("{name}.weight")), &[out, d_in])?;
        let bias = bias.then(|| self.tensor(&format!("{name}.bias"), &[out])).transpose()?;
        Ok(Linear::new(weight, bias))
    }

    /// The map from the heads' outputs to the residual stream.
    pub fn out_of_heads(&self, name: &str, bias: bool) -> Result<Linear, NnError> {
        self.linear(name, [self.a.d_model, self.a.n_heads * self.a.d_head], bias)
    }

    /// A norm of the architecture's kind over the residual stream.
    pub fn norm(&self, name: &str) -> Result<Norm, NnError> {
        self.norm_of_width(name, self.a.d_model)
    }

    /// A norm of the architecture's kind. Gemma and Nemotron store the gain minus 1; OLMo 1 has no gain.
    pub fn norm_of_width(&self, name: &str, width: usize) -> Result<Norm, NnError> {
        let family = self.a.family;
        if family == Family::Olmo {
            return Ok(Norm { weight: Tensor::ones(width, DType::F32, &Device::Cpu)?, bias: None });
        }
        let weight = self.tensor(&format!("{name}.weight"), &[width])?;
        let weight = match family {
            Family::Gemma | Family::Gemma2 | Family::Gemma3 | Family::Nemotron => (weight + 1.0)?,
            _ => weight,
        };
        let biased = self.a.norm == NormKind::Layer && !matches!(family, Family::Mpt | Family::Cohere);
        let bias = biased.then(|| self.tensor(&format!("{name}.bias"), &[width])).transpose()?;
        Ok(Norm { weight, bias })
    }

    /// Queries, keys and values from a map each: `{attention}.q_proj` and so on.
    pub fn separate(&self, attention: &str, bias: bool) -> Result<Projections, NnError> {
        let map = |name: &str, heads: usize| {
            self.linear(&format!("{attention}.{name}"), [heads * self.a.d_head, self.a.d_model], bias)
        };
        Ok(Projections::Separate {
            queries: map("q_proj", self.a.n_heads)?,
            keys: map("k_proj", self.a.n_kv_heads)?,
            values: map("v_proj", self.a.n_kv_heads)?,
        })
    }

    /// A block with a norm before attention and a norm before the MLP.
    pub fn block(
        &self,
        [attention_norm, mlp_norm]: [&str; 2],
        projections: Projections,
        attention_out: Linear,
        mlp: impl Into<FeedForward>,
    ) -> Result<Block, NnError> {
        Ok(Block {
            attention_norm: Some(self.norm(attention_norm)?),
            mlp_norm: Some(self.norm(mlp_norm)?),
            ..Block::plain(projections, attention_out, mlp)
        })
    }

    /// An MLP without a gate.
    pub fn mlp(&self, [up, down]: [&str; 2], bias: bool) -> Result<Mlp, NnError> {
        let Architecture { d_model, d_mlp, .. } = *self.a;
        Ok(Mlp {
            gate: None,
            up: self.linear(up, [d_mlp, d_model], bias)?,
            down: self.linear(down, [d_model, d_mlp], bias)?,
        })
    }

    /// A gated MLP: `mlp.gate_proj` and so on.
    pub fn gated(&self, bias: bool) -> Result<Mlp, NnError> {
        let Architecture { d_model, d_mlp, .. } = *self.a;
        Ok(Mlp {
            gate: Some(self.linear("mlp.gate_proj", [d_mlp, d_model], bias)?),
            up: self.linear("mlp.up_proj", [d_mlp, d_model], bias)?,
            down: self.linear("mlp.down_proj", [d_model, d_mlp], bias)?,
        })
    }
}

/// Names of what a family has outside of its blocks, and of the list of blocks.
pub(super) struct Frame {
    pub embedding: &'static str,
    pub blocks: &'static str,
    pub final_norm: &'static str,
    pub unembedding: &'static str,
    /// Whether the unembedding has a bias.
    pub biased: bool,
}

impl Frame {
    pub const LLAMA: Self = Self {
        embedding: "model.embed_tokens",
        blocks: "model.layers",
        final_norm: "model.norm",
        unembedding: "lm_head",
        biased: false,
    };

    pub const GPT2: Self = Self {
        embedding: "transformer.wte",
        blocks: "transformer.h",
        final_norm: "transformer.ln_f",
        unembedding: "lm_head",
        biased: false,
    };

    /// Reads a whole model; `block` reads the block of a layer. Learned positions are `transformer.wpe`.
    pub fn read(
        &self,
        a: &Architecture,
        weights: &Weights,
        block: impl Fn(usize, &Scope<'_>) -> Result<Block, NnError>,
    ) -> Result<Parts, NnError> {
        let shape = [a.vocab, a.d_model];
        let embedding = weights.rows(&format!("{}.weight", self.embedding), &shape)?;
        let of_layer =
            |layer: usize| block(layer, &Scope { a, weights, prefix: format!("{}.{layer}.", self.blocks) });
        let blocks = (0..a.n_layers).map(of_layer).collect::<Result<_, _>>()?;
        let unembedding = match a.tied {
            true => embedding.clone(),
            false => weights.rows(&format!("{}.weight", self.unembedding), &shape)?,
        };
        let root = Scope { a, weights, prefix: String::new() };
        let bias = self.biased.then(|| root.tensor(&format!("{}.bias", self.unembedding), &[a.vocab]));
        let unembedding = Linear::new(unembedding, bias.transpose()?);
        let learned = matches!(a.positions, Positions::Learned);
        let positions = learned.then(|| root.tensor("transformer.wpe.weight", &[a.n_ctx, a.d_model]));
        Ok(Parts {
            position_embedding: positions.transpose()?,
            ..Parts::plain(embedding, blocks, root.norm(self.final_norm)?, unembedding)
        })
    }
}

/// The order that turns adjacent rotary pairs (2i, 2i + 1) into pairs (i, i + rotated/2), which the runtime rotates;
/// the coordinates of `heads` heads are in sequence.
pub(super) fn order_of_halves(a: &Architecture, heads: usize) -> Vec<u32> {
    let rotated = match &a.positions {
        Positions::Rotary(rotary) => rotary.dims(),
        _ => 0,
    };
    let within = (0..rotated).step_by(2).chain((1..rotated).step_by(2)).chain(rotated..a.d_head);
    let within: Vec<usize> = within.collect();
    (0..heads).flat_map(|head| within.iter().map(move |at| (head * a.d_head + at) as u32)).collect()
}

/// Queries and keys in that order. Scores do not change, since both are permuted alike.
pub(super) fn rotated_in_halves(a: &Architecture, projections: Projections) -> Result<Projections, NnError> {
    Ok(match projections {
        Projections::Separate { queries, keys, values } => Projections::Separate {
            queries: queries.in_order(&order_of_halves(a, a.n_heads))?,
            keys: keys.in_order(&order_of_halves(a, a.n_kv_heads))?,
            values,
        },
        fused => fused,
    })
}

/// A fused map whose rows are grouped by key-value head: the queries that share the head, its key, its value.
pub(super) fn by_group(a: &Architecture, map: Linear) -> Result<Projections, NnError> {
    if a.n_kv_heads == a.n_heads {
        return Ok(Projections::FusedByHead(map));
    }
    let served = a.n_heads / a.n_kv_heads;
    let rows = |heads: std::ops::Range<usize>| {
        (0..a.n_kv_heads).flat_map(move |group| {
            let first = group * (served + 2);
            (first + heads.start) * a.d_head..(first + heads.end) * a.d_head
        })
    };
    let all = rows(0..served).chain(rows(served..served + 1)).chain(rows(served + 1..served + 2));
    let order: Vec<u32> = all.map(|row| row as u32).collect();
    Ok(Projections::FusedByKind(map.in_order(&order)?))
}
