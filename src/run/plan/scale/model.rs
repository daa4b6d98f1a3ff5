//! Sizes of a model from its configuration, and what its passes compute.
//!
//! A token takes 2 operations for each weight that it is multiplied with, and its attention over c positions
//! 2·c·heads·d_head (half of the positions on average, as masked kernels compute) to 4·c·heads·d_head (all of them):
//! Kaplan et al. 2020, arXiv 2001.08361, table 1. Weights are read once for each batch.

use std::ops::Range;

use crate::nn::{Architecture, Family};
use crate::run::plan::scale::cost::{Cost, Span};

/// Tokens of a batch, as a harvest runs them.
const BATCH_TOKENS: f64 = 4_096.0;

/// Bytes of a weight in memory and of an entry of an activation.
const BYTES: f64 = 4.0;

/// A model without its weights.
#[derive(Debug, Clone, Default)]
pub struct ModelSize {
    /// Weights, those of all experts included.
    pub parameters: f64,
    width: f64,
    vocab: f64,
    /// Width of all query heads together.
    heads: f64,
    neurons: f64,
    blocks: Vec<Block>,
}

/// The maps of a block.
#[derive(Debug, Clone, Copy)]
struct Block {
    /// Weights that a token is multiplied with.
    active: f64,
    /// All weights.
    stored: f64,
    /// Positions that a query sees; none for all.
    window: Option<f64>,
}

impl ModelSize {
    /// The sizes of an architecture. Norms and biases are left out: they are less than 0.1 % of the weights.
    pub fn of(model: &Architecture) -> Self {
        let blocks: Vec<Block> = (0..model.n_layers).map(|layer| block(model, layer)).collect();
        let embeddings = if model.tied { 1.0 } else { 2.0 } * (model.vocab as f64) * model.d_model as f64;
        Self {
            parameters: embeddings + blocks.iter().map(|block| block.stored).sum::<f64>(),
            width: model.d_model as f64,
            vocab: model.vocab as f64,
            heads: model.n_heads as f64 * model.d_head as f64,
            neurons: model.neurons_at_work() as f64,
            blocks,
        }
    }

    /// Number of blocks.
    pub fn layers(&self) -> usize {
        self.blocks.len()
    }

    /// `tokens` through some blocks, in sequences of `context` tokens.
    pub fn forward(&self, tokens: f64, blocks: Range<usize>, context: f64) -> Cost {
        let blocks = self.blocks.get(blocks.start.min(self.layers())..blocks.end.min(self.layers()));
        Cost::sum(blocks.unwrap_or_default().iter().map(|block| {
            let seen = block.window.map_or(context, |window| window.min(context));
            let attention = seen * self.heads;
            let flops = Span {
                low: tokens * (2.0 * block.active + 2.0 * attention),
                high: tokens * (2.0 * block.active + 4.0 * attention),
            };
            // Inputs and outputs of the maps of a block.
            let entries = tokens * (10.0 * self.width + 2.0 * self.neurons);
            let weights = block.stored * batches(tokens);
            Cost { flops, memory_bytes: Span::exactly(BYTES * (entries + weights)), ..Cost::default() }
        }))
    }

    /// Logits of `tokens`.
    pub fn logits(&self, tokens: f64) -> Cost {
        let weights = self.vocab * self.width;
        let moved = BYTES * (2.0 * tokens * self.vocab + weights * batches(tokens));
        Cost::computed(2.0 * tokens * weights, moved)
    }

    /// Losses of `tokens`, from the activations behind `depth` blocks on.
    pub fn losses(&self, tokens: f64, depth: usize, context: f64) -> Cost {
        self.forward(tokens, depth..self.layers(), context).plus(self.logits(tokens))
    }
}

fn batches(tokens: f64) -> f64 {
    (tokens / BATCH_TOKENS).ceil()
}

fn block(model: &Architecture, layer: usize) -> Block {
    let width = model.d_model as f64;
    let attention = width * model.d_head as f64 * 2.0 * (model.n_heads + model.n_kv_heads) as f64;
    let mixture = model.experts.as_ref().filter(|experts| experts.layers.get(layer) == Some(&true));
    let (active, stored) = match mixture {
        Some(experts) => {
            let expert = 3.0 * width * experts.d_expert as f64;
            let router = width * experts.count as f64;
            (router + expert * experts.chosen as f64, router + expert * experts.count as f64)
        }
        None => {
            let maps = if has_gate(model.family) { 3.0 } else { 2.0 };
            let mlp = maps * width * model.d_mlp as f64;
            (mlp, mlp)
        }
    };
    let window = model.window(layer).map(|window| window as f64);
    Block { active: attention + active, stored: attention + stored, window }
}

/// Whether the MLP has a gate beside its two maps.
fn has_gate(family: Family) -> bool {
    !matches!(
        family,
        Family::GptNeox
            | Family::Gpt2
            | Family::GptNeo
            | Family::Gptj
            | Family::Opt
            | Family::Phi
            | Family::Falcon
            | Family::Bloom
            | Family::StarCoder2
            | Family::GptBigCode
            | Family::Mpt
            | Family::Nemotron
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::SubjectHeader;

    fn size(config: &serde_json::Value) -> ModelSize {
        let header = SubjectHeader::of_config("toy", config.to_string().as_bytes(), "config.json");
        ModelSize::of(&header.expect("a configuration").architecture)
    }

    #[test]
    fn a_small_model_is_counted_by_hand() {
        let neox = size(&serde_json::json!({
            "model_type": "gpt_neox", "vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 2,
            "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 16,
            "hidden_act": "gelu", "layer_norm_eps": 1e-5, "use_parallel_residual": true, "rotary_pct": 0.5,
            "rotary_emb_base": 10000, "tie_word_embeddings": false,
        }));
        // Q, K, V, O: 4 · 8 · 8. MLP: 2 · 8 · 16. Embedding and unembedding: 2 · 20 · 8.
        assert_eq!(neox.parameters, 2.0 * (256.0 + 256.0) + 320.0);
        // 2 · 512 weights, and 2 to 4 · 5 positions · 8.
        let one = neox.forward(3.0, 0..1, 5.0);
        assert_eq!(one.flops, Span { low: 3.0 * (1024.0 + 80.0), high: 3.0 * (1024.0 + 160.0) });
        assert_eq!(neox.forward(3.0, 1..9, 5.0), one, "there are two blocks");
        assert_eq!(neox.logits(3.0).flops, Span::exactly(3.0 * 320.0));
        assert_eq!(neox.losses(3.0, 2, 5.0), neox.logits(3.0));
        assert_eq!(ModelSize::default().losses(1e9, 3, 64.0).flops, Span::default());
    }

    #[test]
    fn experts_are_stored_but_few_of_them_work() {
        let mixture = size(&serde_json::json!({
            "model_type": "qwen3_moe", "vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1,
            "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4, "intermediate_size": 12,
            "moe_intermediate_size": 6, "num_experts": 4, "num_experts_per_tok": 2, "decoder_sparse_step": 1,
            "max_position_embeddings": 16, "tie_word_embeddings": false,
        }));
        // Q, O: 2 · 8 · 8. K, V: 2 · 8 · 4. Router: 8 · 4. An expert: 3 · 8 · 6.
        let (shared, expert) = (128.0 + 64.0 + 32.0, 144.0);
        assert_eq!(mixture.parameters, 320.0 + shared + 4.0 * expert);
        assert_eq!(mixture.forward(1.0, 0..1, 0.0).flops, Span::exactly(2.0 * (shared + 2.0 * expert)));
    }
}
