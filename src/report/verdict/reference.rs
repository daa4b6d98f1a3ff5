//! The planned comparisons with the reference, by hook point.

use super::ranked::Ranked;
use super::words::{NAMED, code, list, named};
use crate::base::distinct;
use crate::report::list::grouped;
use crate::report::schema::{DifferenceRow, Family, Verdict};
use crate::report::view::Pairing;

/// Methods whose results differ between hook points and that are spelled out; more are counted.
const SPELLED: usize = 2;

/// The verdicts of one method against the reference.
struct Against<'a> {
    method: &'a str,
    rows: Vec<&'a DifferenceRow>,
}

impl Against<'_> {
    fn count(&self, verdict: Option<Verdict>) -> usize {
        self.rows.iter().filter(|row| row.verdict == verdict).count()
    }

    fn is_always(&self, verdict: Verdict) -> bool {
        self.count(Some(verdict)) == self.rows.len()
    }

    /// `` `sae`: higher at 1 of 4, no difference detected at 3``
    fn in_words(&self) -> String {
        let kinds = [
            (Some(Verdict::Higher), "higher"),
            (Some(Verdict::Lower), "lower"),
            (Some(Verdict::WithinMargin), "within the margin"),
            (Some(Verdict::NoDifference), "no difference detected"),
            (None, "not tested"),
        ];
        let counted = kinds.iter().map(|(verdict, words)| (self.count(*verdict), *words));
        let mut parts = counted.filter(|(n, _)| *n > 0).map(|(n, words)| format!("{words} at {n}"));
        let first = parts.next().map(|part| format!("{part} of {}", self.rows.len()));
        let parts: Vec<String> = first.into_iter().chain(parts).collect();
        format!("{}: {}", code(self.method), parts.join(", "))
    }
}

/// Verdicts that a method may have everywhere: at one hook point, and at all of several.
const EVERYWHERE: [(Verdict, &str, &str); 4] = [
    (Verdict::Higher, "higher than", " at every hook point"),
    (Verdict::Lower, "lower than", " at every hook point"),
    (Verdict::WithinMargin, "within the margin of", " at every hook point"),
    (Verdict::NoDifference, "not shown to differ from", " at any hook point"),
];

/// How often the reference is higher or lower than each other method in the primary score.
pub fn reference(ranked: &Ranked<'_, '_>) -> Option<String> {
    let pairing = Pairing { protocol: "", ..ranked.pairing };
    let is_planned = |row: &&DifferenceRow| {
        row.family == Family::Primary
            && row.scorer == ranked.scorer
            && Pairing::without_protocol(&row.explainer, &row.simulator) == pairing
    };
    let rows: Vec<&DifferenceRow> = ranked.view.summary.differences.iter().filter(is_planned).collect();
    let name = code(&rows.first()?.method_a);
    let several = distinct(rows.iter().map(|row| row.hook.as_str())).len() > 1;
    let groups = grouped(rows.into_iter().map(|row| (row.method_b.as_str(), row)));
    let mut rest: Vec<Against<'_>> =
        groups.into_iter().map(|(method, rows)| Against { method, rows }).collect();
    let mut parts = Vec::new();
    for (verdict, words, hooks) in EVERYWHERE {
        let (these, others): (Vec<_>, Vec<_>) =
            rest.into_iter().partition(|against| against.is_always(verdict));
        rest = others;
        if !these.is_empty() {
            let hooks = if several { hooks } else { "" };
            let names = match these.len() {
                n if n > NAMED => format!("{n} methods"),
                _ => named(these.iter().map(|against| against.method)),
            };
            parts.push(format!("{words} {names}{hooks}"));
        }
    }
    let mut texts = Vec::new();
    if !parts.is_empty() {
        texts.push(format!("In planned tests (Holm) {name} is {}.", list(&parts)));
    }
    if rest.len() > SPELLED {
        texts.push(format!(
            "In planned tests (Holm) of {name} against {} methods, the result depends on the hook point.",
            rest.len()
        ));
    } else if !rest.is_empty() {
        let spelled: Vec<String> = rest.iter().map(Against::in_words).collect();
        texts.push(format!("Planned tests (Holm) of {name} against {}.", spelled.join("; against ")));
    }
    Some(texts.join(" "))
}
