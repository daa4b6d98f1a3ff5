//! Quadrants of input and output scores, from the score lines.

use std::collections::{BTreeMap, HashMap};

use crate::base::distinct;
use crate::causal::effects::Effect;
use crate::report::{QuadrantRow, Quadrants, Share};
use crate::run::Outcome;
use crate::run::results::grouped::{Group, Groups, entering, share_interval};
use crate::score::catalog::scorer_of;
use crate::stats::{Bootstrap, quantile};
use crate::suite::{Controls, Suite};

/// Whether a feature's input score and its output score are high.
type High = (bool, bool);

/// The quadrants under the first explainer; none unless the suite requests an input score and `steering_effect`.
/// `bootstrap` makes the settings of a seed stream.
pub fn quadrants(
    suite: &Suite,
    order: &[Group],
    groups: &Groups<'_>,
    bootstrap: &dyn Fn(String) -> Bootstrap,
) -> Option<Quadrants> {
    let output = Effect::Steering.name();
    let is_input = |name: &&str| scorer_of(name).is_none_or(|scorer| !scorer.is_output());
    let primary = Some(suite.statistics.primary.as_str()).filter(is_input);
    let input = primary.or_else(|| suite.scorers.iter().copied().find(is_input))?;
    let pair = suite.pairs.first().filter(|_| suite.scorers.contains(&output))?;
    let (explainer, simulator) = (pair.explainer.name(), pair.simulator.name());
    let is_row = |group: &&Group| {
        group.control.is_none() && group.explainer == explainer && group.simulator == simulator
    };
    let of_first: Vec<&Group> = order.iter().filter(is_row).collect();
    let mut rows = Vec::new();
    for hook in distinct(of_first.iter().map(|group| group.hook.as_str())) {
        let here = || of_first.iter().filter(|group| group.hook == hook);
        let inputs = here().flat_map(|group| groups[*group].iter());
        let inputs: Vec<f64> = inputs.filter_map(|outcome| entering(outcome, input)).collect();
        let cut = quantile(&inputs, 0.5).ok();
        rows.extend(here().map(|group| row(group, groups, (input, output), cut, bootstrap)));
    }
    Some(Quadrants {
        input: input.into(),
        output: output.into(),
        explainer: explainer.into(),
        simulator: simulator.into(),
        rows,
    })
}

fn row(
    group: &Group,
    groups: &Groups<'_>,
    (input, output): (&str, &str),
    cut: Option<f64>,
    bootstrap: &dyn Fn(String) -> Bootstrap,
) -> QuadrantRow {
    let control = Group { control: Some(Controls::RANDOM_DIRECTION.into()), ..group.clone() };
    let key = |outcome: &Outcome| (outcome.line.training, outcome.line.feature);
    let of_random: HashMap<_, f64> = groups
        .get(&control)
        .into_iter()
        .flatten()
        .filter_map(|outcome| Some((key(outcome), entering(outcome, output)?)))
        .collect();
    let mut trainings: BTreeMap<Option<u32>, Vec<High>> = BTreeMap::new();
    for outcome in &groups[group] {
        let high = || {
            let does = entering(outcome, output)? > *of_random.get(&key(outcome))?;
            Some((entering(outcome, input)? >= cut?, does))
        };
        trainings.entry(outcome.line.training).or_default().extend(high());
    }
    trainings.retain(|_, features| !features.is_empty());
    let share = |name: &str, is: fn(High) -> bool| -> Option<Share> {
        let of = |features: &Vec<High>| -> Vec<f64> {
            features.iter().map(|&high| if is(high) { 1.0 } else { 0.0 }).collect()
        };
        let values: Vec<Vec<f64>> = trainings.values().map(of).collect();
        let means = values.iter().map(|values| values.iter().sum::<f64>() / values.len() as f64);
        let mean = means.sum::<f64>() / values.len() as f64;
        let stream = format!("quadrants/{}/{}/{name}", group.hook, group.method);
        let interval = share_interval(&values, &bootstrap(stream));
        (!values.is_empty()).then(|| Share {
            share: mean,
            ci_low: interval.map(|(low, _)| low),
            ci_high: interval.map(|(_, high)| high),
        })
    };
    let (both, input_only) = (share("both", |(i, o)| i && o), share("input_only", |(i, o)| i && !o));
    let (output_only, neither) =
        (share("output_only", |(i, o)| !i && o), share("neither", |(i, o)| !i && !o));
    let sum = |a: Option<Share>, b: Option<Share>| Some(a?.share + b?.share);
    QuadrantRow {
        hook: group.hook.clone(),
        method: group.method.clone(),
        input_cut: cut,
        n_requested: groups[group].len(),
        n_both: trainings.values().map(Vec::len).sum(),
        both_if_independent: sum(both, input_only).zip(sum(both, output_only)).map(|(i, o)| i * o),
        both,
        input_only,
        output_only,
        neither,
    }
}
