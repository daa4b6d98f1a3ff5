//! The 0–10 scale of activations in prompts (Bills et al. 2023).

/// min(10, ⌊10 · max(x, 0) / max⌋), with `max` the largest activation of the records shown. All zeros if
/// `max` is NaN or not positive.
pub fn ten_point_scale(activations: &[f32], max: f32) -> Vec<u8> {
    if max.is_nan() || max <= 0.0 {
        return vec![0; activations.len()];
    }
    activations
        .iter()
        .map(|&activation| (10.0 * f64::from(activation.max(0.0)) / f64::from(max)).floor().min(10.0) as u8)
        .collect()
}
