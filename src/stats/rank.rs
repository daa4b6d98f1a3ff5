//! Spearman's rank correlation and its confidence interval.

use super::correlation::pearson;
use super::normal::normal_quantile;
use super::undefined::Undefined;

/// Spearman's ρ: Pearson's correlation of the ranks. Ties share the mean of their ranks.
pub fn spearman(x: &[f64], y: &[f64]) -> Result<f64, Undefined> {
    Undefined::check_lengths(x.len(), y.len())?;
    Undefined::check_finite(x)?;
    Undefined::check_finite(y)?;
    pearson(&ranks(x), &ranks(y))
}

/// tanh(atanh ρ ± z · √((1 + ρ²/2)/(n − 3))) (Bonett and Wright 2000); none for n ≤ 3 or |ρ| = 1.
pub fn spearman_interval(rho: f64, n: usize, confidence: f64) -> Option<(f64, f64)> {
    if n <= 3 || rho.is_nan() || rho.abs() >= 1.0 || !(0.0..1.0).contains(&confidence) {
        return None;
    }
    let half = normal_quantile(0.5 + confidence / 2.0) * ((1.0 + rho * rho / 2.0) / (n as f64 - 3.0)).sqrt();
    Some(((rho.atanh() - half).tanh(), (rho.atanh() + half).tanh()))
}

/// Ranks from 1 on, ascending; ties share the mean of their ranks.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let equal = order[start..].iter().take_while(|&&other| values[other] == values[order[start]]).count();
        let mean = start as f64 + (equal as f64 + 1.0) / 2.0;
        order[start..start + equal].iter().for_each(|&place| ranks[place] = mean);
        start += equal;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_share_ties() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0, 3.0]), vec![4.0, 1.0, 4.0, 2.0, 4.0]);
        assert_eq!(ranks(&[]), Vec::<f64>::new());
        assert_eq!(ranks(&[0.0, -0.0, 1.0]), vec![1.5, 1.5, 3.0]);
    }

    #[test]
    fn hand_worked_and_monotone() {
        // Without ties 1 − 6 Σd² / (n(n² − 1)): d = (0, −1, 1, 0), 1 − 12/60.
        let rho = spearman(&[1.0, 2.0, 3.0, 4.0], &[10.0, 30.0, 20.0, 99.0]).expect("defined");
        assert!((rho - 0.8).abs() < 1e-15);
        let x = [0.1, 5.0, -2.0, 700.0];
        let cubes: Vec<f64> = x.iter().map(|x: &f64| x.powi(3)).collect();
        assert!((spearman(&x, &cubes).expect("defined") - 1.0).abs() < 1e-15, "only the order counts");
        assert!(spearman(&[1.0, 1.0], &[1.0, 2.0]).is_err());
        assert!(spearman(&[1.0, f64::NAN], &[1.0, 2.0]).is_err());
    }

    #[test]
    fn the_interval_narrows_with_pairs_and_stays_inside() {
        let (low, high) = spearman_interval(0.5, 103, 0.95).expect("an interval");
        // z = 0.549306, half-width 1.959964 · √(1.125/100) = 0.207887.
        assert!((low - (0.549_306_144f64 - 0.207_886_6).tanh()).abs() < 1e-5, "{low}");
        assert!((high - (0.549_306_144f64 + 0.207_886_6).tanh()).abs() < 1e-5, "{high}");
        let (wide_low, wide_high) = spearman_interval(0.5, 10, 0.95).expect("an interval");
        assert!(-1.0 < wide_low && wide_low < low && high < wide_high && wide_high < 1.0);
        assert_eq!(spearman_interval(0.5, 3, 0.95), None);
        assert_eq!(spearman_interval(1.0, 30, 0.95), None);
    }
}
