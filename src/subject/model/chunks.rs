//! Batches of a [`TransformerSubject`] are run in chunks, on all threads.

use rayon::prelude::*;

use super::TransformerSubject;
use crate::base::{Matrix, TokenBatch};
use crate::nn::{NnError, Request, copy_entries};
use crate::subject::SubjectError;

/// Tokens of a chunk on the CPU: enough for fast matrix products, few enough for intermediate results to fit the cache.
/// It is independent of the number of threads, and so are results.
pub(super) const TOKENS_AT_ONCE: usize = 512;

/// Tokens of a chunk on a device: enough to fill a GPU, few enough for attention scores to fit its memory.
const TOKENS_AT_ONCE_ON_DEVICE: usize = 8192;

impl TransformerSubject {
    /// Chunks of a batch that are run together: whole sequences, in order.
    pub(super) fn chunks<'a>(
        &self,
        tokens: &'a TokenBatch,
    ) -> impl IndexedParallelIterator<Item = Option<TokenBatch>> + 'a {
        let cols = tokens.cols();
        let ids = tokens.ids().par_chunks(self.rows_at_once(tokens) * cols);
        ids.with_min_len(self.chunks_per_task()).map(move |ids| TokenBatch::new(ids.to_vec(), cols))
    }

    /// Tokens of a chunk.
    pub(super) fn tokens_at_once(&self) -> usize {
        if self.transformer.device().is_cpu() { TOKENS_AT_ONCE } else { TOKENS_AT_ONCE_ON_DEVICE }
    }

    pub(super) fn rows_at_once(&self, tokens: &TokenBatch) -> usize {
        (self.tokens_at_once() / tokens.cols()).max(1)
    }

    /// Smallest number of chunks per thread. On a device chunks run one after the other.
    pub(super) fn chunks_per_task(&self) -> usize {
        if self.transformer.device().is_cpu() { 1 } else { usize::MAX }
    }

    pub(super) fn not_finite(
        &self,
        what: &str,
        entries: &[f32],
        width: usize,
        cols: usize,
    ) -> Result<(), SubjectError> {
        match entries.iter().position(|entry| !entry.is_finite()) {
            None => Ok(()),
            Some(at) => Err(SubjectError::NotFinite {
                model: self.info.name.clone(),
                hook: what.to_string(),
                row: at / width / cols,
                col: at / width % cols,
                value: entries[at],
            }),
        }
    }

    /// Losses `[rows, cols − 1]` of a batch; `run` gets the index of each chunk and the chunk.
    pub(super) fn losses_by_chunk(
        &self,
        tokens: &TokenBatch,
        run: impl Fn(usize, &TokenBatch) -> Result<Vec<f32>, NnError> + Sync,
    ) -> Result<Matrix, SubjectError> {
        let cols = tokens.cols();
        if cols < 2 {
            return Err(SubjectError::TooShort { cols });
        }
        self.transformer.check_tokens(tokens)?;
        let parts = self
            .chunks(tokens)
            .enumerate()
            .map(|(nth, chunk)| chunk.map_or(Ok(Vec::new()), |chunk| run(nth, &chunk)))
            .collect::<Result<Vec<_>, NnError>>()?;
        let losses = parts.concat();
        self.not_finite("losses", &losses, 1, cols - 1)?;
        Ok(Matrix::from_vec(tokens.rows(), cols - 1, losses).unwrap_or_else(|| Matrix::zeros(0, cols - 1)))
    }

    /// Runs every chunk of a batch. Returns what the request asks for as one matrix for each name and width.
    pub(super) fn run(
        &self,
        tokens: &TokenBatch,
        request: Request<'_>,
        named: &[(String, usize)],
    ) -> Result<Vec<Matrix>, SubjectError> {
        self.transformer.check_tokens(tokens)?;
        let n = tokens.rows() * tokens.cols();
        let part = self.rows_at_once(tokens) * tokens.cols();
        let mut out: Vec<Matrix> = named.iter().map(|(_, width)| Matrix::zeros(n, *width)).collect();
        let mut slots: Vec<Vec<&mut [f32]>> = (0..n.div_ceil(part)).map(|_| Vec::new()).collect();
        for (matrix, (_, width)) in out.iter_mut().zip(named) {
            for (slot, rows) in slots.iter_mut().zip(matrix.data_mut().chunks_mut(part * width)) {
                slot.push(rows);
            }
        }
        self.chunks(tokens).zip(slots).try_for_each(|(chunk, mut slots)| -> Result<(), NnError> {
            let Some(chunk) = chunk else { return Ok(()) };
            let pass = self.transformer.forward(&chunk, request)?;
            for (slot, result) in slots.iter_mut().zip(pass.activations.iter().chain(&pass.output)) {
                copy_entries(result, slot)?;
            }
            Ok(())
        })?;
        for (matrix, (name, width)) in out.iter().zip(named) {
            self.not_finite(name, matrix.data(), *width, tokens.cols())?;
        }
        Ok(out)
    }
}
