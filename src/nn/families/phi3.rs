//! Phi-3 (Abdin et al. 2024, arXiv 2404.14219): a Llama with one map for queries, keys and values and one for gate and
//! up; a window holds for every layer.

use super::*;

pub(super) fn architecture(config: &Config, family: Family) -> Result<Architecture, NnError> {
    let base = llama::architecture(config, family)?;
    Ok(Architecture { windows: windows(config, base.n_layers, stated_window(config)?, |_| true)?, ..base })
}

pub(super) fn parts(a: &Architecture, _: &Config, weights: &Weights) -> Result<Parts, NnError> {
    let fused = (a.n_heads + 2 * a.n_kv_heads) * a.d_head;
    Frame::LLAMA.read(a, weights, |_, scope| {
        let gate_and_up = weights.rows(&scope.at("mlp.gate_up_proj.weight"), &[2 * a.d_mlp, a.d_model])?;
        let half = |first: usize| gate_and_up.narrow(first, a.d_mlp).map(|rows| Linear::new(rows, None));
        scope.block(
            ["input_layernorm", "post_attention_layernorm"],
            Projections::FusedByKind(scope.linear("self_attn.qkv_proj", [fused, a.d_model], false)?),
            scope.out_of_heads("self_attn.o_proj", false)?,
            Mlp {
                gate: Some(half(0)?),
                up: half(a.d_mlp)?,
                down: scope.linear("mlp.down_proj", [a.d_model, a.d_mlp], false)?,
            },
        )
    })
}
