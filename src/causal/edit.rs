//! Edits of a forward pass by changes of codes.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, ThreadId};

use super::{CausalError, Writer};
use crate::base::{HookPoint, Matrix};
use crate::subject::Edit;

/// What becomes of a feature's code c at every edited position.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change<'a> {
    /// c′ = value. Clamping to a multiple of the feature's maximum, ablation to zero and ablation to a mean are of this
    /// form.
    Set(f32),
    /// c′ = c + value.
    Add(f32),
    /// c′ = factor · c.
    Scale(f32),
    /// c′ = the code of another run at the same position of its sequence, one for each position. For passes over whole
    /// sequences of that length.
    Replace(&'a [f32]),
}

impl Change<'_> {
    /// The changed code at a row of sequences that follow each other.
    pub fn of(self, row: usize, code: f32) -> f32 {
        match self {
            Self::Replace(codes) => codes.get(row % codes.len().max(1)).copied().unwrap_or(code),
            Self::Set(value) => value,
            Self::Add(value) => code + value,
            Self::Scale(factor) => code * factor,
        }
    }
}

/// A change of some features of one dictionary at all positions of a pass.
pub struct FeatureEdit<'a> {
    writer: Writer<'a>,
    changes: Vec<(usize, Change<'a>)>,
    /// Activations that passes on each thread have read, for a transcoder, which writes at a later hook point. While a
    /// pass waits for other threads, its thread may run another pass from start to end, so the latest is written first.
    read: Mutex<HashMap<ThreadId, Vec<Matrix>>>,
    /// The first failure: an edit cannot return one.
    failed: Mutex<Option<CausalError>>,
}

impl<'a> FeatureEdit<'a> {
    /// Fails if the dictionary lacks one of the features.
    pub fn new(writer: Writer<'a>, changes: Vec<(usize, Change<'a>)>) -> Result<Self, CausalError> {
        changes.iter().try_for_each(|&(feature, _)| writer.check(feature))?;
        Ok(Self { writer, changes, read: Mutex::default(), failed: Mutex::default() })
    }

    /// What is added to activations, given those that are encoded `[n, d_in]`.
    fn delta(&self, inputs: &Matrix) -> Result<Option<Matrix>, CausalError> {
        let features: Vec<usize> = self.changes.iter().map(|(feature, _)| *feature).collect();
        let codes = self.writer.dictionary().encode_features(inputs, &features)?;
        let mut total: Option<Matrix> = None;
        for (nth, (feature, change)) in self.changes.iter().enumerate() {
            self.check_positions(*feature, *change, codes.rows())?;
            let by = |row: usize| change.of(row, codes.at(row, nth)) - codes.at(row, nth);
            let by: Vec<f32> = (0..codes.rows()).map(by).collect();
            let delta = self.writer.delta(inputs, *feature, &by)?;
            match &mut total {
                None => total = Some(delta),
                Some(total) => total.data_mut().iter_mut().zip(delta.data()).for_each(|(sum, x)| *sum += x),
            }
        }
        Ok(total)
    }

    /// Fails if the codes of another run are not those of whole sequences.
    fn check_positions(&self, feature: usize, change: Change<'_>, rows: usize) -> Result<(), CausalError> {
        match change {
            Change::Replace(codes) if codes.is_empty() || !rows.is_multiple_of(codes.len()) => {
                let method = self.writer.dictionary().info().method.clone();
                Err(CausalError::Positions { feature, method, expected: codes.len(), rows })
            }
            _ => Ok(()),
        }
    }

    fn wrong_width(&self, delta: &Matrix, rows: &Matrix) -> CausalError {
        let method = self.writer.dictionary().info().method.clone();
        CausalError::Width { method, hook: self.writer.writes(), expected: rows.cols(), got: delta.cols() }
    }

    fn keep_failure(&self, error: CausalError) {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    fn read(&self, rows: &Matrix) {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.entry(thread::current().id()).or_default().push(rows.clone());
    }

    fn write(&self, rows: &mut Matrix) {
        let known = {
            let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
            read.get_mut(&thread::current().id()).and_then(Vec::pop)
        };
        match self.delta(known.as_ref().unwrap_or(rows)) {
            Ok(Some(delta)) if delta.cols() != rows.cols() => {
                self.keep_failure(self.wrong_width(&delta, rows))
            }
            Ok(Some(delta)) => {
                rows.data_mut().iter_mut().zip(delta.data()).for_each(|(x, delta)| *x += delta)
            }
            Ok(None) => (),
            Err(error) => self.keep_failure(error),
        }
    }
}

/// An edit of rows `[n, width]` in place.
type Apply<'a> = Box<dyn Fn(&mut Matrix) + Sync + 'a>;

/// The edits of a pass that change features, possibly of several dictionaries.
pub struct FeatureEdits<'a> {
    hooks: Vec<HookPoint>,
    apply: Vec<Apply<'a>>,
}

impl<'a> FeatureEdits<'a> {
    /// The edits, in order. Edits of the same hook point are applied one after the other, each to the activations that
    /// the earlier ones left.
    pub fn new(edits: &'a [FeatureEdit<'a>]) -> Self {
        let mut all = Self { hooks: Vec::new(), apply: Vec::new() };
        for edit in edits {
            if edit.writer.reads() != edit.writer.writes() {
                all.hooks.push(edit.writer.reads());
                all.apply.push(Box::new(|rows| edit.read(rows)));
            }
            all.hooks.push(edit.writer.writes());
            all.apply.push(Box::new(|rows| edit.write(rows)));
        }
        all
    }

    /// As a subject takes them.
    pub fn edits(&self) -> Vec<Edit<'_>> {
        let hooks = self.hooks.iter().zip(&self.apply);
        hooks.map(|(&hook, apply)| Edit { hook, apply: &**apply }).collect()
    }
}

/// The first failure inside edits that have run.
pub fn failure_of(edits: &[FeatureEdit<'_>]) -> Result<(), CausalError> {
    let failed =
        edits.iter().find_map(|edit| edit.failed.lock().unwrap_or_else(PoisonError::into_inner).take());
    failed.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests;
