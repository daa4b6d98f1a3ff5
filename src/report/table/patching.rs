//! Patching on a task: its rows as unescaped text, its section of `table.md`, and its CSV files.

use super::csv::{lines, number, optional};
use super::lines::{push_head, push_row};
use crate::report::escape::{csv as text, markdown as escape};
use crate::report::number::{DASH, p_value, percent};
use crate::report::patched::{AREA, Against, Apart, HALF, Patched, edit_text, features_text, nats_text};
use crate::report::patching::{PatchCurve, PatchedDictionary, PatchedNumber, TaskPatching};
use crate::report::schema::Summary;

/// Numbers of patched features whose divergence the table shows.
const SHOWN: [usize; 2] = [8, 64];

/// A row of a table: a dictionary, or a control of all methods.
pub struct PatchedRow {
    pub hook: String,
    pub method: String,
    /// Whether it is a control, which stands in italics.
    pub is_control: bool,
    /// In the order of [`head`], without the first two.
    pub cells: [String; 10],
}

/// Heads of the columns behind the hook point and the method.
pub fn head(patched: &Patched<'_>) -> [String; 10] {
    let reference = patched.reference.unwrap_or("reference");
    [
        "features for half".into(),
        "area, nats".into(),
        format!("KL at {}", SHOWN[0]),
        format!("KL at {}", SHOWN[1]),
        "edit at half".into(),
        format!("half − {reference}"),
        "p adjusted".into(),
        format!("area − {reference}"),
        "p adjusted".into(),
        "verdict".into(),
    ]
}

/// The rows of an order: at each hook point every dictionary, then each control over all methods.
pub fn rows(patched: &Patched<'_>, order: &str) -> Vec<PatchedRow> {
    let at = |hook: &&str| {
        let dictionaries = patched.at(hook).map(|dictionary| row(patched, dictionary, order));
        let controls = patched.controls.iter().map(|control| control_row(patched, hook, control));
        dictionaries.chain(controls).collect::<Vec<_>>()
    };
    patched.hooks.iter().flat_map(at).collect()
}

fn row(patched: &Patched<'_>, dictionary: &PatchedDictionary, order: &str) -> PatchedRow {
    let is_control = dictionary.control.is_some();
    let cells = match dictionary.curve(order) {
        Some(curve) if is_control => cells(curve, [None, None], String::new()),
        Some(curve) => {
            let against = [HALF, AREA]
                .map(|number| patched.against(&dictionary.hook, order, number, &dictionary.method));
            cells(curve, against, verdict(patched, &dictionary.method, against))
        }
        None => {
            let note = dictionary.note.clone().unwrap_or_else(|| "no curve of this order".to_string());
            let mut cells: [String; 10] = std::array::from_fn(|_| DASH.to_string());
            cells[9] = note;
            cells
        }
    };
    PatchedRow { hook: dictionary.hook.clone(), method: dictionary.label(), is_control, cells }
}

fn cells(curve: &PatchCurve, against: [Option<Against>; 2], verdict: String) -> [String; 10] {
    let at = |n: usize| curve.at(n).map_or_else(|| DASH.to_string(), |point| point.kl.text(nats_text));
    let [half, area] = against;
    [
        curve.half.text_or_reason(features_text),
        curve.area.text_or_reason(nats_text),
        at(SHOWN[0]),
        at(SHOWN[1]),
        curve.edit_at_half().map_or_else(|| DASH.to_string(), edit_text),
        difference(half, signed_features),
        p_value(half.and_then(|half| half.p_adjusted)),
        difference(area, nats_text),
        p_value(area.and_then(|area| area.p_adjusted)),
        verdict,
    ]
}

fn signed_features(value: f64) -> String {
    match value < 0.0 {
        true => format!("-{}", features_text(-value)),
        false => features_text(value),
    }
}

fn difference(against: Option<Against>, print: fn(f64) -> String) -> String {
    let Some(against) = against else { return DASH.to_string() };
    let (ci_low, ci_high) = against.interval.unzip();
    PatchedNumber { value: against.difference, ci_low, ci_high, reason: None }.text(print)
}

/// What the adjusted tests say of a method against the reference.
fn verdict(patched: &Patched<'_>, method: &str, [half, area]: [Option<Against>; 2]) -> String {
    let tested = |against: Option<Against>| against.filter(|against| against.difference.is_some());
    let (half, area) = (tested(half), tested(area));
    let reference = match patched.reference {
        Some(reference) if reference == method => return "the reference".to_string(),
        Some(reference) if half.is_some() || area.is_some() => reference,
        _ => return "not tested".to_string(),
    };
    let words = |against: Option<Against>, lower: &'static str, higher: &'static str| match against?.verdict {
        Apart::Lower => Some(lower),
        Apart::Higher => Some(higher),
        Apart::NotSeparated => None,
    };
    let words: Vec<&str> =
        [words(half, "fewer features", "more features"), words(area, "less divergence", "more divergence")]
            .into_iter()
            .flatten()
            .collect();
    match words.is_empty() {
        true => "no difference detected".to_string(),
        false => format!("{} than {reference}", words.join(", ")),
    }
}

/// A control of curves at a hook point: its lowest and highest numbers over the methods.
fn control_row(patched: &Patched<'_>, hook: &str, control: &str) -> PatchedRow {
    let own = patched.at(hook).filter(|dictionary| dictionary.control.is_none());
    let curves: Vec<&PatchCurve> = own.filter_map(|dictionary| dictionary.curve(control)).collect();
    let at = |n: usize| {
        let values = curves.iter().map(|curve| curve.at(n).and_then(|point| point.kl.known()));
        range(values.collect(), nats_text)
    };
    let none = || DASH.to_string();
    PatchedRow {
        hook: hook.to_string(),
        method: format!("{control} ({})", curves.len()),
        is_control: true,
        cells: [
            range(curves.iter().map(|curve| curve.half.known()).collect(), features_text),
            range(curves.iter().map(|curve| curve.area.known()).collect(), nats_text),
            at(SHOWN[0]),
            at(SHOWN[1]),
            range(curves.iter().map(|curve| curve.edit_at_half()).collect(), edit_text),
            none(),
            none(),
            none(),
            none(),
            String::new(),
        ],
    }
}

/// `1.2…3.4, 2 undefined`
fn range(values: Vec<Option<f64>>, print: impl Fn(f64) -> String) -> String {
    let known: Vec<f64> = values.iter().flatten().copied().collect();
    let (least, most) = (known.iter().copied().reduce(f64::min), known.iter().copied().reduce(f64::max));
    let (Some(least), Some(most)) = (least, most) else { return DASH.to_string() };
    let (least, most) = (print(least), print(most));
    let shown = if least == most { least } else { format!("{least}…{most}") };
    match values.len() - known.len() {
        0 => shown,
        undefined => format!("{shown}, {undefined} undefined"),
    }
}

/// What was done, in one paragraph of plain text.
pub fn what(patched: &Patched<'_>) -> String {
    let TaskPatching { task, prompts, n_pairs, skipped, .. } = patched.task;
    let left_out: Vec<String> = skipped.iter().map(|(reason, n)| format!("{n} for {reason}")).collect();
    let left_out = match left_out.is_empty() {
        true => String::new(),
        false => format!(" Left out: {}.", left_out.join(", ")),
    };
    format!(
        "Task {task}, prompts {prompts}: {n_pairs} pairs, the base prompt answered rightly on {}.{left_out} The codes \
         of some features are set to those of the target run, and the output at the last position is compared with \
         the target's: {}, in nats. Features for half: how many remove half of the divergence that patching nothing \
         leaves. Area: mean divergence over log2(1 + features). Edit: ‖x′ − x‖. In brackets: intervals resampled over \
         pairs. Lower is better everywhere. p is adjusted by Holm over all differences of a number and an order; \
         no difference detected does not mean equal. Controls: their lowest and highest number over the methods. \
         Given these dictionaries and prompts.",
        percent(patched.right()),
        patched.divergence()
    )
}

/// Adds the section of `table.md`: a table for each order.
pub fn push_patching(into: &mut String, summary: &Summary) {
    let Some(patched) = Patched::of(summary) else { return };
    into.push_str(&format!("\n## Patching on a task\n\n{}\n", escape(&what(&patched))));
    let head: Vec<String> =
        ["hook point", "method"].map(String::from).into_iter().chain(head(&patched)).collect();
    let head: Vec<String> = head.iter().map(|head| escape(head)).collect();
    for order in &patched.orders {
        into.push_str(&format!("\n### Order: {}\n\n", escape(order)));
        push_head(into, &head, 2);
        for row in rows(&patched, order) {
            let method = escape(&row.method);
            let method = if row.is_control { format!("*{method}*") } else { method };
            let cells = row.cells.map(|cell| escape(&cell).replace(r"\[", "[").replace(r"\]", "]"));
            push_row(into, [escape(&row.hook), method].into_iter().chain(cells));
        }
    }
}

/// `patching.csv`: one line per point of a curve, with the two numbers of the curve.
pub fn patching_csv(summary: &Summary) -> Option<String> {
    let task = summary.patching.as_ref()?;
    let head = "task,hook,method,control,order,is_control,n_pairs,n_features,kl,kl_low,kl_high,logit_difference,\
                logit_difference_low,logit_difference_high,edit_size,edit_size_low,edit_size_high,area,area_low,area_high,\
                half,half_low,half_high,half_reason";
    let triple = |value: &PatchedNumber| [value.value, value.ci_low, value.ci_high].map(number);
    let points: Vec<_> = task
        .dictionaries
        .iter()
        .flat_map(|one| one.curves.iter().map(move |curve| (one, curve)))
        .flat_map(|(one, curve)| curve.points.iter().map(move |point| (one, curve, point)))
        .collect();
    Some(lines(head, &points, |(one, curve, point)| {
        let place = [
            text(&task.task),
            text(&one.hook),
            text(&one.method),
            optional(one.control.as_deref()),
            text(&curve.order),
            curve.is_control.to_string(),
            task.n_pairs.to_string(),
            point.n_features.to_string(),
        ];
        let numbers = [&point.kl, &point.logit_difference, &point.edit_size, &curve.area, &curve.half];
        let reason = optional(curve.half.reason.as_deref());
        place.into_iter().chain(numbers.into_iter().flat_map(triple)).chain([reason]).collect()
    }))
}

/// `patching_differences.csv`: one line per comparison of two methods.
pub fn patching_differences_csv(summary: &Summary) -> Option<String> {
    let task = summary.patching.as_ref()?;
    let head = "task,hook,order,number,method_a,method_b,difference,ci_low,ci_high,p,p_adjusted,verdict";
    Some(lines(head, &task.differences, |row| {
        let names = [&task.task, &row.hook, &row.order, &row.number, &row.method_a, &row.method_b];
        let numbers = [row.difference, row.ci_low, row.ci_high, row.p, row.p_adjusted];
        let names = names.into_iter().map(|name| text(name));
        names.chain(numbers.map(number)).chain([text(&row.verdict)]).collect()
    }))
}
