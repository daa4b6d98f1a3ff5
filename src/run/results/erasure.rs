//! The numbers of erasure: curves with intervals over held-out prompts, and one number per curve.
//!
//! ```text
//! A(k) = held-out accuracy with k features erased,  M = share of held-out prompts with the label of most training prompts
//! half = the smallest measured k with A(k) ≤ (A(0) + M) / 2;  kl at half = mean divergence at that k
//! ```
//!
//! All statistics of a concept share the same resamples of its held-out prompts. In a resample, `kl at half` is that of the
//! resample's own half.

use rayon::prelude::*;

use crate::causal::{ErasedConcept, ErasedCurve, ErasureParams};
use crate::report::{
    Erasure, ErasureConcept, ErasureCurve, ErasureDictionary, ErasurePoint, PatchedNumber, RANDOM_FEATURES,
};
use crate::run::inputs::erasure::Concepts;
use crate::run::results::erased::ErasedRow;
use crate::run::results::grouped::bootstrap;
use crate::run::results::patching::number;
use crate::stats::{Resampled, Resamples, Undefined};
use crate::suite::Suite;

/// The accuracy stays above the level.
const NEVER: &str = "the accuracy stays above halfway to the majority share";

/// The probe does no better than the majority share on unedited activations.
const NOTHING_TO_ERASE: &str = "the unedited probe is not above the majority share";

/// Some resamples have no value, so that an end of the interval is open.
const OPEN: &str = "undefined on some resamples";

/// Computes the numbers of all concepts and dictionaries.
pub fn erasure(suite: &Suite, params: &ErasureParams, concepts: &Concepts, rows: &[ErasedRow]) -> Erasure {
    let resamples = |nth: usize| {
        let prompts = &concepts.prompts[nth];
        Resamples::new(bootstrap(suite, format!("erasure/{}", prompts.name)), prompts.places(true).len())
    };
    let of_concept = |nth: usize| {
        let prompts = &concepts.prompts[nth];
        let resamples = resamples(nth);
        let of_row = |row: &ErasedRow| dictionary(&resamples, row, nth);
        let held_out = prompts.places(true).len();
        let count = |class: bool| prompts.classes.iter().filter(|one| **one == class).count();
        ErasureConcept {
            concept: prompts.name.clone(),
            labels: prompts.labels.clone(),
            n_prompts: [count(false), count(true)],
            n_held_out: held_out,
            skipped: concepts.skipped[nth].clone(),
            dictionaries: rows.par_iter().map(of_row).collect(),
        }
    };
    Erasure {
        source: params.concepts.clone(),
        positions: params.positions.to_string(),
        penalty: params.penalty,
        concepts: (0..concepts.prompts.len()).map(of_concept).collect(),
    }
}

fn dictionary(resamples: &Result<Resamples, Undefined>, row: &ErasedRow, nth: usize) -> ErasureDictionary {
    let mut record = ErasureDictionary {
        hook: row.hook.clone(),
        method: row.method.clone(),
        n_features: 0,
        majority: PatchedNumber::default(),
        curves: Vec::new(),
        note: None,
    };
    let found = match (&row.measured, resamples) {
        (Err(why), _) => Err(why.clone()),
        (_, Err(why)) => Err(why.to_string()),
        (Ok(all), Ok(resamples)) => {
            all.get(nth).ok_or_else(|| "not measured".to_string()).map(|one| (one, resamples))
        }
    };
    let measured = found.and_then(|(one, resamples)| {
        record.n_features = one.n_features;
        curves(resamples, one).map_err(|why| why.to_string())
    });
    match measured {
        Ok((majority, curves)) => (record.majority, record.curves) = (majority, curves),
        Err(why) => record.note = Some(why),
    }
    record
}

fn curves(
    resamples: &Resamples,
    one: &ErasedConcept,
) -> Result<(PatchedNumber, Vec<ErasureCurve>), Undefined> {
    let majority = resamples.means(&[&one.majority])?.swap_remove(0);
    let of_curve = |curve: &ErasedCurve| curve_of(resamples, curve, &majority);
    let curves = one.curves.iter().map(of_curve).collect::<Result<_, _>>()?;
    Ok((number(resamples, &majority, OPEN), curves))
}

fn curve_of(
    resamples: &Resamples,
    curve: &ErasedCurve,
    majority: &Resampled,
) -> Result<ErasureCurve, Undefined> {
    let lists: Vec<&[f64]> = curve
        .points
        .iter()
        .flat_map(|point| [point.right.as_slice(), point.kl.as_slice(), point.edit_size.as_slice()])
        .collect();
    let means = resamples.means(&lists)?;
    let points = curve.points.iter().zip(means.chunks(3)).map(|(point, found)| ErasurePoint {
        n_features: point.n_features,
        accuracy: number(resamples, &found[0], OPEN),
        kl: number(resamples, &found[1], OPEN),
        edit_size: number(resamples, &found[2], OPEN),
    });
    let counts: Option<Vec<f64>> =
        curve.points.iter().map(|point| point.n_features.map(|n| n as f64)).collect();
    let (half, kl_at_half) = match counts {
        Some(counts) => halves(resamples, &counts, &means, majority),
        // A baseline is no curve.
        None => (None, None),
    };
    Ok(ErasureCurve {
        eraser: curve.eraser.clone(),
        is_control: curve.eraser == RANDOM_FEATURES,
        points: points.collect(),
        half,
        kl_at_half,
    })
}

/// `half` and `kl at half` of a curve whose points have accuracy, divergence and edit size in `means`.
fn halves(
    resamples: &Resamples,
    counts: &[f64],
    means: &[Resampled],
    majority: &Resampled,
) -> (Option<PatchedNumber>, Option<PatchedNumber>) {
    let n = counts.len();
    let mut parts: Vec<&Resampled> = means.iter().step_by(3).collect();
    parts.extend(means.iter().skip(1).step_by(3));
    parts.push(majority);
    let place = |values: &[f64]| place_of_half(&values[..n], values[2 * n]);
    let half = Resampled::of(&parts, |values| place(values).map_or(f64::INFINITY, |nth| counts[nth]));
    let kl = Resampled::of(&parts, |values| place(values).map_or(f64::INFINITY, |nth| values[n + nth]));
    let has_nothing = parts.first().is_none_or(|first| first.point <= majority.point);
    let why = if has_nothing { NOTHING_TO_ERASE } else { NEVER };
    (Some(number(resamples, &half, why)), Some(number(resamples, &kl, why)))
}

/// The first point at which the accuracy is at most halfway from the first one to the majority share; none if it never is,
/// or if the first accuracy is not above that share.
fn place_of_half(accuracy: &[f64], majority: f64) -> Option<usize> {
    let first = accuracy.first().filter(|first| **first > majority)?;
    let level = (first + majority) / 2.0;
    accuracy.iter().position(|value| *value <= level)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;
    use crate::base::Digester;
    use crate::causal::{ConceptPrompts, ErasedPoint};

    const PROMPTS: usize = 20;

    fn point(n_features: Option<usize>, n_right: usize, kl: f64) -> ErasedPoint {
        ErasedPoint {
            n_features,
            right: (0..PROMPTS).map(|nth| f64::from(u8::from(nth < n_right))).collect(),
            kl: (0..PROMPTS).map(|nth| kl * (1.0 + 0.1 * (nth % 3) as f64)).collect(),
            edit_size: vec![kl; PROMPTS],
        }
    }

    fn measured(right: [usize; 3]) -> ErasedConcept {
        let curve = |eraser: &str, points| ErasedCurve { eraser: eraser.into(), points };
        let points = |right: [usize; 3]| {
            (0..3).map(|nth| point(Some(2 * nth), right[nth], nth as f64)).collect::<Vec<ErasedPoint>>()
        };
        ErasedConcept {
            concept: "number".into(),
            n_features: 9,
            n_passes: 1,
            majority: (0..PROMPTS).map(|nth| (nth % 2) as f64).collect(),
            curves: vec![
                curve("features", points(right)),
                curve(RANDOM_FEATURES, points([20, 20, 20])),
                curve("leace", vec![point(None, 10, 0.5)]),
            ],
        }
    }

    fn found(measured: Result<Vec<ErasedConcept>, String>) -> ErasureDictionary {
        let text = "hooks: [hook_embed]\nmethods: [{kind: random}]\nerasure: {features: [4, 2]}\n\
                    statistics: {reference: random, resamples: 500, permutations: 500}\n";
        let suite = crate::suite::parse(text, Path::new("erasure.yaml"), &[]).expect("a valid suite");
        let params = suite.erasure.clone().expect("erasure");
        assert_eq!(params.features, [0, 2, 4]);
        let prompts = ConceptPrompts {
            name: "number".into(),
            prompts: vec![vec![1, 2]; PROMPTS],
            classes: (0..PROMPTS).map(|nth| nth % 2 == 1).collect(),
            is_test: vec![true; PROMPTS],
            ..ConceptPrompts::default()
        };
        let concepts = Concepts {
            prompts: vec![prompts],
            skipped: vec![BTreeMap::new()],
            digest: Digester::new("test").finish(),
            file: None,
            warnings: Vec::new(),
        };
        let row = ErasedRow { hook: "hook_embed".into(), method: "random".into(), measured };
        let mut found = erasure(&suite, &params, &concepts, &[row]).concepts.swap_remove(0);
        found.dictionaries.swap_remove(0)
    }

    #[test]
    fn half_is_the_first_number_of_features_halfway_to_the_majority_share() {
        let found = found(Ok(vec![measured([20, 19, 10])]));
        assert_eq!((found.majority.value, found.note), (Some(0.5), None));
        let [features, random, leace] = &found.curves[..] else { panic!("three curves") };
        assert_eq!(features.half.as_ref().and_then(|half| half.value), Some(4.0));
        let kl = features.kl_at_half.as_ref().and_then(|kl| kl.value).expect("defined");
        assert!((kl - features.points[2].kl.value.expect("a mean")).abs() < 1e-12);
        assert_eq!(features.points[1].accuracy.value, Some(0.95));
        let reason = random.half.as_ref().and_then(|half| half.reason.as_deref());
        assert!(random.is_control && reason == Some(NEVER));
        assert!(leace.half.is_none() && leace.points[0].n_features.is_none());
    }

    #[test]
    fn what_is_undefined_has_a_reason() {
        let poor = found(Ok(vec![measured([10, 9, 5])]));
        let reason = poor.curves[0].half.as_ref().and_then(|half| half.reason.as_deref());
        assert_eq!(reason, Some(NOTHING_TO_ERASE));
        let none = found(Err("it only encodes".into()));
        assert!(none.curves.is_empty() && none.note.as_deref() == Some("it only encodes"));
    }
}
