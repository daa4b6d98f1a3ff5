//! Examples of features that a suite asks for: steered text, as `steer` writes it.

use super::ablation::NO_MODEL;
use crate::causal::{CausalError, Change, Steer, WhatToWrite};
use crate::report::{CodeChange, Steering};
use crate::run::RunError;
use crate::run::evaluate::Evaluation;
use crate::run::inputs::prepare::STEERING_PROMPT;
use crate::subject::SubjectError;

/// The code as a multiple of the feature's maximum activation.
const TIMES_MAX: f64 = 10.0;

/// Tokens written of each text.
const TOKENS: usize = 30;

/// Temperature of the draws.
const TEMPERATURE: f64 = 0.7;

/// Seed of the draws. It is that of `steer` without `--seed`.
const SEED: u64 = 0;

/// Number of raised and of lowered tokens.
const LISTED: usize = 5;

impl Evaluation<'_> {
    /// Text with a feature's code at ten times `max_activation`, or why there is none. None if the suite does not ask.
    pub(super) fn steering_example(
        &self,
        feature: usize,
        max_activation: f32,
    ) -> Result<Result<Option<Steering>, String>, RunError> {
        let run = self.pass.run;
        if run.suite.examples.is_none() {
            return Ok(Ok(None));
        }
        run.stop.check()?;
        let (prompt, subject) = (&run.steering_prompt, self.pass.subject);
        let n_ctx = subject.info().n_ctx;
        if subject.without_model().is_some() {
            return Ok(Err(NO_MODEL.into()));
        }
        if max_activation <= 0.0 {
            return Ok(Err("it never fires".into()));
        }
        if prompt.is_empty() || prompt.len() + TOKENS > n_ctx {
            return Ok(Err(format!(
                "a prompt of {} tokens and {TOKENS} more need a context above {n_ctx}",
                prompt.len()
            )));
        }
        let max_activation = f64::from(max_activation);
        let value = TIMES_MAX * max_activation;
        let text = |ids: &[u32]| ids.iter().map(|&id| run.text(id)).collect();
        let steer = Steer {
            subject,
            token_texts: &run.token_texts,
            text: &text,
            dictionary: self.dictionary,
            feature,
            change: Change::Set(value as f32),
        };
        let what = WhatToWrite { tokens: TOKENS, temperature: TEMPERATURE, seeds: &[SEED], listed: LISTED };
        let change = CodeChange {
            how: "set".into(),
            value,
            times_max: Some(TIMES_MAX),
            max_activation: Some(max_activation),
        };
        match steer.write(prompt, what) {
            Ok((next_token, samples)) => Ok(Ok(Some(Steering {
                prompt: STEERING_PROMPT.into(),
                prompt_tokens: prompt.iter().map(|&id| run.text(id)).collect(),
                change,
                tokens: TOKENS,
                temperature: TEMPERATURE,
                next_token,
                samples,
            }))),
            Err(CausalError::Subject(error @ SubjectError::NotFinite { .. })) => Ok(Err(error.to_string())),
            Err(CausalError::Subject(error)) => Err(error.into()),
            Err(CausalError::Dictionary(error)) => Err(error.into()),
            Err(error) => Ok(Err(error.to_string())),
        }
    }
}
