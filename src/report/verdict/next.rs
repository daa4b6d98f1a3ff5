//! What to run next: the first open question that another run can answer.

use super::Run;
use super::ranked::{Ranked, TOKEN_LOOKUP, interval, lookup_pairing, mean};
use super::words::code;
use crate::report::number::{count, score};
use crate::report::ranking::RankedMethod;
use crate::report::schema::Role;

/// One sentence that begins with `Next:`.
pub fn next(run: &Run<'_, '_>) -> Option<String> {
    let steps: [fn(&Run<'_, '_>) -> Option<String>; 4] =
        [add_baseline, add_lookup, more_features, more_trainings];
    steps.iter().find_map(|step| step(run)).map(|step| format!("Next: {step}."))
}

/// Whether the run records what its methods are and none is a baseline.
fn add_baseline(run: &Run<'_, '_>) -> Option<String> {
    let ranked = run.main.first()?;
    let roles: Option<Vec<Role>> = run.view.methods.iter().map(|method| ranked.role(method)).collect();
    let lacking = roles.is_some_and(|roles| !roles.is_empty() && !roles.contains(&Role::Baseline));
    lacking.then(|| "add a baseline, `{use: baselines/random.yaml}`, to `methods`".to_string())
}

fn add_lookup(run: &Run<'_, '_>) -> Option<String> {
    let ranked = run.main.first()?;
    let pairing = ranked.pairing;
    let lacking = pairing.explainer != TOKEN_LOOKUP && lookup_pairing(run.view, pairing).is_none();
    lacking.then(|| {
        format!("add `{TOKEN_LOOKUP}` to `pairs`, to see whether the explanations say more than the token")
    })
}

/// The first main score in which the two highest methods are not separated, and how many features would separate them.
fn more_features(run: &Run<'_, '_>) -> Option<String> {
    run.main.iter().find_map(|ranked| {
        let leaders = ranked.leaders();
        let [first, second, ..] = leaders.as_slice() else { return None };
        separate(ranked, first, second)
    })
}

/// Features per hook point at which the interval of the difference of two means would end at 0, if means and spreads
/// stay as they are: the width of an interval falls with the square root of their number.
fn needed(first: &RankedMethod, second: &RankedMethod) -> Option<f64> {
    let half = |row: &RankedMethod| interval(row).map(|(low, high)| (high - low) / 2.0);
    let (a, b) = (half(first)?, half(second)?);
    let difference = mean(first)? - mean(second)?;
    let n = first.n_per_hook.1.max(second.n_per_hook.1) as f64;
    Some(n * (a * a + b * b) / (difference * difference))
}

/// Rounded up to two significant digits.
fn rounded_up(n: f64) -> usize {
    let n = n.max(1.0);
    let unit = 10f64.powi((n.log10().floor() as i32 - 1).max(0));
    // Sums of floats may end just above a whole number.
    ((n / unit - 1e-6).ceil() * unit) as usize
}

fn separate(ranked: &Ranked<'_, '_>, first: &RankedMethod, second: &RankedMethod) -> Option<String> {
    let cells = || ranked.view.summary.cells.iter();
    let is_chosen = |row: &RankedMethod| cells().any(|cell| cell.method == row.method && cell.is_of_chosen());
    if is_chosen(first) || is_chosen(second) {
        return None;
    }
    let pair = format!("{} and {} apart in {}", code(&first.method), code(&second.method), ranked.name());
    let needed = needed(first, second)?;
    if !needed.is_finite() || score(first.mean) == score(second.mean) {
        return Some(format!("nothing is likely to tell {pair}, where both score {}", score(first.mean)));
    }
    let have = first.n_per_hook.1.max(second.n_per_hook.1);
    let needed = rounded_up(needed);
    if needed <= have {
        return Some(format!("a few more than {have} features per hook point should tell {pair}"));
    }
    let quality = || ranked.view.summary.quality.iter().filter(|row| row.control.is_none());
    let sizes = [first, second].into_iter().flat_map(|row| quality().filter(|of| of.method == row.method));
    let least = sizes.min_by_key(|row| row.n_features).filter(|row| row.n_features < needed);
    let ask = format!("telling {pair} takes about {} features per hook point, now {have}", count(needed));
    Some(match least {
        None => format!("{ask} (`features: {{per_cell: {needed}}}`)"),
        Some(row) => format!(
            "{ask}; {} has {}, so it takes more hook points",
            code(&row.method),
            count(row.n_features)
        ),
    })
}

/// The leading method was trained once.
fn more_trainings(run: &Run<'_, '_>) -> Option<String> {
    let ranked = run.main.first()?;
    let top = ranked.methods.first()?;
    let mut rows = run.view.summary.quality.iter().filter(|row| row.method == top.method);
    let once = rows.all(|row| row.trainings.is_none());
    (ranked.role(&top.method) == Some(Role::Trained) && once).then(|| {
        format!(
            "train {} several times (`seeds: 3`); an interval covers the choice of features, not another training",
            code(&top.method)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(mean: f64, half: f64) -> RankedMethod {
        RankedMethod {
            mean: Some(mean),
            ci_low: Some(mean - half),
            ci_high: Some(mean + half),
            n_per_hook: (40, 40),
            ..RankedMethod::default()
        }
    }

    #[test]
    fn four_times_the_features_halve_the_width() {
        // Half the width of the difference is 0.05, twice the difference.
        let n = needed(&row(0.5, 0.03), &row(0.475, 0.04)).expect("a number");
        assert!((n - 160.0).abs() < 1e-6, "{n}");
        assert!(needed(&row(0.5, 0.03), &row(0.5, 0.04)).is_some_and(|n| n.is_infinite()));
    }

    #[test]
    fn numbers_are_rounded_up_to_two_digits() {
        assert_eq!(
            [rounded_up(7.2), rounded_up(99.2), rounded_up(160.0), rounded_up(161.0)],
            [8, 100, 160, 170]
        );
        assert_eq!(rounded_up(12_345.0), 13_000);
    }
}
