//! Runs the subject model over tokens once and writes the activations of each hook point to a store.
//!
//! For fitting, rows of extreme norm are left out: those above 10 times the median norm of the first 16,384
//! rows. They are attention sinks, whose size would dominate everything else.

use std::path::Path;

use rayon::prelude::*;

use super::{ActivationError, ActivationSet, ActivationWriter, Precision};
use crate::base::{FileError, HookPoint, Matrix, TokenBatch};
use crate::subject::{SubjectError, SubjectModel};

/// Tokens per forward pass: enough for efficient products, few enough for cache and memory.
const BATCH_TOKENS: usize = 4096;

/// First rows from which the median norm is taken.
const NORM_SAMPLE_ROWS: usize = 16_384;

/// Rows with a norm above this multiple of the median are left out of fitting.
const NORM_LIMIT: f32 = 10.0;

/// Which rows of a pass are kept.
#[derive(Clone, Copy)]
pub enum Keep<'a> {
    /// For fitting: tokens whose index satisfies the predicate, without rows of extreme norm.
    Fitting(&'a (dyn Fn(usize) -> bool + Sync)),
    /// For evaluating: all rows, in order.
    Everything,
}

/// Why harvesting failed.
#[derive(Debug, thiserror::Error)]
pub enum HarvestError {
    /// The subject model could not be run.
    #[error(transparent)]
    Subject(#[from] SubjectError),
    /// The store could not be written, or its content is unusable.
    #[error(transparent)]
    Activation(#[from] ActivationError),
    /// A file could not be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The caller requested to stop.
    #[error("stopped on request")]
    Stopped,
}

/// Runs `subject` over `tokens` once and writes the activations of each hook point to its path.
///
/// `on_tokens` receives the number of tokens done and returns whether to continue. Sets are returned in the
/// order of `targets`. A set with unusable rows, such as constant ones, is an error of its own; the other
/// sets are kept.
pub fn harvest(
    subject: &dyn SubjectModel,
    tokens: &TokenBatch,
    targets: &[(HookPoint, &Path)],
    keep: Keep<'_>,
    precision: Precision,
    on_tokens: &dyn Fn(usize) -> bool,
) -> Result<Vec<Result<ActivationSet, ActivationError>>, HarvestError> {
    let hooks: Vec<HookPoint> = targets.iter().map(|(hook, _)| *hook).collect();
    let mut stores = targets
        .iter()
        .map(|(hook, path)| {
            let width = subject.width(*hook)?;
            Ok(Store {
                writer: ActivationWriter::create(path, *hook, width, precision)?,
                sample: Vec::new(),
                limit: None,
            })
        })
        .collect::<Result<Vec<Store>, HarvestError>>()?;
    for (first_row, batch) in batches(tokens) {
        let start = first_row * tokens.cols();
        let activations = subject.activations(&batch, &hooks).map_err(among_all(subject, first_row))?;
        stores
            .par_iter_mut()
            .zip(activations)
            .try_for_each(|(store, matrix)| store.push(matrix, &batch, start, keep))?;
        if !on_tokens(start + batch.ids().len()) {
            return Err(HarvestError::Stopped);
        }
    }
    Ok(stores.into_par_iter().map(Store::finish).collect())
}

/// Errors of a batch that begins at sequence `first`, with places among all sequences. Stored activations name their own.
pub(super) fn among_all(
    subject: &dyn SubjectModel,
    first: usize,
) -> impl FnOnce(SubjectError) -> SubjectError {
    let first = if subject.without_model().is_some() { 0 } else { first };
    move |error| error.of_batch(first)
}

/// Batches of whole sequences for one forward pass each, with the index of their first sequence.
pub(super) fn batches(tokens: &TokenBatch) -> impl Iterator<Item = (usize, TokenBatch)> {
    let cols = tokens.cols();
    let rows = (BATCH_TOKENS / cols).max(1);
    let parts = tokens.ids().chunks(rows * cols).enumerate();
    parts.filter_map(move |(nth, ids)| Some((nth * rows, TokenBatch::new(ids.to_vec(), cols)?)))
}

/// Indices, among `n_tokens` tokens, of the rows of a store harvested with [`Keep::Fitting`], row by row.
pub fn fitted_token_indices(
    set: &ActivationSet,
    n_tokens: usize,
    is_fitted: impl Fn(usize) -> bool,
) -> impl Iterator<Item = usize> {
    let mut left_out = set.left_out().iter().copied().peekable();
    (0..n_tokens).filter(move |&place| is_fitted(place) && left_out.next_if_eq(&place).is_none())
}

/// A store being filled. The first rows wait until the median norm is known.
struct Store {
    writer: ActivationWriter,
    sample: Vec<Candidates>,
    limit: Option<f32>,
}

/// Rows to fit on unless their norm is extreme.
struct Candidates {
    rows: Matrix,
    ids: Vec<u32>,
    /// Index of each row among all tokens of the pass.
    places: Vec<usize>,
}

impl Store {
    /// `start` is the index of the batch's first token.
    fn push(
        &mut self,
        matrix: Matrix,
        batch: &TokenBatch,
        start: usize,
        keep: Keep<'_>,
    ) -> Result<(), ActivationError> {
        let Keep::Fitting(is_fitted) = keep else {
            return self.writer.push(matrix.data(), batch.ids());
        };
        let kept: Vec<usize> = (0..matrix.rows()).filter(|row| is_fitted(start + row)).collect();
        let ids = kept.iter().map(|&row| batch.ids()[row]).collect();
        let rows = matrix.select_rows(&kept);
        let candidates = Candidates { rows, ids, places: kept.iter().map(|row| start + row).collect() };
        match self.limit {
            Some(limit) => self.write(&candidates, limit),
            None => {
                self.sample.push(candidates);
                let waiting: usize = self.sample.iter().map(|waiting| waiting.rows.rows()).sum();
                if waiting >= NORM_SAMPLE_ROWS { self.release() } else { Ok(()) }
            }
        }
    }

    /// Determines the limit and writes the waiting rows.
    fn release(&mut self) -> Result<(), ActivationError> {
        let mut norms: Vec<f32> = self
            .sample
            .iter()
            .flat_map(|waiting| waiting.rows.iter_rows().map(norm))
            .filter(|norm| norm.is_finite())
            .collect();
        norms.sort_by(f32::total_cmp);
        let limit = norms.get(norms.len() / 2).map_or(f32::INFINITY, |median| NORM_LIMIT * median);
        self.limit = Some(limit);
        for candidates in std::mem::take(&mut self.sample) {
            self.write(&candidates, limit)?;
        }
        Ok(())
    }

    fn write(&mut self, candidates: &Candidates, limit: f32) -> Result<(), ActivationError> {
        let Candidates { rows, ids, places } = candidates;
        // A NaN norm is kept, so that the store reports it instead of dropping it silently.
        let (kept, out): (Vec<usize>, Vec<usize>) = (0..rows.rows()).partition(|&row| {
            let norm = norm(rows.row(row));
            norm <= limit || norm.is_nan()
        });
        if out.is_empty() {
            return self.writer.push(rows.data(), ids);
        }
        self.writer.leave_out(out.iter().map(|&row| places[row]));
        let ids: Vec<u32> = kept.iter().map(|&row| ids[row]).collect();
        self.writer.push(rows.select_rows(&kept).data(), &ids)
    }

    fn finish(mut self) -> Result<ActivationSet, ActivationError> {
        self.release()?;
        self.writer.finish()
    }
}

fn norm(row: &[f32]) -> f32 {
    row.iter().map(|value| value * value).sum::<f32>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_fitting_store_are_found_among_the_tokens() {
        let folder = tempfile::tempdir().expect("a folder");
        let hook: HookPoint = "blocks.0.hook_resid_post".parse().expect("a hook point");
        // Ten contexts of eight tokens; two rows are outliers, one of them at a position 0.
        let tokens = TokenBatch::new((0..80).collect(), 8).expect("tokens");
        let entries = |row: usize, col: usize| {
            let size = if [21, 32, 75].contains(&row) { 1e4 } else { 1.0 };
            size * (1.0 + ((row * 7 + col * 3) % 5) as f32)
        };
        let writer = |name: &str| {
            ActivationWriter::create(&folder.path().join(name), hook, 4, Precision::F32).expect("created")
        };
        let is_fitted = |place: usize| !place.is_multiple_of(8);
        let mut store = Store { writer: writer("a.act"), sample: Vec::new(), limit: None };
        for start in [0, 40] {
            let batch = TokenBatch::new((start as u32..start as u32 + 40).collect(), 8).expect("tokens");
            let rows = Matrix::from_fn(40, 4, |row, col| entries(start + row, col));
            store.push(rows, &batch, start, Keep::Fitting(&is_fitted)).expect("pushed");
        }
        let set = store.finish().expect("finished");
        assert_eq!(set.left_out(), [21, 75]);
        let reopened = ActivationSet::open(&folder.path().join("a.act")).expect("sound").expect("opened");
        for set in [set, reopened] {
            let places: Vec<usize> = fitted_token_indices(&set, tokens.ids().len(), is_fitted).collect();
            assert_eq!(places.len(), set.rows());
            let ids: Vec<u32> = places.iter().map(|&place| tokens.ids()[place]).collect();
            assert_eq!(ids, set.tokens(0, set.rows()).expect("tokens"));
            assert!(!places.contains(&21) && !places.contains(&75) && !places.contains(&32));
        }
    }
}
