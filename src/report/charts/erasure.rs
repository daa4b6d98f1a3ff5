//! Charts of the erasure of a concept: accuracy of the probe, and divergence of the output, against the number of erased
//! features.

use super::controls::Key;
use super::curves::{Curve, Curves, Panel, Point};
use super::legend::Legend;
use super::marks::{Mark, Shape};
use super::style::Ink;
use super::{Chart, Heading, Inputs, Kind, palette};
use crate::base::distinct;
use crate::report::erasure::{Erasure, ErasureConcept, ErasureCurve, ErasureDictionary, ErasurePoint};
use crate::report::patched::{edit_text, nats_text};
use crate::report::table::share_text;

/// The charts of the kinds `wanted`, a concept after the other; none without erasure.
pub fn charts<'a>(inputs: &Inputs<'a>, wanted: &[Kind]) -> Vec<Chart<'a>> {
    let Some(erasure) = &inputs.view.summary.erasure else { return Vec::new() };
    let kinds = [Kind::ErasureAccuracy, Kind::ErasureKl];
    let kinds = kinds.into_iter().filter(|kind| wanted.contains(kind));
    let of_concept = |(nth, concept): (usize, &'a ErasureConcept)| {
        kinds.clone().filter_map(move |kind| chart(inputs, erasure, (nth, concept), kind))
    };
    erasure.concepts.iter().enumerate().flat_map(of_concept).collect()
}

fn chart<'a>(
    inputs: &Inputs<'a>,
    erasure: &'a Erasure,
    (nth, concept): (usize, &'a ErasureConcept),
    kind: Kind,
) -> Option<Chart<'a>> {
    let panel = |hook: &&'a str| {
        let here: Vec<&ErasureDictionary> =
            concept.dictionaries.iter().filter(|one| one.hook == *hook).collect();
        let most = here.iter().flat_map(|one| &one.curves).flat_map(|curve| &curve.points);
        let most = most.filter_map(|point| point.n_features).max().unwrap_or(0);
        let controls = here
            .iter()
            .flat_map(|one| one.curves.iter().filter(|curve| curve.is_control).map(move |c| (one, c)));
        let controls = controls.map(|(one, curve)| line(one, curve, (Ink::Control, None), kind));
        let baselines = here.iter().find(|one| one.note.is_none()).into_iter().flat_map(|one| {
            let flat = one.curves.iter().filter(|curve| curve.half.is_none());
            flat.filter_map(move |curve| level(curve, most, kind))
        });
        let own = here.iter().filter_map(|one| {
            let mark = mark_of(inputs, &one.method);
            Some(line(one, one.curve("features")?, (mark.ink, Some(mark)), kind))
        });
        let curves = controls.chain(baselines).chain(own).filter(|curve| !curve.points.is_empty());
        let majority =
            here.iter().find_map(|one| one.majority.known()).map(|share| (share, "majority share"));
        Panel {
            title: hook.to_string(),
            curves: curves.collect(),
            level: majority.filter(|_| kind == Kind::ErasureAccuracy),
        }
    };
    let panels: Vec<Panel> = erasure.hooks().iter().map(panel).collect();
    let panels: Vec<Panel> =
        panels.into_iter().filter(|panel| panel.curves.iter().any(|curve| curve.mark.is_some())).collect();
    if panels.is_empty() {
        return None;
    }
    let (what, y_label) = match kind {
        Kind::ErasureAccuracy => ("accuracy of the probe", "held-out accuracy"),
        _ => ("divergence of the output", "KL(unedited ‖ edited), nats"),
    };
    let title = format!("Erasure of {}: {what} and number of erased features", concept.concept);
    // Names of concepts are those of a file: the number tells charts apart.
    let part = format!("concept_{nth}");
    let heading = Heading::of_dictionaries(kind, Some(&part), title, caption(concept, what));
    Some(heading.over(Curves {
        panels,
        x_label: "erased features: log2(1 + features)",
        doubling: true,
        y_label: y_label.to_string(),
        legend: legend(inputs, concept),
    }))
}

fn mark_of(inputs: &Inputs<'_>, method: &str) -> Mark {
    let known = inputs.view.methods.iter().zip(&inputs.marks).find(|(other, _)| **other == method);
    known.map(|(_, mark)| *mark).unwrap_or_else(|| {
        let marks = palette::assign(&[(method, inputs.facts.kind(method))]);
        marks.first().copied().unwrap_or(Mark { ink: Ink::Text, shape: Shape::Circle })
    })
}

/// A point at `x`, unless its number is undefined.
fn point_at(x: usize, name: &str, point: &ErasurePoint, kind: Kind) -> Option<Point> {
    let number = if kind == Kind::ErasureAccuracy { &point.accuracy } else { &point.kl };
    let words = format!(
        "{name}: accuracy {}, KL {}, edit {}",
        point.accuracy.text(share_text),
        point.kl.text(nats_text),
        point.edit_size.text(edit_text)
    );
    Some(Point { x: x as f64, y: number.known()?, interval: number.interval(), words })
}

fn line(
    one: &ErasureDictionary,
    curve: &ErasureCurve,
    (ink, mark): (Ink, Option<Mark>),
    kind: Kind,
) -> Curve {
    let points = curve.points.iter().filter_map(|point| {
        let n = point.n_features?;
        point_at(n, &format!("{}, {n} features", one.method), point, kind)
    });
    let words = format!("{} of {}", curve.eraser, one.method);
    Curve { ink, dashed: false, mark, points: points.collect(), words }
}

/// A baseline: a level line over all numbers of features.
fn level(curve: &ErasureCurve, most: usize, kind: Kind) -> Option<Curve> {
    let point = curve.points.first()?;
    let points = [0, most].into_iter().filter_map(|x| point_at(x, &curve.eraser, point, kind)).collect();
    let (ink, dashed) = style_of(&curve.eraser);
    Some(Curve { ink, dashed, mark: None, points, words: curve.eraser.clone() })
}

fn style_of(eraser: &str) -> (Ink, bool) {
    (Ink::Text, eraser != "leace")
}

fn legend<'a>(inputs: &Inputs<'a>, concept: &'a ErasureConcept) -> Legend {
    let own = concept.dictionaries.iter().filter(|one| one.curve("features").is_some());
    let own = own.map(|one| (Key::Method(mark_of(inputs, &one.method)), one.method.clone()));
    let others = concept.dictionaries.iter().flat_map(|one| &one.curves).filter_map(|curve| {
        if curve.is_control {
            return Some((Key::Line(Ink::Control, false), "control: random features, as many".to_string()));
        }
        let (ink, dashed) = style_of(&curve.eraser);
        curve.half.is_none().then(|| (Key::Line(ink, dashed), curve.eraser.clone()))
    });
    Legend(distinct(own.chain(others)))
}

fn caption(concept: &ErasureConcept, what: &str) -> String {
    format!(
        "Concept {} ({}): {what} at the last position of {} held-out prompts against the number of removed features, those \
         that separate the labels best first. The probe is trained after each edit. Bands: intervals resampled over held-out \
         prompts. Level lines: baselines that remove one dimension. Grey: random features of each method. Given these \
         dictionaries and prompts.",
        concept.concept,
        concept.labels.join(", "),
        concept.n_held_out
    )
}
