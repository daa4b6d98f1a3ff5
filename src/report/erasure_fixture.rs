//! A made-up erasure: a sparse autoencoder that needs fewer features than PCA, and a dictionary that was left out.

use std::collections::BTreeMap;

use super::erasure::*;
use super::fixture::{self, Made};
use super::patching::PatchedNumber;

/// What is said where half is never reached.
pub const NEVER: &str = "the accuracy stays above halfway to the majority share";

fn number(value: f64) -> PatchedNumber {
    let (ci_low, ci_high) = (Some(0.9 * value), Some(1.1 * value));
    PatchedNumber { value: Some(value), ci_low, ci_high, reason: None }
}

fn point(n_features: Option<usize>, accuracy: f64) -> ErasurePoint {
    let kl = 2.0 * (1.0 - accuracy);
    ErasurePoint { n_features, accuracy: number(accuracy), kl: number(kl), edit_size: number(4.0 * kl) }
}

fn curve(eraser: &str, falls: f64, half: Option<f64>) -> ErasureCurve {
    let points = [0usize, 1, 8, 64].map(|n| point(Some(n), 1.0 - falls * (1.0 + n as f64).log2()));
    let undefined = PatchedNumber { reason: Some(NEVER.into()), ..PatchedNumber::default() };
    ErasureCurve {
        eraser: eraser.into(),
        is_control: eraser == "random_features",
        points: points.to_vec(),
        half: Some(half.map_or(undefined.clone(), number)),
        kl_at_half: Some(half.map_or(undefined, |_| number(0.5))),
    }
}

fn dictionary(hook: &str, method: &str, falls: f64, half: Option<f64>) -> ErasureDictionary {
    let baseline = |eraser: &str, accuracy: f64| ErasureCurve {
        eraser: eraser.into(),
        is_control: false,
        points: vec![point(None, accuracy)],
        half: None,
        kl_at_half: None,
    };
    ErasureDictionary {
        hook: hook.into(),
        method: method.into(),
        n_features: 90,
        majority: number(0.5),
        curves: vec![
            curve("features", falls, half),
            curve("random_features", 0.01, None),
            baseline("leace", 0.52),
            baseline("mean_projection", 0.58),
        ],
        note: None,
    }
}

/// A run folder's data with one concept of this name beside scores.
pub fn made(concept: &str) -> Made {
    let hook = "blocks.0.hook_resid_post";
    let only_encodes = ErasureDictionary {
        curves: Vec::new(),
        note: Some("it only encodes".into()),
        ..dictionary(hook, "random", 0.0, None)
    };
    let concept = ErasureConcept {
        concept: concept.into(),
        labels: ["singular".into(), "plural".into()],
        n_prompts: [40, 40],
        n_held_out: 24,
        skipped: BTreeMap::from([("repeated".to_string(), 3)]),
        dictionaries: vec![
            dictionary(hook, "topk", 0.07, Some(8.0)),
            dictionary(hook, "pca", 0.03, None),
            only_encodes,
        ],
    };
    let mut made = fixture::make_of(1, 12);
    made.summary.erasure = Some(Erasure {
        source: "embedded".into(),
        positions: "all".into(),
        penalty: 1.0,
        concepts: vec![concept],
    });
    made
}
