use candle_core::Tensor;
use serde_json::json;

use super::experts::{experts, mixture};
use super::{linear, llama, windows};
use crate::nn::architecture::{Architecture, Experts, Family, Gating};
use crate::nn::config::Config;
use crate::nn::error::NnError;
use crate::nn::rows::Rows;
use crate::nn::transformer::{FeedForward, Linear, Mlp, Parts};
use crate::nn::weights::Weights;

/// Positions in a window where `sliding_window` is missing.
const WINDOW: usize = 128;

/// gpt-oss: a Llama with biases, attention sinks, windows in every other layer, and mixtures whose experts have a
/// gate of their own kind.
pub(super) fn architecture(config: &Config) -> Result<Architecture, NnError> {
    let mut config = config.clone();
    if !config.has("rope_parameters") && !config.has("rope_scaling") {
        let yarn = json!({
            "rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": false,
            "original_max_position_embeddings": 4096,
        });
        config = config.with_value("rope_scaling", yarn);
    }
    let config = &config;
    let base = llama::architecture(config, Family::GptOss)?;
    let n_layers = base.n_layers;
    let window = config.count_or_null("sliding_window", WINDOW)?;
    // Transformers has one gate for this family. The Hub's file repeats what other fields say.
    config.without_effect(&["hidden_act", "initial_context_length", "experts_per_token"]);
    if let Some(quantized) = config.section("quantization_config")? {
        // Tensors say by their names which of them are quantised; they are unpacked whatever this says.
        quantized.without_effect(&["modules_to_not_convert", "dequantize"]);
        if quantized.text_or("quant_method", "")? != "mxfp4" {
            return Err(quantized.wrong("quant_method", "`mxfp4` (nothing else is implemented)"));
        }
    }
    Ok(Architecture {
        windows: windows(config, n_layers, window, |layer| layer.is_multiple_of(2))?,
        gating: Gating::Clamped {
            slope: config.positive_or("swiglu_alpha", 1.702)?,
            limit: config.positive_or("swiglu_limit", 7.0)?,
        },
        experts: Some(experts(config, n_layers, [128, 4], base.d_mlp, true)?),
        ..base
    })
}

pub(super) fn parts(a: &Architecture, config: &Config, weights: &Weights) -> Result<Parts, NnError> {
    let mut parts = llama::parts_with(a, config, weights, |layer| match &a.experts {
        Some(rule) => read(a, rule, weights, &format!("model.layers.{layer}.mlp")),
        None => Ok(llama::mlp(a, weights, layer, false)?.into()),
    })?;
    for (layer, block) in parts.blocks.iter_mut().enumerate() {
        block.sinks = Some(weights.get(&format!("model.layers.{layer}.self_attn.sinks"), &[a.n_heads])?);
    }
    Ok(parts)
}

/// Experts are stored as `[in, out]`, all of them in one tensor, gate and up taking turns.
fn read(a: &Architecture, rule: &Experts, weights: &Weights, name: &str) -> Result<FeedForward, NnError> {
    let (d, neurons, count) = (a.d_model, rule.d_expert, rule.count);
    let get = |part: &str, shape: &[usize]| weights.get(&format!("{name}.experts.{part}"), shape);
    let gates_and_ups = get("gate_up_proj", &[count, d, 2 * neurons])?;
    let gate_and_up_biases = get("gate_up_proj_bias", &[count, 2 * neurons])?;
    let downs = get("down_proj", &[count, neurons, d])?;
    let down_biases = get("down_proj_bias", &[count, d])?;
    let one = |expert: usize| -> Result<Mlp, NnError> {
        let gate_and_up = gates_and_ups.get(expert)?.reshape((d, neurons, 2))?;
        let biases = gate_and_up_biases.get(expert)?.reshape((neurons, 2))?;
        let half = |nth: usize| -> candle_core::Result<Linear> {
            let (weight, bias) = (gate_and_up.narrow(2, nth, 1)?, biases.narrow(1, nth, 1)?);
            transposed(&weight.squeeze(2)?, &bias.squeeze(1)?)
        };
        Ok(Mlp {
            gate: Some(half(0)?),
            up: half(1)?,
            down: transposed(&downs.get(expert)?, &down_biases.get(expert)?)?,
        })
    };
    let experts = (0..count).map(one).collect::<Result<_, NnError>>()?;
    Ok(mixture(rule, linear(weights, &format!("{name}.router"), count, d, true)?, experts))
}

/// A linear map stored as `[in, out]`, laid out as others are.
fn transposed(weight: &Tensor, bias: &Tensor) -> candle_core::Result<Linear> {
    Ok(Linear::new(Rows::Plain(weight.t()?.contiguous()?), Some(bias.contiguous()?)))
}
