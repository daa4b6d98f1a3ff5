//! The time for measurements, and what a measurement gives.

use crate::base::Stopwatch;
use crate::run::plan::pieces::Work;

/// The time that is left for measurements.
pub struct Budget {
    pub started: Stopwatch,
    pub seconds: f64,
}

impl Budget {
    pub fn is_spent(&self) -> bool {
        self.started.seconds() > self.seconds
    }
}

/// A measurement: of this work, for the dictionaries of these methods.
pub struct Timed {
    pub work: Work,
    pub usual: f64,
    /// On one core.
    pub seconds: f64,
}
