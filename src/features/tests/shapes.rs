use proptest::prelude::*;

use super::*;
use crate::features::{CodeShape, HISTOGRAM_BINS, HISTOGRAM_TOKENS, ShapeSurvey};
use crate::stats::excess_kurtosis;

/// Both passes in blocks of `block` fragments.
fn shapes(codes: &Matrix, fragments: FragmentSet<'_>, first_scored: usize, block: usize) -> Vec<CodeShape> {
    let positions = fragments.positions();
    let blocks: Vec<(usize, Matrix)> = (0..fragments.len())
        .step_by(block)
        .map(|first| {
            let last = (first + block).min(fragments.len());
            (first, rows(codes, first * positions..last * positions))
        })
        .collect();
    let mut survey = ShapeSurvey::new(fragments, first_scored, codes.cols());
    blocks.iter().for_each(|(first, block)| survey.add_block(*first, block).expect("block fits"));
    let mut counter = survey.finish();
    blocks.iter().for_each(|(first, block)| counter.add_block(*first, block).expect("block fits"));
    counter.finish()
}

/// Compares a shape with direct counts over all (token, code) pairs.
fn assert_shape(shape: &CodeShape, all: &[(u32, f32)]) {
    let firing: Vec<(u32, f32)> = all.iter().copied().filter(|(_, code)| *code != 0.0).collect();
    let histogram = &shape.histogram;
    assert_eq!(shape.n_tokens, all.len());
    assert_eq!(histogram.n_firing, firing.len() as u64);
    assert_eq!(histogram.low, all.iter().map(|(_, code)| *code).fold(0.0, f32::min));
    assert_eq!(histogram.high, all.iter().map(|(_, code)| *code).fold(0.0, f32::max));
    let mut frequent: Vec<(usize, u32)> = Vec::new();
    for token in firing.iter().map(|(token, _)| *token).collect::<std::collections::BTreeSet<u32>>() {
        frequent.push((firing.iter().filter(|(other, _)| *other == token).count(), token));
    }
    frequent.sort_by_key(|(count, token)| (std::cmp::Reverse(*count), *token));
    frequent.truncate(HISTOGRAM_TOKENS);
    let tokens: Vec<u32> = frequent.iter().map(|(_, token)| *token).collect();
    assert_eq!(histogram.tokens.iter().map(|counts| counts.token).collect::<Vec<_>>(), tokens);
    let width = (f64::from(histogram.high) - f64::from(histogram.low)) / HISTOGRAM_BINS as f64;
    let counted = |keep: &dyn Fn(u32) -> bool| -> Vec<u64> {
        let mut counts = vec![0; HISTOGRAM_BINS];
        for (_, code) in firing.iter().filter(|(token, _)| keep(*token)) {
            let inside =
                |bin: &usize| f64::from(*code) < f64::from(histogram.low) + (*bin + 1) as f64 * width;
            counts[(0..HISTOGRAM_BINS - 1).find(inside).unwrap_or(HISTOGRAM_BINS - 1)] += 1;
        }
        counts
    };
    for list in &histogram.tokens {
        assert_eq!(list.counts, counted(&|token| token == list.token), "token {}", list.token);
    }
    assert_eq!(histogram.rest, counted(&|token| !tokens.contains(&token)));
    let values: Vec<f64> = all.iter().map(|(_, code)| f64::from(*code)).collect();
    match (shape.kurtosis, excess_kurtosis(&values).expect("finite")) {
        (Some(got), Some(expected)) => {
            assert!((got - expected).abs() <= 1e-9 * expected.abs().max(1.0), "{got} is not {expected}");
        }
        (got, expected) => assert_eq!(got, expected),
    }
}

fn of_feature(codes: &Matrix, fragments: FragmentSet<'_>, first: usize, feature: usize) -> Vec<(u32, f32)> {
    let positions = fragments.positions();
    (0..codes.rows())
        .filter(|row| row % positions >= first)
        .map(|row| (fragments.tokens(row / positions)[row % positions], codes.at(row, feature)))
        .collect()
}

proptest! {
    #[test]
    fn a_stream_of_blocks_counts_what_all_codes_show(
        seed in 0u64..1000, first in 0usize..2, block in 1usize..5, signed in any::<bool>()
    ) {
        let (n_fragments, positions) = (7, 6);
        let mut stream = Stream::new(seed, "shapes");
        let ids = (0..n_fragments * positions).map(|_| 3 * stream.below(15) as u32).collect();
        let tokens = TokenBatch::new(ids, positions).expect("whole fragments");
        let documents: Vec<usize> = (0..n_fragments).collect();
        let fragments = FragmentSet::new(&tokens, &documents).expect("fragments");
        // Sixteenths, so that bins are exact.
        let codes = Matrix::from_fn(n_fragments * positions, 3, |_, feature| {
            let code = stream.below(17) as f32 / 16.0 - if signed { 0.25 } else { 0.0 };
            if feature == 1 && code < 0.8 { 0.0 } else { code }
        });
        let found = shapes(&codes, fragments, first, block);
        for (feature, shape) in found.iter().enumerate() {
            assert_shape(shape, &of_feature(&codes, fragments, first, feature));
            let lists = shape.histogram.tokens.iter().map(|list| &list.counts).chain([&shape.histogram.rest]);
            prop_assert_eq!(lists.flatten().sum::<u64>(), shape.histogram.n_firing);
        }
        prop_assert_eq!(found, shapes(&codes, fragments, first, 7), "blocks change nothing");
    }
}

#[test]
fn a_shape_by_hand() {
    let tokens = TokenBatch::new(vec![9, 5, 5, 7, 9, 5, 7, 7], 4).expect("two fragments");
    let fragments = FragmentSet::new(&tokens, &[0, 1]).expect("fragments");
    let values = [100.0, 1.0, 0.0, 2.0, 100.0, 4.0, 0.0, 0.0];
    let codes = Matrix::from_vec(8, 1, values.to_vec()).expect("one feature");
    let shape = shapes(&codes, fragments, 1, 2).remove(0);
    let histogram = &shape.histogram;
    assert_eq!((shape.n_tokens, histogram.n_firing, histogram.low, histogram.high), (6, 3, 0.0, 4.0));
    let places = |counts: &[u64]| -> Vec<usize> { (0..20).filter(|&bin| counts[bin] > 0).collect() };
    assert_eq!(histogram.tokens[0].token, 5);
    assert_eq!(places(&histogram.tokens[0].counts), vec![5, 19], "1 and 4 in steps of 0.2");
    assert_eq!((histogram.tokens[1].token, places(&histogram.tokens[1].counts)), (7, vec![10]));
    assert_eq!((histogram.tokens.len(), places(&histogram.rest)), (2, Vec::new()));
    // Mean 7/6, m₂ = 77/36, m₄ = Σ(x − 7/6)⁴ / 6 over 1, 0, 2, 4, 0, 0.
    let fourths: f64 = [1.0f64, 0.0, 2.0, 4.0, 0.0, 0.0].iter().map(|x| (x - 7.0 / 6.0).powi(4)).sum();
    let expected = fourths / 6.0 / (77.0f64 / 36.0).powi(2) - 3.0;
    assert!((shape.kurtosis.expect("it varies") - expected).abs() < 1e-12);
}

#[test]
fn a_code_that_never_varies_has_no_kurtosis_and_wrong_blocks_are_refused() {
    let tokens = blank_tokens(3, 2);
    let fragments = FragmentSet::new(&tokens, &[0, 0, 0]).expect("fragments");
    let constant = codes(3, 2, 2, |_, _, feature| feature as f32);
    let found = shapes(&constant, fragments, 0, 3);
    assert_eq!(found.iter().map(|shape| shape.kurtosis).collect::<Vec<_>>(), vec![None, None]);
    assert_eq!(found[0].histogram.n_firing, 0);
    let mut survey = ShapeSurvey::new(fragments, 0, 2);
    assert!(survey.add_block(2, &constant).is_err(), "beyond the last fragment");
    assert!(survey.add_block(0, &Matrix::zeros(6, 1)).is_err(), "another number of features");
    assert!(survey.add_block(0, &Matrix::zeros(5, 2)).is_err(), "half a fragment");
}
