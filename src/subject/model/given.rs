//! Passes of a [`TransformerSubject`] from given or edited activations, their gradients, and continuations of text.

use candle_core::Tensor;
use rayon::prelude::*;

use super::TransformerSubject;
use crate::base::{HookPoint, Matrix, TokenBatch};
use crate::nn::{
    Edit, ForwardPass, Given, NnError, Output, PrefixCache, Pullback, Request, Sampler, Values, copy_entries,
};
use crate::subject::{SubjectError, SubjectModel, Wanted, Writing};

impl TransformerSubject {
    /// See [`SubjectModel::given`](super::SubjectModel::given).
    pub(super) fn run_given(
        &self,
        tokens: &TokenBatch,
        (hook, rows): (HookPoint, &Matrix),
        wanted: Wanted,
    ) -> Result<Matrix, SubjectError> {
        let entries = self.entries_of_chunk(tokens, (hook, rows))?;
        self.by_chunk(tokens, wanted, |nth, chunk| {
            let rows = &rows.data()[nth * entries..][..chunk.ids().len() * rows.cols()];
            let (hooks, output) = requested(&wanted);
            self.transformer.forward_given(chunk, Given { hook, rows }, hooks, output)
        })
    }

    /// See [`SubjectModel::prefix_caches`](super::SubjectModel::prefix_caches).
    pub(super) fn run_prefix_caches(
        &self,
        tokens: &TokenBatch,
        (hook, rows): (HookPoint, &Matrix),
        kept: &[usize],
    ) -> Result<Option<Vec<PrefixCache>>, SubjectError> {
        if !self.device().is_cpu() {
            return Ok(None); // attention over caches is computed in main memory
        }
        let entries = self.entries_of_chunk(tokens, (hook, rows))?;
        let at_once = self.rows_at_once(tokens);
        let parts = self.chunks(tokens).enumerate().filter_map(|(nth, chunk)| Some((nth, chunk?)));
        let parts = parts.map(|(nth, chunk)| {
            let rows = &rows.data()[nth * entries..][..chunk.ids().len() * rows.cols()];
            let mut past = vec![PrefixCache::new(&self.transformer); chunk.rows()];
            let given = Given { hook, rows };
            self.transformer.forward_given_cached(&chunk, &mut past, given, &[], Output::FinalNorm)?;
            let kept = kept.iter().skip(nth * at_once);
            Ok(past.iter().zip(kept).map(|(past, &kept)| past.beginning(kept)).collect::<Vec<_>>())
        });
        let parts = parts.collect::<Result<Vec<_>, NnError>>()?;
        Ok(Some(parts.into_iter().flatten().collect()))
    }

    /// See [`SubjectModel::given_behind`](super::SubjectModel::given_behind).
    pub(super) fn run_given_behind(
        &self,
        past: &[&PrefixCache],
        tokens: &TokenBatch,
        (hook, rows): (HookPoint, &Matrix),
        wanted: Wanted,
    ) -> Result<Matrix, SubjectError> {
        let entries = self.entries_of_chunk(tokens, (hook, rows))?;
        let at_once = self.rows_at_once(tokens);
        self.by_chunk(tokens, wanted, |nth, chunk| {
            let rows = &rows.data()[nth * entries..][..chunk.ids().len() * rows.cols()];
            let past = past.iter().skip(nth * at_once).take(chunk.rows());
            let mut past: Vec<PrefixCache> = past.map(|&past| past.clone()).collect();
            let (hooks, output) = requested(&wanted);
            self.transformer.forward_given_cached(chunk, &mut past, Given { hook, rows }, hooks, output)
        })
    }

    /// See [`SubjectModel::logits_at`](super::SubjectModel::logits_at).
    pub(super) fn run_logits_at(
        &self,
        tokens: &TokenBatch,
        (hook, rows): (HookPoint, &Matrix),
        places: &[usize],
    ) -> Result<Matrix, SubjectError> {
        let entries = self.entries_of_chunk(tokens, (hook, rows))?;
        let (size, vocab) = (self.rows_at_once(tokens) * tokens.cols(), self.info.vocab);
        let parts = self.chunks(tokens).enumerate().filter_map(|(nth, chunk)| Some((nth, chunk?)));
        let parts = parts.map(|(nth, chunk)| {
            let (first, end) = (nth * size, nth * size + chunk.ids().len());
            let within =
                places.partition_point(|&place| place < first)..places.partition_point(|&place| place < end);
            let own: Vec<u32> = places[within].iter().map(|&place| (place - first) as u32).collect();
            if own.is_empty() {
                return Ok(Matrix::zeros(0, vocab));
            }
            let rows = &rows.data()[nth * entries..][..chunk.ids().len() * rows.cols()];
            let given = Given { hook, rows };
            let pass = self.transformer.forward_given(&chunk, given, &[], Output::FinalNorm)?;
            let Some(normed) = pass.output else { return Ok(Matrix::zeros(0, vocab)) };
            let own = Tensor::from_slice(&own, own.len(), normed.device())?;
            let logits = self.transformer.unembed(&normed.index_select(&own, 0)?)?;
            let mut values = Matrix::zeros(logits.dims2()?.0, vocab);
            copy_entries(&logits, values.data_mut())?;
            Ok(values)
        });
        let logits = stacked(parts.collect::<Result<Vec<_>, NnError>>()?, vocab);
        self.not_finite("logits", logits.data(), vocab, 1)?;
        Ok(logits)
    }

    /// See [`SubjectModel::edited`](super::SubjectModel::edited).
    pub(super) fn run_edited(
        &self,
        tokens: &TokenBatch,
        edits: &[Edit<'_>],
        wanted: Wanted,
    ) -> Result<Matrix, SubjectError> {
        self.transformer.check_tokens(tokens)?;
        self.by_chunk(tokens, wanted, |_, chunk| {
            let (hooks, output) = requested(&wanted);
            self.transformer.forward(chunk, Request { hooks, edits, output })
        })
    }

    /// See [`SubjectModel::pullback`](super::SubjectModel::pullback).
    pub(super) fn pull_back(
        &self,
        tokens: &TokenBatch,
        (hook, rows): (HookPoint, &Matrix),
        wanted: Wanted,
        weights: &(dyn Fn(usize, &Matrix) -> Matrix + Sync),
    ) -> Result<Pullback, SubjectError> {
        let entries = self.entries_of_chunk(tokens, (hook, rows))?;
        let (sequences, cols) = (self.rows_at_once(tokens), tokens.cols());
        let width = rows.cols();
        let parts = self.chunks(tokens).enumerate().filter_map(|(nth, chunk)| Some((nth, chunk?)));
        let parts = parts.map(|(nth, chunk)| {
            let rows = &rows.data()[nth * entries..][..chunk.ids().len() * width];
            let places: Vec<u32> = match wanted {
                Wanted::Logits => (0..chunk.ids().len() as u32).collect(),
                _ => last_rows(chunk.rows(), cols),
            };
            let values = match wanted {
                Wanted::Activations(hook) => Values::Activations(hook),
                Wanted::Logits | Wanted::LastLogits => Values::Logits(&places),
            };
            let weights = |values: &Matrix| weights(nth * sequences, values);
            self.transformer.pullback(&chunk, Given { hook, rows }, values, &weights)
        });
        let parts = parts.collect::<Result<Vec<_>, NnError>>()?;
        let (values, gradients) = parts.into_iter().map(|part| (part.values, part.gradient)).unzip();
        let (values, gradient) = (stacked(values, self.width_of(wanted)?), stacked(gradients, width));
        self.not_finite("gradient", gradient.data(), width, cols)?;
        Ok(Pullback { values, gradient })
    }

    /// See [`SubjectModel::continuation`](super::SubjectModel::continuation).
    pub(super) fn continue_text(
        &self,
        tokens: &[u32],
        unedited: usize,
        edits: &[Edit<'_>],
        writing: &Writing<'_>,
    ) -> Result<Vec<u32>, SubjectError> {
        let mut past = [PrefixCache::new(&self.transformer)];
        let mut sampler = Sampler::new(writing.seed, writing.temperature);
        let batch =
            |ids: &[u32]| TokenBatch::new(ids.to_vec(), ids.len()).ok_or(SubjectError::TooShort { cols: 0 });
        let (lead, prompt) = tokens.split_at(unedited.min(tokens.len()));
        let mut normed = Matrix::zeros(0, self.info.d_model);
        if !lead.is_empty() {
            normed = self.transformer.forward_cached(&batch(lead)?, &mut past)?;
        }
        if !prompt.is_empty() {
            normed = self.transformer.forward_cached_edited(&batch(prompt)?, &mut past, edits)?;
        }
        let mut written = Vec::with_capacity(writing.tokens);
        while written.len() < writing.tokens {
            let Some(last) = normed.rows().checked_sub(1) else {
                return Err(SubjectError::TooShort { cols: 0 });
            };
            let logits = self.transformer.logits_of(normed.row(last))?;
            self.not_finite("logits", logits.data(), self.info.vocab, 1)?;
            let next = sampler.choose(logits.data())? as u32;
            if writing.stop.contains(&next) {
                break;
            }
            written.push(next);
            if written.len() < writing.tokens {
                let edits: &[Edit<'_>] = if past[0].positions() < unedited { &[] } else { edits };
                normed = self.transformer.forward_cached_edited(&batch(&[next])?, &mut past, edits)?;
            }
        }
        Ok(written)
    }

    /// Entries of the given activations that belong to a full chunk of sequences. Fails on a wrong shape.
    fn entries_of_chunk(
        &self,
        tokens: &TokenBatch,
        (hook, rows): (HookPoint, &Matrix),
    ) -> Result<usize, SubjectError> {
        let expected = [tokens.ids().len(), self.transformer.width(hook)?];
        let got = [rows.rows(), rows.cols()];
        if got != expected {
            return Err(NnError::EditShape { hook, expected, got }.into());
        }
        self.transformer.check_tokens(tokens)?;
        Ok(self.rows_at_once(tokens) * tokens.cols() * rows.cols())
    }

    fn width_of(&self, wanted: Wanted) -> Result<usize, SubjectError> {
        match wanted {
            Wanted::Logits | Wanted::LastLogits => Ok(self.info.vocab),
            Wanted::Activations(hook) => Ok(self.transformer.width(hook)?),
        }
    }

    /// What is wanted of every chunk of a batch; `run` gets the index of the chunk and the chunk.
    fn by_chunk(
        &self,
        tokens: &TokenBatch,
        wanted: Wanted,
        run: impl Fn(usize, &TokenBatch) -> Result<ForwardPass, NnError> + Sync,
    ) -> Result<Matrix, SubjectError> {
        let width = self.width_of(wanted)?;
        let parts = self.chunks(tokens).enumerate().filter_map(|(nth, chunk)| Some((nth, chunk?)));
        let parts = parts.map(|(nth, chunk)| self.values_of(run(nth, &chunk)?, &chunk, wanted));
        let values = stacked(parts.collect::<Result<Vec<_>, NnError>>()?, width);
        let (name, cols) = match wanted {
            Wanted::Logits => ("logits".to_string(), tokens.cols()),
            Wanted::LastLogits => ("logits".to_string(), 1),
            Wanted::Activations(hook) => (hook.to_string(), tokens.cols()),
        };
        self.not_finite(&name, values.data(), width, cols)?;
        Ok(values)
    }

    /// What is wanted of one pass.
    fn values_of(&self, pass: ForwardPass, chunk: &TokenBatch, wanted: Wanted) -> Result<Matrix, NnError> {
        let found = pass.activations.into_iter().next().or(pass.output);
        let Some(found) = found else { return Ok(Matrix::zeros(0, 0)) };
        let found = match wanted {
            Wanted::Activations(_) => found,
            Wanted::Logits => self.transformer.unembed(&found)?,
            Wanted::LastLogits => {
                let rows = last_rows(chunk.rows(), chunk.cols());
                let rows = Tensor::from_slice(&rows, rows.len(), found.device())?;
                self.transformer.unembed(&found.index_select(&rows, 0)?)?
            }
        };
        let (rows, width) = found.dims2()?;
        let mut values = Matrix::zeros(rows, width);
        copy_entries(&found, values.data_mut())?;
        Ok(values)
    }
}

/// Hook points and output of a pass. Logits are computed from the final norm, for the wanted rows only.
fn requested(wanted: &Wanted) -> (&[HookPoint], Output) {
    match wanted {
        Wanted::Logits | Wanted::LastLogits => (&[], Output::FinalNorm),
        Wanted::Activations(hook) => (std::slice::from_ref(hook), Output::Nothing),
    }
}

/// Row of the last position of each sequence.
fn last_rows(sequences: usize, cols: usize) -> Vec<u32> {
    (1..=sequences).map(|nth| (nth * cols - 1) as u32).collect()
}

/// Matrices of one width below each other.
fn stacked(parts: Vec<Matrix>, width: usize) -> Matrix {
    let entries: Vec<f32> = parts.into_iter().flat_map(Matrix::into_vec).collect();
    let rows = entries.len() / width.max(1);
    Matrix::from_vec(rows, width, entries).unwrap_or_else(|| Matrix::zeros(0, width))
}
