//! What limits the conclusions: features without a score, constant predictions, chosen features, few places.

use std::collections::BTreeMap;

use super::Run;
use super::ranked::Ranked;
use super::words::{code, named, one_or};
use crate::base::distinct;
use crate::report::number::{count, percent};
use crate::report::schema::Cell;
use crate::report::view::View;

/// Share of eligible features without a score from which the verdict says so.
const UNSCORED: f64 = 0.1;

/// Share of constant predictions from which the verdict says so.
const CONSTANT: f64 = 0.5;

/// The most frequent reason of methods without a score: its name, whether it skips features, and its number of
/// features under the first scorer.
fn most_frequent_reason(view: &View<'_>) -> Option<(String, bool, usize)> {
    let scorer = view.scorers.first()?;
    let cells = view.summary.cells.iter().filter(|cell| cell.control.is_none() && cell.scorer == **scorer);
    let mut reasons: BTreeMap<(&str, bool), usize> = BTreeMap::new();
    for Cell { tally, .. } in cells {
        let counted = [("undefined", false, tally.undefined), ("failed", false, tally.failed)];
        let skipped = tally.skipped.iter().map(|(reason, n)| (reason.as_str(), true, *n));
        for (reason, skips, n) in counted.into_iter().chain(skipped) {
            *reasons.entry((reason, skips)).or_default() += n;
        }
    }
    let most = reasons.into_iter().filter(|(_, n)| *n > 0).max_by_key(|(_, n)| *n);
    most.map(|((reason, skips), n)| (reason.to_string(), skips, n))
}

/// No method has a mean anywhere.
pub fn no_scores(view: &View<'_>) -> Option<String> {
    let mut methods = view.summary.cells.iter().filter(|cell| cell.control.is_none());
    if methods.any(|cell| cell.mean.is_some_and(f64::is_finite)) {
        return None;
    }
    let Some((reason, skips, n)) = most_frequent_reason(view) else {
        return Some("No feature was eligible at any hook point, so there are no scores.".to_string());
    };
    let next = match skips {
        true => "more text, `corpus.eval_fragments`, may help",
        false => "`scores.jsonl` has the reason of each feature",
    };
    let (reason, n) = (code(&reason), count(n));
    Some(format!(
        "No feature has a score. The most frequent reason is {reason} ({n} features). Next: {next}."
    ))
}

/// The folder has scores and no rankings.
pub fn no_rankings(run: &Run<'_, '_>) -> Option<String> {
    run.view.summary.rankings.is_empty().then(|| {
        "This folder has no rankings, because an older version wrote it: run the suite again to add them."
            .to_string()
    })
}

/// Many eligible features have no score.
pub fn unscored(ranked: &Ranked<'_, '_>) -> Option<String> {
    let (mut scored, mut undefined, mut failed) = (0, 0, 0);
    for Cell { tally, .. } in ranked.cells() {
        scored += tally.scored;
        undefined += tally.undefined;
        failed += tally.failed;
    }
    let eligible = scored + undefined + failed;
    let share = |n: usize| n as f64 / eligible as f64;
    (eligible > 0 && share(undefined + failed) > UNSCORED).then(|| {
        format!(
            "{} of the eligible features have no score here ({} undefined, {} failed); means leave them out.",
            percent(Some(share(undefined + failed))),
            percent(Some(share(undefined))),
            percent(Some(share(failed)))
        )
    })
}

/// Most predictions are constant.
pub fn constant(ranked: &Ranked<'_, '_>) -> Option<String> {
    let cells = || ranked.cells();
    let scored: usize = cells().map(|cell| cell.n_scored).sum();
    let constant: usize = cells().map(|cell| cell.n_constant).sum();
    let share = constant as f64 / scored as f64;
    (scored > 0 && share > CONSTANT)
        .then(|| format!("{} of the predictions are constant here and count as 0.", percent(Some(share))))
}

/// Methods whose features the suite chose.
pub fn chosen(run: &Run<'_, '_>) -> Option<String> {
    let methods = run.view.summary.cells.iter().filter(|cell| cell.control.is_none());
    let (chosen, drawn): (Vec<&Cell>, Vec<&Cell>) = methods.partition(|cell| cell.is_of_chosen());
    let names = distinct(chosen.iter().map(|cell| cell.method.as_str()));
    match (names.is_empty(), drawn.is_empty()) {
        (true, _) => None,
        (false, true) => Some(
            "The suite chose all features: this holds for these features only, not for whole dictionaries."
                .to_string(),
        ),
        (false, false) => Some(format!(
            "The suite chose the features of {}: what is said of them holds for these features only.",
            named(names)
        )),
    }
}

/// Dictionaries at a place where they were not trained.
pub fn elsewhere(run: &Run<'_, '_>) -> Option<String> {
    let rows = run.view.summary.quality.iter();
    let names = distinct(rows.filter(|row| row.elsewhere.is_some()).map(|row| row.method.as_str()));
    (!names.is_empty()).then(|| {
        let (is, its) =
            (one_or(names.len(), "is", "are"), one_or(names.len(), "its place says", "their places say"));
        let named = named(names);
        format!("{named} {is} not applied where trained: {its} nothing about the method.")
    })
}

/// The run has one hook point.
pub fn one_hook_point(run: &Run<'_, '_>) -> Option<String> {
    let [only] = run.view.hooks.as_slice() else { return None };
    Some(format!("All of this is at one hook point, {}; others can differ.", code(only)))
}
