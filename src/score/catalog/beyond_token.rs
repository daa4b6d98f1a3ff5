//! Measures what an explanation knows beyond the identity of the current token.
//!
//!   r = Σ (tᵢ − t̄_type(i)) (pᵢ − p̄_type(i)) / √(Σ (tᵢ − t̄_type(i))² · Σ (pᵢ − p̄_type(i))²)
//!
//! t is the truth and p the prediction. The sums run over the scored tokens of the random stratum (firing
//! fragments, drawn uniformly). t̄_type and p̄_type are means over all tokens of the same type. r lies in −1..=1;
//! higher is better.
//!
//! Reason: the usual score correlates truth and prediction over tokens, and much of that is token identity. On a
//! small model, the mean activation per token type alone predicts even a random direction with correlation 0.8 and
//! more. A high score therefore does not show that a feature is a concept. Here the question is: between two
//! occurrences of the same token, does the explanation know where the feature is stronger?
//!
//! A prediction that depends only on token identity is constant within types: a constant prediction, which counts
//! as 0 in the mean. If the truth depends only on token identity, the score is undefined
//! (`truth_is_token_identity`).
//!
//! Token types that occur once contribute nothing. [`repeating_tokens`] counts the others and belongs beside the
//! score: with few repeats, predictions are constant within types by chance. Many random fragments help, if the
//! simulator is free.

use crate::score::fragment::{Concatenated, ScoredFragment, Stratum};
use crate::score::scorer::{NoScore, ScoreOutcome, Scorer};
use crate::stats::pearson;

/// Truths of one token type are equal if they differ by less than this share of the largest |truth|. Activations
/// are f32 sums, and the same text in another batch differs by about 1e-6.
const SAME_TRUTH: f64 = 1e-5;

/// Predictions of one token type are equal if they differ by less than this share of the largest |prediction|.
/// Predictions are f64, looked up or averaged.
const SAME_PREDICTION: f64 = 1e-9;

/// Correlation of truth and prediction within token types; the module documents the equation.
#[derive(Debug, Clone, Copy)]
pub struct BeyondToken;

/// Number of scored tokens of the random stratum whose type occurs there at least twice.
pub fn repeating_tokens(fragments: &[ScoredFragment]) -> usize {
    let tokens = Concatenated::of(fragments, &[Stratum::Random]);
    Types::of(&tokens.tokens).repeating().map(<[usize]>::len).sum()
}

impl Scorer for BeyondToken {
    fn score(&self, fragments: &[ScoredFragment]) -> ScoreOutcome {
        let tokens = Concatenated::of(fragments, &[Stratum::Random]);
        if tokens.tokens.len() < 2 {
            return ScoreOutcome::Undefined(NoScore::TooFewTokens);
        }
        if spread(&tokens.truth) == 0.0 {
            return ScoreOutcome::Undefined(NoScore::ConstantTruth);
        }
        let types = Types::of(&tokens.tokens);
        if types.repeating().next().is_none() {
            return ScoreOutcome::Undefined(NoScore::NoRepeatedTokens);
        }
        let truth = within_types(&tokens.truth, &types, SAME_TRUTH);
        let prediction = within_types(&tokens.prediction, &types, SAME_PREDICTION);
        match (truth, prediction) {
            (None, _) => ScoreOutcome::Undefined(NoScore::TruthIsTokenIdentity),
            (Some(_), None) => ScoreOutcome::ConstantPrediction,
            (Some(truth), Some(prediction)) => pearson(&truth, &prediction).into(),
        }
    }

    fn on_many_random(&self) -> bool {
        true
    }
}

/// Positions grouped by token type. Types are in ascending order, and positions in order within a type.
struct Types {
    positions: Vec<usize>,
    /// Start of each type in `positions`, then the end.
    bounds: Vec<usize>,
}

impl Types {
    /// Counting sort. Ids much larger than the number of tokens are replaced by ranks, so that memory does not
    /// depend on the vocabulary.
    fn of(tokens: &[u32]) -> Self {
        let largest = tokens.iter().max().map_or(0, |&token| token as usize);
        if largest <= 8 * tokens.len() {
            return Self::counted(tokens.iter().map(|&token| token as usize), largest + 1);
        }
        let mut types = tokens.to_vec();
        types.sort_unstable();
        types.dedup();
        let ranks = tokens.iter().map(|token| types.partition_point(|other| other < token));
        Self::counted(ranks, types.len())
    }

    fn counted(types: impl Iterator<Item = usize> + Clone, n_types: usize) -> Self {
        let mut next = vec![0; n_types + 1];
        types.clone().for_each(|of| next[of + 1] += 1);
        for of in 0..n_types {
            next[of + 1] += next[of];
        }
        let mut bounds = next.clone();
        bounds.dedup();
        let mut positions = vec![0; next[n_types]];
        for (position, of) in types.enumerate() {
            positions[next[of]] = position;
            next[of] += 1;
        }
        Self { positions, bounds }
    }

    /// Positions of each type that occurs at least twice.
    fn repeating(&self) -> impl Iterator<Item = &[usize]> {
        let types = self.bounds.windows(2).map(|bound| &self.positions[bound[0]..bound[1]]);
        types.filter(|occurrences| occurrences.len() > 1)
    }
}

/// Values of repeating types minus their type's mean. None if all values are equal within their type, up to `same`
/// times the largest magnitude.
fn within_types(values: &[f64], types: &Types, same: f64) -> Option<Vec<f64>> {
    let largest = values.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    let mut deviations = Vec::with_capacity(values.len());
    for occurrences in types.repeating() {
        push_deviations(values, occurrences, &mut deviations);
    }
    // The mean lies between the extremes, so a spread shows at least half of itself as a deviation.
    let varies = deviations.iter().any(|deviation| deviation.abs() > 0.5 * same * largest);
    varies.then_some(deviations)
}

/// Adds the values at `occurrences` minus their mean. Equal values give exact zeros: the mean is
/// taken as the first value plus the mean excess over it.
fn push_deviations(values: &[f64], occurrences: &[usize], out: &mut Vec<f64>) {
    let first = occurrences.first().map_or(0.0, |position| values[*position]);
    let mean =
        occurrences.iter().map(|position| values[*position] - first).sum::<f64>() / occurrences.len() as f64;
    out.extend(occurrences.iter().map(|position| values[*position] - first - mean));
}

/// Largest minus smallest value.
fn spread(values: &[f64]) -> f64 {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    high - low
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn random(tokens: &[u32], truth: &[f64], prediction: &[f64]) -> ScoredFragment {
        let (truth, prediction) = (truth.to_vec(), prediction.to_vec());
        ScoredFragment::new(Stratum::Random, tokens.to_vec(), truth, prediction, 1.0).expect("a fragment")
    }

    fn undefined(why: NoScore) -> ScoreOutcome {
        ScoreOutcome::Undefined(why)
    }

    #[test]
    fn hand_worked_table() {
        // Type 1: truth 1, 3 and prediction 0, 2 deviate by ∓1 and ∓1. Type 2: truth 5, 5, 8
        // deviates by -1, -1, 2 and prediction 1, 2, 3 by -1, 0, 1. Type 9 occurs once.
        // Products 2 + 3, squares of truth 2 + 6, of prediction 2 + 2.
        let fragments = [
            random(&[1, 2, 9, 2], &[1.0, 5.0, 100.0, 5.0], &[0.0, 1.0, -40.0, 2.0]),
            random(&[1, 2], &[3.0, 8.0], &[2.0, 3.0]),
        ];
        let score = BeyondToken.score(&fragments).value().expect("defined");
        assert!((score - 5.0 / 32f64.sqrt()).abs() < 1e-14, "{score}");
        assert_eq!(repeating_tokens(&fragments), 5);
    }

    #[test]
    fn only_the_random_stratum_is_looked_at() {
        let top = ScoredFragment::new(Stratum::Top, vec![1, 1], vec![0.0, 1.0], vec![0.0, 1.0], 1.0);
        let top = top.expect("a fragment");
        assert_eq!(BeyondToken.score(std::slice::from_ref(&top)), undefined(NoScore::TooFewTokens));
        let falling = random(&[1, 1], &[0.0, 1.0], &[1.0, 0.0]);
        assert!((BeyondToken.score(&[top, falling]).value().expect("defined") + 1.0).abs() < 1e-15);
    }

    #[test]
    fn what_has_no_score_says_why() {
        let score = |tokens: &[u32], truth: &[f64], prediction: &[f64]| {
            BeyondToken.score(&[random(tokens, truth, prediction)])
        };
        assert_eq!(score(&[1, 2, 1], &[2.0; 3], &[1.0, 2.0, 3.0]), undefined(NoScore::ConstantTruth));
        assert_eq!(
            score(&[1, 2, 3], &[1.0, 2.0, 3.0], &[1.0, 2.0, 3.0]),
            undefined(NoScore::NoRepeatedTokens)
        );
        let token_truth = score(&[1, 2, 1], &[0.7, 2.0, 0.7], &[1.0, 2.0, 3.0]);
        assert_eq!(token_truth, undefined(NoScore::TruthIsTokenIdentity));
        let f32_noise = score(&[1, 2, 1], &[0.7, 2.0, 0.700_000_1], &[1.0, 2.0, 3.0]);
        assert_eq!(f32_noise, undefined(NoScore::TruthIsTokenIdentity));
        assert_eq!(
            score(&[1, 2, 1], &[0.7, 2.0, 0.8], &[0.3, 9.0, 0.1 + 0.2]),
            ScoreOutcome::ConstantPrediction
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever function of the token the prediction is, and whatever the truth.
        #[test]
        fn any_function_of_token_identity_scores_exactly_nothing(
            tokens in prop::collection::vec(0u32..12, 40..120),
            truth in prop::collection::vec(-5.0..5.0f64, 120),
            table in prop::collection::vec(-1e6..1e6f64, 12),
        ) {
            let lookup: Vec<f64> = tokens.iter().map(|token| table[*token as usize]).collect();
            let truth = &truth[..tokens.len()];
            let as_prediction = BeyondToken.score(&[random(&tokens, truth, &lookup)]);
            prop_assert_eq!(as_prediction, ScoreOutcome::ConstantPrediction);
            let as_truth = BeyondToken.score(&[random(&tokens, &lookup, truth)]);
            prop_assert_eq!(as_truth, undefined(NoScore::TruthIsTokenIdentity));
        }

        /// Adding a function of the token to either side changes nothing.
        #[test]
        fn only_what_lies_beyond_the_token_counts(
            tokens in prop::collection::vec(0u32..8, 30..80),
            truth in prop::collection::vec(-5.0..5.0f64, 80),
            prediction in prop::collection::vec(-5.0..5.0f64, 80),
            table in prop::collection::vec(-3.0..3.0f64, 8),
        ) {
            let (truth, prediction) = (&truth[..tokens.len()], &prediction[..tokens.len()]);
            let plain = BeyondToken.score(&[random(&tokens, truth, prediction)]).value().expect("defined");
            prop_assert!((-1.0..=1.0).contains(&plain));
            let add = |values: &[f64]| -> Vec<f64> {
                values.iter().zip(&tokens).map(|(value, token)| value + table[*token as usize]).collect()
            };
            let shifted = BeyondToken.score(&[random(&tokens, &add(truth), &add(prediction))]);
            prop_assert!((shifted.value().expect("defined") - plain).abs() < 1e-9);
        }
    }
}
