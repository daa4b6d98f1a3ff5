use std::sync::Mutex;

use crate::base::{Attempt, Matrix, Missing, Stream, TokenBatch};
use crate::features::{
    self, Evidence, Explanation, FeatureRecord, FragmentSet, Held, Protocol, RecordBuilder,
};

use super::{
    Activate, ActivateError, ExplainError, NeuronToGraph, NeuronToGraphParams, Probe, TokenTable, TypeMeans,
    derangement, token_lookup, token_lookup_fit,
};

const PAD: u32 = 99;

/// A feature that depends on the text up to the token, with a known answer.
pub(super) type Toy = fn(&[u32]) -> f32;

/// Fires on 7 where 3 stands two places before it.
pub(super) fn seven_after_three(text: &[u32]) -> f32 {
    match text {
        [.., 3, _, 7] => 2.0,
        _ => 0.0,
    }
}

/// Fires on 9 right after 5, and less on 4 anywhere.
fn nine_after_five_or_four(text: &[u32]) -> f32 {
    match text {
        [.., 5, 9] => 3.0,
        [.., 4] => 1.0,
        _ => 0.0,
    }
}

/// Signed: negative on most tokens, positive on 2.
pub(super) fn signed(text: &[u32]) -> f32 {
    match text {
        [.., 2] => 1.5,
        [.., token] => -0.1 * *token as f32,
        [] => 0.0,
    }
}

/// Never positive.
pub(super) fn negative(_: &[u32]) -> f32 {
    -1.0
}

fn fragments(n: usize) -> TokenBatch {
    let mut stream = Stream::new(11, "tokens");
    TokenBatch::new((0..n * 64).map(|_| stream.below(12) as u32).collect(), 64).expect("whole fragments")
}

fn activations(toy: Toy, tokens: &[u32]) -> Vec<f32> {
    (0..tokens.len()).map(|position| toy(&tokens[..=position])).collect()
}

/// Evidence and held fragments of toy features, through the whole of `features`.
pub(super) fn split_all(toys: &[Toy], protocol: &Protocol) -> Vec<(Evidence, Held)> {
    let tokens = fragments(600);
    let documents: Vec<usize> = (0..600).collect();
    let set = FragmentSet::new(&tokens, &documents).expect("valid");
    let columns: Vec<Vec<f32>> = toys
        .iter()
        .map(|toy| (0..set.len()).flat_map(|fragment| activations(*toy, set.tokens(fragment))).collect())
        .collect();
    let codes = Matrix::from_fn(set.len() * 64, toys.len(), |row, feature| columns[feature][row]);
    let mut builder =
        RecordBuilder::new(toys.len(), set, protocol, &mut Stream::new(1, "records")).expect("valid");
    builder.add_block(0, &codes).expect("fits");
    builder
        .finish()
        .expect("complete")
        .iter()
        .map(|summary| {
            let lookup = |feature: usize, fragment: usize| activations(toys[feature], set.tokens(fragment));
            let record =
                FeatureRecord::assemble(summary, set, protocol.first_scored(), lookup).expect("assembled");
            features::split(&record, protocol).expect("split")
        })
        .collect()
}

fn evidence_of(splits: &[(Evidence, Held)]) -> Vec<Evidence> {
    splits.iter().map(|(evidence, _)| evidence.clone()).collect()
}

fn answer(toys: &[Toy]) -> impl Fn(&[Probe]) -> Result<Vec<f32>, ActivateError> + Sync {
    move |probes| Ok(probes.iter().map(|probe| toys[probe.feature](&probe.tokens)).collect())
}

fn pearson(pairs: &[(f64, f64)]) -> f64 {
    let n = pairs.len() as f64;
    let mean = |pick: fn(&(f64, f64)) -> f64| pairs.iter().map(pick).sum::<f64>() / n;
    let (a, b) = (mean(|pair| pair.0), mean(|pair| pair.1));
    let sum = |pick: &dyn Fn(&(f64, f64)) -> f64| pairs.iter().map(pick).sum::<f64>();
    let covariance = sum(&|pair| (pair.0 - a) * (pair.1 - b));
    covariance / (sum(&|pair| (pair.0 - a).powi(2)) * sum(&|pair| (pair.1 - b).powi(2))).sqrt()
}

/// Truth against what the explanation predicts, over all held fragments.
fn agreement(explanation: &Explanation, held: &Held) -> f64 {
    let mut pairs = Vec::new();
    for fragment in held.fragments() {
        let expected = match explanation {
            Explanation::Patterns(trie) => trie.predict(&fragment.tokens),
            Explanation::Lookup(table) => fragment.tokens.iter().map(|&token| table.mean(token)).collect(),
            Explanation::Sentence(_) | Explanation::Concept(_) => vec![0.0; fragment.tokens.len()],
        };
        let truth = fragment.activations.iter().map(|&truth| f64::from(truth));
        pairs.extend(truth.zip(expected).skip(held.first_scored()));
    }
    pearson(&pairs)
}

fn neuron_to_graph(backoff: bool) -> NeuronToGraph {
    NeuronToGraph { params: NeuronToGraphParams::default(), pad: PAD, backoff }
}

fn explain(explainer: &NeuronToGraph, evidence: &[Evidence], toys: &[Toy]) -> Vec<Explanation> {
    done(attempts(explainer, evidence, &answer(toys)).expect("answered"))
}

fn attempts(
    explainer: &NeuronToGraph,
    evidence: &[Evidence],
    activate: &Activate<'_>,
) -> Result<Vec<Attempt<Explanation>>, ExplainError> {
    Ok(explainer.complete(evidence, &explainer.patterns(evidence, activate)?))
}

fn done(attempts: Vec<Attempt<Explanation>>) -> Vec<Explanation> {
    attempts.iter().map(|attempt| attempt.done().expect("explained").clone()).collect()
}

#[test]
fn neuron_to_graph_recovers_planted_patterns() {
    let toys: [Toy; 2] = [seven_after_three, nine_after_five_or_four];
    let splits = split_all(&toys, &Protocol::standard());
    let explanations = explain(&neuron_to_graph(false), &evidence_of(&splits), &toys);

    let Explanation::Patterns(trie) = &explanations[0] else { panic!("patterns") };
    assert_eq!(trie.patterns().len(), 1);
    assert_eq!(trie.patterns()[0].tokens, [Some(3), None, Some(7)]);
    assert_eq!((trie.patterns()[0].value, trie.patterns()[0].examples), (2.0, 20));
    assert_eq!(trie.unmatched(), 0.0);
    let Explanation::Patterns(trie) = &explanations[1] else { panic!("patterns") };
    assert!(
        trie.patterns().iter().any(|pattern| pattern.tokens == [Some(5), Some(9)] && pattern.value == 3.0)
    );
    assert!(trie.unmatched() >= 0.0 && trie.unmatched() < 0.2);

    assert!(agreement(&explanations[0], &splits[0].1) > 0.999_999);
    assert!(agreement(&explanations[1], &splits[1].1) > 0.9);
    assert!(agreement(&explanations[0], &splits[1].1).abs() < 0.1, "another feature's explanation");
    assert!(agreement(&explanations[1], &splits[0].1).abs() < 0.1, "another feature's explanation");
}

#[test]
fn backoff_and_lookups_know_token_types() {
    let toys: [Toy; 2] = [seven_after_three, nine_after_five_or_four];
    let splits = split_all(&toys, &Protocol::standard());
    let evidence = evidence_of(&splits);
    let backed = explain(&neuron_to_graph(true), &evidence, &toys);
    let Explanation::Patterns(trie) = &backed[1] else { panic!("patterns") };
    let table = TokenTable::of_tokens(evidence[1].scored_tokens());
    assert_eq!(trie.predict(&[8, 5, 9, 8, 9]), [0.0, 0.0, 3.0, 0.0, table.mean(9)]);
    assert!(agreement(&backed[1], &splits[1].1) > 0.9);

    let lookup = done(token_lookup(&evidence));
    let Explanation::Lookup(table) = &lookup[1] else { panic!("a table") };
    assert_eq!(table.mean(4), 1.0);
    assert!(table.mean(9) > 0.2 && table.mean(9) < 3.0);
    assert_eq!(table.mean(0), 0.0);
    let between = agreement(&lookup[0], &splits[0].1);
    assert!(between > 0.2 && between < 0.8, "the context is what a table lacks: {between}");
}

#[test]
fn probes_are_asked_in_few_large_calls() {
    let toys: [Toy; 2] = [seven_after_three, nine_after_five_or_four];
    let evidence = evidence_of(&split_all(&toys, &Protocol::standard()));
    let sizes = Mutex::new(Vec::new());
    let count = |probes: &[Probe]| {
        sizes.lock().expect("unpoisoned").push(probes.len());
        answer(&toys)(probes)
    };
    attempts(&neuron_to_graph(false), &evidence, &count).expect("answered");
    let sizes = sizes.into_inner().expect("unpoisoned");
    // Lengths 1, 2, 3 until all suffice, then one call for all replacements.
    assert_eq!((sizes.len(), sizes[0]), (4, 40));
    assert!(sizes[3] >= 40, "{sizes:?}");
}

#[test]
fn where_no_suffix_suffices_the_longest_counts_with_the_seeds_own_activation() {
    // Alone it never reaches half of what it does in the fragment: it needs 40 tokens of context.
    let toy: Toy = |text| if text.last() == Some(&7) && text.len() > 40 { 2.0 } else { 0.0 };
    let splits = split_all(&[toy], &Protocol::standard());
    let explanations = explain(&neuron_to_graph(false), &evidence_of(&splits), &[toy]);
    let Explanation::Patterns(trie) = &explanations[0] else { panic!("patterns") };
    for pattern in trie.patterns() {
        assert_eq!((pattern.tokens.len(), pattern.value), (16, 2.0));
        assert!(pattern.tokens.iter().all(Option::is_some), "no loss can be measured");
    }
    assert!(trie.unmatched() > 0.0, "unmatched tokens fire too");
}

#[test]
fn signed_features_are_seeded_by_their_largest_positive_token() {
    for protocol in [Protocol::standard(), Protocol::cunningham2023(&[])] {
        let toys: [Toy; 1] = [signed];
        let splits = split_all(&toys, &protocol);
        let explanations = explain(&neuron_to_graph(false), &evidence_of(&splits), &toys);
        let Explanation::Patterns(trie) = &explanations[0] else { panic!("patterns") };
        assert_eq!(trie.patterns().len(), 1);
        assert_eq!((trie.patterns()[0].tokens.as_slice(), trie.patterns()[0].value), (&[Some(2)][..], 1.5));
        assert!(trie.unmatched() < -0.3, "the mean of negative truths");
        assert!(agreement(&explanations[0], &splits[0].1) > 0.7, "it knows nothing of the negative part");
    }
}

#[test]
fn a_feature_without_a_positive_token_fails_alone() {
    let toys: [Toy; 2] = [signed, negative];
    let splits = split_all(&toys, &Protocol::cunningham2023(&[]));
    let attempts =
        attempts(&neuron_to_graph(false), &evidence_of(&splits), &answer(&toys)).expect("answered");
    assert!(attempts[0].done().is_some());
    assert_eq!(attempts[1], Attempt::Missing(Missing::Failed("no_seed".into())));
}

#[test]
fn answers_are_checked() {
    let toys: [Toy; 1] = [seven_after_three];
    let evidence = evidence_of(&split_all(&toys, &Protocol::standard()));
    let run = |activate: &Activate<'_>| attempts(&neuron_to_graph(false), &evidence, activate);
    assert!(matches!(run(&|_| Ok(vec![1.0])), Err(ExplainError::AnswerCount { expected: 20, got: 1 })));
    let nan = |probes: &[Probe]| Ok(vec![f32::NAN; probes.len()]);
    assert!(matches!(run(&nan), Err(ExplainError::NotFinite { feature: 0, length: 1, .. })));
    let broken = |_: &[Probe]| Err(ActivateError("out of memory".into()));
    assert!(matches!(run(&broken), Err(ExplainError::Activate(_))));
}

#[test]
fn type_means_come_from_the_tokens_given() {
    let mut means = TypeMeans::new(vec![2, 0]);
    let codes = Matrix::from_fn(3, 3, |row, col| (row * 10 + col) as f32);
    means.add(&[5, 6, 5], &codes).expect("fits");
    means.add(&[7], &Matrix::from_fn(1, 3, |_, col| col as f32)).expect("fits");
    let tables = means.tables();
    assert_eq!([5, 6, 7, 8].map(|token| tables[0].mean(token)), [12.0, 12.0, 2.0, 9.5]);
    assert_eq!([5, 6, 7, 8].map(|token| tables[1].mean(token)), [10.0, 10.0, 0.0, 7.5]);
    assert!(matches!(means.add(&[1], &codes), Err(ExplainError::CodeShape { expected: 1, at_least: 3, .. })));

    let evidence = evidence_of(&split_all(&[seven_after_three, signed], &Protocol::standard()));
    let explanations = done(token_lookup_fit(tables.clone(), &evidence).expect("one table each"));
    assert_eq!(explanations[0], Explanation::Lookup(tables[0].clone()));
    let refused = token_lookup_fit(vec![TokenTable::new([], 0.0)], &evidence);
    assert!(matches!(refused, Err(ExplainError::TableCount { features: 2, tables: 1 })));
}

#[test]
fn derangements_move_everything_and_every_one_is_as_likely() {
    let mut stream = Stream::new(3, "shuffled");
    assert_eq!(derangement(0, &mut stream), None);
    assert_eq!(derangement(1, &mut stream), None);
    assert_eq!(derangement(2, &mut stream), Some(vec![1, 0]));
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..9_000 {
        let order = derangement(4, &mut stream).expect("four can be deranged");
        assert!(order.iter().enumerate().all(|(place, &other)| place != other));
        *counts.entry(order).or_insert(0usize) += 1;
    }
    assert_eq!(counts.len(), 9, "there are nine");
    assert!(counts.values().all(|&count| count.abs_diff(1_000) < 150), "{counts:?}");
}
