//! The decoder-only runtime, with hooks, and its tokenizer.
//!
//! In: a Hugging Face folder (`config.json`, `model.safetensors` or a sharded index, `tokenizer.json`), the
//! same as bytes, or a GGUF file.
//! Out: activations at hook points, logits at every position, an edit at a hook point; differentiable where the
//! weights are candle variables.
//! Never: knows a corpus, a dictionary or a feature.
//!
//! Sources: GPT-2 (Radford et al. 2019), GPT-NeoX (Black et al. 2022), Llama (Touvron et al. 2023), rotary
//! positions (Su et al. 2021); where an implementation decides, Hugging Face transformers' numbers do.
//!
//! `config` reads both spellings of `config.json`; `families` turn it and the weight names into an
//! [`Architecture`] and a [`Transformer`]; `transformer` is the one forward pass; `ops` holds its operations,
//! each once composed of candle's differentiable ones and once fused (`kernels`) for inference on the CPU;
//! `mixture` sends tokens through experts; `packed` keeps weights in the numbers they were stored in, `keys_values`
//! what earlier positions left behind; `token_tree` holds sequences whose common beginnings are run once.

mod architecture;
mod config;
mod device;
mod error;
mod families;
mod gguf;
mod kernels;
mod keys_values;
mod mixture;
mod ops;
mod packed;
mod rotary;
mod rows;
#[cfg(feature = "local-llm")]
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
pub use families::{is_embedding, is_linear_in_block};
pub use gguf::{Gguf, gguf_tokenizer, is_gguf};
pub use keys_values::KeysValues;
pub use ops::copy_entries;
pub use packed::{Encoding, Packed};
pub use rotary::{Longer, Replacement, Rotary};
#[cfg(feature = "local-llm")]
pub use sampler::Sampler;
pub use token_tree::TokenTree;
pub use tokenizer::{Lead, Tokenizer};

pub use transformer::{Edit, ForwardPass, Output, Request, Transformer};
pub use weights::{Weights, context_length, weight_count};
