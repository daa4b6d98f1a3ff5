use candle_core::Tensor;

use crate::nn::linear::Linear;
use crate::nn::mixture::Mixture;
use crate::nn::mlp::Mlp;
use crate::nn::ops::Norm;
use crate::nn::rows::Rows;

/// The projections of a block to queries, keys and values.
#[derive(Debug, Clone)]
pub enum Projections {
    /// One map. Its rows are query, key and value of head 0, then of head 1, and so on.
    FusedByHead(Linear),
    /// One map. Its rows are all queries, then all keys, then all values.
    FusedByKind(Linear),
    Separate {
        queries: Linear,
        keys: Linear,
        values: Linear,
    },
}

/// The part of a block beside attention.
#[derive(Debug, Clone)]
pub enum FeedForward {
    Dense(Mlp),
    Mixture(Mixture),
}

impl From<Mlp> for FeedForward {
    fn from(mlp: Mlp) -> Self {
        Self::Dense(mlp)
    }
}

/// The weights of a block. A norm that is `None` is the identity.
#[derive(Debug, Clone)]
pub struct Block {
    /// Norm of the input of attention.
    pub attention_norm: Option<Norm>,
    pub projections: Projections,
    /// Norm of queries, before rotation.
    pub query_norm: Option<Norm>,
    /// Norm of keys, before rotation.
    pub key_norm: Option<Norm>,
    /// Attention sinks: scores `[n_heads]` that join the softmax and whose weight is discarded.
    pub sinks: Option<Tensor>,
    pub attention_out: Linear,
    /// Norm of the output of attention.
    pub attention_post_norm: Option<Norm>,
    /// Norm of the input of the MLP.
    pub mlp_norm: Option<Norm>,
    pub mlp: FeedForward,
    /// Norm of the output of the MLP.
    pub mlp_post_norm: Option<Norm>,
    /// Norm of the residual stream after the block.
    pub stream_norm: Option<Norm>,
}

impl Block {
    /// A block without norms.
    pub fn plain(projections: Projections, attention_out: Linear, mlp: impl Into<FeedForward>) -> Self {
        Self {
            attention_norm: None,
            projections,
            query_norm: None,
            key_norm: None,
            sinks: None,
            attention_out,
            attention_post_norm: None,
            mlp_norm: None,
            mlp: mlp.into(),
            mlp_post_norm: None,
            stream_norm: None,
        }
    }

    pub fn maps(&mut self) -> Vec<&mut Linear> {
        let mut maps = match &mut self.projections {
            Projections::FusedByHead(map) | Projections::FusedByKind(map) => vec![map],
            Projections::Separate { queries, keys, values } => vec![queries, keys, values],
        };
        maps.push(&mut self.attention_out);
        match &mut self.mlp {
            FeedForward::Dense(mlp) => maps.extend(mlp.maps()),
            FeedForward::Mixture(mixture) => {
                maps.push(&mut mixture.router);
                maps.extend(mixture.experts.iter_mut().flat_map(Mlp::maps));
            }
        }
        maps
    }

    pub fn norms(&mut self) -> impl Iterator<Item = &mut Norm> {
        let of_attention = [&mut self.attention_norm, &mut self.query_norm, &mut self.key_norm];
        let of_mlp = [&mut self.attention_post_norm, &mut self.mlp_norm, &mut self.mlp_post_norm];
        of_attention.into_iter().chain(of_mlp).chain([&mut self.stream_norm]).flatten()
    }
}

/// The weights of a model.
#[derive(Debug, Clone)]
pub struct Parts {
    pub embedding: Rows,
    pub position_embedding: Option<Tensor>,
    /// Norm of the embeddings, with positions, before the first block.
    pub embedding_norm: Option<Norm>,
    pub blocks: Vec<Block>,
    pub final_norm: Option<Norm>,
    pub unembedding: Linear,
}

impl Parts {
    /// A model with a final norm, but no position embedding and no embedding norm.
    pub fn plain(embedding: Rows, blocks: Vec<Block>, final_norm: Norm, unembedding: Linear) -> Self {
        Self { final_norm: Some(final_norm), ..Self::without_norm(embedding, blocks, unembedding) }
    }

    /// [`Parts::plain`] without the final norm.
    pub fn without_norm(embedding: Rows, blocks: Vec<Block>, unembedding: Linear) -> Self {
        let (position_embedding, embedding_norm, final_norm) = (None, None, None);
        Self { embedding, position_embedding, embedding_norm, blocks, final_norm, unembedding }
    }
}
