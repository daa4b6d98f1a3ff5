//! Scaling of rotary positions: `rope_scaling` as `config.json` has it.
//!
//! Sources: YaRN (Peng et al. 2023, arXiv 2309.00071), LongRoPE (Ding et al. 2024, arXiv 2402.13753), llama.cpp's
//! `llama-context.cpp`.

use serde_json::{Value as Json, json};

use super::super::NnError;
use super::header::Value;
use super::keys::{Factors, Keys};

const TYPE: &str = "rope.scaling.type";
const FACTOR: &str = "rope.scaling.factor";
const OLD_FACTOR: &str = "rope.scale_linear";
const ATTENTION: &str = "rope.scaling.attn_factor";
const ORIGINAL: &str = "rope.scaling.original_context_length";

impl Keys<'_> {
    /// The scaling, or none. A factor without a type is linear; the factors 0 and 1 change nothing.
    pub fn rotary_scaling(&self, factors: Factors) -> Result<Option<Json>, NnError> {
        let (factor, old) = (self.number(FACTOR)?, self.number(OLD_FACTOR)?);
        if factor.is_some() && old.is_some() && factor != old {
            return Err(self.wrong(OLD_FACTOR, &format!("the same as `{}`", self.key(FACTOR))));
        }
        let factor = factor.or(old).filter(|&factor| factor != 0.0);
        let kind = self.settings.text(&self.key(TYPE))?;
        if let (Some(short), Some(long)) = (factors.short, factors.long) {
            return self.longrope(kind, factor, &short, &long).map(Some);
        }
        if let Some(factors) = factors.always {
            if factor.is_some_and(|factor| factor != 1.0) && kind != Some("none") {
                return Err(self.wrong(FACTOR, "absent beside the tensor `rope_freqs.weight`"));
            }
            return Ok(Some(json!({"rope_type": "factors", "factors": factors})));
        }
        let attention = self.positive(ATTENTION)?.unwrap_or(1.0);
        if attention != 1.0 && kind != Some("yarn") {
            return Err(self.wrong(ATTENTION, "1 without `yarn` and without factors of LongRoPE"));
        }
        match kind {
            Some("none") => Ok(None),
            None | Some("linear") => Ok(factor
                .filter(|&x| x != 1.0)
                .map(|factor| json!({"rope_type": "linear", "factor": factor}))),
            Some("yarn") => self.yarn(factor.unwrap_or(1.0), attention).map(Some),
            Some(_) => Err(self.wrong(TYPE, "none, linear or yarn, or longrope with its tensors of factors")),
        }
    }

    /// The attention factor is `attn_factor · (1 + 0.1·ln(factor))`. Writers disagree about `yarn_attn_factor`, so a
    /// stated one must be equal.
    fn yarn(&self, factor: f64, attention: f64) -> Result<Json, NnError> {
        const STATED: &str = "rope.scaling.yarn_attn_factor";
        const EXTRAPOLATION: &str = "rope.scaling.yarn_ext_factor";
        let whole = attention * (1.0 + 0.1 * factor.max(1.0).ln());
        if self.positive(STATED)?.is_some_and(|stated| (stated - whole).abs() > 1e-4) {
            let expected = "which `rope.scaling.factor` implies (nothing else is implemented)";
            return Err(self.wrong(STATED, &format!("{whole:.4}, {expected}")));
        }
        // -1 means "not set" in llama.cpp.
        let extrapolation = match self.settings.metadata.get(&self.key(EXTRAPOLATION)) {
            Some(Value::Real(number)) if number.is_finite() => Some(*number),
            _ => self.number(EXTRAPOLATION)?,
        };
        if extrapolation.is_some_and(|x| x != 1.0 && x != -1.0) {
            return Err(self.wrong(EXTRAPOLATION, "1 (nothing else is implemented)"));
        }
        let mut scaling = json!({"rope_type": "yarn", "factor": factor, "attention_factor": whole});
        for (field, key) in
            [("beta_fast", "rope.scaling.yarn_beta_fast"), ("beta_slow", "rope.scaling.yarn_beta_slow")]
        {
            if let Some(value) = self.positive(key)? {
                scaling[field] = value.into();
            }
        }
        if let Some(original) = self.count(ORIGINAL)? {
            scaling["original_max_position_embeddings"] = original.into();
        }
        Ok(scaling)
    }

    fn longrope(
        &self,
        kind: Option<&str>,
        factor: Option<f64>,
        short: &[f32],
        long: &[f32],
    ) -> Result<Json, NnError> {
        if !matches!(kind, None | Some("longrope")) {
            return Err(self.wrong(TYPE, "longrope, since the file has its tensors of factors"));
        }
        if factor.is_some_and(|factor| factor != 1.0) {
            return Err(self.wrong(FACTOR, "absent beside tensors of factors"));
        }
        let original = self.count(ORIGINAL)?;
        let original =
            original.ok_or_else(|| self.wrong(ORIGINAL, "the length at which the factors change"))?;
        let mut scaling = json!({
            "rope_type": "longrope", "short_factor": short, "long_factor": long,
            "original_max_position_embeddings": original,
        });
        if let Some(attention) = self.positive(ATTENTION)? {
            scaling["attention_factor"] = attention.into();
        }
        Ok(scaling)
    }
}
