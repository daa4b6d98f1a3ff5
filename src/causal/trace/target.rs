//! The causes of one feature: attributions, exact ablations, controls and intervals.

use rayon::prelude::*;

use crate::base::{HookPoint, Matrix, TokenBatch, distinct};
use crate::causal::Writer;
use crate::report::TracedMean;
use crate::stats::{Bootstrap, IntervalMethod, mean};
use crate::subject::{SubjectError, Wanted};

use super::{Cause, Found, NoCauses, Step, TraceError, TraceFeature, Tracer};

/// A feature on its fragments, and what is upstream.
pub(super) struct Case<'a> {
    pub target: TraceFeature,
    pub tokens: TokenBatch,
    /// Strongest position of each fragment.
    pub places: Vec<usize>,
    /// The hook point that is changed.
    pub hook: HookPoint,
    /// Activations there, `[fragments · cols, width]`.
    pub written: Matrix,
    /// By dictionary, the activations that it encodes.
    pub read: Vec<(usize, Matrix)>,
    /// The target's activation without an edit, by fragment.
    pub clean: Vec<f64>,
    pub writer: &'a Writer<'a>,
}

/// Row of an activation, and the code there.
pub(super) type Entry = (usize, f32);

/// An earlier feature that is active.
pub(super) struct Candidate {
    pub id: TraceFeature,
    /// The positions where it is active.
    pub entries: Vec<Entry>,
    /// Estimated effect: mean over fragments.
    pub attribution: f64,
}

/// An ablated feature with the drop of the target's activation on each fragment.
struct Tried {
    candidate: Candidate,
    drops: Vec<f64>,
}

impl Tracer<'_> {
    /// The causes of a feature among dictionaries that change one earlier hook point.
    pub(super) fn causes(
        &self,
        target: TraceFeature,
        hook: HookPoint,
        group: &[usize],
    ) -> Result<Step, TraceError> {
        let params = &self.params;
        let Some(chosen) = self.pool.choose(target, params.fragments, params.first_scored) else {
            return Ok(Err(NoCauses::NeverFires));
        };
        let mut case = self.case(target, hook, group, &chosen.places)?;
        // In another batch, rounding can undo an activation that is no larger than the error.
        let is_active = |(_, code): &(usize, &f64)| **code > 0.0;
        let kept: Vec<usize> = case.clean.iter().enumerate().filter(is_active).map(|(nth, _)| nth).collect();
        if kept.is_empty() {
            return Ok(Err(NoCauses::NeverFires));
        }
        if kept.len() < case.places.len() {
            let places: Vec<(usize, usize)> = kept.iter().map(|&nth| chosen.places[nth]).collect();
            case = self.case(target, hook, group, &places)?;
        }
        let in_upper_half = kept.iter().filter(|nth| **nth < chosen.in_upper_half).count();
        let mut candidates = self.attributed(&case)?;
        let active = candidates.len();
        candidates.sort_by(|a, b| {
            b.attribution.abs().total_cmp(&a.attribution.abs()).then_with(|| a.id.cmp(&b.id))
        });
        candidates.truncate(params.max_exact);
        let tried = candidates.len();
        let causes = self.strongest(&case, candidates)?;
        let found = Found {
            hook,
            dictionaries: group.to_vec(),
            fragments: case.places.len(),
            in_upper_half,
            activation: mean(&case.clean).unwrap_or_default(),
            active,
            tried,
        };
        Ok(Ok((found, causes)))
    }

    /// Runs the subject on the feature's fragments.
    fn case(
        &self,
        target: TraceFeature,
        hook: HookPoint,
        group: &[usize],
        places: &[(usize, usize)],
    ) -> Result<Case<'_>, TraceError> {
        let all = self.pool.tokens();
        let ids = places.iter().flat_map(|(fragment, _)| all.row(*fragment)).copied().collect();
        let tokens = TokenBatch::new(ids, all.cols()).ok_or(SubjectError::TooShort { cols: 0 })?;
        let reads = group.iter().map(|&nth| self.writers[nth].reads());
        let hooks: Vec<HookPoint> = distinct(std::iter::once(hook).chain(reads));
        let found = self.subject.activations(&tokens, &hooks)?;
        let at = |wanted: HookPoint| {
            let place = hooks.iter().position(|hook| *hook == wanted).unwrap_or_default();
            found[place].clone()
        };
        let mut case = Case {
            target,
            places: places.iter().map(|(_, position)| *position).collect(),
            hook,
            written: at(hook),
            read: group.iter().map(|&nth| (nth, at(self.writers[nth].reads()))).collect(),
            clean: Vec::new(),
            writer: &self.writers[target.dictionary],
            tokens,
        };
        let fragments: Vec<usize> = (0..places.len()).collect();
        case.clean = self.activations_after(&case, &fragments, &|_, _| Ok(()))?;
        Ok(case)
    }

    /// Every feature that is active at a position that can matter, with its attribution.
    fn attributed(&self, case: &Case<'_>) -> Result<Vec<Candidate>, TraceError> {
        let gradient = self.gradient(case)?;
        let mut candidates = Vec::new();
        for (dictionary, x) in &case.read {
            let writer = &self.writers[*dictionary];
            let codes = writer.dictionary().encode_sparse(x)?;
            let mut entries = vec![Vec::new(); codes.cols()];
            let cols = case.tokens.cols();
            for (fragment, &last) in case.places.iter().enumerate() {
                for position in self.params.first_scored..=last {
                    let row = fragment * cols + position;
                    codes.iter_row(row).for_each(|(feature, code)| entries[feature].push((row, code)));
                }
            }
            let active: Vec<(usize, Vec<Entry>)> =
                entries.into_iter().enumerate().filter(|(_, entries)| !entries.is_empty()).collect();
            let with_attribution = active.into_par_iter().map(|(feature, entries)| {
                let id = TraceFeature { dictionary: *dictionary, feature };
                let delta = without(writer, x, feature, &entries)?;
                let along: f64 = entries
                    .iter()
                    .zip(delta.iter_rows())
                    .map(|((row, _), delta)| inner(gradient.row(*row), delta))
                    .sum();
                Ok(Candidate { id, entries, attribution: -along / case.places.len() as f64 })
            });
            candidates.extend(with_attribution.collect::<Result<Vec<_>, TraceError>>()?);
        }
        Ok(candidates)
    }

    /// Gradient of the target's code at the strongest position of each fragment with respect to the activations that are
    /// changed.
    fn gradient(&self, case: &Case<'_>) -> Result<Matrix, TraceError> {
        let reads = case.writer.reads();
        let clean =
            self.subject.given(&case.tokens, (case.hook, &case.written), Wanted::Activations(reads))?;
        let cols = case.tokens.cols();
        let affine = case.writer.dictionary().as_affine();
        let gradients = case.places.iter().enumerate().map(|(fragment, position)| {
            affine.code_gradient(clean.row(fragment * cols + position), case.target.feature)
        });
        let gradients: Vec<Vec<f32>> = gradients.collect::<Result<_, _>>()?;
        let weights = |first: usize, values: &Matrix| {
            let mut weights = Matrix::zeros(values.rows(), values.cols());
            for nth in 0..values.rows() / cols {
                let row = nth * cols + case.places[first + nth];
                weights.row_mut(row).copy_from_slice(&gradients[first + nth]);
            }
            weights
        };
        let given = (case.hook, &case.written);
        Ok(self.subject.pullback(&case.tokens, given, Wanted::Activations(reads), &weights)?.gradient)
    }

    /// Ablates the candidates one at a time, and keeps those with the largest effects.
    fn strongest(&self, case: &Case<'_>, candidates: Vec<Candidate>) -> Result<Vec<Cause>, TraceError> {
        let all_drops = self.drops(case, &candidates)?;
        let mut tried: Vec<Tried> = candidates
            .into_iter()
            .zip(all_drops)
            .map(|(candidate, drops)| Tried { candidate, drops })
            .collect();
        let size = |tried: &Tried| mean(&tried.drops).unwrap_or_default().abs();
        tried.sort_by(|a, b| size(b).total_cmp(&size(a)).then_with(|| a.candidate.id.cmp(&b.candidate.id)));
        tried.truncate(self.params.top);
        tried.into_iter().map(|tried| self.cause(case, tried)).collect()
    }

    /// An effect with its interval and its control.
    fn cause(&self, case: &Case<'_>, Tried { candidate, drops }: Tried) -> Result<Cause, TraceError> {
        let share = |drops: &[f64]| -> Vec<f64> {
            drops.iter().zip(&case.clean).map(|(drop, clean)| drop / clean).collect()
        };
        let random: Vec<Vec<f64>> = (0..self.params.random_directions)
            .map(|nth| Ok(share(&self.random_drops(case, &candidate, nth)?)))
            .collect::<Result<_, TraceError>>()?;
        let by_fragment: Vec<f64> = (0..drops.len())
            .map(|fragment| {
                let shares: Vec<f64> = random.iter().map(|shares| shares[fragment]).collect();
                mean(&shares).unwrap_or_default()
            })
            .collect();
        let sizes: Vec<f64> = random.iter().map(|shares| mean(shares).unwrap_or_default().abs()).collect();
        let pair = format!("{}/{}", self.name(case.target), self.name(candidate.id));
        let estimate = |what: &str, values: &[f64]| self.estimate(&format!("trace/{pair}/{what}"), values);
        let fragments: Vec<usize> =
            distinct(candidate.entries.iter().map(|(row, _)| row / case.tokens.cols()));
        Ok(Cause {
            from: candidate.id,
            to: case.target,
            attribution: candidate.attribution,
            effect: estimate("effect", &drops),
            share: estimate("share", &share(&drops)),
            random: estimate("random", &by_fragment),
            random_size: mean(&sizes).unwrap_or_default(),
            active_fragments: fragments.len(),
        })
    }

    fn estimate(&self, stream: &str, values: &[f64]) -> TracedMean {
        let bootstrap = Bootstrap {
            method: IntervalMethod::Bca,
            confidence: self.params.confidence,
            resamples: self.params.resamples,
            seed: self.params.seed,
            stream: stream.to_string(),
        };
        match bootstrap.mean(values) {
            Ok(estimate) => TracedMean {
                mean: estimate.point,
                ci_low: Some(estimate.interval.low),
                ci_high: Some(estimate.interval.high),
                reason: None,
            },
            Err(why) => TracedMean {
                mean: mean(values).unwrap_or_default(),
                reason: Some(why.reason().to_string()),
                ..TracedMean::default()
            },
        }
    }
}

/// What ablating a feature adds at each of its entries, `[entries, width]`.
pub(super) fn without(
    writer: &Writer<'_>,
    x: &Matrix,
    feature: usize,
    entries: &[Entry],
) -> Result<Matrix, TraceError> {
    let rows: Vec<usize> = entries.iter().map(|(row, _)| *row).collect();
    let changes: Vec<f32> = entries.iter().map(|(_, code)| -code).collect();
    Ok(writer.delta(&x.select_rows(&rows), feature, &changes)?)
}

fn inner(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}
