//! Charts of patching on a task (Figure 3 of Cunningham et al. 2023). One shows the divergence from the target run
//! against the number of patched features, the other against the size of the edit. Each order has both.

use super::controls::Key;
use super::curves::{Curve, Curves, Panel, Point};
use super::legend::Legend;
use super::marks::Mark;
use super::style::Ink;
use super::{Chart, Heading, Inputs, Kind, palette};
use crate::base::distinct;
use crate::report::patched::{
    Patched, RANDOM_DIRECTIONS, RANDOM_FEATURES, edit_text, features_text, nats_text,
};
use crate::report::patching::{PatchCurve, PatchPoint, PatchedDictionary};

/// The charts of patching of the kinds `wanted`, an order after the other, the main order first; none without a task.
pub fn charts<'a>(inputs: &Inputs<'a>, wanted: &[Kind]) -> Vec<Chart<'a>> {
    let Some(patched) = Patched::of(inputs.view.summary) else { return Vec::new() };
    let kinds = [Kind::PatchingFeatures, Kind::PatchingEdit];
    let kinds = kinds.into_iter().filter(|kind| wanted.contains(kind));
    let of_order = |order: &&'a str| {
        let (patched, order) = (&patched, *order);
        kinds.clone().filter_map(move |kind| chart(inputs, patched, kind, order))
    };
    patched.orders.iter().flat_map(of_order).collect()
}

/// The words of an order in a title.
fn order_words(order: &str) -> String {
    match order {
        "attribution" => "features in order of attribution".to_string(),
        "exact" => "features in order of their single patches".to_string(),
        "acdc" => "features left by ACDC-style removal".to_string(),
        other => format!("features in the order {other}"),
    }
}

fn chart<'a>(inputs: &Inputs<'a>, patched: &Patched<'a>, kind: Kind, order: &'a str) -> Option<Chart<'a>> {
    let by_features = kind == Kind::PatchingFeatures;
    let panel = |hook: &&'a str| {
        let dictionaries: Vec<&PatchedDictionary> = patched.at(hook).collect();
        let of_controls = patched.controls.iter().flat_map(|control| {
            dictionaries.iter().filter_map(|one| random_curve(one, control, by_features))
        });
        let (methods, permuted): (Vec<&PatchedDictionary>, Vec<&PatchedDictionary>) =
            dictionaries.iter().copied().partition(|one| one.control.is_none());
        let own = |one: &&PatchedDictionary| own_curve(inputs, one, order, by_features);
        let curves = of_controls.chain(permuted.iter().filter_map(own)).chain(methods.iter().filter_map(own));
        let curves: Vec<Curve> = curves.filter(|curve| !curve.points.is_empty()).collect();
        let base = methods.iter().find_map(|one| one.curve(order)?.at(0)?.kl.known());
        Panel { title: hook.to_string(), curves, level: base.map(|base| (0.5 * base, "half")) }
    };
    let panels: Vec<Panel> = patched
        .hooks
        .iter()
        .map(panel)
        .filter(|panel| panel.curves.iter().any(|curve| curve.mark.is_some()))
        .collect();
    if panels.is_empty() {
        return None;
    }
    let against = if by_features { "number of patched features" } else { "size of the edit" };
    let title =
        format!("Patching on {}: divergence and {against}, {}", patched.task.task, order_words(order));
    let heading = Heading::of_dictionaries(kind, Some(order), title, caption(patched, order, by_features));
    Some(heading.over(Curves {
        panels,
        x_label: match by_features {
            true => "patched features: log2(1 + features)",
            false => "size of the edit ‖x′ − x‖ over all positions",
        },
        doubling: by_features,
        y_label: "KL from the target run, nats".to_string(),
        legend: legend(inputs, patched, order),
    }))
}

fn mark_of(inputs: &Inputs<'_>, method: &str) -> Mark {
    let known = inputs.view.methods.iter().zip(&inputs.marks).find(|(other, _)| **other == method);
    known.map(|(_, mark)| *mark).unwrap_or_else(|| {
        let marks = palette::assign(&[(method, inputs.facts.kind(method))]);
        marks.first().copied().unwrap_or(Mark { ink: Ink::Text, shape: super::marks::Shape::Circle })
    })
}

fn points(label: &str, curve: &PatchCurve, by_features: bool) -> Vec<Point> {
    let point = |point: &PatchPoint| {
        let n = point.n_features;
        let edit = point.edit_size.known();
        let x = if by_features { n as f64 } else { edit? };
        let kl = point.kl.text(nats_text);
        let edit = edit.map_or(String::new(), |edit| format!(", edit {}", edit_text(edit)));
        let words = format!("{label}, {n} features: KL {kl}{edit}");
        Some(Point { x, y: point.kl.known()?, interval: point.kl.interval(), words })
    };
    curve.points.iter().filter_map(point).collect()
}

/// The curve of a control: grey, solid for random features and dashed for random directions.
fn random_curve(dictionary: &PatchedDictionary, control: &str, by_features: bool) -> Option<Curve> {
    let curve = dictionary.curve(control).filter(|_| dictionary.control.is_none())?;
    let words = format!("control {control} of {}: area {}", dictionary.method, curve.area.text(nats_text));
    let points = points(&dictionary.method, curve, by_features);
    Some(Curve { ink: Ink::Control, dashed: is_dashed(control), mark: None, points, words })
}

fn is_dashed(control: &str) -> bool {
    control != RANDOM_FEATURES
}

/// The curve of a method in its colour and symbol; of its dictionary of permuted weights, a dashed line.
fn own_curve(
    inputs: &Inputs<'_>,
    dictionary: &PatchedDictionary,
    order: &str,
    by_features: bool,
) -> Option<Curve> {
    let curve = dictionary.curve(order)?;
    let mark = mark_of(inputs, &dictionary.method);
    let (label, half) = (dictionary.label(), curve.half.text(features_text));
    Some(Curve {
        ink: mark.ink,
        dashed: dictionary.control.is_some(),
        mark: dictionary.control.is_none().then_some(mark),
        points: points(&label, curve, by_features),
        words: format!("{label}: {half} features for half, area {}", curve.area.text(nats_text)),
    })
}

fn legend<'a>(inputs: &Inputs<'a>, patched: &Patched<'a>, order: &str) -> Legend {
    let has_curve = |method: &&str| {
        let mut own = patched.task.dictionaries.iter().filter(|one| one.is_method(method));
        own.any(|one| one.curve(order).is_some())
    };
    let methods = patched.methods().into_iter().filter(has_curve);
    let methods =
        methods.map(|method| (Key::Method(mark_of(inputs, method)), inputs.view.line_of(method).to_string()));
    let random = patched.controls.iter().map(|control| {
        let words = match *control {
            RANDOM_FEATURES => "random features, as many".to_string(),
            RANDOM_DIRECTIONS => "random directions of the same norm".to_string(),
            other => other.to_string(),
        };
        (Key::Line(Ink::Control, is_dashed(control)), format!("control: {words}"))
    });
    let permuted = patched.task.dictionaries.iter().filter_map(|one| one.control.as_deref());
    let permuted = permuted
        .map(|control| (Key::Line(Ink::Text, true), format!("control: {control}, in its method's colour")));
    Legend(distinct(methods.chain(random).chain(permuted)))
}

fn caption(patched: &Patched<'_>, order: &str, by_features: bool) -> String {
    let task = patched.task;
    let which = match order {
        "acdc" => "that ACDC-style removal leaves at each threshold",
        _ => "the most important first",
    };
    let x = if by_features { "their number" } else { "the size of the change of the activations" };
    let mut text = format!(
        "{} at the last position, mean over {} pairs of prompts, where the codes of some features are set to those of \
         the target run ({which}), against {x}. Lower and further left is better. Bands: intervals of the divergence, \
         resampled over pairs. Dashed line: half of the divergence that patching nothing leaves.",
        patched.divergence(),
        task.n_pairs
    );
    if !patched.controls.is_empty() {
        text.push_str(" Grey: controls of each method.");
    }
    let unpatched = distinct(
        task.dictionaries.iter().filter(|one| one.curve(order).is_none()).map(PatchedDictionary::label),
    );
    if !unpatched.is_empty() {
        text.push_str(&format!(" Not drawn at some hook point: {}.", unpatched.join(", ")));
    }
    text + " Given these dictionaries and prompts."
}
