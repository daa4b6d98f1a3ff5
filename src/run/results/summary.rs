//! Computes `summary.json` from score lines and quality: cells with intervals, differences with verdicts.

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::base::Digest;
use crate::dictionary::{Quality, mmcs_of_directions};
use crate::report::{CHOSEN, Cell, DifferenceRow, Family, QualityRow, SCHEMA, ScoreStatus, Summary, Verdict};
use crate::run::Outcome;
use crate::run::results::graded::graded_rows;
use crate::run::results::grouped::{
    Group, Groups, QualityInput, add_remark, bootstrap, entering, feature_outcome, grouped, has_score,
    score_facts, stream,
};
use crate::run::results::quadrants::quadrants;
use crate::run::results::rankings::rankings;
use crate::score::catalog::simulated_score;
use crate::score::{FeatureOutcome, NoScore, cell_over_seeds};
use crate::stats::{self, Difference, DifferenceTest, IntervalMethod};
use crate::suite::Suite;

/// Remark on a comparison of features that are no sample.
const OVER_CHOSEN: &str = "over chosen features, so not about whole dictionaries";

/// Cells estimated between two progress events.
const CELLS_AT_ONCE: usize = 128;

/// Computes the data of tables and charts. `on` receives (cells done, cells in total).
pub fn summarise(
    suite: &Suite,
    run: Digest,
    outcomes: &[Outcome],
    quality: &[QualityInput],
    on: &dyn Fn(usize, usize),
) -> Summary {
    let (order, groups) = grouped(outcomes);
    let all = order.iter().flat_map(|group| suite.scorers.iter().map(move |&scorer| (group, scorer)));
    let jobs: Vec<(&Group, &'static str)> =
        all.filter(|(group, scorer)| has_score(suite, group, scorer)).collect();
    let mut cells: Vec<Cell> = Vec::with_capacity(jobs.len());
    for jobs_of_a_turn in jobs.chunks(CELLS_AT_ONCE) {
        on(cells.len(), jobs.len());
        cells.par_extend(
            jobs_of_a_turn.par_iter().map(|(group, scorer)| estimate(suite, group, scorer, &groups[group])),
        );
    }
    on(jobs.len(), jobs.len());
    Summary {
        schema: SCHEMA,
        suite: suite.name.clone(),
        run: run.hex(),
        primary: Some(suite.statistics.primary.clone()),
        reference: Some(suite.statistics.reference.clone()),
        margin: Some(suite.statistics.margin),
        deviations: suite
            .protocol
            .deviations
            .iter()
            .map(|deviation| format!("{deviation:?}").to_lowercase())
            .collect(),
        cells,
        quality: quality_rows(quality),
        differences: differences(suite, &order, &groups),
        rankings: rankings(suite, &order, &groups, quality),
        patching: None,
        erasure: None,
        specificity: graded_rows(suite, &order, &groups),
        quadrants: quadrants(suite, &order, &groups, &|name| bootstrap(suite, name)),
        scores: score_facts(&suite.scorers),
    }
}

fn estimate(suite: &Suite, group: &Group, scorer: &str, members: &[&Outcome]) -> Cell {
    let mut trainings: BTreeMap<Option<u32>, Vec<FeatureOutcome>> = BTreeMap::new();
    for outcome in members {
        trainings.entry(outcome.line.training).or_default().push(feature_outcome(outcome, scorer));
    }
    let trainings: Vec<&[FeatureOutcome]> = trainings.values().map(Vec::as_slice).collect();
    let settings = bootstrap(suite, stream(group, scorer));
    let mut row = Cell {
        hook: group.hook.clone(),
        method: group.method.clone(),
        protocol: suite.protocol.name.clone(),
        explainer: group.explainer.clone(),
        simulator: group.simulator.clone(),
        control: group.control.clone(),
        scorer: scorer.to_string(),
        confidence: suite.statistics.confidence,
        ..Cell::default()
    };
    let walked = members.len();
    let skipped = members.iter().filter(|outcome| outcome.line.status == ScoreStatus::Skipped).count();
    row.eligible_share = (walked > 0).then(|| (walked - skipped) as f64 / walked as f64);
    row.features = suite.has_chosen_features(&group.method).then(|| CHOSEN.to_string());
    let found = match cell_over_seeds(&trainings, &settings) {
        Ok(found) => found,
        Err(why) => {
            row.note = Some(why.to_string());
            return row;
        }
    };
    row.mean = found.mean;
    row.ci_low = found.interval.map(|interval| interval.low);
    row.ci_high = found.interval.map(|interval| interval.high);
    row.interval_method = found.interval.map(|interval| interval_name(interval.method).to_string());
    row.mean_defined = found.mean_defined;
    row.n_defined = found.n_defined;
    row.mean_by_density = found.mean_by_density;
    row.n_requested = found.n_requested;
    row.n_scored = found.n_scored;
    row.n_constant = found.n_constant;
    row.note =
        found.interval_beside.map(|beside| format!("BCa interval {:.3} to {:.3}", beside.low, beside.high));
    if found.reasons.contains_key(NoScore::NotASentence.reason()) {
        row.note = Some("judged scores need explanations in words".into());
    }
    row.tally = found.tally;
    let untold: usize = members.iter().filter_map(|outcome| outcome.line.tokens_untold).sum();
    if untold > 0 && simulated_score(scorer).is_some() {
        row.tokens_untold = Some(untold);
        add_remark(&mut row.note, format!("{untold} simulated tokens untold"));
    }
    if row.is_of_chosen() {
        add_remark(&mut row.note, format!("{} chosen features", row.n_requested));
    }
    row.tokens_repeating = found
        .tokens_per_feature
        .filter(|_| simulated_score(scorer).is_some_and(|score| score.on_many_random()));
    row
}

fn interval_name(method: IntervalMethod) -> &'static str {
    match method {
        IntervalMethod::Bca => "bca",
        IntervalMethod::Percentile | IntervalMethod::PercentileBcaDegenerate => "percentile",
        IntervalMethod::Normal => "normal",
    }
}

/// One row per method, in order of first appearance. Trainings of one method share a row.
fn quality_rows(inputs: &[QualityInput]) -> Vec<QualityRow> {
    let mut rows: Vec<Vec<&QualityInput>> = Vec::new();
    for input in inputs {
        let key = |input: &QualityInput| (input.hook.clone(), input.method.clone(), input.control.clone());
        match rows.iter_mut().find(|row| row.first().is_some_and(|first| key(first) == key(input))) {
            Some(row) => row.push(input),
            None => rows.push(vec![input]),
        }
    }
    rows.iter().filter_map(|row| quality_row(row)).collect()
}

/// Means over the trainings of one method. Each mean is over the trainings that have the number.
fn quality_row(inputs: &[&QualityInput]) -> Option<QualityRow> {
    let first = inputs.first()?;
    let mean = |value: &dyn Fn(&QualityInput) -> Option<f64>| {
        let values: Vec<f64> = inputs.iter().filter_map(|input| value(input)).collect();
        stats::mean(&values).ok()
    };
    // None where the quality is not measured.
    let measured = |value: &dyn Fn(&Quality) -> Option<f64>| {
        mean(&|input| input.measured.quality.as_ref().and_then(value))
    };
    let count = |value: &dyn Fn(&Quality) -> usize| {
        measured(&|quality| Some(value(quality) as f64)).map(|mean| mean.round() as usize)
    };
    let mut notes: Vec<String> = Vec::new();
    if inputs.len() > 1 {
        notes.push(format!("means of {} trainings", inputs.len()));
    }
    if first.measured.quality.is_none() {
        notes.push("not measured (`quality: false`)".into());
    }
    for input in inputs {
        let of_dictionary = input.measured.quality.iter().flat_map(|quality| &quality.note);
        for note in of_dictionary.chain(&input.report.warnings).chain(&input.report.notes) {
            if !notes.contains(note) {
                notes.push(note.clone());
            }
        }
    }
    let fvus: Vec<f64> = inputs.iter().filter_map(|input| input.measured.quality.as_ref()?.fvu).collect();
    let fvu_fold =
        |start, pick: fn(f64, f64) -> f64| (fvus.len() > 1).then(|| fvus.iter().copied().fold(start, pick));
    let converged: Vec<bool> = inputs.iter().filter_map(|input| input.report.converged).collect();
    Some(QualityRow {
        hook: first.hook.clone(),
        method: first.method.clone(),
        sweep: first.sweep.clone(),
        role: first.role,
        elsewhere: first.elsewhere.clone(),
        trainings: (inputs.len() > 1).then_some(inputs.len()),
        control: first.control.clone(),
        n_features: first.measured.n_features(),
        l0: measured(&|quality| Some(quality.l0)),
        fvu: measured(&|quality| quality.fvu),
        fvu_least: fvu_fold(f64::INFINITY, f64::min),
        fvu_largest: fvu_fold(f64::NEG_INFINITY, f64::max),
        loss_recovered_zero: mean(&|input| input.measured.recovered().0),
        loss_recovered_mean: mean(&|input| input.measured.recovered().1),
        alive: count(&|quality| quality.alive),
        dead: count(&|quality| quality.dead),
        near_dead: count(&|quality| quality.near_dead),
        n_tokens: first.measured.quality.as_ref().map_or(0, |quality| quality.n_tokens),
        density_median: measured(&|quality| Some(quality.density_median)),
        mmcs_between_seeds: mmcs_between(inputs),
        converged: (!converged.is_empty()).then(|| converged.iter().all(|converged| *converged)),
        note: (!notes.is_empty()).then(|| notes.join("; ")),
    })
}

/// Mean of MMCS over all ordered pairs of trainings.
fn mmcs_between(inputs: &[&QualityInput]) -> Option<f64> {
    let mut values = Vec::new();
    for (nth, a) in inputs.iter().enumerate() {
        for b in &inputs[..nth] {
            let ((a, signed), (b, _)) = (a.directions.as_ref()?, b.directions.as_ref()?);
            let mmcs = mmcs_of_directions(a, b, *signed);
            values.extend([mmcs.forward, mmcs.backward]);
        }
    }
    stats::mean(&values).ok()
}

/// One comparison of the reference method `a` with another method `b`.
struct Comparison<'a> {
    a: &'a Group,
    b: &'a Group,
    scorer: &'static str,
    family: stats::Family,
    /// Whether the features of at least one of them are chosen.
    chosen: bool,
}

/// Compares the reference method with every other method at each hook point, under each scorer and explainer. The
/// primary score under the first explainer forms the Holm-adjusted family; the rest is exploratory.
fn differences(suite: &Suite, order: &[Group], groups: &Groups<'_>) -> Vec<DifferenceRow> {
    let comparisons = comparisons(suite, order);
    let found: Vec<Option<Difference>> =
        comparisons.par_iter().map(|comparison| comparison.test(suite, groups)).collect();
    let pairs = || comparisons.iter().zip(&found);
    let judged: Vec<(stats::Family, &Difference)> =
        pairs().filter_map(|(comparison, found)| Some((comparison.family, found.as_ref()?))).collect();
    let mut judgements = stats::judge(&judged, suite.statistics.margin).into_iter();
    let row = |(comparison, found): (&Comparison<'_>, &Option<Difference>)| {
        comparison.row(found.as_ref().and_then(|found| Some((found, judgements.next()?))))
    };
    pairs().map(row).collect()
}

fn comparisons<'a>(suite: &Suite, order: &'a [Group]) -> Vec<Comparison<'a>> {
    let first = suite.pairs.first().map(|pair| pair.explainer.name()).unwrap_or_default();
    let mut comparisons = Vec::new();
    let is_reference = |group: &&Group| group.control.is_none() && group.method == suite.statistics.reference;
    for a in order.iter().filter(is_reference) {
        let comparable = |b: &&Group| {
            b.control.is_none() && b.hook == a.hook && b.explainer == a.explainer && b.method != a.method
        };
        for b in order.iter().filter(comparable) {
            let chosen = [a, b].iter().any(|group| suite.has_chosen_features(&group.method));
            let scorers = suite.scorers.iter().filter(|scorer| has_score(suite, a, scorer));
            comparisons.extend(scorers.map(|&scorer| {
                let primary = scorer == suite.statistics.primary && a.explainer == first;
                let family = if primary { stats::Family::Primary } else { stats::Family::Exploratory };
                Comparison { a, b, scorer, family, chosen }
            }));
        }
    }
    comparisons
}

impl Comparison<'_> {
    /// Tests the difference of means; none if it is undefined.
    fn test(&self, suite: &Suite, groups: &Groups<'_>) -> Option<Difference> {
        let values = |group: &Group| -> Vec<f64> {
            groups[group].iter().filter_map(|outcome| entering(outcome, self.scorer)).collect()
        };
        // Exploratory p-values need fewer permutations.
        let permutations = match self.family {
            stats::Family::Primary => suite.statistics.permutations,
            stats::Family::Exploratory => suite.statistics.permutations.min(10_000),
        };
        let stream = format!("{} against {}", stream(self.a, self.scorer), self.b.method);
        let test = DifferenceTest { bootstrap: bootstrap(suite, stream), permutations };
        test.unpaired(&values(self.a), &values(self.b)).ok()
    }

    fn row(&self, found: Option<(&Difference, stats::Judgement)>) -> DifferenceRow {
        let row = DifferenceRow {
            hook: self.a.hook.clone(),
            scorer: self.scorer.to_string(),
            explainer: self.a.explainer.clone(),
            simulator: self.a.simulator.clone(),
            method_a: self.a.method.clone(),
            method_b: self.b.method.clone(),
            family: match self.family {
                stats::Family::Primary => Family::Primary,
                stats::Family::Exploratory => Family::Exploratory,
            },
            note: self.chosen.then(|| OVER_CHOSEN.to_string()),
            ..DifferenceRow::default()
        };
        let Some((found, judgement)) = found else { return row };
        let adjusted = judgement.adjusted.and_then(Result::ok);
        let mut note = row.note.clone();
        if let Some(Err(why)) = judgement.adjusted {
            add_remark(&mut note, format!("no adjusted interval: {why}"));
        }
        DifferenceRow {
            n_a: found.n_a,
            n_b: found.n_b,
            difference: Some(found.difference),
            ci_low: Some(found.interval.low),
            ci_high: Some(found.interval.high),
            adjusted_low: adjusted.map(|(low, _)| low),
            adjusted_high: adjusted.map(|(_, high)| high),
            p: Some(found.p),
            p_adjusted: judgement.p_adjusted,
            verdict: Some(match judgement.verdict {
                stats::Verdict::WithinMargin => Verdict::WithinMargin,
                stats::Verdict::Higher => Verdict::Higher,
                stats::Verdict::Lower => Verdict::Lower,
                stats::Verdict::NoDifferenceDetected => Verdict::NoDifference,
            }),
            note,
            ..row
        }
    }
}
