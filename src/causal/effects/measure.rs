//! Measures the effects of one feature, or of a random direction in its place.

use std::collections::BTreeMap;

use serde::Serialize;
use strum::IntoStaticStr;

use super::settings::{Effect, EffectSettings};
use super::steps::Steps;
use super::texts::{Neutral, Texts};
use crate::base::{HookPoint, Matrix, Site};
use crate::causal::divergence::{log_sum_exp, total_kl};
use crate::causal::{CausalError, Writer};
use crate::dictionary::DictionaryError;
use crate::stats::spearman;
use crate::subject::{SubjectError, SubjectModel};

/// Tokens listed as raised, and as lowered.
const LISTED_TOKENS: usize = 10;

/// Decades of strengths that `damage` searches, down from the largest.
const DECADES: f64 = 4.0;

/// Largest relative difference between the divergence that `damage` wants and the one found.
const KL_TOLERANCE: f64 = 0.1;

/// Why an effect has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum NoEffect {
    /// The subject is stored activations, without a model.
    NoModel,
    /// The dictionary has no decoder.
    OnlyEncodes,
    /// The feature is active on no token, so it has no maximum to steer to and no text to be ablated on.
    NeverFires,
    /// The dictionary does not write to the residual stream, so its directions have no direct logit effects.
    NotInTheStream,
    /// No strength gives the divergence at which damage is compared.
    KlNotReached,
    /// Neither logits nor direct logit effects change.
    NothingChanges,
    /// The changed model's output overflows.
    NotFinite,
}

/// A feature, and held-out text on which it fires.
pub struct Firing {
    /// Its index.
    pub feature: usize,
    /// Its largest code on the evaluation text.
    pub max: f64,
    /// The text; none without fragments.
    pub texts: Option<Texts>,
    /// Its code at each row of the text.
    pub codes: Vec<f32>,
}

/// Values of the effects, with evidence.
#[derive(Debug, Clone, Default)]
pub struct FeatureEffects {
    /// Each effect that was asked for, or why it has no value.
    pub values: BTreeMap<Effect, Result<f64, NoEffect>>,
    /// What clamping the feature does.
    pub steered: Option<Steered>,
    /// The strength at which damage is measured.
    pub matched: Option<Matched>,
}

/// What clamping a feature does to the next token.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Steered {
    /// The code that it is set to.
    pub code: f64,
    /// KL(clean ‖ clamped) in nats, mean over prompts.
    pub kl: f64,
    /// Tokens with the largest rise of their log-probability in nats, mean over prompts.
    pub raised: Vec<(u32, f64)>,
    /// Tokens with the largest fall.
    pub lowered: Vec<(u32, f64)>,
}

/// The strength at which damage is measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Matched {
    /// Multiples of the feature's maximum that are added to its code.
    pub strength: f64,
    /// The divergence there, in nats.
    pub kl: f64,
    /// Increase of the loss there, in nats per token.
    pub loss_increase: f64,
}

/// Whether activations at a hook point are added to the residual stream as they are.
pub fn is_in_stream(hook: HookPoint) -> bool {
    use Site::{AttnOut, MlpOut, ResidMid, ResidPost, ResidPre};
    matches!(hook, HookPoint::Block { site: ResidPre | ResidMid | ResidPost | AttnOut | MlpOut, .. })
}

/// Why a measurement stops.
enum Stop {
    /// The effect has no value.
    No(NoEffect),
    Failed(CausalError),
}

impl From<SubjectError> for Stop {
    fn from(error: SubjectError) -> Self {
        match error {
            SubjectError::NotFinite { .. } => Self::No(NoEffect::NotFinite),
            other => Self::Failed(other.into()),
        }
    }
}

impl From<DictionaryError> for Stop {
    fn from(error: DictionaryError) -> Self {
        Self::Failed(error.into())
    }
}

/// Measures effects of the features of one dictionary.
pub struct EffectMeter<'a> {
    subject: &'a dyn SubjectModel,
    writer: Writer<'a>,
    settings: EffectSettings,
    wanted: Vec<Effect>,
    neutral: Neutral,
    first_scored: usize,
    /// Ids below this number are tokens; logits may have more columns.
    known: usize,
}

impl<'a> EffectMeter<'a> {
    /// Runs the unchanged model on neutral texts, which must be longer than a prompt. Positions from `first_scored` on
    /// are scored, and only these are changed. The tokenizer has `known` tokens.
    pub fn new(
        subject: &'a dyn SubjectModel,
        writer: Writer<'a>,
        (settings, wanted): (&EffectSettings, &[Effect]),
        neutral: Texts,
        (first_scored, known): (usize, usize),
    ) -> Result<Self, CausalError> {
        let neutral = Neutral::new(subject, writer.writes(), neutral, settings.prompt_tokens, first_scored)?;
        let (settings, wanted) = (settings.clone(), wanted.to_vec());
        Ok(Self { subject, writer, settings, wanted, neutral, first_scored, known })
    }

    /// The effects of a feature. With `along`, a direction of norm 1: those of steps in that direction, each with the norm
    /// of the feature's step at the same position. `effect_agreement` then compares with the feature's own logit
    /// effects, and `damage` chooses a strength of its own.
    pub fn measure(&self, firing: &Firing, along: Option<&[f32]>) -> Result<FeatureEffects, CausalError> {
        let mut found = FeatureEffects::default();
        for &effect in &self.wanted {
            let value = match effect {
                Effect::Ablation => self.ablation(firing, along),
                Effect::Steering => self.steering(firing, along).map(|steered| {
                    let kl = steered.kl;
                    found.steered = Some(steered);
                    kl
                }),
                Effect::Agreement => self.agreement(firing, along),
                Effect::Damage => self.damage(firing, along).map(|matched| {
                    found.matched = Some(matched);
                    matched.loss_increase
                }),
            };
            let value = match value {
                Ok(value) if value.is_finite() => Ok(value),
                Ok(_) => Err(NoEffect::NotFinite),
                Err(Stop::No(why)) => Err(why),
                Err(Stop::Failed(error)) => return Err(error),
            };
            found.values.insert(effect, value);
        }
        Ok(found)
    }

    fn steps(&self, feature: usize, texts: &Texts, along: Option<&[f32]>) -> Result<Steps, Stop> {
        Steps::of(&self.writer, feature, &texts.inputs, along).map_err(Stop::Failed)
    }

    /// Whether a row of sequences of `cols` positions is changed by steering.
    fn is_steered(&self, row: usize, cols: usize) -> bool {
        row % cols >= self.first_scored
    }

    fn ablation(&self, firing: &Firing, along: Option<&[f32]>) -> Result<f64, Stop> {
        let texts = firing.texts.as_ref().ok_or(Stop::No(NoEffect::NeverFires))?;
        let steps = self.steps(firing.feature, texts, along)?;
        let cols = texts.tokens.cols();
        let fires = |row: usize| self.is_steered(row, cols) && firing.codes[row] > 0.0;
        let removed = |row: usize| if fires(row) { -f64::from(firing.codes[row]) } else { 0.0 };
        let without = steps.added(&texts.rows, removed);
        let (mut total, mut n) = (0.0, 0);
        // One text at a time: the logits of all its firing tokens are in memory.
        for nth in 0..texts.tokens.rows() {
            let places: Vec<usize> = (0..cols).filter(|col| fires(nth * cols + col)).collect();
            if places.is_empty() {
                continue;
            }
            let both: Vec<usize> =
                places.iter().copied().chain(places.iter().map(|place| cols + place)).collect();
            let (tokens, rows) = texts.beside(nth, &without)?;
            let logits = self.subject.logits_at(&tokens, (self.writer.writes(), &rows), &both)?;
            let of = |places: std::ops::Range<usize>| logits.select_rows(&places.collect::<Vec<_>>());
            total += total_kl(&of(0..places.len()), &of(places.len()..both.len()));
            n += places.len();
        }
        if n == 0 { Err(Stop::No(NoEffect::NeverFires)) } else { Ok(total / n as f64) }
    }

    fn steering(&self, firing: &Firing, along: Option<&[f32]>) -> Result<Steered, Stop> {
        let max = maximum(firing)?;
        let prompts = &self.neutral.prompts;
        let steps = self.steps(firing.feature, prompts, along)?;
        let codes = self.writer.dictionary().encode_features(&prompts.inputs, &[firing.feature])?;
        let (cols, code) = (prompts.tokens.cols(), self.settings.clamp * max);
        let change = |row: usize| {
            if self.is_steered(row, cols) { code - f64::from(codes.at(row, 0)) } else { 0.0 }
        };
        let logits = self.neutral.last_logits(self.subject, &steps.added(&prompts.rows, change))?;
        let changes = self.mean_changes(&logits);
        let listed = |sign: f64| -> Vec<(u32, f64)> {
            let mut order: Vec<usize> = (0..changes.len()).collect();
            order.sort_by(|&a, &b| (sign * changes[b]).total_cmp(&(sign * changes[a])).then(a.cmp(&b)));
            order.into_iter().take(LISTED_TOKENS).map(|token| (token as u32, changes[token])).collect()
        };
        let kl = self.neutral.mean_kl(&logits);
        Ok(Steered { code, kl, raised: listed(1.0), lowered: listed(-1.0) })
    }

    /// Change of the log-probability of every known token at the last position, mean over prompts.
    fn mean_changes(&self, logits: &Matrix) -> Vec<f64> {
        let mut means = vec![0.0; self.known.min(logits.cols())];
        let n = logits.rows().max(1) as f64;
        for (clean, changed) in self.neutral.logits.iter_rows().zip(logits.iter_rows()) {
            let shift = log_sum_exp(changed) - log_sum_exp(clean);
            for ((mean, &clean), &changed) in means.iter_mut().zip(clean).zip(changed) {
                *mean += (f64::from(changed) - f64::from(clean) - shift) / n;
            }
        }
        means
    }

    fn agreement(&self, firing: &Firing, along: Option<&[f32]>) -> Result<f64, Stop> {
        if !is_in_stream(self.writer.writes()) {
            return Err(Stop::No(NoEffect::NotInTheStream));
        }
        let prompts = &self.neutral.prompts;
        let steps = self.steps(firing.feature, prompts, along)?;
        let (cols, norm) = (prompts.tokens.cols(), self.settings.step * self.neutral.mean_norm);
        let change = |row: usize| match steps.norm(row) {
            of_step if of_step > 0.0 && self.is_steered(row, cols) => norm / of_step,
            _ => 0.0,
        };
        let logits = self.neutral.last_logits(self.subject, &steps.added(&prompts.rows, change))?;
        let measured = self.mean_changes(&logits);
        let direction = self.writer.dictionary().directions_of(&[firing.feature])?;
        let direct = self.subject.direct_logits(&direction)?;
        let direct: Vec<f64> =
            direct.row(0)[..measured.len()].iter().map(|&effect| f64::from(effect)).collect();
        spearman(&direct, &measured).map_err(|_| Stop::No(NoEffect::NothingChanges))
    }

    fn damage(&self, firing: &Firing, along: Option<&[f32]>) -> Result<Matched, Stop> {
        let max = maximum(firing)?;
        let steered = |texts: &Texts, steps: &Steps, strength: f64| {
            let cols = texts.tokens.cols();
            let change = |row: usize| if self.is_steered(row, cols) { strength * max } else { 0.0 };
            steps.added(&texts.rows, change)
        };
        let prompts = &self.neutral.prompts;
        let of_prompts = self.steps(firing.feature, prompts, along)?;
        let kl = |strength: f64| -> Result<f64, Stop> {
            let rows = steered(prompts, &of_prompts, strength);
            Ok(self.neutral.mean_kl(&self.neutral.last_logits(self.subject, &rows)?))
        };
        let (wanted, most) = (self.settings.matched_kl, self.settings.most_strength);
        if kl(most)? < wanted {
            return Err(Stop::No(NoEffect::KlNotReached));
        }
        // Exponents of 10 below the largest strength.
        let (mut low, mut high) = (-DECADES, 0.0);
        for _ in 0..self.settings.bisections {
            let middle = (low + high) / 2.0;
            if kl(most * 10_f64.powf(middle))? < wanted { low = middle } else { high = middle }
        }
        let strength = most * 10_f64.powf(high);
        let kl = kl(strength)?;
        if (kl / wanted - 1.0).abs() > KL_TOLERANCE {
            return Err(Stop::No(NoEffect::KlNotReached));
        }
        let whole = &self.neutral.whole;
        let rows = steered(whole, &self.steps(firing.feature, whole, along)?, strength);
        let loss_increase = self.neutral.loss_increase(self.subject, &rows)?;
        Ok(Matched { strength, kl, loss_increase })
    }
}

/// The largest code; a feature that is active nowhere has none.
fn maximum(firing: &Firing) -> Result<f64, Stop> {
    if firing.max > 0.0 { Ok(firing.max) } else { Err(Stop::No(NoEffect::NeverFires)) }
}
