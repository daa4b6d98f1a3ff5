//! Joint histograms of true and simulated activations, one for each explainer.

use std::collections::HashMap;

use super::context::{Explainer, Feature};
use super::data::Joint;
use crate::report::pages::evidence::{Fragment, Record, Simulation};
use crate::report::pages::packed::{Bytes, base64, varints};

/// Bins of each axis.
pub const BINS: usize = 20;

/// The histograms of a feature, of explainers with simulations.
pub fn joints(explainers: &[Explainer<'_>], feature: &Feature<'_>, record: &Record) -> Vec<Joint> {
    let fragments = feature.candidates.iter().map(|candidate| candidate.fragment);
    let truths: HashMap<usize, &Fragment> = fragments.map(|fragment| (fragment.fragment, fragment)).collect();
    let joint = |(explainer, of): (usize, &Explainer<'_>)| {
        let own = feature.simulations.iter().filter(|line| of.simulated(line));
        let lines = own.filter_map(|line| Some((line, *truths.get(&line.fragment)?)));
        let scale = (feature.bytes, of.unit(record.max_activation));
        joint(explainer, lines, scale, record.first_scored)
    };
    explainers.iter().enumerate().filter_map(joint).collect()
}

/// The histogram of one explainer; none without scored tokens.
fn joint<'s>(
    explainer: usize,
    lines: impl Iterator<Item = (&'s Simulation, &'s Fragment)>,
    (bytes, unit): (Bytes, f64),
    first_scored: usize,
) -> Option<Joint> {
    let mut counts = vec![0usize; BINS * BINS];
    let (mut n_fragments, mut n_tokens, mut n_beyond) = (0, 0, 0);
    for (line, truth) in lines {
        // A fragment in both lists is scored twice.
        let times = line.strata.iter().filter(|name| ["top", "random"].contains(&name.as_str())).count();
        n_fragments += times;
        let pairs = truth.activations.iter().zip(&line.predicted).skip(first_scored);
        for (truth, predicted) in pairs.filter_map(|(&truth, &predicted)| Some((truth, predicted?))) {
            let predicted = f64::from(predicted) * unit;
            let bin = |value: f64| usize::from(bytes.of(value)) * BINS / 256;
            counts[bin(f64::from(truth)) * BINS + bin(predicted)] += times;
            n_tokens += times;
            n_beyond += usize::from(is_beyond(bytes, predicted)) * times;
        }
    }
    if n_tokens == 0 {
        return None;
    }
    let mut last = 0;
    let cells = counts.iter().enumerate().filter(|(_, count)| **count > 0).flat_map(|(cell, &count)| {
        let gap = cell - last;
        last = cell;
        [gap, count]
    });
    Some(Joint { explainer, n_fragments, n_tokens, n_beyond, cells: base64(&varints(cells)) })
}

/// Whether a prediction lies outside the scale by more than rounding.
fn is_beyond(bytes: Bytes, value: f64) -> bool {
    let place = f64::from(bytes.zero) + value / bytes.step;
    !(-0.5..=255.5).contains(&place)
}
