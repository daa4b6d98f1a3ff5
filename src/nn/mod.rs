//! Runtime for decoder-only transformers, with hook points, and their tokenizers.
//!
//! In: a Hugging Face folder (`config.json`, `model.safetensors` or a sharded index, `tokenizer.json`), the
//! same as bytes, or a GGUF file.
//! Out: activations at hook points, logits at every position, edits at hook points, gradients with respect to
//! activations; differentiable if the weights are candle variables.
//! Never: knows a corpus, a dictionary or a feature.
//!
//! Sources: GPT-2 (Radford et al. 2019), GPT-NeoX (Black et al. 2022), Llama (Touvron et al. 2023), rotary
//! positions (Su et al. 2021). Where implementations differ, Hugging Face transformers is the reference.
//!
//! | file | what it holds |
//! |---|---|
//! | `config`, `families` | `config.json` and tensor names to an [`Architecture`] and a [`Transformer`] |
//! | `transformer` | the one forward pass |
//! | `linear`, `attention`, `mlp`, `mixture`, `ops` | its operations, fused for CPU inference or differentiable |
//! | `kernels`, `attention_kernel` | the fused loops |
//! | `packed` | weights in their stored numbers (f16, bf16, quantised) |
//! | `prefix_cache`, `token_tree` | prefix caches, and sequences whose shared prefixes are computed once |

mod architecture;
mod attention;
mod attention_kernel;
mod attention_rule;
mod config;
mod device;
mod error;
mod families;
mod gguf;
mod kernels;
mod linear;
mod mixture;
mod mlp;
mod ops;
mod packed;
mod prefix_cache;
mod rotary;
mod rows;
mod sampler;
mod token_tree;
pub mod tokenizer;
mod transformer;
mod weights;

pub use architecture::{Activation, Alibi, Architecture, Family, NormKind, Positions, Residual};
pub use config::Config;
#[cfg(test)]
pub use device::gpu_for_tests;
pub use device::{Device, gpu_count, open_device};
pub use error::NnError;
pub use families::{architecture as read_architecture, is_embedding, is_linear_in_block};
pub use gguf::{Gguf, context_length, gguf_config, gguf_tokenizer, is_gguf, is_in_gguf, weight_count};
pub use ops::copy_entries;
pub use packed::{Encoding, Packed};
pub use prefix_cache::PrefixCache;
pub use rotary::{Longer, Replacement, Rotary};
pub use sampler::Sampler;
pub use token_tree::TokenTree;
pub use tokenizer::{Lead, Tokenizer};

pub use transformer::{Edit, ForwardPass, Given, Output, Pullback, Request, Transformer, Values};
pub use weights::Weights;
