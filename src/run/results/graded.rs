//! Shares of grades by interval of activation, with intervals over features.

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::report::{GradeShare, GradedInterval, GradedRow};
use crate::run::Outcome;
use crate::run::results::grouped::{Group, Groups, bootstrap, share_interval, stream};
use crate::score::GradeCounts;
use crate::stats;
use crate::suite::{Grading, Suite};

/// Shares of each grade in one interval of activation, by training, one entry per feature.
type SharesByTraining = BTreeMap<Option<u32>, Vec<Vec<f64>>>;

/// One row per group whose explanations are graded; empty if no requested score grades.
pub(super) fn graded_rows(suite: &Suite, order: &[Group], groups: &Groups<'_>) -> Vec<GradedRow> {
    let Some(grading) = suite.grading() else { return Vec::new() };
    let judges = |group: &Group| {
        suite.pairs.iter().any(|pair| pair.judge.is_some() && pair.explainer.name() == group.explainer)
    };
    let row = |group: &Group| judges(group).then(|| row(suite, grading, group, &groups[group]));
    order.par_iter().filter_map(row).collect()
}

fn row(suite: &Suite, grading: Grading, group: &Group, members: &[&Outcome]) -> GradedRow {
    let interval = |nth| interval(suite, grading.intervals, nth, group, members);
    let is_graded =
        |outcome: &&&Outcome| outcome.line.grades.iter().flatten().any(|counts| total(counts) > 0);
    GradedRow {
        hook: group.hook.clone(),
        method: group.method.clone(),
        protocol: suite.protocol.name.clone(),
        explainer: group.explainer.clone(),
        simulator: group.simulator.clone(),
        control: group.control.clone(),
        n_requested: members.len(),
        n_features: members.iter().filter(is_graded).count(),
        confidence: suite.statistics.confidence,
        intervals: (0..grading.intervals).map(interval).collect(),
    }
}

fn total(counts: &GradeCounts) -> usize {
    counts.iter().sum()
}

fn interval(
    suite: &Suite,
    n_intervals: usize,
    nth: usize,
    group: &Group,
    members: &[&Outcome],
) -> GradedInterval {
    let mut shares = SharesByTraining::new();
    let mut found = GradedInterval {
        from: nth as f64 / n_intervals as f64,
        to: (nth + 1) as f64 / n_intervals as f64,
        ..GradedInterval::default()
    };
    for outcome in members {
        let Some(counts) = outcome.line.grades.as_ref().and_then(|grades| grades.get(nth)) else { continue };
        let n = total(counts);
        if n == 0 {
            found.n_empty += 1;
            continue;
        }
        found.n_features += 1;
        found.n_fragments += n;
        let of_feature = counts.iter().map(|&count| count as f64 / n as f64).collect();
        shares.entry(outcome.line.training).or_default().push(of_feature);
    }
    found.reason = shares.is_empty().then(|| "no_fragments".to_string());
    let name = stream(group, "specificity");
    let share = |grade: usize| {
        let values = |features: &Vec<Vec<f64>>| features.iter().map(|of| of[grade]).collect::<Vec<f64>>();
        let by_training: Vec<Vec<f64>> = shares.values().map(values).collect();
        let means: Vec<f64> = by_training.iter().filter_map(|of| stats::mean(of).ok()).collect();
        let settings = bootstrap(suite, format!("{name}/{nth}/{grade}"));
        let ends = share_interval(&by_training, &settings);
        GradeShare {
            grade: grade as u8,
            share: stats::mean(&means).ok(),
            ci_low: ends.map(|(low, _)| low),
            ci_high: ends.map(|(_, high)| high),
        }
    };
    found.shares = (0..GradeCounts::default().len()).map(share).collect();
    found
}
