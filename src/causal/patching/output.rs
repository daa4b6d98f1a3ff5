//! Output distributions at the last position, their divergence, and its gradient. Logits are f32, sums f64.
//!
//! ```text
//! p = softmax(z)     z: logits of the patched run
//! t = softmax(y)     y: logits of the target run
//!
//! patched_target   KL(p ‖ t) = Σ_i p_i (z_i − y_i) − (lse z − lse y)     ∂/∂z_i = p_i (ln p_i − ln t_i − KL)
//! target_patched   KL(t ‖ p) = Σ_i t_i (y_i − z_i) − (lse y − lse z)     ∂/∂z_i = p_i − t_i
//! ```

use super::{Attributed, Divergence};
use crate::causal::divergence::log_sum_exp;

/// Logits of one run, with ln Σ exp.
#[derive(Debug, Clone)]
pub(super) struct Output {
    logits: Vec<f32>,
    log_total: f64,
}

impl Output {
    /// The distribution of these logits.
    pub fn new(logits: &[f32]) -> Self {
        Self { log_total: log_sum_exp(logits), logits: logits.to_vec() }
    }

    /// logit(target answer) − logit(base answer).
    pub fn difference(&self, answers: [u32; 2]) -> f64 {
        difference(&self.logits, answers)
    }

    /// Divergence of patched logits from this output of the target run, in nats, at least 0.
    pub fn divergence(&self, patched: &[f32], which: Divergence) -> f64 {
        let pairs = patched.iter().zip(&self.logits).map(|(&z, &y)| (f64::from(z), f64::from(y)));
        let log_patched = log_sum_exp(patched);
        let value: f64 = match which {
            Divergence::PatchedTarget => {
                let mean: f64 = pairs.map(|(z, y)| (z - log_patched).exp() * (z - y)).sum();
                mean - (log_patched - self.log_total)
            }
            Divergence::TargetPatched => {
                let mean: f64 = pairs.map(|(z, y)| (y - self.log_total).exp() * (y - z)).sum();
                mean - (self.log_total - log_patched)
            }
        };
        value.max(0.0)
    }

    /// Gradient with respect to patched logits of what the attribution order raises.
    pub fn gradient(
        &self,
        patched: &[f32],
        answers: [u32; 2],
        (of, which): (Attributed, Divergence),
    ) -> Vec<f32> {
        if of == Attributed::LogitDifference {
            let mut gradient = vec![0.0; patched.len()];
            gradient[answers[0] as usize] = 1.0;
            gradient[answers[1] as usize] = -1.0;
            return gradient;
        }
        let (log_patched, divergence) = (log_sum_exp(patched), self.divergence(patched, which));
        let entry = |(&z, &y): (&f32, &f32)| {
            let (log_p, log_t) = (f64::from(z) - log_patched, f64::from(y) - self.log_total);
            let slope = match which {
                Divergence::PatchedTarget => log_p.exp() * (log_p - log_t - divergence),
                Divergence::TargetPatched => log_p.exp() - log_t.exp(),
            };
            -slope as f32
        };
        patched.iter().zip(&self.logits).map(entry).collect()
    }
}

/// logit(target answer) − logit(base answer).
pub(super) fn difference(logits: &[f32], [target, base]: [u32; 2]) -> f64 {
    f64::from(logits[target as usize]) - f64::from(logits[base as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCHED: [f32; 4] = [1.0, -2.0, 0.5, 3.0];
    const TARGET: [f32; 4] = [0.0, 1.0, 2.0, -1.0];

    fn softmax(logits: &[f32]) -> Vec<f64> {
        let total: f64 = logits.iter().map(|&z| f64::from(z).exp()).sum();
        logits.iter().map(|&z| f64::from(z).exp() / total).collect()
    }

    #[test]
    fn divergences_follow_their_definition_and_are_stable() {
        let (p, t) = (softmax(&PATCHED), softmax(&TARGET));
        let kl = |p: &[f64], t: &[f64]| p.iter().zip(t).map(|(p, t)| p * (p / t).ln()).sum::<f64>();
        let output = Output::new(&TARGET);
        assert!((output.divergence(&PATCHED, Divergence::PatchedTarget) - kl(&p, &t)).abs() < 1e-12);
        assert!((output.divergence(&PATCHED, Divergence::TargetPatched) - kl(&t, &p)).abs() < 1e-12);
        for which in [Divergence::PatchedTarget, Divergence::TargetPatched] {
            assert!(output.divergence(&TARGET, which) < 1e-12, "no divergence from itself");
            let far = Output::new(&[-900.0, 900.0]).divergence(&[900.0, -900.0], which);
            assert!((far - 1800.0).abs() < 1e-9, "{far}");
        }
        assert_eq!(output.difference([2, 3]), 3.0);
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let output = Output::new(&TARGET);
        for which in [Divergence::PatchedTarget, Divergence::TargetPatched] {
            let gradient = output.gradient(&PATCHED, [0, 1], (Attributed::Divergence, which));
            for at in 0..PATCHED.len() {
                let moved = |by: f32| {
                    let mut logits = PATCHED;
                    logits[at] += by;
                    output.divergence(&logits, which)
                };
                let slope = (moved(1.0 / 128.0) - moved(-1.0 / 128.0)) * 64.0;
                assert!((f64::from(gradient[at]) + slope).abs() < 1e-4, "{which} {at}");
            }
        }
        let raised =
            output.gradient(&PATCHED, [3, 1], (Attributed::LogitDifference, Divergence::PatchedTarget));
        assert_eq!(raised, [0.0, -1.0, 0.0, 1.0]);
    }
}
