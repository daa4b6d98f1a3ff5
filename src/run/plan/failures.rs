//! Parts that die: how much work is done again, by simulation and by formula.
//!
//! A part dies at a constant rate λ per hour, so the time until it dies is exponential. What it had done of its task is
//! lost. Another part, or the same one restarted, begins it again once the lease is taken for given up. A task of L hours
//! takes in all
//!
//!   E[hours] = (e^{λL} − 1)/λ
//!
//! (Cox and Miller 1965, *The theory of stochastic processes*: the first run of L hours without an event). For λL ≪ 1
//! that is L + λL²/2: a death costs half of a task. The simulation also has what the formula leaves out: parts that wait,
//! and when the run ends.

use serde::Serialize;

use crate::base::Stream;
use crate::run::plan::scale::shares::Load;
use crate::stats::normal_interval;

/// The most that λL may be: a task of that many mean lives of a part takes 13 times its hours.
const MOST_LIVES: f64 = 4.0;

/// Tasks that all repetitions simulate together, about, and bounds on the number of repetitions.
const SIMULATED_TASKS: usize = 400_000;
const REPETITIONS: [usize; 2] = [20, 200];

/// How parts fail.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Failures {
    /// Deaths per hour of a part.
    pub per_hour: f64,
    /// Hours after which others take over what a dead part held.
    pub patience_hours: f64,
}

/// A mean over repetitions with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Mean {
    /// The mean.
    pub mean: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

/// What failures cost.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Repeated {
    /// Simulated runs.
    pub repetitions: usize,
    /// Work done again, as a share of the work: Σ (e^{λL} − 1)/λ ÷ Σ L − 1.
    pub expected_share: f64,
    /// The same in the simulated runs.
    pub share: Mean,
    /// Deaths in a run.
    pub deaths: Mean,
    /// Hours until the end of a run.
    pub hours: Mean,
}

/// Expected hours of a task of `hours` hours on parts that die at `rate` per hour.
pub fn expected_hours(hours: f64, rate: f64) -> f64 {
    if rate > 0.0 { (rate * hours).exp_m1() / rate } else { hours }
}

/// Simulates runs on `parts` parts that fail.
///
/// # Errors
/// Text, if a task is so long that parts hardly ever survive it, or if there is no work.
pub fn repeated(load: &Load, parts: usize, failures: Failures, seed: u64) -> Result<Repeated, String> {
    let Failures { per_hour: rate, patience_hours } = failures;
    let longest = load.tasks().fold(0.0, f64::max);
    let work: f64 = load.tasks().sum();
    if rate * longest > MOST_LIVES {
        return Err(format!(
            "a task takes {longest:.3} hours, and a part lives {:.3} hours on average: it would hardly ever end",
            1.0 / rate
        ));
    }
    if work <= 0.0 {
        return Err("there is no work".into());
    }
    let [least, most] = REPETITIONS;
    let repetitions = (SIMULATED_TASKS / load.tasks().count().max(1)).clamp(least, most);
    let runs: Vec<[f64; 3]> = (0..repetitions)
        .map(|nth| {
            let mut stream = Stream::named(seed, &["plan", "failures", &nth.to_string()]);
            let mut dies = |_: f64| (rate > 0.0).then(|| -(-stream.unit()).ln_1p() / rate);
            let played = load.play(parts, patience_hours + load.before, &mut dies);
            [played.repeated / work, played.deaths as f64, played.hours]
        })
        .collect();
    let mean = |nth: usize| mean(&runs.iter().map(|run| run[nth]).collect::<Vec<_>>());
    Ok(Repeated {
        repetitions,
        expected_share: load.tasks().map(|hours| expected_hours(hours, rate) - hours).sum::<f64>().max(0.0)
            / work,
        share: mean(0)?,
        deaths: mean(1)?,
        hours: mean(2)?,
    })
}

fn mean(values: &[f64]) -> Result<Mean, String> {
    let interval = normal_interval(values, 0.95).map_err(|why| why.to_string())?;
    Ok(Mean {
        mean: values.iter().sum::<f64>() / values.len() as f64,
        // What is averaged is never negative.
        low: interval.low.max(0.0),
        high: interval.high,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::plan::scale::shares::Place;

    fn load(tasks: usize, hours: f64) -> Load {
        Load { places: vec![Place { harvest: 0.0, tasks: vec![hours; tasks] }], ..Load::default() }
    }

    fn failures(per_hour: f64) -> Failures {
        Failures { per_hour, patience_hours: 0.01 }
    }

    #[test]
    fn the_formula_is_that_of_exponential_lives() {
        assert!((expected_hours(2.0, 0.5) - (1f64.exp() - 1.0) / 0.5).abs() < 1e-12);
        assert_eq!(expected_hours(2.0, 0.0), 2.0);
        // λL = 1e-3: half of a task for each death.
        let more = expected_hours(1.0, 1e-3) - 1.0;
        assert!((more - 0.5e-3).abs() < 1e-6, "{more}");
    }

    #[test]
    fn a_thousand_parts_repeat_what_the_formula_says() {
        for rate in [0.02, 0.1, 1.0] {
            let found = repeated(&load(10_000, 1.0), 1_000, failures(rate), 7).expect("a simulation");
            let expected = rate.exp_m1() / rate - 1.0;
            assert!((found.expected_share - expected).abs() < 1e-9, "{found:?}");
            let error = (found.share.high - found.share.low) / (2.0 * 1.96);
            assert!((found.share.mean - expected).abs() < 5.0 * error, "{rate}: {expected}, {found:?}");
            assert!(error < 0.02 * expected, "{rate}: {error}");
            // Each try ends in a death with probability 1 − e^{−λL}: e^{λL} − 1 deaths before one does not.
            let deaths = 10_000.0 * rate.exp_m1();
            assert!((found.deaths.mean / deaths - 1.0).abs() < 0.06, "{rate}: {deaths}, {found:?}");
            assert!(found.hours.mean > 10.0 * (1.0 + expected), "{found:?}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_runs() {
        let simulate = |seed| repeated(&load(300, 0.5), 40, failures(0.2), seed).expect("a simulation");
        assert_eq!(simulate(1), simulate(1));
        assert_ne!(simulate(1).share, simulate(2).share);
        assert_eq!(simulate(1).repetitions, 200);
    }

    #[test]
    fn without_failures_nothing_is_repeated_and_without_an_end_nothing_is_said() {
        let none = repeated(&load(8, 1.0), 4, failures(0.0), 1).expect("a simulation");
        assert_eq!((none.expected_share, none.share.mean, none.hours.mean), (0.0, 0.0, 2.0));
        let endless = repeated(&load(8, 100.0), 4, failures(1.0), 1).expect_err("too long");
        assert!(endless.contains("100.000 hours") && endless.contains("1.000 hours"), "{endless}");
        assert!(repeated(&Load::default(), 4, failures(1.0), 1).is_err());
    }
}
