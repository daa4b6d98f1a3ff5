//! Times intervals and tests, on scores that are made up.

use std::collections::BTreeMap;

use crate::base::{Digest, WorkClock};
use crate::report::{ScoreLine, ScoreStatus};
use crate::run::Outcome;
use crate::run::plan::pieces::{Speed, Work};
use crate::run::plan::shape::Shape;
use crate::run::plan::usual;
use crate::run::results::summary::summarise;

/// Most features of a cell.
const MOST_FEATURES: usize = 200;

/// Estimates two cells per score, and the difference of each pair.
pub fn time(shape: &Shape<'_>, speed: &mut Speed) {
    let suite = shape.suite;
    let Some(pair) = suite.pairs.first() else { return };
    let features = suite.per_cell.min(MOST_FEATURES);
    let methods = [suite.statistics.reference.clone(), "another".to_string()];
    let line = |method: &str, feature: usize| {
        let score = |nth: usize| ((feature * 37 + nth * 11 + method.len()) % 101) as f64 / 101.0;
        let scores: BTreeMap<String, Option<f64>> = suite
            .scorers
            .iter()
            .enumerate()
            .map(|(nth, name)| (name.to_string(), Some(score(nth))))
            .collect();
        let line = ScoreLine {
            hook: "hook".into(),
            method: method.into(),
            training: None,
            feature,
            protocol: suite.protocol.name.clone(),
            explainer: pair.explainer.name().into(),
            simulator: pair.simulator.name().into(),
            control: None,
            status: ScoreStatus::Scored,
            reason: None,
            explanation: None,
            scores,
            score_reasons: BTreeMap::new(),
            density: Some(0.01),
            max_activation: Some(1.0),
            kurtosis: None,
            n_top: 0,
            n_random: 0,
            tokens_untold: None,
            grades: None,
        };
        Outcome { line, tokens_repeating: None }
    };
    let outcomes: Vec<Outcome> =
        methods.iter().flat_map(|method| (0..features).map(move |feature| line(method, feature))).collect();
    let clock = WorkClock::start(shape.threads);
    std::hint::black_box(summarise(suite, Digest::of(b"plan"), &outcomes, &[], &|_, _| ()));
    let taken = clock.read().undisturbed() * shape.threads as f64;
    let scorers = suite.scorers.len() as f64;
    let usual = usual::statistics(shape, 2.0 * scorers, [1.0, scorers - 1.0], features as f64);
    speed.add(Work::Statistics, None, usual, taken);
}
