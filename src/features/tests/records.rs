use crate::base::{Matrix, Missing, Stream};
use crate::linalg::SparseCodes;

use super::super::{
    ChosenActivations, FeatureError, FeatureRecord, FeatureSummary, FragmentSet, Protocol, RecordBuilder,
    SkipReason, WalkOrder, ten_point_scale, walk, walk_chosen,
};
use super::{blank_tokens, codes, record_of, rows, summarise};

/// Codes of features from dense to almost silent: feature `f` fires with probability 0.2 · 2^−f.
fn varied(n: usize, positions: usize, n_features: usize) -> Matrix {
    let mut stream = Stream::new(9, "codes");
    Matrix::from_fn(n * positions, n_features, |_, feature| {
        let value = stream.unit();
        let threshold = 1.0 - 0.5_f64.powi(feature as i32) * 0.2;
        if value > threshold { (value - threshold) as f32 } else { 0.0 }
    })
}

#[test]
fn neither_blocks_nor_threads_nor_storage_change_a_record() {
    let (n, positions) = (240, 6);
    let codes = varied(n, positions, 9);
    let tokens = blank_tokens(n, positions);
    let documents: Vec<usize> = (0..n).map(|fragment| (fragment * 7) % 150).collect();
    let set = FragmentSet::new(&tokens, &documents).expect("valid");
    let protocol = Protocol::standard();
    let whole = summarise(&codes, set, &protocol, 4, n);
    for block in [1, 17, 100] {
        assert_eq!(whole, summarise(&codes, set, &protocol, 4, block));
    }
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("pool");
        assert_eq!(whole, pool.install(|| summarise(&codes, set, &protocol, 4, 50)));
    }
    assert_eq!(whole, sparse_summaries(&codes, set, &protocol, 4, 31));
    assert_ne!(whole, summarise(&codes, set, &protocol, 5, n));
}

fn sparse_summaries(
    codes: &Matrix,
    set: FragmentSet<'_>,
    protocol: &Protocol,
    seed: u64,
    block: usize,
) -> Vec<FeatureSummary> {
    let mut stream = Stream::new(seed, "records");
    let mut builder = RecordBuilder::new(codes.cols(), set, protocol, &mut stream).expect("valid");
    for first in (0..set.len()).step_by(block) {
        let last = (first + block).min(set.len());
        let sparse = SparseCodes::from_dense(&rows(codes, first * set.positions()..last * set.positions()));
        builder.add_sparse_block(first, &sparse).expect("block fits");
    }
    builder.finish().expect("all fragments given")
}

#[test]
fn position_0_counts_only_where_the_protocol_says_so() {
    let tokens = blank_tokens(3, 2);
    let documents = [0, 1, 2];
    let set = FragmentSet::new(&tokens, &documents).expect("valid");
    let codes = codes(3, 2, 1, |fragment, position, _| match (fragment, position) {
        (0, 0) => 9.0,
        (1, 1) => 2.0,
        _ => 0.0,
    });
    let standard = &summarise(&codes, set, &Protocol::standard(), 0, 3)[0];
    assert_eq!((standard.n_tokens, standard.firing_tokens, standard.max_activation), (3, 1, 2.0));
    let published = &summarise(&codes, set, &Protocol::cunningham2023(&[]), 0, 3)[0];
    assert_eq!((published.n_tokens, published.firing_tokens, published.max_activation), (6, 2, 9.0));
    assert_eq!(published.density(), 2.0 / 6.0);
}

#[test]
fn signed_codes_fire_where_they_are_positive() {
    let (n, positions) = (120, 3);
    let tokens = blank_tokens(n, positions);
    let documents: Vec<usize> = (0..n).collect();
    let set = FragmentSet::new(&tokens, &documents).expect("valid");
    let codes =
        codes(
            n,
            positions,
            1,
            |fragment, position, _| {
                if fragment % 2 == 0 && position == 2 { 1.0 + fragment as f32 } else { -3.0 }
            },
        );
    let standard = &summarise(&codes, set, &Protocol::standard(), 0, n)[0];
    assert_eq!(standard.firing_fragments, 60);
    assert!(standard.non_firing.iter().all(|chosen| chosen.max == -3.0));
    let published = &summarise(&codes, set, &Protocol::cunningham2023(&[]), 0, n)[0];
    assert_eq!(published.firing_fragments, 120, "max is nowhere exactly zero");
    assert!(published.random.iter().any(|chosen| chosen.max < 0.0));
}

#[test]
fn walks_count_every_feature_they_pass() {
    let (n, positions) = (400, 4);
    let tokens = blank_tokens(n, positions);
    let documents: Vec<usize> = (0..n).collect();
    let set = FragmentSet::new(&tokens, &documents).expect("valid");
    // Every third feature is dead, every third fires on 30 fragments, the others on 100.
    let codes = codes(n, positions, 60, |fragment, position, feature| {
        let firing = [0, 30, 100][feature % 3];
        if position == 2 && fragment < firing { 1.0 + fragment as f32 } else { 0.0 }
    });
    let protocol = Protocol::standard();
    let summaries = summarise(&codes, set, &protocol, 2, 64);
    let some = walk(&summaries, 5, &protocol, &mut Stream::new(1, "walk"));
    assert_eq!(some.eligible().count(), 5);
    assert!(some.eligible().all(|feature| feature % 3 == 2));
    assert_eq!(some.walked.last().map(|last| last.skipped), Some(None), "stops at the last one needed");
    for walked in &some.walked {
        let expected = [Some(SkipReason::Dead), Some(SkipReason::TooFewFiringFragments), None];
        assert_eq!(walked.skipped, expected[walked.feature % 3]);
    }
    assert_eq!(some, walk(&summaries, 5, &protocol, &mut Stream::new(1, "walk")));
    let all = walk(&summaries, 100, &protocol, &mut Stream::new(1, "walk"));
    assert_eq!((all.walked.len(), all.eligible().count()), (60, 20));
    assert_eq!(all.walked[..some.walked.len()], some.walked[..]);
    assert_eq!(all.eligible_share(), Some(1.0 / 3.0));
    let first = Protocol { walk: WalkOrder::First(7), ..protocol };
    let first = walk(&summaries, 1, &first, &mut Stream::new(1, "walk"));
    assert_eq!(
        first.walked.iter().map(|walked| walked.feature).collect::<Vec<_>>(),
        (0..7).collect::<Vec<_>>()
    );
    assert_eq!(SkipReason::Dead.missing(), Missing::Skipped("dead".into()));
}

#[test]
fn chosen_features_are_walked_in_their_order_and_have_the_records_of_a_full_pass() {
    let (n, positions) = (400, 4);
    let tokens = blank_tokens(n, positions);
    let documents: Vec<usize> = (0..n).collect();
    let set = FragmentSet::new(&tokens, &documents).expect("valid");
    let codes = codes(n, positions, 9, |fragment, position, feature| {
        let firing = [0, 30, 100][feature % 3];
        if position == 2 && fragment < firing { 1.0 + fragment as f32 } else { 0.0 }
    });
    let protocol = Protocol::standard();
    let whole = summarise(&codes, set, &protocol, 2, 64);
    let (ids, ascending) = ([8, 0, 2, 4], vec![0, 2, 4, 8]);
    let mut stream = Stream::new(2, "records");
    let mut builder =
        RecordBuilder::of_features(ascending.clone(), 9, set, &protocol, &mut stream).expect("valid");
    let part = Matrix::from_fn(codes.rows(), 4, |row, col| codes.at(row, ascending[col]));
    builder.add_block(0, &part).expect("block fits");
    let some = builder.finish().expect("all fragments given");
    let expected: Vec<FeatureSummary> = ascending.iter().map(|&feature| whole[feature].clone()).collect();
    assert_eq!(some, expected);
    let first = Protocol { walk: WalkOrder::First(3), ..protocol.clone() };
    for (summaries, protocol) in [(&some, &protocol), (&whole, &protocol), (&whole, &first)] {
        let walk = walk_chosen(summaries, &ids, protocol);
        let features: Vec<usize> = walk.walked.iter().map(|walked| walked.feature).collect();
        assert_eq!(features, ids);
        let skipped: Vec<Option<SkipReason>> = walk.walked.iter().map(|walked| walked.skipped).collect();
        assert_eq!(skipped, [None, Some(SkipReason::Dead), None, Some(SkipReason::TooFewFiringFragments)]);
        let eligible: Vec<usize> = walk.summaries(summaries).map(|summary| summary.feature).collect();
        assert_eq!(eligible, [8, 2]);
    }
    let mut stream = Stream::new(2, "records");
    let mut builder = RecordBuilder::of_features(ascending, 9, set, &protocol, &mut stream).expect("valid");
    let broken =
        Matrix::from_fn(codes.rows(), 4, |row, col| if (row, col) == (5, 3) { f32::NAN } else { 0.0 });
    let error = builder.add_block(0, &broken).expect_err("not a number");
    assert!(matches!(error, FeatureError::NotFinite { feature: 8, fragment: 1, .. }), "{error}");
}

#[test]
fn small_corpora_are_refused_feature_by_feature() {
    let tokens = blank_tokens(45, 2);
    let documents: Vec<usize> = (0..45).collect();
    let set = FragmentSet::new(&tokens, &documents).expect("valid");
    let codes = codes(45, 2, 1, |fragment, _, _| 1.0 + fragment as f32);
    let protocol = Protocol::standard();
    let summaries = summarise(&codes, set, &protocol, 2, 45);
    let walk = walk(&summaries, 1, &protocol, &mut Stream::new(1, "walk"));
    assert_eq!(walk.walked[0].skipped, Some(SkipReason::TooFewNonFiringFragments));
}

#[test]
fn records_hold_the_activations_asked_for_and_survive_json() {
    let (n, positions) = (150, 5);
    let codes = varied(n, positions, 4);
    let tokens = blank_tokens(n, positions);
    let documents: Vec<usize> = (1_000..1_000 + n).collect();
    let set = FragmentSet::new(&tokens, &documents).expect("valid");
    let protocol = Protocol::standard();
    let summaries = summarise(&codes, set, &protocol, 2, 64);
    let walk = walk(&summaries, 3, &protocol, &mut Stream::new(1, "walk"));
    let eligible: Vec<&FeatureSummary> = walk.summaries(&summaries).collect();
    assert!(!eligible.is_empty());
    let mut chosen = ChosenActivations::new(eligible.iter().copied(), positions);
    assert_eq!(chosen.fragments(), walk.needed_fragments(&summaries));
    for block in chosen.fragments().chunks(13) {
        let wanted: Vec<usize> =
            block.iter().flat_map(|fragment| fragment * positions..(fragment + 1) * positions).collect();
        let codes = codes.select_rows(&wanted);
        let columns = chosen.features();
        let codes = Matrix::from_fn(codes.rows(), columns.len(), |row, col| codes.at(row, columns[col]));
        chosen.add_block(block, &codes).expect("block fits");
    }
    for summary in eligible {
        let from_blocks =
            FeatureRecord::assemble(summary, set, 1, |feature, fragment| chosen.get(feature, fragment))
                .expect("assembled");
        assert_eq!(from_blocks, record_of(summary, &codes, set, &protocol));
        assert_eq!(from_blocks.top[0].document, from_blocks.top[0].fragment + 1_000);
        let max = from_blocks.top[0].activations[1..].iter().copied().fold(0.0, f32::max);
        assert_eq!(max, from_blocks.max_activation);
        let json = serde_json::to_string(&from_blocks).expect("written");
        assert_eq!(serde_json::from_str::<FeatureRecord>(&json).expect("read"), from_blocks);
        assert!(!json.contains("0.0,"), "zeros are one digit");
    }
}

#[test]
fn bad_input_is_named() {
    let tokens = blank_tokens(4, 3);
    assert!(matches!(FragmentSet::new(&tokens, &[0, 1]), Err(FeatureError::Documents { fragments: 4, .. })));
    let set = FragmentSet::new(&tokens, &[0, 1, 2, 3]).expect("valid");
    let builder =
        || RecordBuilder::new(2, set, &Protocol::standard(), &mut Stream::new(0, "records")).expect("valid");
    let message = |result: Result<(), FeatureError>| result.expect_err("refused").to_string();
    let fine = Matrix::zeros(6, 2);
    assert!(message(builder().add_block(0, &Matrix::zeros(5, 2))).contains("[5, 2]"));
    assert!(message(builder().add_block(0, &Matrix::zeros(6, 3))).contains("[6, 3]"));
    assert!(message(builder().add_block(1, &fine)).contains("expected fragment 0"));
    assert!(message(builder().add_block(0, &Matrix::zeros(15, 2))).contains("expected 4"));
    let mut bad = fine.clone();
    bad.row_mut(4)[1] = f32::NAN;
    assert!(message(builder().add_block(0, &bad)).contains("feature 1 on fragment 1 is NaN"));
    let sparse = SparseCodes::from_dense(&Matrix::zeros(6, 3));
    assert!(message(builder().add_sparse_block(0, &sparse)).contains("[6, 3]"));
    let short = blank_tokens(4, 1);
    let short = FragmentSet::new(&short, &[0, 1, 2, 3]).expect("valid");
    let refused = RecordBuilder::new(2, short, &Protocol::standard(), &mut Stream::new(0, "records"));
    assert!(refused.expect_err("refused").to_string().contains("expected at least 2"));
    let mut half = builder();
    half.add_block(0, &fine).expect("fits");
    assert!(matches!(half.finish(), Err(FeatureError::FragmentCount { expected: 4, got: 2 })));
}

#[test]
fn the_ten_point_scale_floors_and_rectifies() {
    assert_eq!(ten_point_scale(&[-1.0, 0.0, 0.39, 0.4, 3.99, 4.0, 5.0], 4.0), [0, 0, 0, 1, 9, 10, 10]);
    assert_eq!(ten_point_scale(&[1.0, 2.0], 0.0), [0, 0]);
    assert_eq!(ten_point_scale(&[1.0, 2.0], f32::NAN), [0, 0]);
}
