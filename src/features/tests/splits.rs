use std::collections::HashSet;

use proptest::prelude::*;

use crate::base::{Matrix, Stream};

use super::super::{Deviation, FeatureError, FragmentSet, Protocol, Stratum, split};
use super::{blank_tokens, codes, record_of, summarise};

fn random_codes(n: usize, positions: usize, density: f64, seed: u64) -> Matrix {
    let mut stream = Stream::new(seed, "codes");
    Matrix::from_fn(
        n * positions,
        3,
        |_, _| {
            if stream.chance(density) { stream.unit() as f32 + 0.01 } else { 0.0 }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_document_both_explains_and_scores(
        n in 70usize..400,
        windows in 1usize..4,
        density in 0.02f64..0.9,
        seed in 0u64..1_000,
        disjoint_published in any::<bool>(),
    ) {
        let documents: Vec<usize> = (0..n).map(|fragment| fragment / windows).collect();
        let tokens = blank_tokens(n, 4);
        let set = FragmentSet::new(&tokens, &documents).expect("valid");
        let codes = random_codes(n, 4, density, seed);
        let protocol = if disjoint_published {
            Protocol::cunningham2023(&[Deviation::Disjoint])
        } else {
            Protocol::standard()
        };
        let summaries = summarise(&codes, set, &protocol, seed, 64);
        let walk = super::super::walk(&summaries, 3, &protocol, &mut Stream::new(seed, "walk"));
        for summary in walk.summaries(&summaries) {
            let record = record_of(summary, &codes, set, &protocol);
            let (evidence, held) = split(&record, &protocol).expect("eligible features can be split");
            let explained: HashSet<usize> =
                evidence.records().iter().map(|record| record.document).collect();
            prop_assert_eq!(explained.len(), evidence.records().len());
            let scored: HashSet<usize> =
                held.fragments().iter().map(|fragment| fragment.document).collect();
            prop_assert_eq!(scored.len(), held.fragments().len());
            prop_assert!(explained.is_disjoint(&scored));
            prop_assert!(held.beyond_token().len() <= protocol.n_beyond_token);
            let judged: HashSet<usize> =
                held.judged().iter().map(|judged| judged.held.document).collect();
            prop_assert!(explained.is_disjoint(&judged));
            let of_either = |fires| held.judged().iter().filter(|judged| judged.fires == fires).count();
            prop_assert_eq!(of_either(true), of_either(false));
            let peak = |activations: &[f32]| {
                activations[protocol.first_scored()..].iter().copied().fold(f32::MIN, f32::max)
            };
            for judged in held.judged() {
                let peak = peak(&judged.held.activations);
                match judged.stratum {
                    Stratum::Random | Stratum::MoreRandom => prop_assert!(judged.fires && peak > 0.0),
                    Stratum::NonFiring => prop_assert!(!judged.fires && peak <= 0.0),
                    _ => prop_assert!(!judged.fires),
                }
            }
            let (kept, calibration) = evidence.divide();
            let shown: HashSet<usize> = kept.records().iter().map(|record| record.document).collect();
            let compared: HashSet<usize> =
                calibration.fragments().iter().map(|fragment| fragment.document).collect();
            prop_assert!(shown.is_disjoint(&compared) && shown.union(&compared).count() == explained.len());
            prop_assert!(scored.is_disjoint(&compared) && judged.is_disjoint(&compared));
            let picks = [held.top(), held.random(), held.non_firing(), held.beyond_token()].concat();
            prop_assert!(picks.iter().all(|pick| pick.probability > 0.0 && pick.probability <= 1.0));
            prop_assert!(picks.iter().all(|pick| pick.fragment < held.fragments().len()));
        }
    }
}

#[test]
fn the_standard_split() {
    let n = 600;
    let documents: Vec<usize> = (0..n).collect();
    let tokens = blank_tokens(n, 2);
    let set = FragmentSet::new(&tokens, &documents).expect("valid");
    let codes = codes(
        n,
        2,
        1,
        |fragment, position, _| {
            if position == 1 && fragment < 320 { (1_000 - fragment) as f32 } else { 0.0 }
        },
    );
    let protocol = Protocol::standard();
    let summary = &summarise(&codes, set, &protocol, 6, n)[0];
    let record = record_of(summary, &codes, set, &protocol);
    let (evidence, held) = split(&record, &protocol).expect("split");

    let top: Vec<usize> = evidence.records()[..10].iter().map(|record| record.fragment).collect();
    assert_eq!(top, (0..20).step_by(2).collect::<Vec<_>>());
    let strata = |stratum| evidence.records().iter().filter(|record| record.stratum == stratum).count();
    let of_each = [Stratum::Top, Stratum::Random, Stratum::NonFiring].map(strata);
    assert_eq!((evidence.records().len(), of_each), (30, [10, 10, 10]));
    assert_eq!(evidence.firing_records().count(), 20);
    assert_eq!(evidence.scored_tokens().count(), 30, "position 0 is left out");

    let few = held.protocol_only();
    assert_eq!((few.fragments().len(), few.beyond_token().len()), (30, 10));
    for (mine, all) in
        [(few.top(), held.top()), (few.random(), held.random()), (few.non_firing(), held.non_firing())]
    {
        let of =
            |held: &super::super::Held, pick: &super::super::Pick| held.fragments()[pick.fragment].fragment;
        assert!(mine.iter().map(|pick| of(&few, pick)).eq(all.iter().map(|pick| of(&held, pick))));
    }
    let random: Vec<usize> = few.random().iter().map(|pick| pick.fragment).collect();
    assert!(few.beyond_token().iter().all(|pick| random.contains(&pick.fragment)));

    let fragments_of = |picks: &[super::super::Pick]| {
        picks.iter().map(|pick| held.fragments()[pick.fragment].fragment).collect::<Vec<_>>()
    };
    assert_eq!(fragments_of(held.top()), (1..20).step_by(2).collect::<Vec<_>>());
    let random: Vec<usize> = record.random.iter().skip(1).step_by(2).map(|record| record.fragment).collect();
    assert_eq!(fragments_of(held.random()), random);
    assert_eq!(held.beyond_token().len(), 200);
    assert_eq!(fragments_of(held.beyond_token())[..10], random[..], "those scored anyway come first");
    // 10 of the top 20, 10 of the 300 that fire outside the top, 10 of the 280 silent ones.
    assert!(held.top().iter().all(|pick| pick.probability == 0.5));
    assert!(held.random().iter().all(|pick| (pick.probability - 10.0 / 300.0).abs() < 1e-12));
    assert!(held.non_firing().iter().all(|pick| (pick.probability - 10.0 / 280.0).abs() < 1e-12));
    assert_eq!(held.fragments().len(), 10 + 200 + 10);

    // 40 of the 50 non-firing fragments are not explained on; each quantile contributes equally many.
    let judged: Vec<usize> = held.judged().iter().map(|judged| judged.held.fragment).collect();
    assert_eq!(judged.len(), 80);
    assert!(judged[..40].iter().all(|fragment| (20..320).contains(fragment)));
    assert!(judged[40..].iter().all(|fragment| *fragment >= 320));
    for group in &record.quantiles {
        let of_group = group.iter().filter(|pick| judged[..40].contains(&pick.fragment)).count();
        assert_eq!(of_group, 4, "{group:?}");
    }
    assert_eq!(few.judged(), held.judged());

    let (kept, calibration) = evidence.divide();
    let kept: Vec<usize> = kept.records().iter().map(|record| record.fragment).collect();
    let compared: Vec<usize> = calibration.fragments().iter().map(|fragment| fragment.fragment).collect();
    assert_eq!((&kept[..5], &compared[..5]), (&[0, 4, 8, 12, 16][..], &[2, 6, 10, 14, 18][..]));
    assert_eq!((kept.len(), compared.len()), (20, 10));
}

#[test]
fn a_dense_feature_is_judged_against_where_it_fires_least() {
    let n = 400;
    let documents: Vec<usize> = (0..n).collect();
    let tokens = blank_tokens(n, 2);
    let set = FragmentSet::new(&tokens, &documents).expect("valid");
    let codes = codes(n, 2, 1, |fragment, _, _| fragment as f32 + 1.0);
    let protocol = Protocol::standard();
    let record = record_of(&summarise(&codes, set, &protocol, 6, n)[0], &codes, set, &protocol);
    let (_, held) = split(&record, &protocol).expect("the list is filled up");
    let (firing, least): (Vec<_>, Vec<_>) = held.judged().iter().partition(|judged| judged.fires);
    assert_eq!((firing.len(), least.len()), (40, 40));
    assert!(least.iter().all(|judged| judged.stratum == Stratum::LowestMaximum && judged.held.fragment < 50));
    assert!(firing.iter().all(|judged| judged.held.fragment >= 50));
}

#[test]
fn the_published_split_may_repeat_a_top_fragment() {
    let n = 24;
    let documents: Vec<usize> = (0..n).collect();
    let tokens = blank_tokens(n, 2);
    let set = FragmentSet::new(&tokens, &documents).expect("valid");
    let codes = codes(n, 2, 1, |fragment, _, _| (100 - fragment) as f32);
    let protocol = Protocol::cunningham2023(&[]);
    let summary = &summarise(&codes, set, &protocol, 6, n)[0];
    let record = record_of(summary, &codes, set, &protocol);
    let (evidence, held) = split(&record, &protocol).expect("split");
    let explained: Vec<usize> = evidence.records().iter().map(|record| record.fragment).collect();
    assert_eq!(explained, [0, 4, 8, 12, 16]);
    let top: Vec<usize> = held.top().iter().map(|pick| held.fragments()[pick.fragment].fragment).collect();
    assert_eq!(top, [2, 6, 10, 14, 18]);
    assert_eq!((held.random().len(), held.first_scored()), (5, 0));
    let random: HashSet<usize> = record.random.iter().map(|record| record.fragment).collect();
    assert!(random.iter().filter(|fragment| **fragment < 20).count() >= 16, "20 of 24 drawn, 20 of them top");
    let beyond: Vec<usize> =
        held.beyond_token().iter().map(|pick| held.fragments()[pick.fragment].fragment).collect();
    assert!(beyond.iter().all(|fragment| !explained.contains(fragment)));
}

#[test]
fn a_short_record_is_refused() {
    let documents: Vec<usize> = (0..30).collect();
    let tokens = blank_tokens(30, 2);
    let set = FragmentSet::new(&tokens, &documents).expect("valid");
    let codes = codes(30, 2, 1, |fragment, _, _| fragment as f32 + 1.0);
    let protocol = Protocol::standard();
    let record = record_of(&summarise(&codes, set, &protocol, 6, 30)[0], &codes, set, &protocol);
    assert!(matches!(split(&record, &protocol), Err(FeatureError::TooFew { list: "random", .. })));
}
