//! Text written while a feature is changed at every position (Templeton et al. 2024, "feature steering").
//!
//! The control changes the same positions along a random direction u, a normalised Gaussian vector:
//!
//! ```text
//! x′ = x + ‖Δ(x)‖ · u        Δ(x): what the feature's change would add to the same activation x
//! ```

use std::sync::{Mutex, PoisonError};

use super::direction::norm;
use super::divergence::{kl, log_sum_exp};
use super::{CausalError, Change, FeatureEdit, FeatureEdits, Writer, failure_of, random_direction};
use crate::base::{Matrix, Stream, TokenBatch};
use crate::dictionary::Dictionary;
use crate::report::{EditSize, EditedText, NextToken, ShiftedToken, SteeredSample, WrittenText};
use crate::subject::{Edit, SubjectError, SubjectModel, Wanted, Writing};

/// A feature to change, and the subject that it is changed in.
pub struct Steer<'a> {
    /// The subject, with its prefix. The prefix is never edited.
    pub subject: &'a dyn SubjectModel,
    /// Text of each token id that has one.
    pub token_texts: &'a [String],
    /// Running text of tokens.
    pub text: &'a dyn Fn(&[u32]) -> String,
    /// The dictionary.
    pub dictionary: &'a dyn Dictionary,
    /// The feature.
    pub feature: usize,
    /// What becomes of its code.
    pub change: Change<'a>,
}

/// What is written.
#[derive(Debug, Clone, Copy)]
pub struct WhatToWrite<'a> {
    /// Tokens of a text.
    pub tokens: usize,
    /// Temperature of the draws; 0 takes the likeliest token.
    pub temperature: f64,
    /// One sample per seed.
    pub seeds: &'a [u64],
    /// Tokens listed as raised and as lowered.
    pub listed: usize,
}

/// Changes of log probabilities below this are rounding, in nats.
const ROUNDING: f64 = 1e-6;

/// ‖x′ − x‖ and ‖x‖ of each edited position, in order.
type Sizes = Vec<[f64; 2]>;

impl Steer<'_> {
    /// Continues a prompt of at least one token, unsteered, steered and with a random direction. Fails if the texts
    /// exceed the subject's context, and if logits become infinite or NaN.
    pub fn write(
        &self,
        prompt: &[u32],
        what: WhatToWrite<'_>,
    ) -> Result<(NextToken, Vec<SteeredSample>), CausalError> {
        self.subject.check_tokens(&batch(vec![0; prompt.len() + what.tokens], 1)?)?;
        let before = self.subject.edited(&batch(prompt.to_vec(), 1)?, &[], Wanted::LastLogits)?;
        let (before, after) = (before.row(0), self.next_token(prompt, None)?);
        let kl = kl(before, after.row(0));
        let samples = what.seeds.iter().map(|&seed| self.sample(prompt, (before, kl), what, seed));
        let samples = samples.collect::<Result<_, _>>()?;
        let [raised, lowered] = self.shifts(before, after.row(0), what.listed);
        Ok((NextToken { kl, raised, lowered }, samples))
    }

    /// Tokens written behind a prompt of at least one token with the feature changed. With `along`, a unit vector, every
    /// position is changed in this direction, by the norm that the feature's change has there.
    pub fn continuation(
        &self,
        prompt: &[u32],
        along: Option<&[f32]>,
        writing: &Writing<'_>,
    ) -> Result<Vec<u32>, CausalError> {
        Ok(self.edited(along, |edits| self.subject.continuation(prompt, 0, edits, writing))?.0)
    }

    fn sample(
        &self,
        prompt: &[u32],
        (before, steered_kl): (&[f32], f64),
        what: WhatToWrite<'_>,
        seed: u64,
    ) -> Result<SteeredSample, CausalError> {
        let writing = Writing { tokens: what.tokens, temperature: what.temperature, seed, stop: &[] };
        let direction = self.random_direction(seed)?;
        let random_kl = kl(before, self.next_token(prompt, Some(&direction))?.row(0));
        let unsteered = self.subject.continuation(prompt, 0, &[], &writing)?;
        let edited =
            |along| self.edited(along, |edits| self.subject.continuation(prompt, 0, edits, &writing));
        let (steered, sizes) = edited(None)?;
        let (random, random_sizes) = edited(Some(&direction))?;
        let [unsteered, steered, random] = self.texts(prompt, [unsteered, steered, random])?;
        let edited = |written, next_token_kl, sizes: Sizes| EditedText {
            written,
            next_token_kl,
            edit: edit_size(&sizes, prompt.len()),
        };
        Ok(SteeredSample {
            seed,
            unsteered,
            steered: edited(steered, steered_kl, sizes),
            random_direction: edited(random, random_kl, random_sizes),
        })
    }

    /// Logits of the next token `[1, vocab]` with the feature changed, or with the norm of its change along a direction.
    fn next_token(&self, prompt: &[u32], along: Option<&[f32]>) -> Result<Matrix, CausalError> {
        let tokens = batch(prompt.to_vec(), 1)?;
        Ok(self.edited(along, |edits| self.subject.edited(&tokens, edits, Wanted::LastLogits))?.0)
    }

    /// Runs `pass` with the edits of the feature. With `along`, a unit vector, every position is changed in this
    /// direction, by the norm that the feature's change has there.
    fn edited<T>(
        &self,
        along: Option<&[f32]>,
        pass: impl FnOnce(&[Edit<'_>]) -> Result<T, SubjectError>,
    ) -> Result<(T, Sizes), CausalError> {
        let change = vec![(self.feature, self.change)];
        let feature = [FeatureEdit::new(Writer::new(self.dictionary)?, change)?];
        let of_feature = FeatureEdits::new(&feature);
        let mut edits = of_feature.edits();
        let sizes = Mutex::new(Sizes::new());
        // The last one writes; that of a transcoder is behind one that reads.
        let Some(write) = edits.pop() else { return Ok((pass(&[])?, Sizes::new())) };
        let apply = |rows: &mut Matrix| {
            let before = rows.clone();
            (write.apply)(rows);
            let mut sizes = sizes.lock().unwrap_or_else(PoisonError::into_inner);
            for row in 0..rows.rows() {
                let (x, edited) = (before.row(row), rows.row_mut(row));
                if let Some(direction) = along {
                    let size = distance(edited, x);
                    let entries = edited.iter_mut().zip(x).zip(direction);
                    entries.for_each(|((edited, x), u)| *edited = x + (size * f64::from(*u)) as f32);
                }
                sizes.push([distance(edited, x), norm(x)]);
            }
        };
        edits.push(Edit { hook: write.hook, apply: &apply });
        let passed = pass(&edits);
        failure_of(&feature)?;
        let sizes = std::mem::take(&mut *sizes.lock().unwrap_or_else(PoisonError::into_inner));
        Ok((passed?, sizes))
    }

    /// A unit vector of the width at the hook point that the dictionary writes.
    fn random_direction(&self, seed: u64) -> Result<Vec<f32>, CausalError> {
        let width = self.subject.width(Writer::new(self.dictionary)?.writes())?;
        Ok(random_direction(width, &mut Stream::named(seed, &["steering", "direction"])))
    }

    /// Texts of equal length with their losses under the unsteered model.
    fn texts(&self, prompt: &[u32], written: [Vec<u32>; 3]) -> Result<[WrittenText; 3], CausalError> {
        let whole: Vec<u32> =
            written.iter().flat_map(|tokens| prompt.iter().chain(tokens)).copied().collect();
        let losses = self.subject.token_losses(&batch(whole, written.len())?, None)?;
        let mut losses = losses.iter_rows();
        Ok(written.map(|tokens| {
            let row = losses.next().unwrap_or_default();
            let of_text = &row[row.len().saturating_sub(tokens.len())..];
            let nats_per_token = mean(of_text.iter().map(|&loss| f64::from(loss)));
            WrittenText {
                text: (self.text)(&tokens),
                tokens,
                nats_per_token,
                perplexity: Some(nats_per_token.exp()).filter(|perplexity| perplexity.is_finite()),
            }
        }))
    }

    /// The most raised and the most lowered tokens that have a text, of two rows of logits. Ties are broken by id.
    fn shifts(&self, before: &[f32], after: &[f32], listed: usize) -> [Vec<ShiftedToken>; 2] {
        let known = before.len().min(self.token_texts.len());
        let [total_before, total_after] = [before, after].map(log_sum_exp);
        let before = |id: usize| f64::from(before[id]) - total_before;
        let after = |id: usize| f64::from(after[id]) - total_after;
        let change = |id: usize| after(id) - before(id);
        let mut order: Vec<usize> = (0..known).filter(|&id| change(id).abs() > ROUNDING).collect();
        order.sort_by(|&a, &b| change(b).total_cmp(&change(a)));
        let shifted = |&id: &usize| ShiftedToken {
            token: id as u32,
            text: self.token_texts[id].clone(),
            before: before(id).exp(),
            after: after(id).exp(),
            change: change(id),
        };
        let raised = order.iter().take_while(|&&id| change(id) > 0.0).take(listed).map(shifted).collect();
        let lowered =
            order.iter().rev().take_while(|&&id| change(id) < 0.0).take(listed).map(shifted).collect();
        [raised, lowered]
    }
}

fn batch(ids: Vec<u32>, sequences: usize) -> Result<TokenBatch, SubjectError> {
    let cols = ids.len() / sequences;
    TokenBatch::new(ids, cols).ok_or(SubjectError::TooShort { cols: 0 })
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>().sqrt()
}

/// Mean of at least one value.
fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len().max(1) as f64;
    values.sum::<f64>() / n
}

/// `sizes` begin with the positions of the prompt.
fn edit_size(sizes: &[[f64; 2]], prompt: usize) -> EditSize {
    let (of_prompt, of_written) = sizes.split_at(prompt.min(sizes.len()));
    let size = |sizes: &[[f64; 2]]| mean(sizes.iter().map(|[edit, _]| *edit));
    EditSize {
        prompt: size(of_prompt),
        written: (!of_written.is_empty()).then(|| size(of_written)),
        activation: mean(sizes.iter().map(|[_, activation]| *activation)),
    }
}

#[cfg(test)]
mod tests;
