//! What patching on a task shows, in the main order. Nothing is concluded where the subject does not solve the task.

use super::Run;
use super::words::{NAMED, code, list, named, one_or};
use crate::base::distinct;
use crate::report::list::grouped;
use crate::report::number::{count, percent};
use crate::report::patched::{Apart, HALF, Patched, RANDOM_DIRECTIONS, RANDOM_FEATURES, features_text};
use crate::report::patching::{PatchCurve, PatchedDictionary};

/// Share of base prompts answered rightly from which the task counts as solved. Chance is 0.5.
const SOLVED: f64 = 0.8;

/// The task, if the subject solves it.
fn solved<'a>(run: &Run<'_, 'a>) -> Option<Patched<'a>> {
    Patched::of(run.view.summary).filter(|patched| patched.right().is_some_and(|right| right >= SOLVED))
}

/// No pair was usable, or the subject does not solve the task.
pub fn unsolved(run: &Run<'_, '_>) -> Option<String> {
    let patched = Patched::of(run.view.summary)?;
    let task = code(&patched.task.task);
    match patched.right() {
        None => Some(format!("No pair of prompts of {task} could be used, so nothing was patched.")),
        Some(right) if right < SOLVED => Some(format!(
            "On {task} the model answers {} of {} base prompts rightly, fewer than {}: it does not solve the task, so \
             nothing is concluded from patching there.",
            percent(Some(right)),
            count(patched.task.n_pairs),
            percent(Some(SOLVED)),
        )),
        Some(_) => None,
    }
}

/// `` On `ioi` (64 pairs, answered rightly on 97 %)``
fn on_task(patched: &Patched<'_>) -> String {
    let (task, n) = (code(&patched.task.task), count(patched.task.n_pairs));
    format!("On {task} ({n} pairs, answered rightly on {})", percent(patched.right()))
}

/// How often a method needs more or fewer features than the reference.
struct Compared<'a> {
    method: &'a str,
    more: usize,
    fewer: usize,
    tested: usize,
}

impl Compared<'_> {
    /// `more at 4 of 4 hook points`
    fn in_words(&self) -> String {
        let parts = [(self.more, "more"), (self.fewer, "fewer")];
        let mut parts = parts.iter().filter(|(n, _)| *n > 0);
        let (first, rest) = (parts.next(), parts.next());
        let Some((n, words)) = first else { return "not separated".to_string() };
        if self.tested == 1 {
            return (*words).to_string();
        }
        let rest = rest.map_or(String::new(), |(n, words)| format!(", {words} at {n}"));
        format!("{words} at {n} of {} hook points{rest}", self.tested)
    }
}

/// The methods that were compared with the reference in features for half.
fn compared<'a>(patched: &Patched<'a>) -> Vec<Compared<'a>> {
    let order = patched.orders.first().copied().unwrap_or_default();
    let others = patched.methods().into_iter().filter(|method| Some(*method) != patched.reference);
    let of = |method: &'a str| {
        let rows = patched.hooks.iter().filter_map(|hook| patched.against(hook, order, HALF, method));
        let verdicts: Vec<Apart> =
            rows.filter(|against| against.difference.is_some()).map(|against| against.verdict).collect();
        let n = |wanted: Apart| verdicts.iter().filter(|verdict| **verdict == wanted).count();
        Compared { method, more: n(Apart::Higher), fewer: n(Apart::Lower), tested: verdicts.len() }
    };
    others.map(of).filter(|compared| compared.tested > 0).collect()
}

fn own_curve<'a>(patched: &Patched<'a>, hook: &str, method: &str) -> Option<&'a PatchCurve> {
    patched.dictionary(hook, method)?.curve(patched.orders.first()?)
}

/// The middle one of the hook points at which the reference has a number, so that it is not chosen by its result.
fn quoted<'a>(patched: &Patched<'a>) -> Option<&'a str> {
    let reference = patched.reference?;
    let has = |hook: &&&'a str| {
        own_curve(patched, hook, reference).is_some_and(|curve| curve.half.known().is_some())
    };
    let hooks: Vec<&'a str> = patched.hooks.iter().filter(has).copied().collect();
    hooks.get(hooks.len() / 2).copied()
}

/// `9 [6, 14]`
fn half(patched: &Patched<'_>, hook: &str, method: &str) -> Option<String> {
    let curve = own_curve(patched, hook, method)?;
    curve.half.known()?;
    Some(curve.half.text(features_text))
}

/// Features for half of the divergence: the reference, and the methods that need more or fewer.
pub fn apart(run: &Run<'_, '_>) -> Option<String> {
    let patched = solved(run)?;
    let apart = compared(&patched).into_iter().filter(|compared| compared.more + compared.fewer > 0);
    let apart: Vec<Compared<'_>> = apart.collect();
    let (reference, hook) = (patched.reference?, quoted(&patched)?);
    let own = half(&patched, hook, reference).filter(|_| !apart.is_empty())?;
    let mut parts: Vec<String> = apart
        .iter()
        .take(NAMED)
        .map(|compared| {
            let half = half(&patched, hook, compared.method).map_or(String::new(), |half| format!(" {half}"));
            format!("{}{half} ({})", code(compared.method), compared.in_words())
        })
        .collect();
    if let Some(more) = apart.len().checked_sub(NAMED).filter(|more| *more > 0) {
        parts.push(format!("{more} more methods differ at some hook point"));
    }
    Some(format!(
        "{}, {} needs {own} features to remove half of the divergence at {}; {} (Holm).",
        on_task(&patched),
        code(reference),
        code(hook),
        list(&parts)
    ))
}

/// Methods that are not separated from the reference at any hook point.
pub fn open(run: &Run<'_, '_>) -> Option<String> {
    let patched = solved(run)?;
    let compared = compared(&patched);
    let (open, apart): (Vec<&Compared<'_>>, Vec<&Compared<'_>>) =
        compared.iter().partition(|compared| compared.more + compared.fewer == 0);
    if open.is_empty() {
        return None;
    }
    let begin = if apart.is_empty() { format!("{}, ", on_task(&patched)) } else { String::new() };
    let hooks = if patched.hooks.len() > 1 { " at any hook point" } else { "" };
    Some(format!(
        "{begin}{} {} not separated from {} in the features that remove half of the divergence{hooks}.",
        named(open.iter().map(|compared| compared.method)),
        one_or(open.len(), "is", "are"),
        code(patched.reference?),
    ))
}

/// Methods whose features for half are undefined, by reason.
pub fn undefined(run: &Run<'_, '_>) -> Option<String> {
    let patched = solved(run)?;
    let places = patched.methods().into_iter().flat_map(|method| {
        let curves = patched.hooks.iter().filter_map(|hook| own_curve(&patched, hook, method));
        let undefined = curves.filter(|curve| curve.half.known().is_none());
        let reasons = undefined.map(|curve| curve.half.reason.as_deref().unwrap_or("no reason recorded"));
        reasons.map(move |reason| (reason, method)).collect::<Vec<_>>()
    });
    let groups = grouped(places);
    let texts = groups
        .into_iter()
        .map(|(reason, methods)| format!("{} ({})", named(distinct(methods)), code(reason)));
    let texts: Vec<String> = texts.collect();
    (!texts.is_empty())
        .then(|| format!("The number of features for half is undefined for {}.", texts.join("; ")))
}

/// Whether a control's area is not shown to be larger: its interval begins below the end of the curve's own.
fn does_as_well(own: &PatchCurve, control: &PatchCurve) -> Option<bool> {
    let ((_, high), (low, _)) = (own.area.interval()?, control.area.interval()?);
    Some(low <= high)
}

/// Random features and random directions against each method's own order.
pub fn controls(run: &Run<'_, '_>) -> Option<String> {
    let patched = solved(run)?;
    let order = patched.orders.first()?;
    let kinds =
        [(RANDOM_FEATURES, "Random features"), (RANDOM_DIRECTIONS, "Random directions of the same norm")];
    let mut texts = Vec::new();
    let mut beaten = Vec::new();
    for (control, words) in kinds {
        let as_well = |dictionary: &PatchedDictionary| {
            does_as_well(dictionary.curve(order)?, dictionary.curve(control)?)
        };
        let own = patched.task.dictionaries.iter().filter(|dictionary| dictionary.control.is_none());
        let tested: Vec<(&str, bool)> =
            own.filter_map(|one| Some((one.method.as_str(), as_well(one)?))).collect();
        let methods = distinct(tested.iter().filter(|(_, as_well)| *as_well).map(|(method, _)| *method));
        if !methods.is_empty() {
            let n = methods.len();
            let hooks = if patched.hooks.len() > 1 { " at some hook point" } else { "" };
            texts.push(format!(
                "{words} are not shown to do worse than {}{hooks}, so {} features are not shown to matter there.",
                named(methods),
                one_or(n, "its", "their"),
            ));
        } else if !tested.is_empty() {
            beaten.push(words);
        }
    }
    if !beaten.is_empty() {
        let words = beaten.join(" and ").replace(" and R", " and r");
        texts.push(format!("{words} leave more divergence than every method."));
    }
    (!texts.is_empty()).then(|| texts.join(" "))
}

/// Dictionaries without curves, with their reasons, and pairs that were left out.
pub fn skipped(run: &Run<'_, '_>) -> Option<String> {
    let patched = Patched::of(run.view.summary)?;
    let without = patched.task.dictionaries.iter().filter(|one| one.control.is_none());
    let notes = without.filter_map(|one| Some((one.note.as_deref()?, one.method.as_str())));
    let dictionaries = grouped(notes)
        .into_iter()
        .map(|(note, methods)| format!("{} ({})", named(distinct(methods)), code(note)));
    let pairs = patched.task.skipped.iter().filter(|(_, n)| **n > 0).map(|(reason, n)| {
        format!("{} {} of prompts ({})", count(*n), one_or(*n, "pair", "pairs"), code(reason))
    });
    let all: Vec<String> = dictionaries.chain(pairs).collect();
    (!all.is_empty()).then(|| format!("Not patched: {}.", all.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::super::{Findings, Rule};
    use crate::report::patching::PatchedNumber;
    use crate::report::patching_fixture::{NEVER, summary};
    use crate::report::schema::Summary;

    fn text(summary: &Summary, rule: Rule) -> Option<String> {
        let found = Findings::new(summary).sentences.into_iter().find(|sentence| sentence.rule == rule);
        found.map(|sentence| sentence.text)
    }

    #[track_caller]
    fn says(summary: &Summary, rule: Rule, expected: &str) {
        assert_eq!(text(summary, rule).as_deref(), Some(expected));
    }

    /// The fixture with a change of its task.
    fn changed(layers: usize, change: impl Fn(&mut crate::report::TaskPatching)) -> Summary {
        let mut summary = summary(layers);
        change(summary.patching.as_mut().expect("a task"));
        summary
    }

    #[test]
    fn a_sparse_dictionary_needs_fewer_features() {
        // Of four hook points the third is quoted: 9 / 1.5 and 60 / 1.5 features.
        says(
            &summary(4),
            Rule::Patching,
            "On `ioi` (64 pairs, answered rightly on 97 %), `topk` needs 6 [5.1, 6.9] features to remove half of the \
             divergence at `blocks.2.hook_resid_post`; `pca` 40 [34, 46] (more at 4 of 4 hook points) (Holm).",
        );
        says(
            &summary(1),
            Rule::Patching,
            "On `ioi` (64 pairs, answered rightly on 97 %), `topk` needs 9 [7.7, 10] features to remove half of the \
             divergence at `blocks.0.hook_resid_post`; `pca` 60 [51, 69] (more) (Holm).",
        );
        says(
            &summary(4),
            Rule::PatchingOpen,
            "`sae` is not separated from `topk` in the features that remove half of the divergence at any hook point.",
        );
        assert_eq!(text(&summary(4), Rule::TaskUnsolved), None);
    }

    #[test]
    fn what_is_not_separated_is_open() {
        let close = changed(2, |task| {
            for row in &mut task.differences {
                row.verdict = "no difference detected".into();
            }
        });
        assert_eq!(text(&close, Rule::Patching), None);
        says(
            &close,
            Rule::PatchingOpen,
            "On `ioi` (64 pairs, answered rightly on 97 %), `sae` and `pca` are not separated from `topk` in the \
             features that remove half of the divergence at any hook point.",
        );
    }

    #[test]
    fn random_controls_that_do_as_well_are_said() {
        says(
            &summary(1),
            Rule::PatchingControls,
            "Random features are not shown to do worse than `pca` and `neuron`, so their features are not shown to \
             matter there. Random directions of the same norm are not shown to do worse than `neuron`, so its features \
             are not shown to matter there.",
        );
        let beaten = changed(1, |task| {
            let high =
                PatchedNumber { value: Some(9.0), ci_low: Some(8.0), ci_high: Some(10.0), reason: None };
            for curve in task.dictionaries.iter_mut().flat_map(|one| &mut one.curves) {
                if curve.is_control {
                    curve.area = high.clone();
                }
            }
        });
        says(
            &beaten,
            Rule::PatchingControls,
            "Random features and random directions of the same norm leave more divergence than every method.",
        );
        let untested = changed(1, |task| {
            for curve in task.dictionaries.iter_mut().flat_map(|one| &mut one.curves) {
                curve.area.ci_low = None;
            }
        });
        assert_eq!(text(&untested, Rule::PatchingControls), None);
    }

    #[test]
    fn nothing_is_concluded_from_a_task_that_is_not_solved() {
        let unsolved = changed(2, |task| task.n_right = 41);
        says(
            &unsolved,
            Rule::TaskUnsolved,
            "On `ioi` the model answers 64 % of 64 base prompts rightly, fewer than 80 %: it does not solve the task, \
             so nothing is concluded from patching there.",
        );
        for rule in [Rule::Patching, Rule::PatchingOpen, Rule::PatchingUndefined, Rule::PatchingControls] {
            assert_eq!(text(&unsolved, rule), None, "{rule:?}");
        }
        let empty = changed(1, |task| (task.n_pairs, task.n_right) = (0, 0));
        says(
            &empty,
            Rule::TaskUnsolved,
            "No pair of prompts of `ioi` could be used, so nothing was patched.",
        );
        assert_eq!(text(&empty, Rule::Patching), None);
    }

    #[test]
    fn undefined_numbers_and_skips_have_their_reasons() {
        says(
            &summary(2),
            Rule::PatchingUndefined,
            &format!("The number of features for half is undefined for `neuron` (`{NEVER}`)."),
        );
        says(
            &summary(2),
            Rule::PatchingSkipped,
            "Not patched: `random` (`its codes are no share of an activation`); 2 pairs of prompts (`answer of several \
             tokens`).",
        );
        let none = changed(1, |task| {
            task.skipped.clear();
            task.dictionaries.retain(|one| one.note.is_none());
        });
        assert_eq!(text(&none, Rule::PatchingSkipped), None);
    }

    #[test]
    fn a_run_without_a_task_says_nothing_of_it() {
        let without = Summary { patching: None, ..summary(1) };
        assert_eq!(Findings::new(&without).sentences.len(), 1, "no scores");
        // Without a reference nothing is compared, and the rest is said.
        let alone = Summary { reference: None, ..summary(1) };
        assert_eq!(text(&alone, Rule::Patching), None);
        assert_eq!(text(&alone, Rule::PatchingOpen), None);
        assert!(text(&alone, Rule::PatchingControls).is_some());
    }
}
