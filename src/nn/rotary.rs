use std::borrow::Cow;

use super::{Config, NnError};

/// Rotary positions: coordinate pairs (i, i + pairs) of the first `2 · pairs` of each head turn by
/// position · frequency; the remaining coordinates pass through.
///
/// Sources: Su et al. 2021; linear (kaiokendev 2023), dynamic NTK (emozilla 2023), YaRN (Peng et al. 2023, arXiv
/// 2309.00071), LongRoPE (Ding et al. 2024, arXiv 2402.13753), Llama 3.1. What decides is `modeling_rope_utils.py`
/// of transformers 5.
#[derive(Debug, Clone, PartialEq)]
pub struct Rotary {
    /// Radians per position of each pair.
    pub frequencies: Vec<f64>,
    /// Factor on cosines and sines.
    pub amplitude: f64,
    /// Other frequencies for long sequences, where there are any.
    pub longer: Option<Longer>,
}

/// Frequencies of sequences of more than `than` positions.
#[derive(Debug, Clone, PartialEq)]
pub struct Longer {
    /// The longest sequence that keeps the frequencies of short ones.
    pub than: usize,
    /// What replaces them.
    pub by: Replacement,
}

/// What replaces the frequencies of short sequences.
#[derive(Debug, Clone, PartialEq)]
pub enum Replacement {
    /// One set for every longer sequence (LongRoPE).
    Fixed(Vec<f64>),
    /// The base grows with the length (dynamic NTK).
    Ntk {
        /// Base of short sequences.
        base: f64,
        /// By how much the context is extended.
        factor: f64,
    },
}

/// Where a family keeps its rotary settings outside of a section, and their defaults.
struct Outside<'a> {
    share: (&'a str, f64),
    base: (&'a str, f64),
}

impl Rotary {
    /// Reads base, share and scaling, wherever transformers 5 accepts them: at the top level, in `rope_scaling` or
    /// in `rope_parameters`. What a section says wins over the top level.
    ///
    /// `share` is the family's own top-level name and default of the rotated share of a head, `base_field` its
    /// name of the base, whose default is 10,000.
    pub fn of(config: &Config, d_head: usize, share: (&str, f64), base_field: &str) -> Result<Self, NnError> {
        Self::of_base(config, d_head, share, (base_field, 10_000.0))
    }

    /// The same with the family's own default of the base.
    pub fn of_base(
        config: &Config,
        d_head: usize,
        share: (&str, f64),
        base: (&str, f64),
    ) -> Result<Self, NnError> {
        let outside = Outside { share, base };
        match section(config)? {
            Some(rope) => outside.scaled(config, &rope, d_head),
            None => outside.plain(config, None, d_head).map(|(plain, _)| plain),
        }
    }

    /// The same for the layers of one kind (`full_attention`, `sliding_attention`), in families that give each kind
    /// its own: `rope_parameters` has a section for each, a single section is that of the layers for which `scales`
    /// is true, but for a base that all layers share. `base` is the family's top-level name and default of the base of these layers.
    pub fn of_layers(
        config: &Config,
        d_head: usize,
        kind: &str,
        base: (&str, f64),
        scales: bool,
    ) -> Result<Self, NnError> {
        let outside = Outside { share: ("partial_rotary_factor", 1.0), base };
        let kinds = config.section("rope_parameters")?;
        if let Some(rope) = kinds.map(|kinds| kinds.section(kind)).transpose()?.flatten() {
            if config.has("rope_scaling") {
                return Err(config.wrong("rope_scaling", "null where `rope_parameters` is given"));
            }
            return outside.scaled(config, &rope, d_head);
        }
        match section(config)? {
            Some(rope) if scales => outside.scaled(config, &rope, d_head),
            Some(rope) if base.0 == "rope_theta" => {
                outside.plain(config, Some(&rope), d_head).map(|(plain, _)| plain)
            }
            _ => outside.plain(config, None, d_head).map(|(plain, _)| plain),
        }
    }

    /// base^(−2i/dims) for each pair of `dims` coordinates.
    pub fn plain(dims: usize, base: f64) -> Self {
        let frequencies = (0..dims / 2).map(|pair| base.powf(-2.0 * pair as f64 / dims as f64)).collect();
        Self { frequencies, amplitude: 1.0, longer: None }
    }

    /// Rotated coordinates of a head.
    pub fn dims(&self) -> usize {
        2 * self.frequencies.len()
    }

    /// The longest sequence, where the configuration says `n_ctx`: dynamic scaling is made for longer ones.
    pub fn longest(&self, n_ctx: usize) -> usize {
        match &self.longer {
            Some(Longer { than, by: Replacement::Ntk { factor, .. } }) => {
                n_ctx.max((*than as f64 * factor) as usize)
            }
            _ => n_ctx,
        }
    }

    /// Whether keys that were rotated in a sequence of `before` positions serve one of `now`. Where LongRoPE goes over
    /// to its other factors transformers reads the sequence again (`prepare_inputs_for_generation` of Phi-3). Under
    /// dynamic scaling it leaves them as they are and rotates only new queries and keys by the new base.
    pub fn keeps_keys(&self, before: usize, now: usize) -> bool {
        match &self.longer {
            Some(Longer { than, by: Replacement::Fixed(_) }) => (before > *than) == (now > *than),
            _ => true,
        }
    }

    /// Equal for two lengths of a sequence if both have the same frequencies.
    pub fn regime(&self, positions: usize) -> usize {
        match &self.longer {
            Some(longer) if positions > longer.than => match longer.by {
                Replacement::Fixed(_) => 1,
                Replacement::Ntk { .. } => positions,
            },
            _ => 0,
        }
    }

    /// The frequencies of a sequence of so many positions.
    pub fn frequencies_of(&self, positions: usize) -> Cow<'_, [f64]> {
        match &self.longer {
            Some(longer) if positions > longer.than => match &longer.by {
                Replacement::Fixed(frequencies) => Cow::Borrowed(frequencies),
                Replacement::Ntk { base, factor } => {
                    let dims = self.dims() as f64;
                    let growth = factor * positions as f64 / longer.than as f64 - (factor - 1.0);
                    let base = base * growth.powf(dims / (dims - 2.0));
                    Cow::Owned(Self::plain(self.dims(), base).frequencies)
                }
            },
            _ => Cow::Borrowed(&self.frequencies),
        }
    }
}

/// `rope_scaling` or `rope_parameters`, the one that says anything.
fn section(config: &Config) -> Result<Option<Config>, NnError> {
    let says = |section: &Config| !section.fields().is_empty();
    let scaling = config.section("rope_scaling")?.filter(says);
    match (scaling, config.section("rope_parameters")?.filter(says)) {
        (Some(scaling), Some(parameters)) if scaling.fields() != parameters.fields() => {
            Err(config.wrong("rope_parameters", "the same as `rope_scaling`, where there are both"))
        }
        (scaling, parameters) => Ok(parameters.or(scaling)),
    }
}

/// A number under either of two names; two different numbers are refused.
fn either(config: &Config, names: [&str; 2], default: f64) -> Result<f64, NnError> {
    match names.map(|name| config.positive(name)) {
        [Err(error), _] | [_, Err(error)] => Err(error),
        [Ok(Some(one)), Ok(Some(other))] if one != other => {
            Err(config.wrong(names[1], &format!("the same as `{}`, which is {one}", names[0])))
        }
        [Ok(one), Ok(other)] => Ok(one.or(other).unwrap_or(default)),
    }
}

impl Outside<'_> {
    /// Unscaled rotations and their base.
    fn plain(&self, config: &Config, rope: Option<&Config>, d_head: usize) -> Result<(Rotary, f64), NnError> {
        let own = ["partial_rotary_factor", "rope_theta"];
        let outer_share = either(config, [self.share.0, own[0]], self.share.1)?;
        let outer_base = match self.base.0 {
            // A base for some of the layers is another number than the one for the rest.
            field @ "rope_local_base_freq" => config.positive_or(field, self.base.1)?,
            field => either(config, [field, own[1]], self.base.1)?,
        };
        // It belongs to some kinds of scaling; families write it without any.
        config.without_effect(&["original_max_position_embeddings"]);
        let (share, base) = match rope {
            Some(rope) => (rope.positive_or(own[0], outer_share)?, rope.positive_or(own[1], outer_base)?),
            None => (outer_share, outer_base),
        };
        let dims = (d_head as f64 * share) as usize;
        if share > 1.0 || dims < 2 || !dims.is_multiple_of(2) {
            let (config, field) = match rope {
                Some(rope) if rope.has(own[0]) => (rope, own[0]),
                _ => (config, self.share.0),
            };
            return Err(NnError::Field {
                file: config.file().to_string(),
                field: field.to_string(),
                expected: format!("a share of {d_head} head coordinates that is an even number of them"),
                got: format!("`{share}`"),
            });
        }
        Ok((Rotary::plain(dims, base), base))
    }

    /// Rotations with the scaling of a section.
    fn scaled(&self, config: &Config, rope: &Config, d_head: usize) -> Result<Rotary, NnError> {
        let (plain, base) = self.plain(config, Some(rope), d_head)?;
        let fields = ["rope_type", "type"].map(|field| rope.has(field).then_some(field));
        let field = fields[0].or(fields[1]).unwrap_or("rope_type");
        let kind = rope.text_or(field, "default")?;
        if fields[1].is_some() && rope.text_or("type", kind)? != kind {
            return Err(rope.wrong("type", &format!("`{kind}`, as `rope_type` says")));
        }
        let rotary = |frequencies| Rotary { frequencies, amplitude: 1.0, longer: None };
        match kind {
            "default" => Ok(plain),
            "linear" => {
                let factor = rope.number("factor")?;
                Ok(rotary(plain.frequencies.into_iter().map(|frequency| frequency / factor).collect()))
            }
            "dynamic" => dynamic(plain, base, config, rope),
            "yarn" => yarn(&plain, base, config, rope),
            // `su` is the name that Phi-3 first had for it.
            "longrope" | "su" => longrope(&plain, config, rope),
            "llama3" => Ok(rotary(llama3(plain.frequencies, config, rope)?)),
            // GGUF files carry what Llama 3's scaling comes to, a factor for each pair.
            "factors" => Ok(rotary(divided(&plain, rope, "factors")?)),
            _ => Err(rope.wrong(field, "one of default, linear, dynamic, yarn, longrope, llama3")),
        }
    }
}

/// Frequencies divided by a list of factors, one for each.
fn divided(plain: &Rotary, rope: &Config, field: &str) -> Result<Vec<f64>, NnError> {
    let factors = rope.positives(field)?;
    if factors.len() != plain.frequencies.len() {
        let expected = format!("{} numbers, one for each pair of coordinates", plain.frequencies.len());
        return Err(rope.wrong(field, &expected));
    }
    Ok(plain.frequencies.iter().zip(factors).map(|(frequency, factor)| frequency / factor).collect())
}

/// The context that the model was trained on before it was extended: Phi-3 has it at the top level, others in the
/// section; where neither says it, it is the model's longest sequence.
fn original(config: &Config, rope: &Config) -> Result<usize, NnError> {
    let field = "original_max_position_embeddings";
    let outer = config.has(field).then(|| config.count(field)).transpose()?;
    let inner = rope.has(field).then(|| rope.count(field)).transpose()?;
    match (outer, inner) {
        (Some(outer), Some(inner)) if outer != inner => {
            Err(rope.wrong(field, &format!("{outer}, as outside of the section")))
        }
        (None, None) => config.count("max_position_embeddings"),
        (outer, inner) => outer.or(inner).ok_or_else(|| rope.wrong(field, "a context length")),
    }
}

/// How many times longer the extended context is.
fn extension(config: &Config, rope: &Config, original: usize) -> Result<f64, NnError> {
    match rope.positive("factor")? {
        Some(factor) => Ok(factor),
        None => Ok(config.count("max_position_embeddings")? as f64 / original as f64),
    }
}

/// Dynamic NTK scaling: beyond the longest sequence of the configuration the base grows with the sequence.
fn dynamic(plain: Rotary, base: f64, config: &Config, rope: &Config) -> Result<Rotary, NnError> {
    let factor = rope.number("factor")?;
    let than = config.count("max_position_embeddings")?;
    // transformers takes the longest sequence instead.
    rope.without_effect(&["original_max_position_embeddings"]);
    if factor < 1.0 {
        return Err(rope.wrong("factor", "at least 1"));
    }
    if plain.dims() <= 2 {
        return Err(rope.wrong("rope_type", "another for heads with one pair of coordinates"));
    }
    Ok(Rotary { longer: Some(Longer { than, by: Replacement::Ntk { base, factor } }), ..plain })
}

/// YaRN: pairs that turn more than `beta_fast` times in the original context are kept, those that turn less than
/// `beta_slow` times are slowed by `factor`, those between are interpolated by their index.
fn yarn(plain: &Rotary, base: f64, config: &Config, rope: &Config) -> Result<Rotary, NnError> {
    let original = original(config, rope)?;
    let factor = extension(config, rope, original)?;
    let grown = |weight: f64| if factor <= 1.0 { 1.0 } else { 0.1 * weight * factor.ln() + 1.0 };
    let by_default = match (rope.positive("mscale")?, rope.positive("mscale_all_dim")?) {
        (Some(of_scores), Some(of_all)) => grown(of_scores) / grown(of_all),
        _ => grown(1.0),
    };
    let amplitude = rope.positive_or("attention_factor", by_default)?;
    let (fast, slow) = (rope.positive_or("beta_fast", 32.0)?, rope.positive_or("beta_slow", 1.0)?);
    let truncate = rope.flag_or("truncate", true)?;
    let dims = plain.dims() as f64;
    // The index of the pair that turns so often in the original context.
    let pair_of =
        |turns: f64| dims * (original as f64 / (turns * 2.0 * std::f64::consts::PI)).ln() / (2.0 * base.ln());
    let (low, high) = (pair_of(fast), pair_of(slow));
    let (low, high) = if truncate { (low.floor(), high.ceil()) } else { (low, high) };
    let (low, high) = (low.max(0.0), high.min(dims - 1.0));
    let high = if low == high { high + 0.001 } else { high };
    if !(low.is_finite() && high.is_finite()) {
        return Err(
            rope.wrong("beta_fast", "such that pairs of coordinates can be told apart (base above 1)")
        );
    }
    let slowed = |(pair, &frequency): (usize, &f64)| {
        let ramp = ((pair as f64 - low) / (high - low)).clamp(0.0, 1.0);
        frequency / factor * ramp + frequency * (1.0 - ramp)
    };
    let frequencies = plain.frequencies.iter().enumerate().map(slowed).collect();
    Ok(Rotary { frequencies, amplitude, longer: None })
}

/// LongRoPE: a factor for each pair, other ones for sequences longer than the original context.
fn longrope(plain: &Rotary, config: &Config, rope: &Config) -> Result<Rotary, NnError> {
    let original = original(config, rope)?;
    let factor = extension(config, rope, original)?;
    let by_default = if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / (original as f64).ln()).sqrt() };
    let amplitude = rope.positive_or("attention_factor", by_default)?;
    if !amplitude.is_finite() {
        return Err(rope.wrong("original_max_position_embeddings", "at least 2"));
    }
    let longer = Longer { than: original, by: Replacement::Fixed(divided(plain, rope, "long_factor")?) };
    Ok(Rotary { frequencies: divided(plain, rope, "short_factor")?, amplitude, longer: Some(longer) })
}

/// Llama 3's scaling: waves longer than the original context over `low_freq_factor` are slowed by `factor`,
/// waves shorter than it over `high_freq_factor` kept, those between interpolated.
fn llama3(plain: Vec<f64>, config: &Config, rope: &Config) -> Result<Vec<f64>, NnError> {
    let factor = rope.number("factor")?;
    let (low, high) = (rope.number("low_freq_factor")?, rope.number("high_freq_factor")?);
    let context = original(config, rope)? as f64;
    if high <= low {
        return Err(rope.wrong("high_freq_factor", &format!("greater than low_freq_factor ({low})")));
    }
    let slow = |frequency: f64| {
        let waves = context * frequency / (2.0 * std::f64::consts::PI);
        let kept = ((waves - low) / (high - low)).clamp(0.0, 1.0);
        frequency * (kept + (1.0 - kept) / factor)
    };
    Ok(plain.into_iter().map(slow).collect())
}

#[cfg(test)]
mod tests;
