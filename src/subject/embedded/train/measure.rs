//! Held-out loss and accuracy of a trained model.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tokenizers::Tokenizer;

use super::{Choice, EmbeddedError, Network, Ngram, Texts, TrainConfig, encode_document, ops};
use crate::base::TokenBatch;

/// The recipe, and measurements on held-out text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainReport {
    /// The recipe.
    pub recipe: TrainConfig,
    /// Tokens trained on.
    pub train_tokens: usize,
    /// Documents trained on.
    pub train_documents: usize,
    /// Number of weights.
    pub parameters: usize,
    /// Index of the first held-out document.
    pub held_out_from: u64,
    /// Tokens of the held-out text.
    pub held_out_tokens: usize,
    /// Losses on the held-out text.
    pub loss_nats: Losses,
    /// Share of prompts whose right name has the higher logit, by kind of prompt.
    pub ioi_accuracy: BTreeMap<String, f64>,
}

/// Losses in nats per token, of the model and of n-gram models of the training text.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Losses {
    /// The model.
    pub model: f64,
    /// 1-grams.
    pub unigram: f64,
    /// 2-grams.
    pub bigram: f64,
    /// 3-grams.
    pub trigram: f64,
}

/// Measures held-out losses of the model and of n-gram models, and accuracies on the prompts.
pub fn measure(
    config: &TrainConfig,
    texts: &Texts<'_>,
    network: &Network,
    tokenizer: &Tokenizer,
) -> Result<TrainReport, EmbeddedError> {
    let (mut trained_on, mut train_documents) = (Vec::new(), 0);
    for stage in &config.stages {
        let (end, mut index) = (trained_on.len() + config.tokens(stage), stage.first_document);
        while trained_on.len() < end {
            encode_document(tokenizer, &(texts.document)(index), &mut trained_on)?;
            index += 1;
        }
        trained_on.truncate(end);
        train_documents += (index - stage.first_document) as usize;
    }
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
    let of_kind = |(kind, choices): &(String, Vec<Choice>)| {
        accuracy(network, tokenizer, choices).map(|accuracy| (kind.clone(), accuracy))
    };
    let ioi_accuracy: BTreeMap<_, _> = texts.choices.iter().map(of_kind).collect::<Result<_, _>>()?;
    Ok(TrainReport {
        recipe: config.clone(),
        train_tokens: trained_on.len(),
        train_documents,
        parameters: network.weights().values().map(|weight| weight.elem_count()).sum(),
        held_out_from: texts.held_out_from,
        held_out_tokens: held_out.len() - 1,
        loss_nats,
        ioi_accuracy,
    })
}

/// Mean loss in nats per token of packed ids after the first, in consecutive contexts.
fn held_out_loss(network: &Network, ids: &[u32]) -> Result<f64, EmbeddedError> {
    let context = network.shape().context;
    let (mut total, mut count) = (0.0, 0usize);
    let starts: Vec<usize> = (0..ids.len().saturating_sub(context)).step_by(context).collect();
    for group in starts.chunks(32) {
        let inputs = group.iter().flat_map(|&start| ids[start..start + context].iter().copied()).collect();
        let targets: Vec<u32> =
            group.iter().flat_map(|&start| ids[start + 1..start + context + 1].iter().copied()).collect();
        let inputs = TokenBatch::new(inputs, context).ok_or_else(EmbeddedError::no_context)?;
        let losses = ops::token_losses(&network.logits(&inputs)?.detach(), &targets)?;
        total += losses.iter().map(|loss| f64::from(*loss)).sum::<f64>();
        count += losses.len();
    }
    Ok(total / count.max(1) as f64)
}

/// Share of choices whose right word has the higher logit after the separator and the prompt.
fn accuracy(network: &Network, tokenizer: &Tokenizer, choices: &[Choice]) -> Result<f64, EmbeddedError> {
    let mut right = 0usize;
    for choice in choices {
        let mut ids = Vec::new();
        encode_document(tokenizer, &choice.prompt, &mut ids)?;
        let first_piece = |word: &str| -> Result<usize, EmbeddedError> {
            let encoding =
                tokenizer.encode_fast(format!(" {word}"), false).map_err(EmbeddedError::tokenizer)?;
            encoding.get_ids().first().map(|id| *id as usize).ok_or_else(EmbeddedError::no_context)
        };
        let last = ids.len() - 1;
        let inputs = TokenBatch::new(ids, last + 1).ok_or_else(EmbeddedError::no_context)?;
        let logits = network.logits(&inputs)?.detach().get(last)?.to_vec1::<f32>()?;
        right += usize::from(logits[first_piece(&choice.right)?] > logits[first_piece(&choice.wrong)?]);
    }
    Ok(right as f64 / choices.len().max(1) as f64)
}
