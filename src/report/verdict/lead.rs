//! Which methods are highest, by how much, and against which baselines.

use super::Run;
use super::ranked::{Ranked, extreme, interval, is_above, mean};
use super::words::{between, code, listed, named, one_or};
use crate::base::distinct;
use crate::report::number::{estimate, score};
use crate::report::ranking::RankedMethod;
use crate::report::schema::Role;

/// A method with its mean: `` `topk` (0.76)``.
fn with_mean(row: &&RankedMethod) -> String {
    format!("{} ({})", code(&row.method), score(row.mean))
}

fn names(rows: &[&RankedMethod]) -> String {
    named(rows.iter().map(|row| row.method.as_str()))
}

/// There is a ranking, and no method in it has a place.
pub fn not_ranked(ranked: &Ranked<'_, '_>) -> Option<String> {
    let ranking = ranked.ranking.filter(|_| ranked.methods.is_empty())?;
    let methods = ranking.rows.iter().filter(|row| row.control.is_none());
    let reasons = distinct(methods.filter_map(|row| row.reason.as_deref()));
    let why = if reasons.is_empty() { String::new() } else { format!(": {}", named(reasons)) };
    Some(format!("No method has a place in {}{why}.", ranked.name()))
}

/// One method has a place.
pub fn only_method(ranked: &Ranked<'_, '_>) -> Option<String> {
    let [only] = ranked.methods.as_slice() else { return None };
    let shown = estimate(only.mean, only.ci_low, only.ci_high);
    Some(format!(
        "{} is the only method with a place in {} ({shown}), so there is nothing to compare it with.",
        code(&only.method),
        ranked.name()
    ))
}

/// Several methods, and neither an interval nor a separation.
pub fn untested(ranked: &Ranked<'_, '_>) -> Option<String> {
    (ranked.methods.len() > 1 && !ranked.is_tested()).then_some(())?;
    let means: Vec<f64> = ranked.methods.iter().filter_map(|row| mean(row)).collect();
    Some(format!(
        "The means in {} are {} and have no interval, so no method is shown to lead.",
        ranked.name(),
        between(&means)?
    ))
}

/// Several methods, and no two of them are separated.
pub fn not_separated(ranked: &Ranked<'_, '_>) -> Option<String> {
    (ranked.methods.len() > 1 && ranked.is_tested() && !ranked.separates()).then_some(())?;
    let means: Vec<f64> = ranked.methods.iter().filter_map(|row| mean(row)).collect();
    Some(format!(
        "In {} no two methods are separated at {} (means {}).",
        ranked.name(),
        ranked.sample(),
        between(&means)?
    ))
}

/// Some methods are separated: the highest one, those not separated from it, and the next one below.
pub fn lead(ranked: &Ranked<'_, '_>) -> Option<String> {
    ranked.separates().then_some(())?;
    let leaders = ranked.leaders();
    let (top, beside) = leaders.split_first()?;
    let rest: Vec<&RankedMethod> = ranked.methods.iter().copied().filter(|row| is_above(top, row)).collect();
    let (scorer, top_name) = (ranked.name(), with_mean(top));
    let Some(next) = rest.first() else {
        return Some(format!("{top_name} is highest in {scorer}, but no other method is separated from it."));
    };
    if beside.is_empty() {
        let ahead = score(mean(top).zip(mean(next)).map(|(high, low)| high - low));
        return Some(format!(
            "{top_name} scores higher than every other method in {scorer}, {ahead} above the next, {}.",
            with_mean(next)
        ));
    }
    let beside_names = listed(beside.iter().map(with_mean).collect());
    let are = one_or(beside.len(), "is", "are");
    let below = match rest.as_slice() {
        [only] => format!("{} is", with_mean(only)),
        many => format!("the other {} are (at most {})", many.len(), score(next.mean)),
    };
    Some(format!("{top_name} is highest in {scorer}; {beside_names} {are} not separated from it, {below}."))
}

/// Methods that are no baselines against all baselines, where the run records which is which.
pub fn baselines(ranked: &Ranked<'_, '_>) -> Option<String> {
    ranked.separates().then_some(())?;
    let role = |row: &RankedMethod| ranked.role(&row.method);
    ranked.methods.iter().all(|row| role(row).is_some()).then_some(())?;
    let (baselines, others): (Vec<&RankedMethod>, Vec<&RankedMethod>) =
        ranked.methods.iter().copied().partition(|row| role(row) == Some(Role::Baseline));
    if baselines.is_empty() || others.is_empty() {
        return None;
    }
    let is_over = |row: &&RankedMethod| baselines.iter().all(|baseline| is_above(row, baseline));
    let (over, not): (Vec<&RankedMethod>, Vec<&RankedMethod>) = others.into_iter().partition(is_over);
    let highest = score(extreme(baselines.iter().copied(), f64::max));
    let (every, most) = match baselines.as_slice() {
        [only] => (format!("the baseline {}", code(&only.method)), highest),
        _ => ("every baseline".to_string(), format!("at most {highest}")),
    };
    if over.is_empty() {
        return Some(format!("No method is shown to score higher than {every} ({most})."));
    }
    let scores = one_or(over.len(), "scores", "score");
    let mut text = format!("{} {scores} higher than {every} ({most}).", names(&over));
    if !not.is_empty() {
        text.push_str(&format!(" That is not shown for {}.", names(&not)));
    }
    Some(text)
}

/// Every interval reaches chance.
pub fn chance(ranked: &Ranked<'_, '_>) -> Option<String> {
    let intervals: Vec<(f64, f64)> = ranked.methods.iter().filter_map(|row| interval(row)).collect();
    let chance = ranked.chance();
    let reaches = !intervals.is_empty() && intervals.iter().all(|(low, _)| *low <= chance);
    reaches.then(|| format!("No interval lies above chance ({chance})."))
}

/// The run records what its methods are, and there is no baseline, or nothing but baselines.
pub fn missing_baseline(run: &Run<'_, '_>) -> Option<String> {
    let ranked = run.main.first()?;
    let roles: Option<Vec<Role>> = run.view.methods.iter().map(|method| ranked.role(method)).collect();
    let roles = roles.filter(|roles| !roles.is_empty())?;
    let baselines = roles.iter().filter(|role| **role == Role::Baseline).count();
    if baselines == roles.len() {
        return Some("Every method here is a baseline.".to_string());
    }
    (baselines == 0).then(|| {
        "The suite has no baseline (random directions, neurons, PCA, ICA), so nothing shows what a \
         decomposition without training scores here."
            .to_string()
    })
}
