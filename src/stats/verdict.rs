//! Verdicts on differences of a family.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::adjusted::{HolmStep, holm_steps};
use super::difference::Difference;
use super::normal::normal_quantile;
use super::permutation::LEVEL;
use super::undefined::Undefined;

/// What a difference amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, strum::Display)]
#[strum(serialize_all = "lowercase")]
pub enum Verdict {
    /// The 90 % interval lies inside ± margin: too small to matter, whatever p says.
    #[serde(rename = "within the margin")]
    #[strum(to_string = "within the margin")]
    WithinMargin,
    /// The first mean is higher.
    #[serde(rename = "higher")]
    Higher,
    /// The first mean is lower.
    #[serde(rename = "lower")]
    Lower,
    /// Neither shown to be different nor shown to be close: the sample is too small to tell.
    #[serde(rename = "no difference detected")]
    #[strum(to_string = "no difference detected")]
    NoDifferenceDetected,
}

impl Verdict {
    /// The verdict on a difference with p-value `p`, adjusted if it belongs to a family.
    pub fn of(difference: &Difference, p: f64, margin: f64) -> Self {
        let inside = |end: f64| end.abs() <= margin;
        if inside(difference.equivalence.low) && inside(difference.equivalence.high) {
            Self::WithinMargin
        } else if p >= LEVEL {
            Self::NoDifferenceDetected
        } else if difference.difference > 0.0 {
            Self::Higher
        } else {
            Self::Lower
        }
    }
}

/// Whether a difference was asked about beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Named in advance; its p-values are adjusted together by Holm's procedure.
    Primary,
    /// Everything else: p is not adjusted, and the verdict says so.
    Exploratory,
}

/// A verdict with the p-value and family it rests on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judgement {
    /// The family of the difference.
    pub family: Family,
    /// Holm-adjusted p; none for an exploratory difference.
    pub p_adjusted: Option<f64>,
    /// Ends of the interval that excludes 0 exactly if `p_adjusted` is below 0.05, or why there is none; none for
    /// an exploratory difference.
    pub adjusted: Option<Result<(f64, f64), Undefined>>,
    /// The verdict by the adjusted p; for an exploratory difference, by the unadjusted p.
    pub verdict: Verdict,
}

impl Judgement {
    /// The printed verdict; exploratory ones are marked.
    pub fn label(&self) -> String {
        match self.family {
            Family::Primary => self.verdict.to_string(),
            Family::Exploratory => format!("{} (exploratory)", self.verdict),
        }
    }
}

/// Judges differences in the order given. Holm's adjustment covers the primary ones only.
pub fn judge(differences: &[(Family, &Difference)], margin: f64) -> Vec<Judgement> {
    let is_primary = |(family, _): &&(Family, &Difference)| *family == Family::Primary;
    let primary: Vec<f64> = differences.iter().filter(is_primary).map(|(_, d)| d.p).collect();
    let mut steps = holm_steps(&primary, LEVEL).into_iter();
    let judged = differences.iter().map(|(family, difference)| {
        let step: Option<HolmStep> = if *family == Family::Primary { steps.next() } else { None };
        let p_adjusted = step.map(|step| step.p_adjusted);
        let adjusted = step.map(|step| difference.permuted.interval(difference.difference, step));
        let verdict = Verdict::of(difference, p_adjusted.unwrap_or(difference.p), margin);
        Judgement { family: *family, p_adjusted, adjusted, verdict }
    });
    judged.collect()
}

/// Approximate smallest difference of means that a two-sided test at 5 % detects with probability `power`.
///
/// (z₁₋α/₂ₘ + z_power) · sd · √(1/nₐ + 1/n_b), where m `comparisons` are adjusted together. None if an
/// argument is out of range.
pub fn smallest_detectable_difference(
    sd: f64,
    n_a: usize,
    n_b: usize,
    comparisons: usize,
    power: f64,
) -> Option<f64> {
    if !(sd.is_finite() && sd >= 0.0 && n_a.min(n_b) >= 2 && power > 0.0 && power < 1.0) {
        return None;
    }
    let level = LEVEL / comparisons.max(1) as f64;
    let reach = normal_quantile(1.0 - level / 2.0) + normal_quantile(power);
    Some((reach * sd * (1.0 / n_a as f64 + 1.0 / n_b as f64).sqrt()).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::super::bootstrap::{Interval, IntervalMethod};
    use super::super::permutation::Permuted;
    use super::*;

    fn difference(low: f64, high: f64, p: f64) -> Difference {
        let interval = Interval { low, high, confidence: 0.9, method: IntervalMethod::Bca };
        let difference = (low + high) / 2.0;
        let permuted = Permuted { p, permutations: 999, standard_error: 0.05, largest: vec![2.0; 52] };
        Difference { n_a: 40, n_b: 40, difference, interval, equivalence: interval, p, permuted }
    }

    #[test]
    fn verdicts_follow_interval_then_p() {
        let verdict = |low, high, p| Verdict::of(&difference(low, high, p), p, 0.05);
        assert_eq!(verdict(0.01, 0.04, 0.001), Verdict::WithinMargin);
        assert_eq!(verdict(0.01, 0.14, 0.001), Verdict::Higher);
        assert_eq!(verdict(-0.14, -0.01, 0.001), Verdict::Lower);
        assert_eq!(verdict(-0.01, 0.14, 0.2), Verdict::NoDifferenceDetected);
    }

    #[test]
    fn only_the_primary_family_is_adjusted() {
        let (a, b, c) = (difference(0.1, 0.3, 0.03), difference(0.1, 0.3, 0.03), difference(0.1, 0.3, 0.03));
        let family = [(Family::Primary, &a), (Family::Exploratory, &b), (Family::Primary, &c)];
        let judged = judge(&family, 0.05);
        assert_eq!(judged[0].p_adjusted, Some(0.06));
        assert_eq!(judged[0].label(), "no difference detected");
        assert_eq!((judged[1].p_adjusted, judged[1].adjusted), (None, None));
        // Not rejected: the interval holds 0, whatever its quantile.
        assert_eq!(judged[0].adjusted, Some(Ok((0.0, 0.4))));
        assert_eq!(judged[1].label(), "higher (exploratory)");
        assert_eq!(serde_json::to_value(judged[2].verdict).expect("text"), "no difference detected");
    }

    #[test]
    fn the_smallest_detectable_difference_is_the_textbook_one() {
        // (1.959964 + 0.841621) * 0.2 * sqrt(2 / 40) = 0.125291.
        let smallest = smallest_detectable_difference(0.2, 40, 40, 1, 0.8).expect("in range");
        assert!((smallest - 0.125_291).abs() < 1e-6, "{smallest}");
        let stricter = smallest_detectable_difference(0.2, 40, 40, 44, 0.8).expect("in range");
        assert!(stricter > smallest);
        assert_eq!(smallest_detectable_difference(f64::NAN, 40, 40, 1, 0.8), None);
        assert_eq!(smallest_detectable_difference(0.2, 1, 40, 1, 0.8), None);
    }
}
