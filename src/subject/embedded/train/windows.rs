//! Shuffled windows of packed training documents.

use tokenizers::Tokenizer;

use super::{EmbeddedError, Texts, TrainConfig, encode_document};
use crate::base::{Stream, TokenBatch};

/// Windows in the pool for shuffling.
const POOL_WINDOWS: usize = 2_048;

/// Draws windows of `context` tokens, each token a target once.
pub(super) struct Windows<'a> {
    config: &'a TrainConfig,
    texts: &'a Texts<'a>,
    tokenizer: &'a Tokenizer,
    stream: Stream,
    /// Ids of all documents so far.
    ids: Vec<u32>,
    /// Start of the first window that was not yet in the pool.
    pooled: usize,
    /// Starts of windows that were not yet used, shuffled.
    pool: Vec<usize>,
    next_document: u64,
}

impl<'a> Windows<'a> {
    pub fn new(
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
                let advice = "take fewer steps or hold out later documents";
                let documents = self.next_document;
                return Err(EmbeddedError::Failed(format!(
                    "training text ends after {documents} documents; {advice}"
                )));
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

    /// Inputs and targets of the next `rows` windows.
    pub fn batch(&mut self, rows: usize) -> Result<(TokenBatch, Vec<u32>), EmbeddedError> {
        let context = self.config.shape.context;
        if self.pool.len() < rows {
            self.fill()?;
        }
        let (mut inputs, mut targets) = (Vec::new(), Vec::new());
        for start in self.pool.split_off(self.pool.len() - rows) {
            inputs.extend_from_slice(&self.ids[start..start + context]);
            targets.extend_from_slice(&self.ids[start + 1..start + context + 1]);
        }
        let inputs = TokenBatch::new(inputs, context).ok_or_else(EmbeddedError::no_context)?;
        Ok((inputs, targets))
    }
}
