//! Training of the embedded model: tokenizer from generated text, AdamW over shuffled windows of packed documents.
//!
//! In: documents as text, from the caller, since this folder knows no corpus.
//! Out: weights, tokenizer and configuration in Hugging Face's GPT-NeoX format, and a report of held-out measurements.
//! Never: runs an experiment.
//!
//!   loss = mean over positions of −log softmax(logits) of the next token, in nats
//!   learning rate at step s = peak · min(s/warm, 1) · (1 + cos(π · progress))/2, progress from warm-up to schedule end
//!
//! *Recipe.* `RAYON_NUM_THREADS=1 autointerp train-embedded --out DIR`, built with the feature `train-embedded`, writes
//! the four files of the embedded model again. (Each half of a batch has its own thread, so matrix products should
//! start no more.) [`TrainConfig`] has every setting, and [`train`] is the loop. Documents are packed end to end, each
//! after the separator, and cut into contexts that are shuffled. The second stage starts from the first one's weights
//! with a new learning-rate schedule. Gradients are candle's, with some operations of our own (`ops`, `attention`);
//! tests compare these with finite differences, and the network's logits with the runtime's.
//!
//! *Measured.* Losses on held-out documents beside n-gram models of the same training text (`ngram`), and the accuracy
//! on indirect-object prompts, for names and templates of the training text and for held-out ones.
//!
//! Sources: AdamW (Loshchilov and Hutter 2019), modified Kneser-Ney (Chen and Goodman 1998), indirect objects (Wang et
//! al. 2022).

mod adamw;
mod attention;
mod config;
mod error;
mod measure;
mod network;
mod ngram;
mod ops;
mod pieces;
#[cfg(test)]
mod tests;
mod windows;

use std::path::Path;

use tokenizers::Tokenizer;

use self::adamw::AdamW;
pub use self::config::{Choice, Extra, Stage, Texts, TrainConfig};
pub use self::error::EmbeddedError;
pub use self::measure::{Losses, TrainReport, measure};
pub use self::network::{Network, Shape};
pub use self::ngram::Ngram;
pub use self::pieces::{SEPARATOR, encode_document, train_tokenizer};
use self::windows::Windows;
use crate::base::{TokenBatch, write_atomic};

/// Shares of a batch that run in parallel. Part of the recipe, since it decides the order of sums.
const SHARES: usize = 2;

/// Extra repetitions, in the tokenizer's text, of each word that should be one piece.
const WHOLE_WORD_REPEATS: usize = 500;

/// Progress of training.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Steps done.
    pub step: usize,
    /// Steps in all stages.
    pub steps: usize,
    /// Loss of the step's batch before the update, in nats per token.
    pub loss_nats: f64,
    /// Learning rate of the step.
    pub learning_rate: f64,
}

/// A trained model.
#[derive(Debug)]
pub struct Trained {
    /// The weights.
    pub network: Network,
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// The recipe and the measurements.
    pub report: TrainReport,
}

/// Trains a model and measures it. `progress` is called after every step; its error stops training.
pub fn train(
    config: &TrainConfig,
    texts: &Texts<'_>,
    progress: &mut dyn FnMut(Progress) -> Result<(), EmbeddedError>,
) -> Result<Trained, EmbeddedError> {
    let first = texts.held_out_from + config.held_out_documents as u64;
    let documents = (first..first + config.tokenizer_documents as u64).map(texts.document);
    let repeats = texts.whole_words.iter().map(|word| format!(" {word}").repeat(WHOLE_WORD_REPEATS));
    let tokenizer_texts = documents.chain(repeats);
    let tokenizer = train_tokenizer(tokenizer_texts, config.shape.vocabulary)?;
    let shape = Shape { vocabulary: tokenizer.get_vocab_size(true), ..config.shape };
    let network = Network::new(shape, config.seed)?;
    let steps = config.stages.iter().map(|stage| stage.steps).sum();
    let mut done = 0;
    for (stage, seed) in config.stages.iter().zip(config.seed..) {
        let mut windows = Windows::new(config, texts, &tokenizer, stage.first_document, seed);
        let mut optimiser = AdamW::new(config, &network);
        for step in 0..stage.steps {
            let shares = (0..SHARES).map(|_| windows.batch(config.batch / SHARES));
            let (loss_nats, gradients) = gradients(&network, shares.collect::<Result<_, _>>()?)?;
            if !loss_nats.is_finite() {
                let reason = format!("training diverged at step {done}; lower the learning rate");
                return Err(EmbeddedError::Failed(reason));
            }
            let learning_rate = learning_rate(config, stage, step);
            optimiser.step(&network, &gradients, learning_rate)?;
            done += 1;
            progress(Progress { step: done, steps, loss_nats, learning_rate })?;
        }
        // The next stage starts from the weights as a file would store them.
        network.round_to_half()?;
    }
    let report = measure(config, texts, &network, &tokenizer)?;
    Ok(Trained { network, tokenizer, report })
}

impl Trained {
    /// Writes `config.json`, `model.safetensors`, `tokenizer.json` and `report.json` into `folder`.
    pub fn save(&self, folder: &Path) -> Result<(), EmbeddedError> {
        let tokenizer = self.tokenizer.to_string(false).map_err(EmbeddedError::tokenizer)?;
        let report = serde_json::to_string_pretty(&self.report)? + "\n";
        write_atomic(&folder.join("config.json"), Network::config_json(&self.network.shape()).as_bytes())?;
        write_atomic(&folder.join("model.safetensors"), &self.network.to_safetensors()?)?;
        write_atomic(&folder.join("tokenizer.json"), tokenizer.as_bytes())?;
        write_atomic(&folder.join("report.json"), report.as_bytes())?;
        Ok(())
    }
}

/// Mean loss in nats over the shares of a batch, and the gradient of each weight in the order of their names. Each share
/// has its own thread; sums are taken in the order of shares.
fn gradients(
    network: &Network,
    shares: Vec<(TokenBatch, Vec<u32>)>,
) -> Result<(f64, Vec<Vec<f32>>), EmbeddedError> {
    let n = shares.len() as f32;
    let one = |(inputs, targets): (TokenBatch, Vec<u32>)| -> candle_core::Result<(f64, Vec<Vec<f32>>)> {
        let loss = network.logits(&inputs)?.apply_op1(ops::CrossEntropy(targets))?;
        let grads = loss.backward()?;
        let mut gradients = Vec::new();
        for (name, weight) in network.weights() {
            match grads.get(weight) {
                Some(gradient) => gradients.push(gradient.flatten_all()?.to_vec1::<f32>()?),
                None => candle_core::bail!("tensor `{name}` has no gradient"),
            }
        }
        Ok((f64::from(loss.to_scalar::<f32>()?), gradients))
    };
    let parts: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = shares.into_iter().map(|share| scope.spawn(|| one(share))).collect();
        let ended = |_| EmbeddedError::Failed("a training thread ended before its work was done".into());
        threads.into_iter().map(|thread| thread.join().map_err(ended)).collect()
    });
    let (mut loss, mut total) = (0.0, Vec::<Vec<f32>>::new());
    for part in parts {
        let (share_loss, gradients) = part??;
        loss += share_loss / f64::from(n);
        if total.is_empty() {
            total = gradients.iter().map(|gradient| vec![0.0; gradient.len()]).collect();
        }
        for (total, gradient) in total.iter_mut().zip(&gradients) {
            total.iter_mut().zip(gradient).for_each(|(total, g)| *total += g / n);
        }
    }
    Ok((loss, total))
}

/// Linear warm-up, then half a cosine down to 0.
fn learning_rate(config: &TrainConfig, stage: &Stage, step: usize) -> f64 {
    let at = (step + 1) as f64;
    let warm = config.warm_up_steps.max(1) as f64;
    let share = ((at - warm) / (stage.schedule_steps as f64 - warm).max(1.0)).clamp(0.0, 1.0);
    stage.learning_rate * (at / warm).min(1.0) * 0.5 * (1.0 + (std::f64::consts::PI * share).cos())
}
