//! Intervals of proportions.

use super::normal::normal_quantile;

/// Wilson's score interval of a proportion: `successes` of `n` independent trials.
///
///   (p + z²/2n ± z √(p (1 − p)/n + z²/4n²)) / (1 + z²/n)        z = Φ⁻¹((1 + confidence)/2)
///
/// Unlike a bootstrap interval it has a width where no trial or every trial succeeds. None without trials, and unless
/// the confidence lies between 0 and 1.
///
/// Wilson 1927, *Probable inference, the law of succession, and statistical inference*; recommended for small n by
/// Brown, Cai and DasGupta 2001, *Interval estimation for a binomial proportion*.
pub fn wilson_interval(successes: usize, n: usize, confidence: f64) -> Option<(f64, f64)> {
    if n == 0 || successes > n || !(confidence > 0.0 && confidence < 1.0) {
        return None;
    }
    let (z, trials) = (normal_quantile(0.5 + confidence / 2.0), n as f64);
    let p = successes as f64 / trials;
    let center = p + z * z / (2.0 * trials);
    let half = z * (p * (1.0 - p) / trials + z * z / (4.0 * trials * trials)).sqrt();
    let scale = 1.0 + z * z / trials;
    // Both ends are exact where rounding would move them past 0 or 1.
    let low = if successes == 0 { 0.0 } else { (center - half) / scale };
    let high = if successes == n { 1.0 } else { (center + half) / scale };
    Some((low, high))
}

#[cfg(test)]
mod tests {
    use super::wilson_interval;

    #[test]
    fn intervals_are_those_of_the_formula_in_other_programs() {
        // scipy.stats.binomtest(k, n).proportion_ci(0.95, method="wilson").
        let table = [
            ((0, 20), 0.0, 0.16112515805281938),
            ((5, 20), 0.11186170140766569, 0.468700877618744),
            ((20, 20), 0.8388748419471806, 1.0),
            ((1, 2), 0.09453120573423074, 0.9054687942657693),
            ((7, 10), 0.39677814746114537, 0.8922087325936989),
        ];
        for ((successes, n), low, high) in table {
            let found = wilson_interval(successes, n, 0.95).expect("defined");
            assert!((found.0 - low).abs() < 1e-12 && (found.1 - high).abs() < 1e-12, "{found:?}");
        }
        assert_eq!(wilson_interval(0, 0, 0.95), None);
        assert_eq!(wilson_interval(3, 2, 0.95), None);
        assert_eq!(wilson_interval(1, 2, 1.0), None);
    }
}
