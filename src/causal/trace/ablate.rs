//! Passes over fragments with changed activations.

use rayon::prelude::*;

use crate::base::{Matrix, Stream, TokenBatch};
use crate::causal::direction::{norm, random_direction};
use crate::subject::{SubjectError, Wanted};

use super::target::{Candidate, Case, Entry, without};
use super::{TraceError, Tracer};

/// Fragments per forward pass.
const AT_ONCE: usize = 64;

/// Changes the activations `[cols, width]` of the fragment of one pass, given the pass's number.
type Change<'c> = &'c (dyn Fn(usize, &mut Matrix) -> Result<(), TraceError> + Sync);

impl Tracer<'_> {
    /// The target's activation at the strongest position in each pass: one pass over each of `fragments`, with its
    /// activations changed.
    pub(super) fn activations_after(
        &self,
        case: &Case<'_>,
        fragments: &[usize],
        change: Change<'_>,
    ) -> Result<Vec<f64>, TraceError> {
        let (cols, width) = (case.tokens.cols(), case.written.cols());
        let wanted = Wanted::Activations(case.writer.reads());
        let mut all = Vec::with_capacity(fragments.len());
        for (part, fragments) in fragments.chunks(AT_ONCE).enumerate() {
            let changed = fragments.par_iter().enumerate().map(|(nth, &fragment)| {
                let rows: Vec<usize> = (fragment * cols..(fragment + 1) * cols).collect();
                let mut rows = case.written.select_rows(&rows);
                change(part * AT_ONCE + nth, &mut rows)?;
                Ok(rows.into_vec())
            });
            let changed = changed.collect::<Result<Vec<_>, TraceError>>()?.concat();
            let ids = fragments.iter().flat_map(|&fragment| case.tokens.row(fragment)).copied().collect();
            let (Some(rows), Some(tokens)) =
                (Matrix::from_vec(fragments.len() * cols, width, changed), TokenBatch::new(ids, cols))
            else {
                return Err(SubjectError::TooShort { cols: 0 }.into());
            };
            let after = self.subject.given(&tokens, (case.hook, &rows), wanted)?;
            let strongest = fragments.iter().enumerate().map(|(nth, &of)| nth * cols + case.places[of]);
            let strongest = after.select_rows(&strongest.collect::<Vec<_>>());
            let codes = case.writer.dictionary().encode_features(&strongest, &[case.target.feature])?;
            all.extend(codes.data().iter().map(|&code| f64::from(code)));
        }
        Ok(all)
    }

    /// Drop of the target's activation on each fragment when each candidate is ablated. Where a candidate is not active,
    /// nothing changes and no pass is run.
    pub(super) fn drops(
        &self,
        case: &Case<'_>,
        candidates: &[Candidate],
    ) -> Result<Vec<Vec<f64>>, TraceError> {
        let cols = case.tokens.cols();
        let mut passes: Vec<(usize, usize, &[Entry])> = Vec::new();
        for (nth, candidate) in candidates.iter().enumerate() {
            let by_fragment = candidate.entries.chunk_by(|(a, _), (b, _)| a / cols == b / cols);
            passes.extend(by_fragment.map(|entries| (nth, entries[0].0 / cols, entries)));
        }
        let fragments: Vec<usize> = passes.iter().map(|(_, fragment, _)| *fragment).collect();
        let after = self.activations_after(case, &fragments, &|pass, rows| {
            let (nth, _, entries) = passes[pass];
            let id = candidates[nth].id;
            let delta =
                without(&self.writers[id.dictionary], case.input_of(id.dictionary), id.feature, entries)?;
            add(rows, entries, cols, &delta);
            Ok(())
        })?;
        let mut drops = vec![vec![0.0; case.places.len()]; candidates.len()];
        for ((nth, fragment, _), after) in passes.iter().zip(after) {
            drops[*nth][*fragment] = case.clean[*fragment] - after;
        }
        Ok(drops)
    }

    /// The same for edits at the same positions of the same norms, in the `nth` random direction of a candidate.
    pub(super) fn random_drops(
        &self,
        case: &Case<'_>,
        candidate: &Candidate,
        nth: usize,
    ) -> Result<Vec<f64>, TraceError> {
        let (cols, id) = (case.tokens.cols(), candidate.id);
        let (of, by, nth) = (self.name(case.target), self.name(id), nth.to_string());
        let mut stream = Stream::named(self.params.seed, &["trace", "direction", &of, &by, &nth]);
        let direction = random_direction(case.written.cols(), &mut stream);
        let by_fragment = candidate.entries.chunk_by(|(a, _), (b, _)| a / cols == b / cols);
        let passes: Vec<&[Entry]> = by_fragment.collect();
        let fragments: Vec<usize> = passes.iter().map(|entries| entries[0].0 / cols).collect();
        let after = self.activations_after(case, &fragments, &|pass, rows| {
            let entries = passes[pass];
            let x = case.input_of(id.dictionary);
            let mut delta = without(&self.writers[id.dictionary], x, id.feature, entries)?;
            for row in 0..delta.rows() {
                let row = delta.row_mut(row);
                let size = norm(row);
                let turned = row.iter_mut().zip(&direction);
                turned.for_each(|(value, &u)| *value = (size * f64::from(u)) as f32);
            }
            add(rows, entries, cols, &delta);
            Ok(())
        })?;
        let mut drops = vec![0.0; case.places.len()];
        for (fragment, after) in fragments.into_iter().zip(after) {
            drops[fragment] = case.clean[fragment] - after;
        }
        Ok(drops)
    }
}

impl Case<'_> {
    /// What a dictionary encodes, `[fragments · cols, d_in]`.
    fn input_of(&self, dictionary: usize) -> &Matrix {
        let found = self.read.iter().find(|(nth, _)| *nth == dictionary);
        found.map_or(&self.written, |(_, x)| x)
    }
}

/// Adds changes at entries of one fragment to its rows.
fn add(rows: &mut Matrix, entries: &[Entry], cols: usize, delta: &Matrix) {
    for ((row, _), delta) in entries.iter().zip(delta.iter_rows()) {
        rows.row_mut(row % cols).iter_mut().zip(delta).for_each(|(value, delta)| *value += delta);
    }
}
