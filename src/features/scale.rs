/// Activations as the integers 0–10 that prompts show: `min(10, ⌊10 · max(x, 0) / max⌋)`, so what is
/// below a tenth of `max` becomes 0 and only `max` itself 10. All zeros where `max` is not positive.
///
/// `max` is the largest activation over the records shown. Source: Bills et al. 2023.
pub fn ten_point_scale(activations: &[f32], max: f32) -> Vec<u8> {
    if max.is_nan() || max <= 0.0 {
        return vec![0; activations.len()];
    }
    activations
        .iter()
        .map(|&activation| (10.0 * f64::from(activation.max(0.0)) / f64::from(max)).floor().min(10.0) as u8)
        .collect()
}
