//! Kullback-Leibler divergence of next-token distributions.

use crate::base::Matrix;

/// log Σ exp(logit). The logits are finite.
pub fn log_sum_exp(logits: &[f32]) -> f64 {
    let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    largest + logits.iter().map(|&logit| (f64::from(logit) - largest).exp()).sum::<f64>().ln()
}

/// KL(p ‖ q) in nats of the softmax of two rows of logits. Equal rows give exactly 0.
pub fn kl(p: &[f32], q: &[f32]) -> f64 {
    let (total_p, total_q) = (log_sum_exp(p), log_sum_exp(q));
    let terms = p.iter().zip(q).map(|(&p, &q)| {
        let (p, q) = (f64::from(p) - total_p, f64::from(q) - total_q);
        p.exp() * (p - q)
    });
    // Rounding can make a very small divergence negative.
    terms.sum::<f64>().max(0.0)
}

/// Sum over rows of KL(p ‖ q) in nats, of logits `[n, vocab]`.
pub fn total_kl(p: &Matrix, q: &Matrix) -> f64 {
    p.iter_rows().zip(q.iter_rows()).map(|(p, q)| kl(p, q)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hand_worked_divergence() {
        let logits = |p: f64| [p.ln() as f32, (1.0 - p).ln() as f32];
        let expected = 0.5 * (0.5_f64 / 0.25).ln() + 0.5 * (0.5_f64 / 0.75).ln();
        assert!((kl(&logits(0.5), &logits(0.25)) - expected).abs() < 1e-7);
        // A shift of all logits changes no probability.
        assert!((kl(&[1.0, 3.0], &[101.0, 103.0])).abs() < 1e-7);
        assert_eq!(kl(&[0.3, -4.0, 7.5], &[0.3, -4.0, 7.5]), 0.0);
    }

    #[test]
    fn large_logits_do_not_overflow() {
        assert!((log_sum_exp(&[1e30, 1e30]) - 1e30).abs() < 1e23);
        assert!(kl(&[3e4, 0.0], &[0.0, 3e4]).is_finite());
    }
}
