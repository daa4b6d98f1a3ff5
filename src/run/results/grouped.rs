//! What the tables of a run are computed from: score lines by method, hook point and explainer, and the facts about
//! dictionaries and scores.

use std::collections::BTreeMap;

use crate::base::{Matrix, Missing};
use crate::causal::effects::Effect;
use crate::dictionary::FitReport;
use crate::report::{Role, ScoreFacts, ScoreStatus};
use crate::run::Outcome;
use crate::run::rows::quality::Measured;
use crate::score::catalog::SCORERS;
use crate::score::{Direction, FeatureOutcome, NoScore, ScoreOutcome};
use crate::stats::{Bootstrap, IntervalMethod, wilson_interval};
use crate::suite::{Controls, Suite};

/// Input of the quality table for one dictionary.
#[derive(Debug, Clone)]
pub struct QualityInput {
    pub hook: String,
    /// Name in tables, shared by all trainings of a method.
    pub method: String,
    /// Common name of the methods of one sweep.
    pub sweep: Option<String>,
    /// What the method is to the comparison; none if the suite does not name it.
    pub role: Option<Role>,
    /// Name of the control; none for the real subject.
    pub control: Option<String>,
    /// Where the dictionary was trained, if that is elsewhere.
    pub elsewhere: Option<String>,
    pub measured: Measured,
    pub report: FitReport,
    /// For one of several trainings: its directions, and whether its codes are signed.
    pub directions: Option<(Matrix, bool)>,
}

/// One method at one hook point under one explainer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Group {
    pub(super) hook: String,
    pub(super) method: String,
    pub(super) explainer: String,
    pub(super) simulator: String,
    pub(super) control: Option<String>,
}

/// Score lines by group.
pub(super) type Groups<'a> = BTreeMap<Group, Vec<&'a Outcome>>;

/// Facts about the requested scores for tables and charts.
pub fn score_facts(asked: &[&'static str]) -> Vec<ScoreFacts> {
    let all = SCORERS.iter().flat_map(|scorer| scorer.scores.iter().map(move |score| (scorer, score)));
    let facts = all.filter(|(_, score)| asked.contains(&score.name)).map(|(scorer, score)| ScoreFacts {
        name: score.name.into(),
        words: scorer.words.into(),
        unit: score.unit.into(),
        higher_is_better: score.direction == Direction::Higher,
        chance: score.chance,
        order: score.order,
    });
    facts.collect()
}

/// Groups outcomes by row and explainer, and returns the groups in order of first appearance.
pub(super) fn grouped(outcomes: &[Outcome]) -> (Vec<Group>, Groups<'_>) {
    let mut order = Vec::new();
    let mut groups = Groups::new();
    for outcome in outcomes {
        let line = &outcome.line;
        let group = Group {
            hook: line.hook.clone(),
            method: line.method.clone(),
            explainer: line.explainer.clone(),
            simulator: line.simulator.clone(),
            control: line.control.clone(),
        };
        let members = groups.entry(group.clone()).or_default();
        if members.is_empty() {
            order.push(group);
        }
        members.push(outcome);
    }
    (order, groups)
}

/// Resampling as the suite asks for it. `stream` names the draws.
pub(super) fn bootstrap(suite: &Suite, stream: String) -> Bootstrap {
    let statistics = &suite.statistics;
    let method = match statistics.interval.as_str() {
        "percentile" => IntervalMethod::Percentile,
        "normal" => IntervalMethod::Normal,
        _ => IntervalMethod::Bca,
    };
    Bootstrap {
        method,
        confidence: statistics.confidence,
        resamples: statistics.resamples,
        seed: suite.seed,
        stream,
    }
}

/// Interval of a mean over features of shares in 0…1, by training: Wilson's where every share is 0 or 1, as long as one
/// training made them or all agree; else that of `settings`, which has no width where all agree. None without features.
pub(super) fn share_interval(by_training: &[Vec<f64>], settings: &Bootstrap) -> Option<(f64, f64)> {
    let shares = by_training.concat();
    let (n, whole) = (shares.len(), shares.iter().filter(|&&share| share == 1.0).count());
    let are_counts = whole + shares.iter().filter(|&&share| share == 0.0).count() == n;
    if are_counts && (by_training.len() == 1 || whole == 0 || whole == n) {
        return wilson_interval(whole, n, settings.confidence);
    }
    let interval = settings.mean_by_group(by_training).ok()?.interval;
    Some((interval.low, interval.high))
}

/// Name of a seed stream for one score of a group.
pub(super) fn stream(group: &Group, scorer: &str) -> String {
    let control = group.control.as_deref().unwrap_or("real");
    format!("{}/{}/{}/{control}/{scorer}", group.hook, group.method, group.explainer)
}

/// Whether the lines of a group have a score. Output scores do not depend on the explanation: only the first explainer
/// has them, and no control that explains otherwise. The control of random directions has nothing else.
pub(super) fn has_score(suite: &Suite, group: &Group, scorer: &str) -> bool {
    let is_effect = Effect::named(scorer).is_some();
    let first = suite.pairs.first().map(|pair| (pair.explainer.name(), pair.simulator.name()));
    match group.control.as_deref() {
        Some(Controls::RANDOM_DIRECTION) => is_effect,
        Some(Controls::SHUFFLED | Controls::ORACLE) => !is_effect,
        _ => !is_effect || first == Some((&group.explainer, &group.simulator)),
    }
}

/// A score line under one scorer, as input of the statistics.
pub(super) fn feature_outcome(outcome: &Outcome, scorer: &str) -> FeatureOutcome {
    let line = &outcome.line;
    let reason = || line.reason.clone().unwrap_or_default();
    let of_scorer = || match (line.scores.get(scorer).copied().flatten(), line.score_reasons.get(scorer)) {
        (Some(score), _) => Ok(ScoreOutcome::Score(score)),
        (None, Some(why)) if why == "constant_prediction" => Ok(ScoreOutcome::ConstantPrediction),
        (None, Some(why)) => match NoScore::parse(why) {
            Some(why) => Ok(ScoreOutcome::Undefined(why)),
            // This score failed while others of the feature did not.
            None => Err(Missing::Failed(why.clone())),
        },
        (None, None) => Err(Missing::Undefined(reason())),
    };
    let result = match line.status {
        // A feature without an explanation has output scores.
        _ if Effect::named(scorer).is_some() && line.scores.contains_key(scorer) => of_scorer(),
        ScoreStatus::Skipped => Err(Missing::Skipped(reason())),
        ScoreStatus::Failed => Err(Missing::Failed(reason())),
        ScoreStatus::Undefined | ScoreStatus::Scored => of_scorer(),
    };
    FeatureOutcome {
        outcome: result,
        density: line.density.unwrap_or(0.0),
        n_tokens: outcome.tokens_repeating.unwrap_or(0),
    }
}

/// What a score line adds to the mean under one scorer: its score, 0 for a constant prediction, else nothing.
pub(super) fn entering(outcome: &Outcome, scorer: &str) -> Option<f64> {
    match feature_outcome(outcome, scorer).outcome {
        Ok(ScoreOutcome::Score(score)) => Some(score),
        Ok(ScoreOutcome::ConstantPrediction) => Some(0.0),
        _ => None,
    }
}

/// Appends a remark to a note.
pub(super) fn add_remark(note: &mut Option<String>, remark: String) {
    *note = Some(match note.take() {
        Some(note) => format!("{note}; {remark}"),
        None => remark,
    });
}
