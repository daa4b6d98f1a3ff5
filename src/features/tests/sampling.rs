use super::super::{Chosen, FeatureSummary, FragmentSet, Protocol, Stratum};
use super::{blank_tokens, codes, summarise};

/// Mean of (observed − expected)² / variance over cells of equal inclusion probability; about 1 if sampling
/// is correct.
fn dispersion(counts: &[usize], draws: usize, probability: f64) -> f64 {
    let expected = draws as f64 * probability;
    let variance = expected * (1.0 - probability);
    counts.iter().map(|&count| (count as f64 - expected).powi(2) / variance).sum::<f64>()
        / counts.len() as f64
}

fn inclusion_counts<'a>(lists: impl Iterator<Item = &'a Vec<Chosen>>, n: usize) -> Vec<usize> {
    let mut counts = vec![0; n];
    for chosen in lists.flatten() {
        counts[chosen.fragment as usize] += 1;
    }
    counts
}

#[test]
fn samples_are_uniform_and_their_probabilities_exact_with_one_fragment_per_document() {
    let (n, firing, n_features) = (220, 120, 3_000);
    let tokens = blank_tokens(n, 2);
    let documents: Vec<usize> = (0..n).collect();
    let set = FragmentSet::new(&tokens, &documents).expect("valid");
    // Fragments 0..20 are the top, 20..120 fire weakly, the others are silent.
    let codes = codes(n, 2, n_features, |fragment, position, _| match (position, fragment) {
        (1, 0..20) => 100.0 - fragment as f32,
        (1, 20..120) => 1.0 + (fragment % 7) as f32,
        _ => 0.0,
    });
    let protocol = Protocol { n_more_random: 30, n_non_firing: 40, ..Protocol::standard() };
    let summaries = summarise(&codes, set, &protocol, 5, 64);

    for summary in &summaries[..20] {
        let top: Vec<u32> = summary.top.iter().map(|chosen| chosen.fragment).collect();
        assert_eq!(top, (0..20).collect::<Vec<u32>>());
        assert_eq!((summary.firing_fragments, summary.firing_documents), (firing, firing));
        assert!(summary.random.iter().all(|chosen| (chosen.probability - 0.2).abs() < 1e-12));
        assert!(summary.non_firing.iter().all(|chosen| (chosen.probability - 0.4).abs() < 1e-12));
        let more = 0.8 * 30.0 / 80.0;
        assert!(summary.more_random.iter().all(|chosen| (chosen.probability - more).abs() < 1e-12));
        let quantile = (0.2 + more) * 1.0;
        assert!(summary.quantiles.iter().flatten().all(|pick| (pick.probability - quantile).abs() < 1e-12));
    }
    let uniform = |counts: &[usize], probability| {
        let value = dispersion(counts, n_features, probability);
        assert!((0.55..1.6).contains(&value), "dispersion {value}");
    };
    uniform(&inclusion_counts(summaries.iter().map(|s| &s.random), n)[20..120], 0.2);
    uniform(&inclusion_counts(summaries.iter().map(|s| &s.more_random), n)[20..120], 0.3);
    uniform(&inclusion_counts(summaries.iter().map(|s| &s.non_firing), n)[120..], 0.4);
}

/// Documents with (firing, silent) fragments: 0..30 with (3, 0), 30..60 with (2, 2), 60..90 with (1, 3),
/// 90..120 with (0, 2).
fn mixed_documents() -> (Vec<usize>, Vec<bool>) {
    let (mut documents, mut fires) = (Vec::new(), Vec::new());
    for document in 0..120 {
        let (n_firing, n_silent) = match document {
            0..30 => (3, 0),
            30..60 => (2, 2),
            60..90 => (1, 3),
            _ => (0, 2),
        };
        for nth in 0..n_firing + n_silent {
            documents.push(document);
            fires.push(nth < n_firing);
        }
    }
    (documents, fires)
}

#[test]
fn weights_give_back_the_population_where_documents_hold_several_fragments() {
    let (documents, fires) = mixed_documents();
    let (n, n_features) = (documents.len(), 4_000);
    let tokens = blank_tokens(n, 2);
    let set = FragmentSet::new(&tokens, &documents).expect("valid");
    let strength =
        |fragment: usize| if documents[fragment] < 20 { 50.0 } else { 1.0 + (fragment % 5) as f32 };
    let codes =
        codes(
            n,
            2,
            n_features,
            |fragment, position, _| {
                if position == 1 && fires[fragment] { strength(fragment) } else { 0.0 }
            },
        );
    let protocol = Protocol { n_random: 20, n_more_random: 15, n_non_firing: 30, ..Protocol::standard() };
    let summaries = summarise(&codes, set, &protocol, 1, 1_000);

    let outside_top = |fragment: usize| documents[fragment] >= 20;
    let population =
        |firing| (0..n).filter(|&fragment| outside_top(fragment) && fires[fragment] == firing).count() as f64;
    let estimate = |list: fn(&FeatureSummary) -> &Vec<Chosen>| {
        let sum: f64 = summaries.iter().flat_map(list).map(|chosen| 1.0 / chosen.probability).sum();
        sum / n_features as f64
    };
    let close = |estimate: f64, truth: f64| {
        assert!((estimate / truth - 1.0).abs() < 0.01, "estimate {estimate}, truth {truth}");
    };
    close(estimate(|summary| &summary.random), population(true));
    close(estimate(|summary| &summary.more_random), population(true));
    close(estimate(|summary| &summary.non_firing), population(false));

    // Each fragment's weights sum to one per feature, on average.
    let mut weight = vec![0.0; n];
    for chosen in summaries.iter().flat_map(|summary| &summary.random) {
        weight[chosen.fragment as usize] += 1.0 / chosen.probability / n_features as f64;
    }
    for fragment in (0..n).filter(|&fragment| outside_top(fragment) && fires[fragment]) {
        assert!((weight[fragment] - 1.0).abs() < 0.25, "fragment {fragment}: {}", weight[fragment]);
    }
}

#[test]
fn a_feature_uses_a_document_once() {
    let (documents, fires) = mixed_documents();
    let n = documents.len();
    let tokens = blank_tokens(n, 2);
    let set = FragmentSet::new(&tokens, &documents).expect("valid");
    let codes = codes(n, 2, 50, |fragment, position, feature| {
        let value = ((fragment * 31 + feature * 17) % 23) as f32 / 23.0 + 0.01;
        if position == 1 && fires[fragment] { value } else { 0.0 }
    });
    for summary in summarise(&codes, set, &Protocol::standard(), 3, 7) {
        let used: Vec<usize> = summary.fragments().map(|fragment| documents[fragment]).collect();
        let mut distinct = used.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(used.len(), distinct.len(), "feature {}", summary.feature);
        for chosen in &summary.top {
            let fragment = chosen.fragment as usize;
            let best = (0..n)
                .filter(|&other| documents[other] == documents[fragment])
                .map(|other| codes.at(2 * other + 1, summary.feature))
                .fold(0.0, f32::max);
            assert_eq!(chosen.max, best, "a document enters the top by its best fragment");
        }
        assert!(summary.top.windows(2).all(|pair| pair[0].max >= pair[1].max));
        assert!(summary.random.iter().all(|chosen| fires[chosen.fragment as usize]));
        assert!(summary.non_firing.iter().all(|chosen| !fires[chosen.fragment as usize]));
    }
}

#[test]
fn dense_features_fill_up_with_their_lowest_maxima() {
    let n = 300;
    let tokens = blank_tokens(n, 2);
    let documents: Vec<usize> = (0..n).collect();
    let set = FragmentSet::new(&tokens, &documents).expect("valid");
    // Silent on 12 fragments only; the maximum grows with the fragment's number.
    let codes = codes(
        n,
        2,
        30,
        |fragment, position, _| {
            if position == 0 || fragment % 25 == 0 { 0.0 } else { fragment as f32 }
        },
    );
    for summary in summarise(&codes, set, &Protocol::standard(), 3, 11) {
        let of = |stratum| summary.non_firing.iter().filter(move |chosen| chosen.stratum == stratum);
        assert_eq!(of(Stratum::NonFiring).count(), 12);
        let mut lowest: Vec<u32> = of(Stratum::LowestMaximum).map(|chosen| chosen.fragment).collect();
        lowest.sort_unstable();
        let expected: Vec<u32> = (0..n as u32).filter(|fragment| fragment % 25 != 0).take(38).collect();
        assert_eq!(lowest, expected);
        assert_eq!(summary.random.len(), 20);
        let drawn_from = (n - 12 - 20 - 38) as f64;
        assert!(summary.random.iter().all(|chosen| (chosen.probability - 20.0 / drawn_from).abs() < 1e-12));
    }
}

#[test]
fn quantiles_cut_the_firing_sample_by_rank() {
    let n = 500;
    let tokens = blank_tokens(n, 2);
    let documents: Vec<usize> = (0..n).collect();
    let set = FragmentSet::new(&tokens, &documents).expect("valid");
    let codes = codes(
        n,
        2,
        4,
        |fragment, position, _| {
            if position == 1 && fragment < 320 { 1.0 + fragment as f32 } else { 0.0 }
        },
    );
    for summary in summarise(&codes, set, &Protocol::standard(), 8, 100) {
        let sampled: Vec<&Chosen> = summary.random.iter().chain(&summary.more_random).collect();
        assert_eq!(sampled.len(), 220);
        assert_eq!(summary.quantiles.len(), 10);
        let max_of = |fragment: usize| 1.0 + fragment as f32;
        for pair in summary.quantiles.windows(2) {
            assert_eq!(pair[0].len(), 5);
            let lowest = pair[0].iter().map(|pick| max_of(pick.fragment)).fold(f32::INFINITY, f32::min);
            let highest = pair[1].iter().map(|pick| max_of(pick.fragment)).fold(0.0, f32::max);
            assert!(lowest > highest);
        }
        for pick in summary.quantiles.iter().flatten() {
            assert!(sampled.iter().any(|chosen| chosen.fragment as usize == pick.fragment));
            assert!((pick.probability - 220.0 / 300.0 * 5.0 / 22.0).abs() < 1e-12);
        }
    }
}
