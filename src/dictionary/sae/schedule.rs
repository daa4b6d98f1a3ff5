/// Learning rate of a step: a linear rise, a plateau, and a fall to zero with the square
/// of what is left, so that the last tenth of a run is quiet.
#[derive(Debug, Clone, Copy)]
pub struct LearningRate {
    pub base: f64,
    pub steps: usize,
    pub warmup: f64,
    pub decay: f64,
}

impl LearningRate {
    pub fn at(&self, step: usize) -> f64 {
        let (step, steps) = (step as f64, self.steps as f64);
        let rise = (step + 1.0) / (self.warmup * steps).max(1.0);
        let fall = (steps - step) / (self.decay * steps).max(1.0);
        self.base * rise.min(1.0) * fall.min(1.0).powi(2)
    }
}

/// The L1 weight (times the width) that gives a wanted L0, searched while training. Inputs have
/// unit mean square per dimension, which is what the constants are for: without the clamp the
/// search follows the dense codes of the first steps to zero weight and does not come back.
#[derive(Debug, Clone, Copy)]
pub struct L1Search {
    pub weight: f64,
    pub target: f64,
    pub frozen_from: usize,
}

impl L1Search {
    const START: f64 = 1.5;
    const GAIN: f64 = 0.01;
    const LEAST: f64 = 0.15;
    const MOST: f64 = 15.0;

    pub fn new(target: f64, steps: usize) -> Self {
        Self { weight: Self::START, target, frozen_from: steps - steps / 5 }
    }

    /// Moves the weight after a step that had `l0` active features a row.
    pub fn observe(&mut self, step: usize, l0: f64) {
        if step < self.frozen_from {
            let ratio = (l0.max(1e-3) / self.target).ln();
            self.weight = (self.weight * (Self::GAIN * ratio).exp()).clamp(Self::LEAST, Self::MOST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learning_rate_rises_holds_and_falls() {
        let lr = LearningRate { base: 1.0, steps: 100, warmup: 0.1, decay: 0.2 };
        assert!((lr.at(0) - 0.1).abs() < 1e-12);
        assert_eq!(lr.at(50), 1.0);
        assert!((lr.at(90) - 0.25).abs() < 1e-12);
        assert!(lr.at(99) > 0.0);
    }

    #[test]
    fn search_moves_towards_the_target_within_bounds_and_then_stops() {
        let mut search = L1Search::new(10.0, 1000);
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
