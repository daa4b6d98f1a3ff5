//! The numbers of patching: curves with intervals over pairs of prompts, one number per curve, and differences of methods.
//!
//! All statistics share the same resamples of pairs, so that ratios and differences of methods are resampled together.
//! Of a dictionary that cannot be patched, the reason is recorded.

mod curve;
mod differences;

use rayon::prelude::*;

use crate::causal::{MeasuredCurve, PatchedPairs};
use crate::report::{PatchedDictionary, TaskPatching};
use crate::run::inputs::task::Task;
use crate::run::results::grouped::bootstrap;
use crate::run::results::patched::PatchedRow;
use crate::stats::{Resamples, Undefined};
use crate::suite::{Suite, TaskSpec};

pub use curve::number;
use curve::{Comparable, Measurer, features_axis};
use differences::{Compared, differences};

/// Computes the numbers of a task.
pub fn patching(suite: &Suite, spec: &TaskSpec, task: &Task, rows: &[PatchedRow]) -> TaskPatching {
    let n_pairs = task.pairs.base.len();
    let resamples = Resamples::new(bootstrap(suite, "patching".into()), n_pairs);
    let of_row = |row: &PatchedRow| {
        let (record, curves) = dictionary(&resamples, row, width(rows, &row.hook));
        (record, Compared { hook: row.hook.clone(), method: row.method.clone(), curves })
    };
    let found: Vec<(PatchedDictionary, Compared)> = rows.par_iter().map(of_row).collect();
    let (dictionaries, compared): (Vec<_>, Vec<_>) = found.into_iter().unzip();
    let differences = match &resamples {
        Ok(resamples) => differences(suite, spec, resamples, &compared),
        Err(_) => Vec::new(),
    };
    TaskPatching {
        task: spec.kind_name().into(),
        prompts: spec.prompts.clone(),
        n_pairs,
        skipped: task.skipped.clone(),
        n_right: task.n_right,
        divergence: spec.patching.divergence.to_string(),
        dictionaries,
        differences,
    }
}

/// The curves of a dictionary that are compared by method: no controls.
fn ordered(pairs: &PatchedPairs) -> impl Iterator<Item = &MeasuredCurve> {
    pairs.curves.iter().filter(|curve| !curve.is_control)
}

/// log2(1 + features) of the largest number of patched features at a hook point.
fn width(rows: &[PatchedRow], hook: &str) -> f64 {
    let here = rows.iter().filter(|row| row.hook == hook).filter_map(|row| row.measured.as_ref().ok());
    let points = here.flat_map(|pairs| ordered(pairs).flat_map(|curve| &curve.points));
    points.map(|point| features_axis(point.n_features)).fold(0.0, f64::max)
}

fn dictionary(
    resamples: &Result<Resamples, Undefined>,
    row: &PatchedRow,
    width: f64,
) -> (PatchedDictionary, Vec<Comparable>) {
    let mut record = PatchedDictionary {
        hook: row.hook.clone(),
        method: row.method.clone(),
        control: None,
        n_features: 0,
        n_exact: 0,
        curves: Vec::new(),
        note: None,
    };
    let pairs = match &row.measured {
        Ok(pairs) => pairs,
        Err(why) => {
            record.note = Some(why.clone());
            return (record, Vec::new());
        }
    };
    (record.n_features, record.n_exact, record.note) = (pairs.n_features, pairs.n_exact, pairs.note.clone());
    let resamples = match resamples {
        Ok(resamples) => resamples,
        Err(why) => {
            record.note = Some(why.to_string());
            return (record, Vec::new());
        }
    };
    let measurer = Measurer { resamples, pairs, width };
    let mut comparable = Vec::new();
    for curve in &pairs.curves {
        let (curve, numbers) = measurer.curve(curve);
        record.curves.push(curve);
        comparable.extend(numbers);
    }
    (record, comparable)
}

#[cfg(test)]
mod tests;
