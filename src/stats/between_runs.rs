//! Compares one more run with former runs that differ only in their seeds.
//!
//!   change = x − mean(x_1 … x_R)
//!   Var(change) = φ · (w_now + w/R)      w: variance within a run; φ: variance ratio between / within runs
//!   p (one-sided) from Student's t with d + d₀ degrees of freedom, d = R − 1, Holm-adjusted over all series
//!
//! With few runs, φ of one series is uncertain. Series therefore share information: φ is shrunk towards their
//! common value s₀² with d₀ prior degrees of freedom, by empirical Bayes (Smyth 2004, *Linear models and
//! empirical Bayes methods*, section 6.2). Series of one run share its corpus and are not independent, so the
//! degrees of freedom are limited to d · (number of series + 1)/2. If runs do not report w, then w = 1 and φ
//! is the variance between runs itself; otherwise φ ≥ 1.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};
use statrs::function::gamma::digamma;

use super::adjusted::{HolmStep, holm_steps};
use super::describe::{mean_of_finite, quantile as sample_quantile, sd};
use super::normal::normal_quantile;
use super::undefined::Undefined;

/// Floor of a variance, relative to the median one, before logarithms are taken.
const LEAST_SHARE: f64 = 1e-5;

/// Coverage of the interval that must lie inside ± margin: two one-sided tests at 5 %.
const EQUIVALENCE: f64 = 0.90;

/// Power at the smallest detectable change.
const POWER: f64 = 0.8;

/// One quantity in several former runs and in a new run; runs differ only in their seeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSeries {
    /// Values of the former runs; at least two.
    pub former: Vec<f64>,
    /// Value of the new run.
    pub now: f64,
    /// Variance of the value within one run (such as of a mean over features), averaged over the former runs.
    pub within_former: Option<f64>,
    /// Variance within the new run.
    pub within_now: Option<f64>,
}

impl RunSeries {
    fn known_within(&self) -> Option<f64> {
        self.within_former.filter(|within| *within > 0.0)
    }
}

/// Settings for judging series of one kind together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RunTest {
    /// Whether larger values are better.
    pub higher_is_better: bool,
    /// Changes within ± margin do not matter.
    pub margin: f64,
    /// Probability that any series is called worse although nothing changed.
    pub level: f64,
    /// Confidence of the printed interval.
    pub confidence: f64,
}

/// What the new run's value amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, strum::Display)]
#[strum(serialize_all = "lowercase")]
pub enum RunVerdict {
    /// Worse by more than reseeding explains, and not shown to be within the margin.
    #[serde(rename = "worse")]
    Worse,
    /// Better by more than reseeding explains, likewise.
    #[serde(rename = "better")]
    Better,
    /// The 90 % interval of the change lies inside ± margin.
    #[serde(rename = "within the margin")]
    #[strum(to_string = "within the margin")]
    WithinMargin,
    /// None of these: what changed, if anything, is smaller than the sample can show.
    #[serde(rename = "no change detected")]
    #[strum(to_string = "no change detected")]
    NoChangeDetected,
}

/// One series judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunChange {
    /// Mean of the former runs.
    pub former: f64,
    /// How many those are.
    pub n_runs: usize,
    /// Standard deviation between them.
    pub between_runs_sd: f64,
    /// The new value.
    pub now: f64,
    /// now − former.
    pub change: f64,
    /// Standard error of `change`, the variance between runs included.
    pub standard_error: f64,
    /// Degrees of freedom behind it.
    pub degrees: f64,
    /// Lower end of the interval of `change`, unadjusted.
    pub ci_low: f64,
    /// Upper end.
    pub ci_high: f64,
    /// Lower end of the interval that agrees with the adjusted tests: each end at the one-sided level at which
    /// Holm's procedure tested that direction.
    pub adjusted_low: f64,
    /// Upper end.
    pub adjusted_high: f64,
    /// One-sided p-value of "worse", unadjusted.
    pub p: f64,
    /// Adjusted over all series by Holm's procedure.
    pub p_adjusted: f64,
    /// The smallest worsening that would have been called worse with probability 0.8: significant, and with a 90 %
    /// interval that reaches beyond the margin.
    pub smallest_detectable: f64,
    /// What follows.
    pub verdict: RunVerdict,
}

impl RunTest {
    /// Judges all series together; `between_runs.rs` opens with the method.
    pub fn judge(&self, series: &[RunSeries]) -> Result<Vec<RunChange>, Undefined> {
        let mut ratios = Vec::with_capacity(series.len());
        let mut least_runs = usize::MAX;
        for one in series {
            Undefined::check_count(one.former.len(), 2)?;
            Undefined::check_finite(&one.former)?;
            Undefined::check_finite(&[one.now])?;
            least_runs = least_runs.min(one.former.len());
            ratios.push(sd(&one.former)?.powi(2) / one.known_within().unwrap_or(1.0));
        }
        if series.is_empty() {
            return Ok(Vec::new());
        }
        let own = (least_runs - 1) as f64;
        let common = Common::of(&ratios, own);
        let degrees = (own + common.degrees).min(own * (series.len() + 1) as f64 / 2.0);
        let prior_degrees = degrees - own;
        let mut changes = Vec::with_capacity(series.len());
        for (one, ratio) in series.iter().zip(&ratios) {
            let shrunk = (prior_degrees * common.value + own * ratio) / degrees;
            let (ratio, within, now) = match one.known_within() {
                Some(within) => (shrunk.max(1.0), within, one.within_now.unwrap_or(within).max(0.0)),
                None => (shrunk, 1.0, 1.0),
            };
            let standard_error = (ratio * (now + within / one.former.len() as f64)).sqrt();
            changes.push(self.change(one, standard_error, degrees)?);
        }
        let worse = holm_steps(&changes.iter().map(|change| change.p).collect::<Vec<_>>(), self.level);
        let better = holm_steps(&changes.iter().map(|change| 1.0 - change.p).collect::<Vec<_>>(), self.level);
        let level = self.level / series.len() as f64;
        for ((change, worse), better) in changes.iter_mut().zip(worse).zip(better) {
            change.p_adjusted = worse.p_adjusted;
            change.smallest_detectable = self.smallest_detectable(change, level);
            change.verdict = self.verdict(change, better.p_adjusted);
            (change.adjusted_low, change.adjusted_high) = self.adjusted(change, worse, better);
        }
        Ok(changes)
    }

    fn change(&self, one: &RunSeries, standard_error: f64, degrees: f64) -> Result<RunChange, Undefined> {
        let former = mean_of_finite(&one.former);
        let change = one.now - former;
        let worse = if self.higher_is_better { -change } else { change };
        let p = match standard_error > 0.0 {
            true => 1.0 - student(degrees).map_or(0.5, |t| t.cdf(worse / standard_error)),
            // All former runs are equal: any other value is a change.
            false if worse > 0.0 => 0.0,
            false if worse < 0.0 => 1.0,
            false => 0.5,
        };
        let half = quantile(degrees, 0.5 + self.confidence / 2.0) * standard_error;
        Ok(RunChange {
            former,
            n_runs: one.former.len(),
            between_runs_sd: sd(&one.former)?,
            now: one.now,
            change,
            standard_error,
            degrees,
            ci_low: change - half,
            ci_high: change + half,
            adjusted_low: change - half,
            adjusted_high: change + half,
            p,
            p_adjusted: p,
            smallest_detectable: 0.0,
            verdict: RunVerdict::NoChangeDetected,
        })
    }

    /// The interval that excludes 0 on one side exactly if the test of that direction rejects.
    fn adjusted(&self, change: &RunChange, worse: HolmStep, better: HolmStep) -> (f64, f64) {
        let reach = |shift: f64, step: HolmStep| {
            let level = self.level / step.left as f64;
            let reach = match change.standard_error > 0.0 {
                true => quantile(change.degrees, 1.0 - level) * change.standard_error,
                false => 0.0,
            };
            // Both bounds hold already, up to rounding.
            if step.rejected { reach.min(shift * (1.0 - f64::EPSILON)) } else { reach.max(shift) }
        };
        let up = if self.higher_is_better { better } else { worse };
        let down = if self.higher_is_better { worse } else { better };
        (change.change - reach(change.change, up), change.change + reach(-change.change, down))
    }

    /// See [`RunChange::smallest_detectable`].
    fn smallest_detectable(&self, change: &RunChange, level: f64) -> f64 {
        let power = normal_quantile(POWER);
        let significant = quantile(change.degrees, 1.0 - level) + power;
        let beyond_margin = power - quantile(change.degrees, 0.5 + EQUIVALENCE / 2.0);
        (significant * change.standard_error).max(self.margin + beyond_margin * change.standard_error)
    }

    fn verdict(&self, change: &RunChange, better: f64) -> RunVerdict {
        let half = quantile(change.degrees, 0.5 + EQUIVALENCE / 2.0) * change.standard_error;
        if change.change.abs() + half <= self.margin {
            RunVerdict::WithinMargin
        } else if change.p_adjusted < self.level {
            RunVerdict::Worse
        } else if better < self.level {
            RunVerdict::Better
        } else {
            RunVerdict::NoChangeDetected
        }
    }
}

fn student(degrees: f64) -> Option<StudentsT> {
    StudentsT::new(0.0, 1.0, degrees).ok()
}

/// Quantile of Student's t.
fn quantile(degrees: f64, p: f64) -> f64 {
    student(degrees).map_or(f64::INFINITY, |t| t.inverse_cdf(p))
}

/// The prior that variances of several series share: each variance is distributed as s₀² · F(d, d₀).
#[derive(Debug, Clone, Copy, PartialEq)]
struct Common {
    /// s₀².
    value: f64,
    /// d₀; infinite if the variances differ no more than by chance.
    degrees: f64,
}

impl Common {
    /// Estimates the prior from the moments of z = ln s² (Smyth 2004, section 6.2): E z = ln s₀² + ψ(d/2) −
    /// ψ(d₀/2) + ln(d₀/d) and Var z = ψ'(d/2) + ψ'(d₀/2).
    fn of(variances: &[f64], degrees: f64) -> Self {
        let median = sample_quantile(variances, 0.5).unwrap_or(0.0);
        if median <= 0.0 {
            // At least half of the series do not vary: there is no common variance.
            return Self { value: 0.0, degrees: 0.0 };
        }
        if variances.len() < 2 {
            return Self { value: median, degrees: 0.0 };
        }
        let half = degrees / 2.0;
        let logs: Vec<f64> = variances
            .iter()
            .map(|variance| variance.max(LEAST_SHARE * median).ln() - digamma(half) + half.ln())
            .collect();
        let mean = mean_of_finite(&logs);
        let spread = sd(&logs).map_or(0.0, |sd| sd * sd) - trigamma(half);
        if spread <= 0.0 {
            return Self { value: mean.exp(), degrees: f64::INFINITY };
        }
        let prior_half = inverse_trigamma(spread);
        Self { value: (mean + digamma(prior_half) - prior_half.ln()).exp(), degrees: 2.0 * prior_half }
    }
}

/// ψ'(x) for x > 0: recurrence ψ'(x) = ψ'(x + 1) + 1/x² up to x ≥ 8, then the asymptotic series (Abramowitz
/// and Stegun 6.4.6 and 6.4.12).
fn trigamma(mut x: f64) -> f64 {
    let mut sum = 0.0;
    while x < 8.0 {
        sum += 1.0 / (x * x);
        x += 1.0;
    }
    let inverse = 1.0 / (x * x);
    let series = 1.0 / 6.0
        - inverse * (1.0 / 30.0 - inverse * (1.0 / 42.0 - inverse * (1.0 / 30.0 - inverse * 5.0 / 66.0)));
    sum + 1.0 / x + inverse / 2.0 + inverse / x * series
}

/// The x > 0 with ψ'(x) = y, by bisection: ψ' decreases from infinity to 0.
fn inverse_trigamma(y: f64) -> f64 {
    let (mut low, mut high) = (1e-6f64, 1e9f64);
    for _ in 0..200 {
        let middle = (low * high).sqrt();
        if trigamma(middle) > y {
            low = middle;
        } else {
            high = middle;
        }
    }
    (low * high).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Stream;

    const TEST: RunTest = RunTest { higher_is_better: true, margin: 0.01, level: 0.05, confidence: 0.95 };

    #[test]
    fn trigamma_is_that_of_the_tables() {
        // scipy.special.polygamma(1, x), SciPy 1.17.
        let table = [
            (0.5, 4.934802200544679),
            (1.0, 1.6449340668482264),
            (2.0, 0.6449340668482264),
            (10.5, 0.0999169560591397),
        ];
        for (x, y) in table {
            assert!((trigamma(x) - y).abs() < 1e-10 * y, "{x}: {}", trigamma(x));
            assert!((inverse_trigamma(y) / x - 1.0).abs() < 1e-8);
        }
    }

    #[test]
    fn similar_variances_are_shrunk_fully_and_scattered_ones_little() {
        let alike = Common::of(&[1.0, 1.1, 0.9, 1.05, 0.95, 1.0], 4.0);
        assert!(alike.degrees.is_infinite() && (alike.value / 1.3067 - 1.0).abs() < 0.01, "{alike:?}");
        let scattered = Common::of(&[0.001, 10.0, 0.1, 100.0, 1.0, 0.01], 4.0);
        assert!(scattered.degrees < 2.0, "{scattered:?}");
        assert_eq!(Common::of(&[0.0, 0.0, 1.0], 4.0), Common { value: 0.0, degrees: 0.0 });
    }

    #[test]
    fn one_series_is_the_textbook_prediction_interval() {
        // mean 0.5, sd 0.1, R = 5: the standard error is 0.1·√1.2, t of 4 degrees at 0.975 is 2.776445.
        let former: Vec<f64> = [-1.0f64, -1.0, 0.0, 1.0, 1.0].iter().map(|z| 0.5 + 0.1 * z).collect();
        let one = RunSeries { former, now: 0.1, within_former: None, within_now: None };
        let change = &TEST.judge(&[one]).expect("defined")[0];
        assert!((change.standard_error - 0.1 * 1.2f64.sqrt()).abs() < 1e-12);
        assert!((change.ci_high - (-0.4 + 2.776_445_105 * 0.1 * 1.2f64.sqrt())).abs() < 1e-8);
        assert!((change.p - 0.010_871_489).abs() < 1e-8, "{}", change.p);
        assert_eq!(change.verdict, RunVerdict::Worse);
    }

    #[test]
    fn nothing_changed_is_called_worse_in_one_night_of_twenty_at_most_and_a_drop_is_found() {
        let (series, runs, features_sd, features) = (12, 5, 0.2f64, 600.0f64);
        let mut stream = Stream::new(3, "nights");
        let within = features_sd * features_sd / features;
        let nights = 2000;
        let (mut alarms, mut found) = (0, 0);
        for _ in 0..nights {
            // Runs differ by a little more than the features drawn: a common shift of each run's corpus too.
            let shifts: Vec<f64> = (0..=runs).map(|_| 0.3 * within.sqrt() * stream.normal()).collect();
            let all: Vec<RunSeries> = (0..series)
                .map(|_| {
                    let mut value = |run: usize| 0.5 + shifts[run] + within.sqrt() * 1.1 * stream.normal();
                    let former = (0..runs).map(&mut value).collect();
                    RunSeries {
                        former,
                        now: value(runs),
                        within_former: Some(within),
                        within_now: Some(within),
                    }
                })
                .collect();
            let worse = |all: &[RunSeries]| {
                let judged = TEST.judge(all).expect("defined");
                judged.iter().map(|change| change.verdict == RunVerdict::Worse).collect::<Vec<_>>()
            };
            alarms += usize::from(worse(&all).contains(&true));
            let mut dropped = all;
            dropped[0].now -= 0.05;
            found += usize::from(worse(&dropped)[0]);
        }
        assert!(alarms as f64 <= 0.06 * nights as f64, "{alarms} alarms in {nights} nights");
        assert!(found as f64 >= 0.8 * nights as f64, "{found} of {nights} drops found");
    }

    #[test]
    fn adjusted_intervals_exclude_zero_exactly_if_a_direction_is_rejected() {
        let mut stream = Stream::new(4, "adjusted");
        for higher_is_better in [true, false] {
            let series: Vec<RunSeries> = (0..30)
                .map(|_| {
                    let former = (0..5).map(|_| 0.1 * stream.normal()).collect();
                    RunSeries { former, now: 0.4 * stream.normal(), within_former: None, within_now: None }
                })
                .collect();
            let test = RunTest { higher_is_better, ..TEST };
            let found = test.judge(&series).expect("defined");
            let better =
                holm_steps(&found.iter().map(|change| 1.0 - change.p).collect::<Vec<_>>(), TEST.level);
            for (change, better) in found.iter().zip(better) {
                let worse = change.p_adjusted < TEST.level;
                let (fell, rose) =
                    if higher_is_better { (worse, better.rejected) } else { (better.rejected, worse) };
                assert_eq!(
                    (change.adjusted_high < 0.0, change.adjusted_low > 0.0),
                    (fell, rose),
                    "{change:?}"
                );
            }
            assert!(found.iter().any(|change| change.adjusted_low > 0.0 || change.adjusted_high < 0.0));
        }
    }

    #[test]
    fn if_former_runs_are_equal_any_other_value_is_a_change() {
        let series = |now| RunSeries { former: vec![0.5; 5], now, within_former: None, within_now: None };
        let verdicts = |now| TEST.judge(&[series(now)]).expect("defined")[0].verdict;
        assert_eq!(verdicts(0.5), RunVerdict::WithinMargin);
        assert_eq!(verdicts(0.495), RunVerdict::WithinMargin);
        assert_eq!(verdicts(0.3), RunVerdict::Worse);
        assert_eq!(verdicts(0.7), RunVerdict::Better);
        assert_eq!(TEST.judge(&[]), Ok(vec![]));
        let single = RunSeries { former: vec![0.5], ..series(0.5) };
        assert_eq!(TEST.judge(&[single]), Err(Undefined::TooFew { need: 2, got: 1 }));
    }
}
