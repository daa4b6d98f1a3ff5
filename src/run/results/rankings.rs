//! Rankings of the methods of a run: means over hook points with simultaneous intervals, and which of them differ.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::base::distinct;
use crate::report::{RankedMethod, Ranking};
use crate::run::results::grouped::{
    Group, Groups, QualityInput, add_remark, entering, has_score, score_facts,
};
use crate::stats::{MaxT, Row, RowMean, Separation, Undefined, letters};
use crate::suite::Suite;

/// Method and control.
type Key<'a> = (&'a str, Option<&'a str>);

/// Scorer, explainer and simulator of a ranking, and whether it is the primary one.
struct Asked<'a> {
    scorer: &'static str,
    explainer: &'a str,
    simulator: &'a str,
    primary: bool,
}

/// One ranking per scorer and per explainer with its simulator; output scores under the first explainer only. Controls with an explainer of their own are in none.
pub fn rankings(
    suite: &Suite,
    order: &[Group],
    groups: &Groups<'_>,
    quality: &[QualityInput],
) -> Vec<Ranking> {
    let first = suite.pairs.first().map(|pair| (pair.explainer.name(), pair.simulator.name()));
    let real = order.iter().filter(|group| group.control.is_none());
    let pairs = distinct(real.map(|group| (group.explainer.as_str(), group.simulator.as_str())));
    let asked = |&scorer: &&'static str| {
        let primary = |pair| scorer == suite.statistics.primary && Some(pair) == first;
        let of_pair =
            |&pair: &(_, _)| Asked { scorer, explainer: pair.0, simulator: pair.1, primary: primary(pair) };
        pairs.iter().map(of_pair).collect::<Vec<Asked<'_>>>()
    };
    let has_rows = |asked: &Asked<'_>| {
        let mut real = order.iter().filter(|group| group.control.is_none());
        real.any(|group| asked.is_about(group) && has_score(suite, group, asked.scorer))
    };
    let asked: Vec<Asked<'_>> = suite.scorers.iter().flat_map(asked).filter(has_rows).collect();
    let hooks = distinct(order.iter().map(|group| group.hook.as_str()));
    asked.par_iter().map(|asked| asked.ranking(suite, &hooks, order, groups, quality)).collect()
}

impl Asked<'_> {
    fn is_about(&self, group: &Group) -> bool {
        group.explainer == self.explainer && group.simulator == self.simulator
    }

    fn ranking(
        &self,
        suite: &Suite,
        hooks: &[&str],
        order: &[Group],
        groups: &Groups<'_>,
        quality: &[QualityInput],
    ) -> Ranking {
        let is_row = |group: &&Group| self.is_about(group) && has_score(suite, group, self.scorer);
        let key = |group: &'_ Group| (group.method.clone(), group.control.clone());
        let keys = distinct(order.iter().filter(is_row).map(key));
        let keys: Vec<Key<'_>> =
            keys.iter().map(|(method, control)| (method.as_str(), control.as_deref())).collect();
        let samples: Vec<Row> = keys.iter().map(|key| self.sample(*key, hooks, groups)).collect();
        let statistics = &suite.statistics;
        let max_t = MaxT {
            confidence: statistics.confidence,
            resamples: statistics.resamples,
            seed: suite.seed,
            stream: format!("ranking/{}/{}/{}", self.explainer, self.simulator, self.scorer),
        };
        let facts = score_facts(&[self.scorer]);
        let higher_is_better = facts.first().is_none_or(|facts| facts.higher_is_better);
        Ranking {
            scorer: self.scorer.to_string(),
            protocol: suite.protocol.name.clone(),
            explainer: self.explainer.to_string(),
            simulator: self.simulator.to_string(),
            primary: self.primary,
            hooks: hooks.iter().map(|hook| hook.to_string()).collect(),
            confidence: statistics.confidence,
            rows: ranked(&keys, hooks, &samples, &max_t.compare(&samples), higher_is_better),
            note: note(suite, &keys, quality),
        }
    }

    /// The scores of a row: hook point, training, feature.
    fn sample(&self, (method, control): Key<'_>, hooks: &[&str], groups: &Groups<'_>) -> Row {
        let at_hook = |hook: &&str| -> Vec<Vec<f64>> {
            let group = Group {
                hook: hook.to_string(),
                method: method.to_string(),
                explainer: self.explainer.to_string(),
                simulator: self.simulator.to_string(),
                control: control.map(str::to_string),
            };
            let mut trainings: BTreeMap<Option<u32>, Vec<f64>> = BTreeMap::new();
            for outcome in groups.get(&group).into_iter().flatten() {
                let values = trainings.entry(outcome.line.training).or_default();
                values.extend(entering(outcome, self.scorer));
            }
            trainings.into_values().collect()
        };
        let name = format!("{method}/{}", control.unwrap_or("real"));
        Row { name, strata: hooks.iter().map(at_hook).collect() }
    }
}

/// The rows of a ranking, best first; those without an interval at the end, those without a mean last.
fn ranked(
    keys: &[Key<'_>],
    hooks: &[&str],
    samples: &[Row],
    found: &Separation,
    higher_is_better: bool,
) -> Vec<RankedMethod> {
    let rows = &found.rows;
    let compare = |a: usize, b: usize| match (rows[a].mean, rows[b].mean) {
        (Ok(a), Ok(b)) if higher_is_better => b.total_cmp(&a),
        (Ok(a), Ok(b)) => a.total_cmp(&b),
        _ => Ordering::Equal,
    };
    let missing = |row: &RowMean| (row.interval.is_err(), row.mean.is_err());
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|&a, &b| missing(&rows[a]).cmp(&missing(&rows[b])).then_with(|| compare(a, b)));
    let tested: Vec<usize> = order.iter().copied().filter(|&row| rows[row].interval.is_ok()).collect();
    let matrix: Vec<Vec<bool>> =
        tested.iter().map(|&a| tested.iter().map(|&b| found.separated[a][b]).collect()).collect();
    let display = if tested.len() > 1 { letters(&matrix) } else { Vec::new() };
    let better_methods = |row: usize| {
        let better = |&&other: &&usize| keys[other].1.is_none() && compare(other, row) == Ordering::Less;
        tested.iter().filter(better).count()
    };
    let separated_below = |row: usize| {
        let below = |&&other: &&usize| found.separated[row][other] && compare(row, other) == Ordering::Less;
        let owned = |&other: &usize| (keys[other].0.to_string(), keys[other].1.map(str::to_string));
        tested.iter().filter(below).map(owned).collect()
    };
    let rank = |(nth, &row): (usize, &usize)| {
        let (method, control) = keys[row];
        let counts: Vec<usize> =
            samples[row].strata.iter().map(|trainings| trainings.iter().map(Vec::len).sum()).collect();
        let is_ranked = rows[row].interval.is_ok();
        let interval = rows[row].interval.ok();
        RankedMethod {
            method: method.to_string(),
            control: control.map(str::to_string),
            place: (is_ranked && control.is_none()).then(|| 1 + better_methods(row)),
            mean: rows[row].mean.ok(),
            ci_low: interval.map(|(low, _)| low),
            ci_high: interval.map(|(_, high)| high),
            n_scored: counts.iter().sum(),
            n_per_hook: counts.iter().fold((usize::MAX, 0), |(least, most), &n| (least.min(n), most.max(n))),
            letters: display.get(nth).cloned().unwrap_or_default(),
            above: if is_ranked { separated_below(row) } else { Vec::new() },
            reason: rows[row].interval.err().map(|why| reason(why, hooks, &counts)),
        }
    };
    order.iter().enumerate().map(rank).collect()
}

/// Why a row is not ranked. `counts`: scored features at each hook point.
fn reason(why: Undefined, hooks: &[&str], counts: &[usize]) -> String {
    let at = |n: usize| {
        let found: Vec<&str> =
            hooks.iter().zip(counts).filter(|(_, count)| **count == n).map(|(hook, _)| *hook).collect();
        match found.len() == hooks.len() && found.len() > 1 {
            true => "any hook point".to_string(),
            false => found.join(", "),
        }
    };
    match why {
        Undefined::TooFew { got: 0, .. } => format!("no scored feature at {}", at(0)),
        Undefined::TooFew { .. } => format!("fewer than two scored features at {}", at(1)),
        Undefined::TooFewDistinct => "too few of the scores differ for an interval".to_string(),
        other => format!("no interval: {other}"),
    }
}

/// What a reader must know of the methods in a ranking.
fn note(suite: &Suite, keys: &[Key<'_>], quality: &[QualityInput]) -> Option<String> {
    let methods = distinct(keys.iter().map(|(method, _)| *method));
    let listed = |is: &dyn Fn(&str) -> bool| {
        let found: Vec<&str> = methods.iter().copied().filter(|method| is(method)).collect();
        (!found.is_empty()).then(|| found.join(", "))
    };
    let of_quality = |is: fn(&QualityInput) -> bool| {
        listed(&|method| quality.iter().any(|input| input.method == method && is(input)))
    };
    let remarks = [
        (
            "over chosen features, so not about whole dictionaries",
            listed(&|method| suite.has_chosen_features(method)),
        ),
        ("trained at another hook point or on another model", of_quality(|input| input.elsewhere.is_some())),
        ("settings of a sweep, each ranked on its own", of_quality(|input| input.sweep.is_some())),
    ];
    let mut note = None;
    for (remark, methods) in remarks {
        if let Some(methods) = methods {
            add_remark(&mut note, format!("{remark}: {methods}"));
        }
    }
    note
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOOKS: [&str; 2] = ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post"];

    /// Forty scores around `mean` at each hook point.
    fn sample(name: &str, mean: f64) -> Row {
        let at_hook = |hook: i32| (0..40).map(|n| mean + 0.01 * f64::from((n * 7 + hook) % 11 - 5)).collect();
        Row { name: name.into(), strata: vec![vec![at_hook(0)], vec![at_hook(1)]] }
    }

    fn ranking(rows: &[(Key<'_>, Row)], higher_is_better: bool) -> Vec<RankedMethod> {
        let (keys, samples): (Vec<Key<'_>>, Vec<Row>) = rows.iter().cloned().unzip();
        let max_t = MaxT { confidence: 0.95, resamples: 500, seed: 1, stream: "test".into() };
        ranked(&keys, &HOOKS, &samples, &max_t.compare(&samples), higher_is_better)
    }

    fn rows() -> Vec<(Key<'static>, Row)> {
        let row = |method: &'static str, control, mean| {
            ((method, control), sample(&format!("{method} {control:?}"), mean))
        };
        vec![
            row("low", None, 0.2),
            row("high", None, 0.6),
            row("high", Some("shuffled"), 0.0),
            row("high", Some("random_weights"), 0.7),
            row("near", None, 0.6),
        ]
    }

    fn names(rows: &[RankedMethod]) -> Vec<String> {
        let name = |row: &RankedMethod| match &row.control {
            Some(control) => format!("{}/{control}", row.method),
            None => row.method.clone(),
        };
        rows.iter().map(name).collect()
    }

    #[test]
    fn rows_stand_best_first_and_controls_have_no_place() {
        let found = ranking(&rows(), true);
        let expected = ["high/random_weights", "high", "near", "low", "high/shuffled"];
        assert_eq!(names(&found), expected);
        let places: Vec<Option<usize>> = found.iter().map(|row| row.place).collect();
        // Equal means share a place, and the next place is left out.
        assert_eq!(places, [None, Some(1), Some(1), Some(3), None]);
        let letters: Vec<&str> = found.iter().map(|row| row.letters.as_str()).collect();
        assert_eq!(letters, ["a", "b", "b", "c", "d"]);
        let below = [("low".to_string(), None), ("high".to_string(), Some("shuffled".to_string()))];
        assert_eq!(found[1].above, below);
        assert!(found[4].above.is_empty());
        for row in &found {
            let (mean, low, high) = (row.mean.expect("a mean"), row.ci_low, row.ci_high);
            assert!(low.is_some_and(|low| low < mean) && high.is_some_and(|high| high > mean));
            assert_eq!((row.n_scored, row.n_per_hook, &row.reason), (80, (40, 40), &None));
        }
    }

    #[test]
    fn where_lower_is_better_the_order_turns() {
        let found = ranking(&rows(), false);
        let expected = ["high/shuffled", "low", "high", "near", "high/random_weights"];
        assert_eq!(names(&found), expected);
        assert_eq!(found[1].place, Some(1));
        assert_eq!(found[0].above.len(), 4);
    }

    #[test]
    fn a_row_without_a_mean_or_an_interval_ends_the_ranking_with_its_reason() {
        let mut all = rows();
        let named = |method: &'static str, strata: Vec<Vec<Vec<f64>>>| {
            ((method, None), Row { name: method.into(), strata })
        };
        let scores = || vec![(0..40).map(|n| 0.01 * f64::from(n)).collect::<Vec<f64>>()];
        all.insert(0, named("missing", vec![scores(), vec![]]));
        all.insert(1, named("single", vec![vec![vec![0.9]], scores()]));
        all.insert(2, named("constant", vec![vec![vec![0.0; 40]], vec![vec![0.0; 40]]]));
        all.insert(3, named("nothing", vec![vec![], vec![]]));
        let found = ranking(&all, true);
        assert_eq!(names(&found)[..5], names(&ranking(&rows(), true)));
        assert_eq!(names(&found)[5..], ["single", "constant", "missing", "nothing"]);
        let reasons: Vec<&str> = found[5..].iter().filter_map(|row| row.reason.as_deref()).collect();
        let expected = [
            "fewer than two scored features at blocks.0.hook_resid_post",
            "too few of the scores differ for an interval",
            "no scored feature at blocks.1.hook_resid_post",
            "no scored feature at any hook point",
        ];
        assert_eq!(reasons, expected);
        for row in &found[5..] {
            assert_eq!((row.place, row.ci_low, row.letters.as_str()), (None, None, ""));
            assert!(row.above.is_empty());
        }
        assert_eq!((found[6].mean, found[7].mean, found[7].n_per_hook), (Some(0.0), None, (0, 40)));
    }

    #[test]
    fn one_row_has_an_interval_and_no_letter() {
        let found = ranking(&rows()[..1], true);
        assert_eq!((found[0].place, found[0].letters.as_str()), (Some(1), ""));
        assert!(found[0].ci_low.is_some());
    }
}
