//! What the published scorer and its splits give on shared data (found by `AUTOINTERP_SHARED`).

use std::path::PathBuf;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::*;

#[derive(Deserialize)]
struct ScoringCase {
    name: String,
    max_activation: f64,
    true_activations: Vec<Vec<f64>>,
    normalized_0_10: Vec<Vec<u8>>,
    simulated: Vec<Vec<f64>>,
    per_sequence: Vec<Scores>,
    aggregate: Scores,
}

#[derive(Deserialize)]
struct Scores {
    ev_correlation_score: Option<f64>,
    rsquared_score: Option<f64>,
    absolute_dev_explained_score: Option<f64>,
}

#[derive(Deserialize)]
struct SplitCase {
    n_top: usize,
    n_random: usize,
    n_examples_per_split: Option<usize>,
    train: Vec<String>,
    calibration: Vec<String>,
    valid: Vec<String>,
    test: Vec<String>,
}

fn shared<T: DeserializeOwned>(file: &str) -> Option<T> {
    let Some(folder) = std::env::var_os("AUTOINTERP_SHARED") else {
        println!("skipped: AUTOINTERP_SHARED is not set");
        return None;
    };
    let path = PathBuf::from(folder).join("neuron_data").join(file);
    let text = crate::base::read_to_string(&path).expect("the shared file");
    Some(serde_json::from_str(&text).expect("the fields of the shared file"))
}

fn assert_score(what: &str, scorer: &dyn Scorer, fragments: &[ScoredFragment], expected: Option<f64>) {
    let got = scorer.score(fragments).value();
    match (got, expected) {
        (Some(got), Some(expected)) => {
            let apart = (got - expected).abs() / expected.abs().max(1.0);
            assert!(apart < 1e-9, "{what} {scorer:?}: {got} against {expected}");
        }
        // The published scorer has a correlation of rounding noise where this one sees a constant.
        (None, Some(noise)) => assert!(noise.abs() < 1e-12, "{what} {scorer:?}: none against {noise}"),
        (None, None) => {}
        (Some(got), None) => panic!("{what} {scorer:?}: {got} against none"),
    }
}

fn assert_scores(what: &str, fragments: &[ScoredFragment], expected: &Scores) {
    assert_score(what, &TopAndRandom, fragments, expected.ev_correlation_score);
    assert_score(what, &RSquared, fragments, expected.rsquared_score);
    assert_score(what, &AbsoluteDevExplained, fragments, expected.absolute_dev_explained_score);
}

#[test]
fn scores_agree_with_the_published_scorer() {
    let Some(cases) = shared::<Vec<ScoringCase>>("scoring_golden.json") else { return };
    assert!(cases.len() >= 50);
    for case in cases {
        let pairs = case.true_activations.iter().zip(&case.simulated);
        let fragment = |(truth, simulated): (&Vec<f64>, &Vec<f64>)| {
            let tokens = (0..truth.len() as u32).collect();
            ScoredFragment::new(Stratum::Top, tokens, truth.clone(), simulated.clone(), 1.0)
                .expect("a fragment")
        };
        let fragments: Vec<ScoredFragment> = pairs.map(fragment).collect();
        assert_scores(&case.name, &fragments, &case.aggregate);
        for (fragment, expected) in fragments.iter().zip(&case.per_sequence) {
            assert_scores(&case.name, std::slice::from_ref(fragment), expected);
        }
        for (truth, expected) in case.true_activations.iter().zip(&case.normalized_0_10) {
            assert_eq!(&quantise(truth, case.max_activation), expected, "{}", case.name);
        }
    }
}

#[test]
fn splits_agree_with_the_published_ones() {
    let Some(cases) = shared::<Vec<SplitCase>>("splits_golden.json") else { return };
    let named = |top: &[usize], random: &[usize]| -> Vec<String> {
        let top = top.iter().map(|rank| format!("t{rank}"));
        top.chain(random.iter().map(|place| format!("r{place}"))).collect()
    };
    assert!(!cases.is_empty());
    for case in cases {
        let splits = interleaved(case.n_top, case.n_random, case.n_examples_per_split).expect("enough");
        assert_eq!(named(&splits.explain, &[]), case.train);
        let parts = [&splits.calibration, &splits.score, &splits.test];
        for (part, expected) in parts.iter().zip([&case.calibration, &case.valid, &case.test]) {
            assert_eq!(&named(&part.top, &part.random), expected);
        }
    }
}
