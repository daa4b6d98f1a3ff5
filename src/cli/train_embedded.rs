//! `train-embedded`: trains the embedded subject model on generated text and writes its four files.

use std::path::Path;

use super::args::Common;
use super::{print_result, progress};
use crate::corpus::generator::{Generator, HeldOut, Register};
use crate::run::RunError;
use crate::subject::SubjectError;
use crate::subject::embedded::train::{
    Choice, EmbeddedError, Progress, Texts, TrainConfig, train as train_model,
};

/// Documents from this index on are held out from training.
const HELD_OUT_FROM: u64 = 1_000_000;

/// Number of indirect-object prompts of each kind.
const PROMPTS: usize = 500;

/// Steps between two lines of progress.
const LINE_EVERY: usize = 50;

/// The prompts for measuring accuracy, by kind.
fn choices(generator: &Generator) -> Vec<(String, Vec<Choice>)> {
    let kinds = [
        ("training_names_and_templates", HeldOut::Nothing),
        ("held_out_names", HeldOut::Names),
        ("held_out_templates", HeldOut::Templates),
        ("held_out_names_and_templates", HeldOut::NamesAndTemplates),
    ];
    let of_kind = |held_out| {
        let prompts = generator.ioi_prompts(PROMPTS, held_out).into_iter();
        prompts.map(|p| Choice { prompt: p.prompt, right: p.indirect_object, wrong: p.subject }).collect()
    };
    kinds.into_iter().map(|(name, held_out)| (name.to_owned(), of_kind(held_out))).collect()
}

/// Trains for the recipe's number of steps, or for `steps`. Writes the model and its report to `out`.
pub fn train(out: &Path, steps: Option<usize>, common: &Common) -> Result<u8, RunError> {
    let mut config = TrainConfig::default();
    if let Some(steps) = steps {
        config.stages.truncate(1);
        config.stages.iter_mut().for_each(|stage| (stage.steps, stage.schedule_steps) = (steps, steps));
    }
    let generator = Generator::new(config.seed);
    let document = |index| {
        let extra = index < HELD_OUT_FROM && config.extra.takes(index);
        let document =
            if extra { generator.document_in(Register::Ioi, index) } else { generator.document(index) };
        document.text
    };
    let texts = Texts {
        document: &document,
        held_out_from: HELD_OUT_FROM,
        whole_words: [Generator::names(false), Generator::names(true)].concat(),
        choices: choices(&generator),
    };
    let mut tell = |at: Progress| {
        if at.step.is_multiple_of(LINE_EVERY) && !common.quiet {
            progress::say(&format!("step {} of {}: {:.3} nats per token", at.step, at.steps, at.loss_nats));
        }
        if super::STOP.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(EmbeddedError::Stopped { step: at.step });
        }
        Ok(())
    };
    let trained = train_model(&config, &texts, &mut tell).map_err(SubjectError::from)?;
    trained.save(out).map_err(SubjectError::from)?;
    print_result(common, &trained.report, |report| {
        let losses = &report.loss_nats;
        let mut text = format!(
            "held-out loss in nats per token: model {:.3}, trigram {:.3}, bigram {:.3}, unigram {:.3}\n",
            losses.model, losses.trigram, losses.bigram, losses.unigram
        );
        for (kind, accuracy) in &report.ioi_accuracy {
            let (kind, percent) = (kind.replace('_', " "), 100.0 * accuracy);
            text.push_str(&format!("indirect objects, {kind}: {percent:.1} % right\n"));
        }
        text + &format!("written to {}\n", out.display())
    })?;
    Ok(0)
}
