//! Rotary position embedding (Su et al. 2021, arXiv 2104.09864) and its extensions to longer contexts.
//!
//!   angle(p, i) = p · f_i,  f_i = base^(−2i/dims)         position p, pair i of dims/2
//!   (x_i, x_{i+dims/2}) ← amplitude · rotation(angle) (x_i, x_{i+dims/2})
//!
//! The head coordinates from `dims` on are unchanged. Extensions rescale f_i: linear (kaiokendev 2023), dynamic NTK
//! (emozilla 2023), YaRN (Peng et al. 2023, arXiv 2309.00071), LongRoPE (Ding et al. 2024, arXiv 2402.13753) and
//! Llama 3.1. The reference implementation is `modeling_rope_utils.py` of transformers 5.

use std::borrow::Cow;
use std::f64::consts::PI;

use super::Config;
use super::error::{NnError, Result};

/// Longest sequence under dynamic scaling, whatever its factor.
const LONGEST: f64 = 1e9;

const ORIGINAL_CONTEXT: &str = "original_max_position_embeddings";

/// The frequencies and amplitude of rotary positions.
#[derive(Debug, Clone, PartialEq)]
pub struct Rotary {
    /// f_i, in radians per position.
    pub frequencies: Vec<f64>,
    /// Factor on cosines and sines.
    pub amplitude: f64,
    /// Other frequencies for long sequences, if any.
    pub longer: Option<Longer>,
}

/// Frequencies of sequences with more than `than` positions.
#[derive(Debug, Clone, PartialEq)]
pub struct Longer {
    /// Longest sequence with the frequencies of short ones.
    pub than: usize,
    /// The replacement.
    pub by: Replacement,
}

/// What replaces the frequencies of short sequences.
#[derive(Debug, Clone, PartialEq)]
pub enum Replacement {
    /// The same frequencies for every longer sequence (LongRoPE).
    Fixed(Vec<f64>),
    /// The base grows with the length (dynamic NTK).
    Ntk {
        /// Base of short sequences.
        base: f64,
        /// Factor by which the context is extended.
        factor: f64,
    },
}

/// Name and default of a field.
type Field<'a> = (&'a str, f64);

/// The share of head coordinates that are rotated.
const SHARE: &str = "partial_rotary_factor";
const BASE: &str = "rope_theta";

impl Rotary {
    /// Reads base, rotated share and scaling from the top level, `rope_scaling` or `rope_parameters`, as transformers 5
    /// does. A section overrides the top level.
    ///
    /// `share` is the family's top-level name and default of the rotated share of a head. `base_field` is its name of
    /// the base, whose default is 10,000.
    pub fn of(config: &Config, d_head: usize, share: (&str, f64), base_field: &str) -> Result<Self> {
        Self::of_base(config, d_head, share, (base_field, 10_000.0))
    }

    /// [`Rotary::of`] with the family's own default of the base.
    pub fn of_base(config: &Config, d_head: usize, share: Field<'_>, base: Field<'_>) -> Result<Self> {
        Source { config, d_head, share, base }.read(section(config)?.as_ref())
    }

    /// [`Rotary::of_base`] for the layers of one kind (`full_attention` or `sliding_attention`).
    ///
    /// `rope_parameters` may have a section per kind. A single section applies to the layers whose `scales` is true;
    /// of other layers it sets only a base that all layers share. `base` is the family's top-level name and default of
    /// the base of these layers.
    pub fn of_layers(
        config: &Config,
        d_head: usize,
        kind: &str,
        base: Field<'_>,
        scales: bool,
    ) -> Result<Self> {
        let source = Source { config, d_head, share: (SHARE, 1.0), base };
        let kinds = config.section("rope_parameters")?;
        if let Some(rope) = kinds.map(|kinds| kinds.section(kind)).transpose()?.flatten() {
            if config.has("rope_scaling") {
                return Err(config.wrong("rope_scaling", "null where `rope_parameters` is given"));
            }
            return source.read(Some(&rope));
        }
        match section(config)? {
            Some(rope) if scales => source.read(Some(&rope)),
            rope => Ok(source.unscaled(rope.as_ref().filter(|_| base.0 == BASE))?.0),
        }
    }

    /// f_i = base^(−2i/dims) for the dims/2 pairs.
    pub fn plain(dims: usize, base: f64) -> Self {
        let frequencies = (0..dims / 2).map(|pair| base.powf(-2.0 * pair as f64 / dims as f64)).collect();
        Self { frequencies, amplitude: 1.0, longer: None }
    }

    /// Rotated coordinates of a head.
    pub fn dims(&self) -> usize {
        2 * self.frequencies.len()
    }

    /// Longest sequence of a model whose configuration says `n_ctx`. Dynamic scaling allows more.
    pub fn longest(&self, n_ctx: usize) -> usize {
        match &self.longer {
            Some(Longer { than, by: Replacement::Ntk { factor, .. } }) => {
                n_ctx.max((*than as f64 * factor).min(LONGEST) as usize)
            }
            _ => n_ctx,
        }
    }

    /// Whether keys rotated for a sequence of `before` positions remain valid for one of `now` positions.
    ///
    /// When LongRoPE switches factors, transformers recomputes the sequence (`prepare_inputs_for_generation` of Phi-3).
    /// Under dynamic scaling it keeps the old keys and uses the new base for new queries and keys only.
    pub fn keeps_keys(&self, before: usize, now: usize) -> bool {
        match &self.longer {
            Some(Longer { than, by: Replacement::Fixed(_) }) => (before > *than) == (now > *than),
            _ => true,
        }
    }

    /// A number that is equal for two sequence lengths if and only if both have the same frequencies.
    pub fn regime(&self, positions: usize) -> usize {
        match &self.longer {
            Some(longer) if positions > longer.than => match longer.by {
                Replacement::Fixed(_) => 1,
                Replacement::Ntk { .. } => positions,
            },
            _ => 0,
        }
    }

    /// The frequencies of a sequence of `positions` positions.
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

/// `rope_parameters` or `rope_scaling`, whichever is not empty. They must agree if both are given.
fn section(config: &Config) -> Result<Option<Config>> {
    let has_fields = |section: &Config| !section.fields().is_empty();
    let scaling = config.section("rope_scaling")?.filter(has_fields);
    match (scaling, config.section("rope_parameters")?.filter(has_fields)) {
        (Some(scaling), Some(parameters)) if scaling.fields() != parameters.fields() => {
            Err(config.wrong("rope_parameters", "the same as `rope_scaling` if both are given"))
        }
        (scaling, parameters) => Ok(parameters.or(scaling)),
    }
}

/// A number under one of two names. If both are present they must be equal.
fn either(config: &Config, names: [&str; 2], default: f64) -> Result<f64> {
    match (config.positive(names[0])?, config.positive(names[1])?) {
        (Some(one), Some(other)) if one != other => {
            Err(config.wrong(names[1], &format!("the same as `{}`, which is {one}", names[0])))
        }
        (one, other) => Ok(one.or(other).unwrap_or(default)),
    }
}

/// Where a family's rotary settings are at the top level of its configuration.
struct Source<'a> {
    config: &'a Config,
    d_head: usize,
    share: Field<'a>,
    base: Field<'a>,
}

impl Source<'_> {
    /// Unscaled rotations and their base.
    fn unscaled(&self, rope: Option<&Config>) -> Result<(Rotary, f64)> {
        let Self { config, d_head, share, base } = *self;
        let outer_share = either(config, [share.0, SHARE], share.1)?;
        let outer_base = match base.0 {
            // The base of local layers is independent of `rope_theta`.
            field @ "rope_local_base_freq" => config.positive_or(field, base.1)?,
            field => either(config, [field, BASE], base.1)?,
        };
        // Some kinds of scaling read it; configurations without scaling may have it too.
        config.without_effect(&[ORIGINAL_CONTEXT]);
        let (got, base) = match rope {
            Some(rope) => (rope.positive_or(SHARE, outer_share)?, rope.positive_or(BASE, outer_base)?),
            None => (outer_share, outer_base),
        };
        let dims = (d_head as f64 * got) as usize;
        if got > 1.0 || dims < 2 || !dims.is_multiple_of(2) {
            let (config, field) = match rope {
                Some(rope) if rope.has(SHARE) => (rope, SHARE),
                _ => (config, share.0),
            };
            return Err(NnError::Field {
                file: config.file().to_string(),
                field: field.to_string(),
                expected: format!("a share of {d_head} head coordinates that is an even number of them"),
                got: format!("`{got}`"),
            });
        }
        Ok((Rotary::plain(dims, base), base))
    }

    /// Rotations with the scaling that a section describes, if there is one.
    fn read(&self, rope: Option<&Config>) -> Result<Rotary> {
        let config = self.config;
        let (plain, base) = self.unscaled(rope)?;
        let Some(rope) = rope else { return Ok(plain) };
        let field = if !rope.has("rope_type") && rope.has("type") { "type" } else { "rope_type" };
        let kind = rope.text_or(field, "default")?;
        if rope.text_or("type", kind)? != kind {
            return Err(rope.wrong("type", &format!("`{kind}`, as `rope_type` says")));
        }
        let with = |frequencies| Ok(Rotary { frequencies, amplitude: 1.0, longer: None });
        match kind {
            "default" => Ok(plain),
            "linear" => {
                let factor = rope.number("factor")?;
                with(plain.frequencies.into_iter().map(|frequency| frequency / factor).collect())
            }
            "dynamic" => dynamic(plain, base, config, rope),
            "yarn" => yarn(&plain, base, config, rope),
            // `su` is an earlier name in Phi-3.
            "longrope" | "su" => longrope(&plain, config, rope),
            "llama3" => with(llama3(plain.frequencies, config, rope)?),
            // GGUF files store the result of Llama 3's scaling: one factor per pair.
            "factors" => with(divided(&plain, rope, "factors")?),
            _ => Err(rope.wrong(field, "one of default, linear, dynamic, yarn, longrope, llama3")),
        }
    }
}

/// Frequencies divided by the factors in `field`, one per pair.
fn divided(plain: &Rotary, rope: &Config, field: &str) -> Result<Vec<f64>> {
    let factors = rope.positives(field)?;
    if factors.len() != plain.frequencies.len() {
        let expected = format!("{} numbers, one for each pair of coordinates", plain.frequencies.len());
        return Err(rope.wrong(field, &expected));
    }
    Ok(plain.frequencies.iter().zip(factors).map(|(frequency, factor)| frequency / factor).collect())
}

/// Context length before the extension. Phi-3 has it at the top level, other families in the section; the default is
/// the model's longest sequence.
fn original_context(config: &Config, rope: &Config) -> Result<usize> {
    let field = ORIGINAL_CONTEXT;
    let outer = config.has(field).then(|| config.count(field)).transpose()?;
    let inner = rope.has(field).then(|| rope.count(field)).transpose()?;
    match (outer, inner) {
        (Some(outer), Some(inner)) if outer != inner => {
            Err(rope.wrong(field, &format!("{outer}, as at the top level")))
        }
        (Some(context), _) | (None, Some(context)) => Ok(context),
        (None, None) => config.count("max_position_embeddings"),
    }
}

/// Ratio of the extended context to the original one.
fn extension(config: &Config, rope: &Config, original: usize) -> Result<f64> {
    match rope.positive("factor")? {
        Some(factor) => Ok(factor),
        None => Ok(config.count("max_position_embeddings")? as f64 / original as f64),
    }
}

/// Dynamic NTK scaling: beyond `max_position_embeddings` the base grows with the sequence length.
fn dynamic(plain: Rotary, base: f64, config: &Config, rope: &Config) -> Result<Rotary> {
    let factor = rope.number("factor")?;
    let than = config.count("max_position_embeddings")?;
    // transformers uses `max_position_embeddings` instead.
    rope.without_effect(&[ORIGINAL_CONTEXT]);
    if factor < 1.0 {
        return Err(rope.wrong("factor", "at least 1"));
    }
    if plain.dims() <= 2 {
        return Err(rope.wrong("rope_type", "another for heads with one pair of coordinates"));
    }
    Ok(Rotary { longer: Some(Longer { than, by: Replacement::Ntk { base, factor } }), ..plain })
}

/// YaRN. Pairs with more than `beta_fast` turns in the original context keep their frequency, those with fewer than
/// `beta_slow` turns are divided by `factor`, and those between are interpolated linearly in the pair's index.
fn yarn(plain: &Rotary, base: f64, config: &Config, rope: &Config) -> Result<Rotary> {
    let original = original_context(config, rope)?;
    let factor = extension(config, rope, original)?;
    let mscale = |weight: f64| if factor <= 1.0 { 1.0 } else { 0.1 * weight * factor.ln() + 1.0 };
    let by_default = match (rope.positive("mscale")?, rope.positive("mscale_all_dim")?) {
        (Some(of_scores), Some(of_all)) => mscale(of_scores) / mscale(of_all),
        _ => mscale(1.0),
    };
    let amplitude = rope.positive_or("attention_factor", by_default)?;
    let (fast, slow) = (rope.positive_or("beta_fast", 32.0)?, rope.positive_or("beta_slow", 1.0)?);
    let truncate = rope.flag_or("truncate", true)?;
    let dims = plain.dims() as f64;
    // The index of the pair with this number of turns in the original context.
    let pair_of = |turns: f64| dims * (original as f64 / (turns * 2.0 * PI)).ln() / (2.0 * base.ln());
    let (low, high) = (pair_of(fast), pair_of(slow));
    let (low, high) = if truncate { (low.floor(), high.ceil()) } else { (low, high) };
    let (low, high) = (low.max(0.0), high.min(dims - 1.0));
    let high = if low == high { high + 0.001 } else { high };
    if !(low.is_finite() && high.is_finite()) {
        return Err(rope.wrong("beta_fast", "set so that the pairs are distinct (the base must exceed 1)"));
    }
    let slowed = |(pair, &frequency): (usize, &f64)| {
        let ramp = ((pair as f64 - low) / (high - low)).clamp(0.0, 1.0);
        frequency / factor * ramp + frequency * (1.0 - ramp)
    };
    let frequencies = plain.frequencies.iter().enumerate().map(slowed).collect();
    Ok(Rotary { frequencies, amplitude, longer: None })
}

/// LongRoPE: one divisor per pair, with a second set for sequences longer than the original context.
fn longrope(plain: &Rotary, config: &Config, rope: &Config) -> Result<Rotary> {
    let original = original_context(config, rope)?;
    let factor = extension(config, rope, original)?;
    let by_default = if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / (original as f64).ln()).sqrt() };
    let amplitude = rope.positive_or("attention_factor", by_default)?;
    if !amplitude.is_finite() {
        return Err(rope.wrong(ORIGINAL_CONTEXT, "at least 2"));
    }
    let longer = Longer { than: original, by: Replacement::Fixed(divided(plain, rope, "long_factor")?) };
    Ok(Rotary { frequencies: divided(plain, rope, "short_factor")?, amplitude, longer: Some(longer) })
}

/// Llama 3. Wavelengths above context/`low_freq_factor` are stretched by `factor`, those below
/// context/`high_freq_factor` are kept, and those between are interpolated.
fn llama3(plain: Vec<f64>, config: &Config, rope: &Config) -> Result<Vec<f64>> {
    let factor = rope.number("factor")?;
    let (low, high) = (rope.number("low_freq_factor")?, rope.number("high_freq_factor")?);
    let context = original_context(config, rope)? as f64;
    if high <= low {
        return Err(rope.wrong("high_freq_factor", &format!("greater than low_freq_factor ({low})")));
    }
    let slow = |frequency: f64| {
        let waves = context * frequency / (2.0 * PI);
        let kept = ((waves - low) / (high - low)).clamp(0.0, 1.0);
        frequency * (kept + (1.0 - kept) / factor)
    };
    Ok(plain.into_iter().map(slow).collect())
}

#[cfg(test)]
mod tests;
