//! `steer`: continues a prompt with a feature of a run changed.

use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use super::args::{Common, Env, SteerArgs};
use super::harvest::model_places;
use super::inspect::score_lines;
use super::model_args::Strength;
use super::remote::RunHere;
use super::steered_text::steering_text;
use super::{print_result, setting};
use crate::causal::{CausalError, Change, Steer, WhatToWrite, Writer};
use crate::report::{
    CodeChange, Label, Layout, Look, Part, Place, ScoreLine, Steering, check_listed, visible_token, wrap,
    wrap_at_most,
};
use crate::run::{FinishedRun, RunError, RunFeature};
use crate::subject::{SubjectError, SubjectModel, WithPrefix};

/// Strength without a flag.
const DEFAULT_CLAMP: Strength = Strength::TimesMax(10.0);

/// Samples without a flag, at a temperature above 0.
const SAMPLES: usize = 3;

/// Most lines of the explanation.
const EXPLANATION_LINES: usize = 2;

/// Number of raised and of lowered tokens.
const LISTED: usize = 10;

/// Output of `steer --json`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Steered {
    /// Hook point.
    pub hook: String,
    /// Dictionary: its method, with the training if there are several.
    pub dictionary: String,
    /// Index of the feature.
    pub feature: usize,
    /// The run's first explanation of it; null if it has none.
    pub explanation: Option<String>,
    /// The subject model.
    pub model: String,
    /// Tokens in front of the prompt. They are never edited.
    pub prefix: Vec<u32>,
    /// What was written.
    pub steering: Steering,
}

pub fn steer(args: &SteerArgs, common: &Common, env: &Env) -> Result<u8, RunError> {
    let samples = samples(args)?;
    let here = RunHere::open(&args.run, Part::Everything, common, env)?;
    let run = FinishedRun::open(here.folder())?;
    let RunFeature { place, feature, dictionary } = run.feature(&args.feature)?;
    Writer::new(&*dictionary).map_err(|error| told(error, args))?;
    let lines = lines_of(here.folder(), &place, feature)?;
    let line = lines.first();
    let (change, stated) = change(args, line)?;
    let places = model_places(env, args.device, common);
    let loaded = run.open_model("steered text", args.model.as_deref(), &places)?;
    let prefix = loaded.prefix(run.subject_spec()?.bos)?;
    let tokenizer = loaded.tokenizer()?;
    let subject = WithPrefix::new(loaded.model(), &prefix.ids);
    let prompt = tokenizer.encode(&args.prompt).map_err(SubjectError::from)?;
    check_length(&prompt, args.tokens, &subject)?;
    let seeds: Vec<u64> = (0..samples as u64).map(|nth| args.seed.wrapping_add(nth)).collect();
    let what =
        WhatToWrite { tokens: args.tokens, temperature: args.temperature, seeds: &seeds, listed: LISTED };
    let ids: Vec<u32> = (0..tokenizer.vocab_size() as u32).collect();
    let token_texts = tokenizer.token_texts(&ids);
    let read = |ids: &[u32]| {
        let bytes: Vec<u8> = ids.iter().flat_map(|&id| tokenizer.bytes_of(id)).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let steer = Steer {
        subject: &subject,
        token_texts: &token_texts,
        text: &read,
        dictionary: &*dictionary,
        feature,
        change,
    };
    let (next_token, samples) = steer.write(&prompt, what).map_err(|error| told(error, args))?;
    let steered = Steered {
        explanation: lines.iter().find_map(|line| line.explanation.clone()),
        hook: place.hook,
        dictionary: place.dictionary,
        feature,
        model: subject.info().name.clone(),
        prefix: prefix.ids.clone(),
        steering: Steering {
            prompt: args.prompt.clone(),
            prompt_tokens: tokenizer.token_texts(&prompt),
            change: stated,
            tokens: args.tokens,
            temperature: args.temperature,
            next_token,
            samples,
        },
    };
    print_result(common, &steered, |steered| text(steered, env.look))?;
    Ok(0)
}

/// The feature's lines of `scores.jsonl`, without those of controls.
fn lines_of(run: &Path, place: &Place, feature: usize) -> Result<Vec<ScoreLine>, RunError> {
    check_listed(run, &[Layout::new(run).scores()])?;
    let mut lines = score_lines(run)?;
    lines.retain(|line| {
        line.control.is_none()
            && line.feature == feature
            && line.hook == place.hook
            && line.dictionary() == place.dictionary
    });
    Ok(lines)
}

/// The result in lines of at most the look's width.
fn text(steered: &Steered, look: Look) -> String {
    let title = format!("{} · {} · feature {}", steered.hook, steered.dictionary, steered.feature);
    let label = steered.explanation.as_deref().map(|explanation| Label::of(explanation).line);
    let label = label.map(|label| wrap_at_most(&label, look.width, EXPLANATION_LINES)).unwrap_or_default();
    let mut text: String =
        wrap(&visible_token(&title), look.width).iter().map(|line| look.bold(line) + "\n").collect();
    text.extend(label.iter().map(|line| format!("{line}\n")));
    text.extend(
        wrap(&format!("of the model {}", steered.model), look.width).iter().map(|line| format!("{line}\n")),
    );
    format!("{text}\n{}", steering_text(&steered.steering, look))
}

/// Number of samples. At temperature 0 all samples would be the same.
fn samples(args: &SteerArgs) -> Result<usize, RunError> {
    let is_greedy = args.temperature == 0.0;
    match args.samples {
        None => Ok(if is_greedy { 1 } else { SAMPLES }),
        Some(0) => Err(setting("--samples", "is 0, expected at least 1")),
        Some(n) if n > 1 && is_greedy => {
            let problem = format!("is {n}, but at temperature 0 every sample is the same: expected 1");
            Err(setting("--samples", problem))
        }
        Some(n) => Ok(n),
    }
}

/// The flag that says how the code is changed.
fn flag(args: &SteerArgs) -> &'static str {
    match (args.add, args.scale) {
        (Some(_), _) => "--add",
        (_, Some(_)) => "--scale",
        _ => "--clamp",
    }
}

/// The change of the code, and how it is stated.
fn change(args: &SteerArgs, line: Option<&ScoreLine>) -> Result<(Change<'static>, CodeChange), RunError> {
    let max_activation = line.and_then(|line| line.max_activation);
    let stated = |how: &str, value: f64, times_max: Option<f64>| CodeChange {
        how: how.into(),
        value,
        times_max,
        max_activation,
    };
    if let Some(factor) = args.scale {
        return Ok((Change::Scale(factor as f32), stated("scale", factor, None)));
    }
    let (how, strength) = match args.add {
        Some(strength) => ("add", strength),
        None => ("set", args.clamp.unwrap_or(DEFAULT_CLAMP)),
    };
    let (value, times_max) = match strength {
        Strength::Code(value) => (value, None),
        Strength::TimesMax(times) => (times * maximum(args, line)?, Some(times)),
    };
    let change = if how == "add" { Change::Add(value as f32) } else { Change::Set(value as f32) };
    Ok((change, stated(how, value, times_max)))
}

/// The feature's maximum activation.
fn maximum(args: &SteerArgs, line: Option<&ScoreLine>) -> Result<f64, RunError> {
    let why = match line.map(|line| line.max_activation) {
        Some(Some(maximum)) if maximum > 0.0 => return Ok(maximum),
        Some(Some(_)) => "it never fires in this run",
        Some(None) => "this run has none",
        None => "this run did not walk the feature",
    };
    let problem = format!(
        "as a multiple needs the maximum activation of `{}`, but {why}: give a code, such as `{} 12.5`",
        args.feature,
        flag(args)
    );
    Err(setting(flag(args), problem))
}

/// The prompt is not empty, and the texts fit the model's context.
fn check_length(prompt: &[u32], tokens: usize, subject: &dyn SubjectModel) -> Result<(), RunError> {
    if prompt.is_empty() {
        return Err(setting("--prompt", "holds no token, expected at least one"));
    }
    if tokens == 0 {
        return Err(setting("--tokens", "is 0, expected at least 1"));
    }
    let (n_ctx, used) = (subject.info().n_ctx, prompt.len());
    let context = format!("the model's context has {n_ctx} positions beside its prefix");
    match n_ctx.saturating_sub(used) {
        0 => Err(setting("--prompt", format!("has {used} tokens, but {context}: give a shorter one"))),
        most if tokens > most => {
            let problem = format!(
                "is {tokens}, but {context}, of which the prompt takes {used}: expected at most {most}"
            );
            Err(setting("--tokens", problem))
        }
        _ => Ok(()),
    }
}

fn told(error: CausalError, args: &SteerArgs) -> RunError {
    match error {
        CausalError::Subject(SubjectError::NotFinite { hook, value, .. }) => {
            let problem = format!("is too much: `{hook}` holds {value}; expected a smaller change");
            setting(flag(args), problem)
        }
        CausalError::Subject(error) => error.into(),
        CausalError::Dictionary(error) => error.into(),
        error => setting("FEATURE", format!("cannot be changed: {error}")),
    }
}
