//! Erasure of concepts: its rows as unescaped text, its section of `table.md`, and its CSV file.

use super::csv::{lines, number, optional};
use super::lines::{push_head, push_row};
use crate::report::erasure::{Erasure, ErasureConcept, ErasureCurve, ErasureDictionary};
use crate::report::escape::{csv as text, markdown as escape};
use crate::report::number::{DASH, fixed};
use crate::report::patched::{RANDOM_FEATURES, edit_text, features_text, nats_text};
use crate::report::patching::PatchedNumber;
use crate::report::schema::Summary;

/// Numbers of erased features that the table shows.
const SHOWN: [usize; 3] = [1, 8, 64];

/// Heads of the columns behind the hook point and the eraser.
pub const ERASURE_HEAD: [&str; 9] = [
    "accuracy, unedited",
    "features for half",
    "KL at half",
    "accuracy at 1",
    "accuracy at 8",
    "accuracy at 64",
    "all: accuracy",
    "all: KL",
    "all: edit",
];

/// A row of a concept's table.
pub struct ErasureRow {
    pub hook: String,
    pub method: String,
    pub is_control: bool,
    /// In the order of [`ERASURE_HEAD`].
    pub cells: [String; 9],
}

/// The rows of a concept: at each hook point every dictionary with its control, then the baselines.
pub fn erasure_rows(erasure: &Erasure, concept: &ErasureConcept) -> Vec<ErasureRow> {
    let at = |hook: &&str| {
        let here: Vec<&ErasureDictionary> =
            concept.dictionaries.iter().filter(|one| one.hook == *hook).collect();
        let own = here.iter().flat_map(|one| dictionary_rows(one)).collect::<Vec<_>>();
        own.into_iter().chain(baseline_rows(&here)).collect::<Vec<_>>()
    };
    erasure.hooks().iter().flat_map(at).collect()
}

fn dictionary_rows(one: &ErasureDictionary) -> Vec<ErasureRow> {
    if let Some(note) = &one.note {
        let mut cells: [String; 9] = std::array::from_fn(|_| DASH.to_string());
        cells[1] = format!("{DASH} ({note})");
        return vec![ErasureRow {
            hook: one.hook.clone(),
            method: one.method.clone(),
            is_control: false,
            cells,
        }];
    }
    let curves = one.curves.iter().filter(|curve| curve.half.is_some());
    let row = |curve: &ErasureCurve| ErasureRow {
        hook: one.hook.clone(),
        method: match curve.is_control {
            true => format!("{}: {RANDOM_FEATURES}", one.method),
            false => one.method.clone(),
        },
        is_control: curve.is_control,
        cells: cells(curve),
    };
    curves.map(row).collect()
}

fn cells(curve: &ErasureCurve) -> [String; 9] {
    let dash = || DASH.to_string();
    let at = |n: usize| curve.points.iter().find(|point| point.n_features == Some(n));
    let accuracy_at = |n: usize| at(n).map_or_else(dash, |point| point.accuracy.text(share_text));
    let reason = |value: &Option<PatchedNumber>, print: fn(f64) -> String| {
        value.as_ref().map_or_else(dash, |value| value.text_or_reason(print))
    };
    let last = curve.points.last();
    let of_last = |pick: fn(&crate::report::erasure::ErasurePoint) -> &PatchedNumber,
                   print: fn(f64) -> String| {
        last.map_or_else(dash, |point| pick(point).text(print))
    };
    [
        accuracy_at(0),
        reason(&curve.half, features_text),
        curve.kl_at_half.as_ref().map_or_else(dash, |kl| kl.text(nats_text)),
        accuracy_at(SHOWN[0]),
        accuracy_at(SHOWN[1]),
        accuracy_at(SHOWN[2]),
        of_last(|point| &point.accuracy, share_text),
        of_last(|point| &point.kl, nats_text),
        of_last(|point| &point.edit_size, edit_text),
    ]
}

/// The baselines of a hook point, once if they are equal for all dictionaries: a transcoder writes elsewhere.
fn baseline_rows(here: &[&ErasureDictionary]) -> Vec<ErasureRow> {
    let mut rows: Vec<ErasureRow> = Vec::new();
    for one in here {
        for curve in one.curves.iter().filter(|curve| curve.half.is_none()) {
            let cells = cells(curve);
            if rows.iter().all(|row| row.cells != cells || !row.method.starts_with(&curve.eraser)) {
                let is_first = !rows.iter().any(|row| row.method.starts_with(&curve.eraser));
                let method = match is_first {
                    true => curve.eraser.clone(),
                    false => format!("{} (where {} writes)", curve.eraser, one.method),
                };
                rows.push(ErasureRow { hook: one.hook.clone(), method, is_control: false, cells });
            }
        }
    }
    rows.sort_by(|a, b| a.method.cmp(&b.method));
    rows
}

/// A share: two decimals.
pub fn share_text(value: f64) -> String {
    fixed(Some(value), 2)
}

/// What was done, in one paragraph of plain text.
pub fn erasure_what(erasure: &Erasure) -> String {
    format!(
        "Prompts: {}. The features whose mean codes differ most between the two labels of a concept, in units of their \
         standard deviation, are removed (positions: {}). A linear probe is then trained on other prompts, and tested at the \
         last position of held-out ones; KL(unedited ‖ edited) of the output there, in nats. Features for half: the smallest \
         measured number with an accuracy at most halfway from the unedited one to the share of the majority label. All: as \
         many features as were erased at most. Baselines leace and mean_projection remove one dimension. In brackets: \
         intervals resampled over held-out prompts. A lower accuracy at a lower KL is a better erasure. Control: random \
         features that differ between the labels. Given these dictionaries and prompts.",
        erasure.source, erasure.positions
    )
}

/// `noun_number (singular, plural): 76 held-out prompts of 256, majority share 0.50 [0.39, 0.61]`
pub fn concept_line(concept: &ErasureConcept) -> String {
    let majority = concept.dictionaries.iter().find(|one| one.note.is_none());
    let majority = majority.map_or(DASH.to_string(), |one| one.majority.text(share_text));
    let left_out: Vec<String> =
        concept.skipped.iter().map(|(reason, n)| format!("{n} for {reason}")).collect();
    let left_out = match left_out.is_empty() {
        true => String::new(),
        false => format!("; left out: {}", left_out.join(", ")),
    };
    format!(
        "{} ({}): {} held-out prompts of {}, majority share {majority}{left_out}",
        concept.concept,
        concept.labels.join(", "),
        concept.n_held_out,
        concept.n_prompts.iter().sum::<usize>()
    )
}

/// Adds the section of `table.md`: a table for each concept.
pub fn push_erasure(into: &mut String, summary: &Summary) {
    let Some(erasure) = &summary.erasure else { return };
    into.push_str(&format!("\n## Erasure of concepts\n\n{}\n", escape(&erasure_what(erasure))));
    let head: Vec<String> = ["hook point", "method"].into_iter().chain(ERASURE_HEAD).map(escape).collect();
    for concept in &erasure.concepts {
        into.push_str(&format!("\n### {}\n\n", escape(&concept_line(concept))));
        push_head(into, &head, 2);
        for row in erasure_rows(erasure, concept) {
            let method = escape(&row.method);
            let method = if row.is_control { format!("*{method}*") } else { method };
            let cells = row.cells.map(|cell| escape(&cell).replace(r"\[", "[").replace(r"\]", "]"));
            push_row(into, [escape(&row.hook), method].into_iter().chain(cells));
        }
    }
}

/// `erasure.csv`: one line per point of a curve, with the two numbers of the curve.
pub fn erasure_csv(summary: &Summary) -> Option<String> {
    let erasure = summary.erasure.as_ref()?;
    let head = "concept,hook,method,eraser,is_control,n_held_out,n_features,majority,majority_low,majority_high,accuracy,\
                accuracy_low,accuracy_high,kl,kl_low,kl_high,edit_size,edit_size_low,edit_size_high,half,half_low,half_high,\
                kl_at_half,kl_at_half_low,kl_at_half_high,half_reason";
    let triple = |value: &PatchedNumber| [value.value, value.ci_low, value.ci_high].map(number);
    let points: Vec<_> = erasure
        .concepts
        .iter()
        .flat_map(|concept| concept.dictionaries.iter().map(move |one| (concept, one)))
        .flat_map(|(concept, one)| one.curves.iter().map(move |curve| (concept, one, curve)))
        .flat_map(|(concept, one, curve)| curve.points.iter().map(move |point| (concept, one, curve, point)))
        .collect();
    let none = PatchedNumber::default();
    Some(lines(head, &points, |(concept, one, curve, point)| {
        let place = [
            text(&concept.concept),
            text(&one.hook),
            text(&one.method),
            text(&curve.eraser),
            curve.is_control.to_string(),
            concept.n_held_out.to_string(),
            point.n_features.map(|n| n.to_string()).unwrap_or_default(),
        ];
        let half = curve.half.as_ref().unwrap_or(&none);
        let kl_at_half = curve.kl_at_half.as_ref().unwrap_or(&none);
        let numbers = [&one.majority, &point.accuracy, &point.kl, &point.edit_size, half, kl_at_half];
        let reason = optional(half.reason.as_deref());
        place.into_iter().chain(numbers.into_iter().flat_map(triple)).chain([reason]).collect()
    }))
}
