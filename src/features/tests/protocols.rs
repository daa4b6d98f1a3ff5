use super::super::{Deviation, FiringRule, Picks, Protocol, Stride, WalkOrder};

#[test]
fn both_protocols_are_consistent_and_survive_json() {
    let all = [Deviation::Sampled, Deviation::Disjoint, Deviation::Centred];
    for protocol in [Protocol::standard(), Protocol::cunningham2023(&[]), Protocol::cunningham2023(&all)] {
        protocol.check().expect("consistent");
        let json = serde_json::to_string(&protocol).expect("written");
        assert_eq!(serde_json::from_str::<Protocol>(&json).expect("read"), protocol);
    }
}

#[test]
fn the_published_constants() {
    let published = Protocol::cunningham2023(&[]);
    let ranks = |stride: Stride| stride.ranks().collect::<Vec<_>>();
    assert_eq!(ranks(published.explain.top), [0, 4, 8, 12, 16]);
    assert_eq!(ranks(published.score.top), [2, 6, 10, 14, 18]);
    assert_eq!(ranks(published.score.random), [1, 4, 7, 10, 13]);
    assert_eq!(published.walk, WalkOrder::First(150));
    assert!(published.overlap_allowed && published.score_first_position && !published.centred);
    let opted_out = Protocol::cunningham2023(&[Deviation::Sampled, Deviation::Disjoint, Deviation::Centred]);
    assert_eq!(opted_out.walk, WalkOrder::Permutation);
    assert!(!opted_out.overlap_allowed && opted_out.centred);
    assert_eq!(opted_out.deviations.len(), 3);
    assert!(FiringRule::MaxNonzero.fires(-1.0) && !FiringRule::MaxPositive.fires(-1.0));
}

#[test]
fn contradictions_are_all_named_at_once() {
    let standard = Protocol::standard();
    let leaking = Protocol {
        explain: Picks { top: Stride { start: 0, step: 3, n: 9 }, ..standard.explain },
        min_firing_fragments: 10,
        n_quantiles: 0,
        ..standard
    };
    let message = leaking.check().expect_err("refused").to_string();
    for part in ["rank 3 of `top`", "takes rank 24", "`min_firing_fragments` is 10", "`n_quantiles`"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn strides_equal_the_published_splits() {
    let Ok(shared) = std::env::var("AUTOINTERP_SHARED") else {
        println!("skipped: AUTOINTERP_SHARED is not set");
        return;
    };
    let text = std::fs::read_to_string(format!("{shared}/neuron_data/splits_golden.json")).expect("read");
    let cases: Vec<serde_json::Value> = serde_json::from_str(&text).expect("a list");
    assert!(!cases.is_empty());
    for case in cases {
        let number = |key: &str| case[key].as_u64().map(|number| number as usize);
        let (top, random) = (number("n_top").expect("n_top"), number("n_random").expect("n_random"));
        let n = number("n_examples_per_split");
        let names = |list: &str, start, step, n| {
            Stride { start, step, n }.ranks().map(|rank| format!("{list}{rank}")).collect::<Vec<_>>()
        };
        let published = |key: &str| {
            let list = case[key].as_array().expect("a list");
            list.iter().map(|name| name.as_str().expect("a name").to_string()).collect::<Vec<_>>()
        };
        let (n_top, n_random) = (n.unwrap_or(top / 4), n.unwrap_or(random / 3));
        assert_eq!(published("train"), names("t", 0, 4, n_top));
        for (key, top_start, random_start) in [("calibration", 1, 0), ("valid", 2, 1), ("test", 3, 2)] {
            let mut expected = names("t", top_start, 4, n_top);
            expected.extend(names("r", random_start, 3, n_random));
            assert_eq!(published(key), expected);
        }
    }
}
