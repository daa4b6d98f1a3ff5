//! One curve: its points with intervals, the area under it, and the features needed for half of the divergence.
//!
//! ```text
//! x = log2(1 + features),  D(x) = mean divergence over pairs, linear between points, constant behind the last one
//! area = ∫ D(x) dx / X over 0 … X, X the largest x of any dictionary at the hook point
//! half = 2^x − 1 at the first x with D(x) ≤ D(0)/2
//! logit difference = (mean d_patched − mean d_base) / (mean d_target − mean d_base)
//! ```

use crate::causal::{MeasuredCurve, MeasuredPoint, PatchedPairs};
use crate::report::{PatchCurve, PatchPoint, PatchedNumber};
use crate::stats::{Resampled, Resamples, Undefined};

/// The curve never falls to half of its start.
const NEVER_HALVED: &str = "the divergence stays above half";

/// Patching nothing leaves no divergence.
const NOTHING_LEFT: &str = "patching nothing leaves no divergence";

/// The interval of the difference between target run and base run contains 0.
const NO_CONTRAST: &str = "target run and base run do not differ in the logits";

/// Some resamples have no value, so that an end of the interval is open.
const OPEN: &str = "undefined on some resamples";

/// The place of a number of features on the axis of a curve.
pub fn features_axis(n: usize) -> f64 {
    (1.0 + n as f64).log2()
}

/// A curve of one order, for comparisons.
pub struct Comparable {
    pub order: String,
    /// Places of the points, rising.
    pub x: Vec<f64>,
    /// Divergence at each point, per pair.
    pub kl: Vec<Vec<f64>>,
    /// Area under the curve of each pair.
    pub areas: Vec<f64>,
    pub area: Resampled,
    /// Infinite where half is not reached.
    pub half: Resampled,
}

/// Computes the numbers of a dictionary's curves.
pub struct Measurer<'a> {
    pub resamples: &'a Resamples,
    pub pairs: &'a PatchedPairs,
    /// Largest place of a point at the hook point.
    pub width: f64,
}

impl Measurer<'_> {
    /// A curve as it is recorded, and as it is compared; a control is not compared.
    pub fn curve(&self, curve: &MeasuredCurve) -> (PatchCurve, Option<Comparable>) {
        self.measured(curve).unwrap_or_else(|why| {
            let undefined = || PatchedNumber { reason: Some(why.to_string()), ..PatchedNumber::default() };
            let point = |point: &MeasuredPoint| PatchPoint {
                n_features: point.n_features,
                kl: undefined(),
                logit_difference: undefined(),
                edit_size: undefined(),
            };
            let recorded = PatchCurve {
                order: curve.order.clone(),
                is_control: curve.is_control,
                points: curve.points.iter().map(point).collect(),
                area: undefined(),
                half: undefined(),
            };
            (recorded, None)
        })
    }

    fn measured(&self, curve: &MeasuredCurve) -> Result<(PatchCurve, Option<Comparable>), Undefined> {
        let x: Vec<f64> = curve.points.iter().map(|point| features_axis(point.n_features)).collect();
        Undefined::check_count(x.len(), 1)?;
        let areas = areas(&x, &curve.points, self.width);
        let mut lists: Vec<&[f64]> = vec![&self.pairs.base_difference, &self.pairs.target_difference, &areas];
        lists.extend(curve.points.iter().flat_map(|point| {
            [point.kl.as_slice(), point.difference.as_slice(), point.edit_size.as_slice()]
        }));
        let mut means = self.resamples.means(&lists)?;
        let of_points = means.split_off(3);
        let [base, target, area] = [0, 1, 2].map(|nth| &means[nth]);
        let kl: Vec<&Resampled> = of_points.iter().step_by(3).collect();
        let half = Resampled::of(&kl, |kl| half(&x, kl).unwrap_or(f64::INFINITY));
        let nothing_left = kl.first().is_none_or(|first| first.point <= 0.0);
        let has_contrast = self.has_contrast(base, target);
        let points = curve.points.iter().zip(of_points.chunks(3)).map(|(point, found)| PatchPoint {
            n_features: point.n_features,
            kl: self.number(&found[0], OPEN),
            logit_difference: match has_contrast {
                true => self.number(&normalised(&found[1], base, target), NO_CONTRAST),
                false => PatchedNumber { reason: Some(NO_CONTRAST.into()), ..PatchedNumber::default() },
            },
            edit_size: self.number(&found[2], OPEN),
        });
        let recorded = PatchCurve {
            order: curve.order.clone(),
            is_control: curve.is_control,
            points: points.collect(),
            area: self.number(area, OPEN),
            half: self.number(&half, if nothing_left { NOTHING_LEFT } else { NEVER_HALVED }),
        };
        let compared = (!curve.is_control).then(|| Comparable {
            order: curve.order.clone(),
            x: x.clone(),
            kl: curve.points.iter().map(|point| point.kl.clone()).collect(),
            areas: areas.clone(),
            area: area.clone(),
            half,
        });
        Ok((recorded, compared))
    }

    /// Whether target run and base run differ in the logit difference, so that it can be normalised.
    fn has_contrast(&self, base: &Resampled, target: &Resampled) -> bool {
        let contrast = Resampled::of(&[target, base], |means| means[0] - means[1]);
        let interval = self.resamples.interval(&contrast);
        interval.low > 0.0 || interval.high < 0.0
    }

    fn number(&self, statistic: &Resampled, undefined: &str) -> PatchedNumber {
        number(self.resamples, statistic, undefined)
    }
}

/// A statistic with its interval. `undefined` is the reason if it is not finite.
pub fn number(resamples: &Resamples, statistic: &Resampled, undefined: &str) -> PatchedNumber {
    if !statistic.point.is_finite() {
        return PatchedNumber { reason: Some(undefined.into()), ..PatchedNumber::default() };
    }
    let interval = resamples.interval(statistic);
    let [ci_low, ci_high] = [interval.low, interval.high].map(|end| end.is_finite().then_some(end));
    let reason = (ci_low.is_none() || ci_high.is_none()).then(|| OPEN.to_string());
    PatchedNumber { value: Some(statistic.point), ci_low, ci_high, reason }
}

fn normalised(patched: &Resampled, base: &Resampled, target: &Resampled) -> Resampled {
    Resampled::of(&[patched, base, target], |means| (means[0] - means[1]) / (means[2] - means[1]))
}

/// Area under the curve of each pair, over the width.
fn areas(x: &[f64], points: &[MeasuredPoint], width: f64) -> Vec<f64> {
    let pairs = points.iter().map(|point| point.kl.len()).min().unwrap_or(0);
    let of_pair =
        |pair: usize| area(x, &points.iter().map(|point| point.kl[pair]).collect::<Vec<f64>>(), width);
    (0..pairs).map(of_pair).collect()
}

/// The mean of a curve over 0 … `width`. There must be a point.
fn area(x: &[f64], y: &[f64], width: f64) -> f64 {
    let (first, last) = (y[0], y[y.len() - 1]);
    if width <= 0.0 {
        return first;
    }
    let inside: f64 = (1..x.len()).map(|nth| (x[nth] - x[nth - 1]) * (y[nth] + y[nth - 1]) / 2.0).sum();
    let behind = (width - x[x.len() - 1]).max(0.0) * last;
    (x[0] * first + inside + behind) / width
}

/// Features needed for half of the curve's start; none if the curve never falls so far, or starts at 0.
pub fn half(x: &[f64], y: &[f64]) -> Option<f64> {
    let level = y.first().filter(|start| **start > 0.0)? / 2.0;
    let nth = y.iter().position(|value| *value <= level)?;
    let (before, at) = (nth.checked_sub(1)?, nth);
    let share = (y[before] - level) / (y[before] - y[at]);
    Some((x[before] + share * (x[at] - x[before])).exp2() - 1.0)
}
