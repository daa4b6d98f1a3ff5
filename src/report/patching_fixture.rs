//! A made-up patching on a task: a sparse autoencoder that needs fewer features than PCA.
//!
//!   KL(n) = 2 · 2^(−log2(1 + n) / log2(1 + h))    nats, so that half of KL(0) is left at h features
//!   ‖x′ − x‖ = e · log2(1 + n)

use std::collections::BTreeMap;

use super::fixture::{self, Made};
use super::patching::*;
use super::schema::{SCHEMA, Summary};

/// KL of the base run from the target run, in nats.
const BASE: f64 = 2.0;
/// Width of every interval to each side, as a share of the number.
const HALF_WIDTH: f64 = 0.15;
/// Number of pairs.
pub const PAIRS: usize = 64;
/// What is said where half of the divergence is never reached.
pub const NEVER: &str = "the divergence stays above half";

/// Method, features for half of the divergence (none: never), edit size at one feature, features of the dictionary.
const METHODS: [(&str, Option<f64>, f64, usize); 4] = [
    ("topk", Some(9.0), 1.1, 512),
    ("sae", Some(11.0), 1.0, 512),
    ("pca", Some(60.0), 1.6, 128),
    ("neuron", None, 0.4, 128),
];

pub fn hook(layer: usize) -> String {
    format!("blocks.{layer}.hook_resid_post")
}

fn number(value: f64) -> PatchedNumber {
    let half = HALF_WIDTH * value.abs();
    PatchedNumber {
        value: Some(value),
        ci_low: Some(value - half),
        ci_high: Some(value + half),
        reason: None,
    }
}

fn kl(half: Option<f64>, n: usize) -> f64 {
    let doublings = (1.0 + n as f64).log2();
    match half {
        Some(half) => BASE * 0.5f64.powf(doublings / (1.0 + half).log2()),
        None => BASE * (1.0 - 0.02 * doublings),
    }
}

/// 0, 1, 2, 4, … up to 512, and all.
fn counts(all: usize) -> Vec<usize> {
    let powers = (0..10).map(|power| 1 << power).filter(|n| *n < all);
    std::iter::once(0).chain(powers).chain([all]).collect()
}

fn curve(order: &str, half: Option<f64>, edit: f64, counts: &[usize]) -> PatchCurve {
    let points: Vec<PatchPoint> = counts
        .iter()
        .map(|&n| PatchPoint {
            n_features: n,
            kl: number(kl(half, n)),
            logit_difference: number(1.0 - kl(half, n) / BASE),
            edit_size: number(edit * (1.0 + n as f64).log2()),
        })
        .collect();
    let place = |point: &PatchPoint| (1.0 + point.n_features as f64).log2();
    let trapezoid = |pair: &[PatchPoint]| {
        let sum: f64 = pair.iter().filter_map(|point| point.kl.value).sum();
        0.5 * sum * (place(&pair[1]) - place(&pair[0]))
    };
    let width = points.last().map_or(1.0, place);
    PatchCurve {
        order: order.into(),
        is_control: order.starts_with("random"),
        area: number(points.windows(2).map(trapezoid).sum::<f64>() / width),
        half: half
            .map_or_else(|| PatchedNumber { reason: Some(NEVER.into()), ..PatchedNumber::default() }, number),
        points,
    }
}

fn dictionary(layer: usize, (method, half, edit, all): (&str, Option<f64>, f64, usize)) -> PatchedDictionary {
    // Later layers need fewer features.
    let at = |share: f64| half.map(|half| share * half / (1.0 + 0.25 * layer as f64));
    let counts = counts(all);
    let left_by_thresholds = [0, 1, 3, 7, 20, 55, all];
    PatchedDictionary {
        hook: hook(layer),
        method: method.into(),
        control: None,
        n_features: all,
        n_exact: 64,
        curves: vec![
            curve("attribution", at(1.0), edit, &counts),
            curve("exact", at(0.8), edit, &counts),
            curve("acdc", at(0.7), edit, &left_by_thresholds),
            curve("random_features", half.map(|_| 110.0), 0.8 * edit, &counts),
            curve("random_directions", None, edit, &counts),
        ],
        note: None,
    }
}

/// Differences of the reference `topk` from every other method with curves.
fn differences(dictionaries: &[PatchedDictionary]) -> Vec<PatchedDifference> {
    let mut rows = Vec::new();
    let own = |dictionary: &&PatchedDictionary| dictionary.control.is_none() && dictionary.note.is_none();
    for reference in dictionaries.iter().filter(own).filter(|one| one.method == "topk") {
        let others = dictionaries.iter().filter(own).filter(|one| one.hook == reference.hook);
        for other in others.filter(|one| one.method != "topk") {
            for (a, b) in reference.curves.iter().zip(&other.curves).filter(|(a, _)| !a.is_control) {
                for (name, of_a, of_b) in [("area", &a.area, &b.area), ("half", &a.half, &b.half)] {
                    let difference = of_a.value.zip(of_b.value).map(|(a, b)| a - b);
                    let width = of_a.value.zip(of_b.value).map(|(a, b)| HALF_WIDTH * a.hypot(b));
                    let apart = difference.zip(width).is_some_and(|(d, width)| d.abs() > width);
                    let verdict = match (apart, difference.is_some_and(|d| d > 0.0)) {
                        (true, true) => "higher",
                        (true, false) => "lower",
                        (false, _) => "no difference detected",
                    };
                    rows.push(PatchedDifference {
                        hook: reference.hook.clone(),
                        order: a.order.clone(),
                        number: name.into(),
                        method_a: "topk".into(),
                        method_b: other.method.clone(),
                        difference,
                        ci_low: difference.zip(width).map(|(d, width)| d - width),
                        ci_high: difference.zip(width).map(|(d, width)| d + width),
                        p: difference.map(|_| if apart { 0.0001 } else { 0.21 }),
                        p_adjusted: difference.map(|_| if apart { 0.0008 } else { 0.84 }),
                        verdict: verdict.into(),
                    });
                }
            }
        }
    }
    rows
}

/// Patching at so many layers. `random` was not patched and says why, and `topk` has a control on permuted weights.
pub fn task(layers: usize) -> TaskPatching {
    let mut dictionaries = Vec::new();
    for layer in 0..layers {
        dictionaries.extend(METHODS.map(|method| dictionary(layer, method)));
        let permuted = dictionary(layer, ("topk", Some(70.0), 1.3, 512));
        dictionaries.push(PatchedDictionary { control: Some("random_weights".into()), ..permuted });
        dictionaries.push(PatchedDictionary {
            curves: Vec::new(),
            n_exact: 0,
            note: Some("its codes are no share of an activation".into()),
            ..dictionary(layer, ("random", None, 1.0, 512))
        });
    }
    TaskPatching {
        task: "ioi".into(),
        prompts: "embedded".into(),
        n_pairs: PAIRS,
        skipped: BTreeMap::from([("answer of several tokens".to_string(), 2)]),
        n_right: 62,
        divergence: "patched_target".into(),
        differences: differences(&dictionaries),
        dictionaries,
    }
}

/// A summary with a task and nothing else.
pub fn summary(layers: usize) -> Summary {
    Summary {
        schema: SCHEMA,
        suite: "ioi".into(),
        reference: Some("topk".into()),
        patching: Some(task(layers)),
        ..Summary::default()
    }
}

/// A run folder's data with a task beside scores.
pub fn made(layers: usize) -> Made {
    let mut made = fixture::make_of(layers, 12);
    made.summary.patching = Some(task(layers));
    made
}
