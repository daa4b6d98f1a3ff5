//! The recipe: pieces from generated text, AdamW with warm-up and cosine decay over shuffled windows of packed
//! documents, then losses beside counting models and accuracy on indirect objects.

use std::path::Path;

use serde::{Deserialize, Serialize};
use tokenizers::Tokenizer;

use super::EmbeddedError;
use super::adamw::AdamW;
use super::measure::{Choice, TrainReport, measure};
use super::network::{Network, Shape};
use super::ops;
use super::pieces::{encode_document, train_tokenizer};
use crate::base::{Stream, TokenBatch, write_atomic};

/// Shares of a batch that run at the same time. Part of the recipe: it decides the order of sums.
const SHARES: usize = 2;

/// How often the tokenizer's text has each word that is to be one piece, beside those in documents.
const WHOLE_WORD_REPEATS: usize = 500;

/// Windows held for shuffling.
const POOL_WINDOWS: usize = 2_048;

/// Everything that decides the weights, beside the documents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainConfig {
    /// Seed of initial weights and of the windows' order.
    pub seed: u64,
    /// Sizes; `vocabulary` is the most pieces the tokenizer may have.
    pub shape: Shape,
    /// Documents that the tokenizer learns from.
    pub tokenizer_documents: usize,
    /// Runs of the optimiser, one after the other.
    pub stages: Vec<Stage>,
    /// Contexts in a step.
    pub batch: usize,
    /// Steps over which a stage's learning rate rises to its highest.
    pub warm_up_steps: usize,
    /// Weight decay of matrices.
    pub weight_decay: f64,
    /// Gradients longer than this are shortened to it.
    pub clip_norm: f64,
    /// Documents of the held-out text.
    pub held_out_documents: usize,
    /// Which training documents the caller takes from the register that is hardest to learn.
    pub extra: Extra,
}

/// One run of the optimiser: fresh moments, a learning rate that rises and falls, documents of its own.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// Steps taken.
    pub steps: usize,
    /// Step at which the learning rate would reach nothing; not before the last one taken.
    pub schedule_steps: usize,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Index of its first document.
    pub first_document: u64,
}

impl TrainConfig {
    /// Tokens of a stage.
    pub(super) fn tokens(&self, stage: &Stage) -> usize {
        stage.steps * self.batch * self.shape.context
    }
}

/// Training documents, in percent, that are indirect-object sentences beyond those that the generator's own mixture
/// has. The rule to find in them is rare in other text: many early on bring it forth, fewer later keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extra {
    /// Documents that count as early.
    pub early_documents: u64,
    /// Share of these.
    pub early_percent: u64,
    /// Share of later ones.
    pub late_percent: u64,
}

impl Extra {
    /// True where training document `index` is such an extra one.
    pub fn takes(&self, index: u64) -> bool {
        let percent = if index < self.early_documents { self.early_percent } else { self.late_percent };
        // 37 and 100 share no divisor, so the extra documents are spread evenly.
        index * 37 % 100 < percent
    }
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            shape: Shape {
                vocabulary: 2048,
                n_layers: 4,
                d_model: 128,
                n_heads: 4,
                d_mlp: 512,
                context: 128,
            },
            tokenizer_documents: 6_000,
            stages: vec![
                Stage { steps: 3_600, schedule_steps: 3_600, learning_rate: 3e-3, first_document: 0 },
                Stage { steps: 2_200, schedule_steps: 2_400, learning_rate: 2e-3, first_document: 100_000 },
            ],
            batch: 16,
            warm_up_steps: 200,
            weight_decay: 0.05,
            clip_norm: 1.0,
            held_out_documents: 400,
            extra: Extra { early_documents: 9_000, early_percent: 60, late_percent: 30 },
        }
    }
}

/// How far training is.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Steps done.
    pub step: usize,
    /// Steps to do.
    pub steps: usize,
    /// Loss of the step's batch before it, in nats per token.
    pub loss_nats: f64,
    /// Learning rate of the step.
    pub learning_rate: f64,
}

/// A trained model, ready to be written.
#[derive(Debug)]
pub struct Trained {
    /// The weights.
    pub network: Network,
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// The recipe and what came of it.
    pub report: TrainReport,
}

/// The texts that training needs.
pub struct Texts<'a> {
    /// Text of the document at an index. Those below `held_out_from` are trained on; from there on follow the
    /// held-out ones, then those that the tokenizer learns from.
    pub document: &'a (dyn Fn(u64) -> String + Sync),
    /// Index of the first held-out document.
    pub held_out_from: u64,
    /// Words that are to be one piece with the space before them.
    pub whole_words: Vec<&'a str>,
    /// Prompts to measure, by the name of their kind.
    pub choices: Vec<(String, Vec<Choice>)>,
}

impl std::fmt::Debug for Texts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Texts").field("held_out_from", &self.held_out_from).finish_non_exhaustive()
    }
}

/// Trains a model and measures it. `progress` hears of every step and may stop training by an error.
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
                return Err(EmbeddedError::Diverged { step: done });
            }
            let learning_rate = learning_rate(config, stage, step);
            optimiser.step(&network, &gradients, learning_rate)?;
            done += 1;
            progress(Progress { step: done, steps, loss_nats, learning_rate })?;
        }
        // What a file keeps is what the next stage starts from, so that it can start from a file.
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

/// Mean loss in nats of the shares of a batch, and the gradients of each weight, in the order of their names. Each
/// share has a thread of its own; their sums are taken in order.
fn gradients(
    network: &Network,
    shares: Vec<(TokenBatch, Vec<u32>)>,
) -> Result<(f64, Vec<Vec<f32>>), EmbeddedError> {
    let n = shares.len() as f32;
    let one = |(inputs, targets): (TokenBatch, Vec<u32>)| -> candle_core::Result<(f64, Vec<Vec<f32>>)> {
        let loss = ops::cross_entropy(&network.logits(&inputs)?, targets)?;
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
        threads.into_iter().map(|thread| thread.join().map_err(|_| EmbeddedError::Thread)).collect()
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

/// Linear warm-up, then half a cosine down to nothing.
fn learning_rate(config: &TrainConfig, stage: &Stage, step: usize) -> f64 {
    let at = (step + 1) as f64;
    let warm = config.warm_up_steps.max(1) as f64;
    let share = ((at - warm) / (stage.schedule_steps as f64 - warm).max(1.0)).clamp(0.0, 1.0);
    stage.learning_rate * (at / warm).min(1.0) * 0.5 * (1.0 + (std::f64::consts::PI * share).cos())
}

/// Windows of packed training documents in a shuffled order.
struct Windows<'a> {
    config: &'a TrainConfig,
    texts: &'a Texts<'a>,
    tokenizer: &'a Tokenizer,
    stream: Stream,
    /// Ids of all its documents so far.
    ids: Vec<u32>,
    /// Where the first window not yet pooled begins.
    pooled: usize,
    pool: Vec<usize>,
    next_document: u64,
}

impl<'a> Windows<'a> {
    fn new(
        config: &'a TrainConfig,
        texts: &'a Texts<'a>,
        tokenizer: &'a Tokenizer,
        first_document: u64,
        seed: u64,
    ) -> Self {
        let stream = Stream::named(seed, &["embedded", "windows"]);
        let (ids, pool) = (Vec::new(), Vec::new());
        Self { config, texts, tokenizer, stream, ids, pooled: 0, pool, next_document: first_document }
    }

    fn fill(&mut self) -> Result<(), EmbeddedError> {
        let context = self.config.shape.context;
        while self.ids.len() < self.pooled + POOL_WINDOWS * context + 1 {
            if self.next_document >= self.texts.held_out_from {
                return Err(EmbeddedError::TextEnds { documents: self.next_document });
            }
            let text = (self.texts.document)(self.next_document);
            encode_document(self.tokenizer, &text, &mut self.ids)?;
            self.next_document += 1;
        }
        self.pool.extend((0..POOL_WINDOWS).map(|window| self.pooled + window * context));
        self.pooled += POOL_WINDOWS * context;
        self.stream.shuffle(&mut self.pool);
        Ok(())
    }

    fn batch(&mut self, rows: usize) -> Result<(TokenBatch, Vec<u32>), EmbeddedError> {
        let context = self.config.shape.context;
        if self.pool.len() < rows {
            self.fill()?;
        }
        let (mut inputs, mut targets) = (Vec::new(), Vec::new());
        for start in self.pool.split_off(self.pool.len() - rows) {
            inputs.extend_from_slice(&self.ids[start..start + context]);
            targets.extend_from_slice(&self.ids[start + 1..start + context + 1]);
        }
        let inputs = TokenBatch::new(inputs, context).ok_or(EmbeddedError::NoContext)?;
        Ok((inputs, targets))
    }
}
