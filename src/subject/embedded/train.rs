//! The recipe: pieces from generated text, AdamW with warm-up and cosine decay over shuffled windows of packed
//! documents, then losses beside counting models and accuracy on indirect objects.

use std::path::Path;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use tokenizers::Tokenizer;

use super::EmbeddedError;
use super::network::{Network, Shape};
use super::ngram::Ngram;
use super::ops;
use super::pieces::{encode_document, train_tokenizer};
use crate::base::{Stream, TokenBatch, write_atomic};

/// Shares of a batch that run at the same time. Part of the recipe: it decides the order of sums.
const SHARES: usize = 2;

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
    /// Steps of the optimiser.
    pub steps: usize,
    /// Contexts in a step.
    pub batch: usize,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Steps over which the learning rate rises to it.
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
            steps: 3_600,
            batch: 16,
            learning_rate: 3e-3,
            warm_up_steps: 200,
            weight_decay: 0.05,
            clip_norm: 1.0,
            held_out_documents: 400,
            extra: Extra { early_documents: 9_000, early_percent: 60, late_percent: 15 },
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

/// A text whose next word is one of two.
#[derive(Debug, Clone)]
pub struct Choice {
    /// The text before the word.
    pub prompt: String,
    /// The right word, without a space before it.
    pub right: String,
    /// The wrong word.
    pub wrong: String,
}

/// What was measured on text that training never saw.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainReport {
    /// The recipe.
    pub recipe: TrainConfig,
    /// Tokens trained on.
    pub train_tokens: usize,
    /// Documents they came from.
    pub train_documents: usize,
    /// Weights of the model.
    pub parameters: usize,
    /// Index of the first held-out document.
    pub held_out_from: u64,
    /// Tokens of the held-out text.
    pub held_out_tokens: usize,
    /// Losses on it in nats per token: the model's, and those of counting models of the training text.
    pub loss_nats: Losses,
    /// Share of prompts on which the right name has the higher logit, by kind of prompt.
    pub ioi_accuracy: std::collections::BTreeMap<String, f64>,
}

/// Held-out losses in nats per token.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Losses {
    /// The model.
    pub model: f64,
    /// Single tokens.
    pub unigram: f64,
    /// Pairs.
    pub bigram: f64,
    /// Triples.
    pub trigram: f64,
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
    let tokenizer_texts = (first..first + config.tokenizer_documents as u64).map(texts.document);
    let tokenizer = train_tokenizer(tokenizer_texts, config.shape.vocabulary)?;
    let shape = Shape { vocabulary: tokenizer.get_vocab_size(true), ..config.shape };
    let network = Network::new(shape, config.seed)?;
    train_on(config, texts, tokenizer, network, progress)
}

/// Trains a network that there is already.
pub fn train_on(
    config: &TrainConfig,
    texts: &Texts<'_>,
    tokenizer: Tokenizer,
    network: Network,
    progress: &mut dyn FnMut(Progress) -> Result<(), EmbeddedError>,
) -> Result<Trained, EmbeddedError> {
    let mut windows = Windows::new(config, texts, &tokenizer);
    let mut optimiser = AdamW::new(config, &network);
    for step in 0..config.steps {
        let shares =
            (0..SHARES).map(|_| windows.batch(config.batch / SHARES)).collect::<Result<Vec<_>, _>>()?;
        let (loss_nats, gradients) = gradients(&network, shares)?;
        if !loss_nats.is_finite() {
            return Err(EmbeddedError::Diverged { step });
        }
        let learning_rate = learning_rate(config, step);
        optimiser.step(&network, &gradients, learning_rate)?;
        progress(Progress { step: step + 1, steps: config.steps, loss_nats, learning_rate })?;
    }
    network.round_to_half()?;
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
fn learning_rate(config: &TrainConfig, step: usize) -> f64 {
    let at = (step + 1) as f64;
    let warm = config.warm_up_steps.max(1) as f64;
    let share = ((at - warm) / (config.steps as f64 - warm).max(1.0)).clamp(0.0, 1.0);
    config.learning_rate * (at / warm).min(1.0) * 0.5 * (1.0 + (std::f64::consts::PI * share).cos())
}

/// Windows of packed training documents in a shuffled order.
struct Windows<'a> {
    config: &'a TrainConfig,
    texts: &'a Texts<'a>,
    tokenizer: &'a Tokenizer,
    stream: Stream,
    /// Ids of all documents so far.
    ids: Vec<u32>,
    /// Where the first window not yet pooled begins.
    pooled: usize,
    pool: Vec<usize>,
    documents: u64,
}

impl<'a> Windows<'a> {
    fn new(config: &'a TrainConfig, texts: &'a Texts<'a>, tokenizer: &'a Tokenizer) -> Self {
        let stream = Stream::named(config.seed, &["embedded", "windows"]);
        Self { config, texts, tokenizer, stream, ids: Vec::new(), pooled: 0, pool: Vec::new(), documents: 0 }
    }

    fn fill(&mut self) -> Result<(), EmbeddedError> {
        let context = self.config.shape.context;
        while self.ids.len() < self.pooled + POOL_WINDOWS * context + 1 {
            if self.documents >= self.texts.held_out_from {
                return Err(EmbeddedError::TextEnds { documents: self.documents });
            }
            let text = (self.texts.document)(self.documents);
            encode_document(self.tokenizer, &text, &mut self.ids)?;
            self.documents += 1;
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

/// Adam with decoupled weight decay on matrices.
struct AdamW {
    weight_decay: f64,
    clip_norm: f64,
    steps: i32,
    moments: Vec<(Vec<f32>, Vec<f32>)>,
}

const BETAS: (f32, f32) = (0.9, 0.98);

impl AdamW {
    fn new(config: &TrainConfig, network: &Network) -> Self {
        let zeros = |n: usize| (vec![0.0; n], vec![0.0; n]);
        let moments = network.weights().values().map(|weight| zeros(weight.elem_count())).collect();
        Self { weight_decay: config.weight_decay, clip_norm: config.clip_norm, steps: 0, moments }
    }

    fn step(
        &mut self,
        network: &Network,
        gradients: &[Vec<f32>],
        learning_rate: f64,
    ) -> candle_core::Result<()> {
        let squares = gradients.iter().flatten().map(|g| f64::from(*g) * f64::from(*g)).sum::<f64>();
        let shrink = (self.clip_norm / squares.sqrt().max(1e-12)).min(1.0) as f32;
        self.steps += 1;
        let correction = (1.0 - BETAS.1.powi(self.steps)).sqrt() / (1.0 - BETAS.0.powi(self.steps));
        let rate = learning_rate as f32 * correction;
        for ((weight, gradient), (mean, square)) in
            network.weights().values().zip(gradients).zip(&mut self.moments)
        {
            let decay =
                if weight.rank() > 1 { (1.0 - learning_rate * self.weight_decay) as f32 } else { 1.0 };
            let mut values = weight.as_tensor().flatten_all()?.to_vec1::<f32>()?;
            for i in 0..values.len() {
                let g = gradient[i] * shrink;
                mean[i] = BETAS.0 * mean[i] + (1.0 - BETAS.0) * g;
                square[i] = BETAS.1 * square[i] + (1.0 - BETAS.1) * g * g;
                values[i] = values[i] * decay - rate * mean[i] / (square[i].sqrt() + 1e-8);
            }
            weight.set(&Tensor::from_vec(values, weight.shape().clone(), weight.device())?)?;
        }
        Ok(())
    }
}

/// Losses of a model on held-out documents beside counting models of the text it was trained on, and its accuracy on
/// the prompts.
pub fn measure(
    config: &TrainConfig,
    texts: &Texts<'_>,
    network: &Network,
    tokenizer: &Tokenizer,
) -> Result<TrainReport, EmbeddedError> {
    let train_tokens = config.steps * config.batch * config.shape.context;
    let (mut trained_on, mut documents) = (Vec::with_capacity(train_tokens + 1_000), 0);
    while trained_on.len() < train_tokens {
        encode_document(tokenizer, &(texts.document)(documents), &mut trained_on)?;
        documents += 1;
    }
    trained_on.truncate(train_tokens);
    let mut held_out = Vec::new();
    for index in 0..config.held_out_documents as u64 {
        encode_document(tokenizer, &(texts.document)(texts.held_out_from + index), &mut held_out)?;
    }
    let context = config.shape.context;
    held_out.truncate((held_out.len() - 1) / context * context + 1);
    let count = |order| Ngram::new(&trained_on, order, network.shape().vocabulary).loss(&held_out);
    let loss_nats = Losses {
        model: held_out_loss(network, &held_out)?,
        unigram: count(1),
        bigram: count(2),
        trigram: count(3),
    };
    let mut ioi_accuracy = std::collections::BTreeMap::new();
    for (kind, choices) in &texts.choices {
        ioi_accuracy.insert(kind.clone(), accuracy(network, tokenizer, choices)?);
    }
    Ok(TrainReport {
        recipe: config.clone(),
        train_tokens,
        train_documents: documents as usize,
        parameters: network.weights().values().map(|weight| weight.elem_count()).sum(),
        held_out_from: texts.held_out_from,
        held_out_tokens: held_out.len() - 1,
        loss_nats,
        ioi_accuracy,
    })
}

/// Mean loss in nats per token of packed ids, context after context; the first id is given.
pub fn held_out_loss(network: &Network, ids: &[u32]) -> Result<f64, EmbeddedError> {
    let context = network.shape().context;
    let (mut total, mut count) = (0.0, 0usize);
    let starts: Vec<usize> = (0..ids.len().saturating_sub(context)).step_by(context).collect();
    for group in starts.chunks(32) {
        let inputs = group.iter().flat_map(|&start| ids[start..start + context].iter().copied()).collect();
        let targets: Vec<u32> =
            group.iter().flat_map(|&start| ids[start + 1..start + context + 1].iter().copied()).collect();
        let inputs = TokenBatch::new(inputs, context).ok_or(EmbeddedError::NoContext)?;
        let losses = ops::token_losses(&network.logits(&inputs)?.detach(), &targets)?;
        total += losses.iter().map(|loss| f64::from(*loss)).sum::<f64>();
        count += losses.len();
    }
    Ok(total / count.max(1) as f64)
}

/// Share of choices whose right word has the higher logit after the separator and the prompt.
pub fn accuracy(network: &Network, tokenizer: &Tokenizer, choices: &[Choice]) -> Result<f64, EmbeddedError> {
    let mut right = 0usize;
    for choice in choices {
        let mut ids = Vec::new();
        encode_document(tokenizer, &choice.prompt, &mut ids)?;
        let first_piece = |word: &str| -> Result<usize, EmbeddedError> {
            let encoding =
                tokenizer.encode_fast(format!(" {word}"), false).map_err(EmbeddedError::tokenizer)?;
            encoding.get_ids().first().map(|id| *id as usize).ok_or(EmbeddedError::NoContext)
        };
        let last = ids.len() - 1;
        let inputs = TokenBatch::new(ids, last + 1).ok_or(EmbeddedError::NoContext)?;
        let logits = network.logits(&inputs)?.detach().get(last)?.to_vec1::<f32>()?;
        right += usize::from(logits[first_piece(&choice.right)?] > logits[first_piece(&choice.wrong)?]);
    }
    Ok(right as f64 / choices.len().max(1) as f64)
}
