//! Learning rate and L1 weight of each training step.
//!
//! ```text
//! lr(n) = base · min(1, (n + 1) / warm-up steps) · min(1, steps left / decay steps)²
//! l1(n + 1) = l1(n) · (L0(n) / target)^0.01, within 0.15–15, fixed over the last fifth of the steps
//! ```

/// A linear rise, a plateau, and a quadratic fall to zero.
#[derive(Debug, Clone, Copy)]
pub struct LearningRate {
    pub base: f64,
    /// Share of the steps over which it rises.
    pub warmup: f64,
    /// Share of the steps, at the end, over which it falls.
    pub decay: f64,
}

impl LearningRate {
    pub fn at(&self, step: usize, steps: usize) -> f64 {
        let (step, steps) = (step as f64, steps as f64);
        let rise = (step + 1.0) / (self.warmup * steps).max(1.0);
        let fall = (steps - step) / (self.decay * steps).max(1.0);
        self.base * rise.min(1.0) * fall.min(1.0).powi(2)
    }
}

/// The L1 weight times the width `d`: fixed, or adjusted after each step towards a target L0.
///
/// The constants are for inputs of unit mean square per dimension. Without the lower bound the dense codes of the
/// first steps drive the weight to zero, from where it never recovers.
#[derive(Debug, Clone, Copy)]
pub struct L1Weight {
    pub weight: f64,
    /// Mean number of active features to reach. None where the weight is fixed.
    pub target: Option<f64>,
    /// Step from which on the weight no longer changes.
    frozen_from: usize,
}

impl L1Weight {
    const START: f64 = 1.5;
    const GAIN: f64 = 0.01;
    const LEAST: f64 = 0.15;
    const MOST: f64 = 15.0;

    pub fn fixed(weight: f64) -> Self {
        Self { weight, target: None, frozen_from: 0 }
    }

    pub fn searched(target: f64, steps: usize) -> Self {
        Self { weight: Self::START, target: Some(target), frozen_from: steps - steps / 5 }
    }

    /// Adjusts the weight after a step with `l0` active features per row.
    pub fn observe(&mut self, step: usize, l0: f64) {
        if let Some(target) = self.target.filter(|_| step < self.frozen_from) {
            let ratio = (l0.max(1e-3) / target).ln();
            self.weight = (self.weight * (Self::GAIN * ratio).exp()).clamp(Self::LEAST, Self::MOST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learning_rate_rises_holds_and_falls() {
        let lr = LearningRate { base: 1.0, warmup: 0.1, decay: 0.2 };
        assert!((lr.at(0, 100) - 0.1).abs() < 1e-12);
        assert_eq!(lr.at(50, 100), 1.0);
        assert!((lr.at(90, 100) - 0.25).abs() < 1e-12);
        assert!(lr.at(99, 100) > 0.0);
    }

    #[test]
    fn search_moves_towards_the_target_within_bounds_and_then_stops() {
        let mut search = L1Weight::searched(10.0, 1000);
        search.observe(0, 100.0);
        assert!(search.weight > 1.5);
        for _ in 0..10_000 {
            search.observe(1, 0.0);
        }
        assert_eq!(search.weight, 0.15);
        search.observe(900, 1000.0);
        assert_eq!(search.weight, 0.15);
    }
}
