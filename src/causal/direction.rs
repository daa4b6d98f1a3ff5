//! Norms of activations, and random directions.

use crate::base::Stream;

/// ‖x‖, summed in f64.
pub fn norm(x: &[f32]) -> f64 {
    x.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt()
}

/// A direction of norm 1, uniform over all directions.
pub fn random_direction(width: usize, stream: &mut Stream) -> Vec<f32> {
    let draws: Vec<f64> = (0..width).map(|_| stream.normal()).collect();
    let norm = draws.iter().map(|x| x * x).sum::<f64>().sqrt();
    draws.iter().map(|x| (x / norm) as f32).collect()
}
