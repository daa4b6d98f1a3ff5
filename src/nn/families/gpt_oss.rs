//! gpt-oss (OpenAI 2025, arXiv 2508.10925): a Llama with biases, attention sinks, a window in every other layer, and
//! mixtures whose experts have a clamped gate.

use serde_json::json;

use super::experts::{experts, mixture};
use super::*;

/// Default of `sliding_window`.
const WINDOW: usize = 128;

pub(super) fn architecture(config: &Config, family: Family) -> Result<Architecture, NnError> {
    let mut config = config.clone();
    if !config.has("rope_parameters") && !config.has("rope_scaling") {
        let yarn = json!({
            "rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": false,
            "original_max_position_embeddings": 4096,
        });
        config = config.with_value("rope_scaling", yarn);
    }
    let config = &config;
    let base = llama::architecture(config, family)?;
    let n_layers = base.n_layers;
    let window = config.count_or_null("sliding_window", WINDOW)?;
    // Transformers has one gate for this family. The Hub's file repeats what other fields say.
    config.without_effect(&["hidden_act", "initial_context_length", "experts_per_token"]);
    if let Some(quantized) = config.section("quantization_config")? {
        // The names of tensors say which are quantised; these are unpacked in any case.
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
    let mut parts = llama::parts_with(a, config, weights, |_, scope| match &a.experts {
        Some(rule) => read(scope, rule),
        None => Ok(scope.gated(false)?.into()),
    })?;
    for (layer, block) in parts.blocks.iter_mut().enumerate() {
        block.sinks = Some(weights.get(&format!("model.layers.{layer}.self_attn.sinks"), &[a.n_heads])?);
    }
    Ok(parts)
}

/// All experts are in one tensor, as `[experts, in, out]`; columns of gate and up alternate.
fn read(scope: &Scope<'_>, rule: &Experts) -> Result<FeedForward, NnError> {
    let (d, neurons, count) = (scope.a.d_model, rule.d_expert, rule.count);
    let get = |part: &str, shape: &[usize]| scope.tensor(&format!("mlp.experts.{part}"), shape);
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
    Ok(mixture(rule, scope.linear("mlp.router", [count, d], true)?, experts))
}

/// A linear map stored as `[in, out]`, copied to `[out, in]`.
fn transposed(weight: &Tensor, bias: &Tensor) -> candle_core::Result<Linear> {
    Ok(Linear::new(Rows::Plain(weight.t()?.contiguous()?), Some(bias.contiguous()?)))
}
