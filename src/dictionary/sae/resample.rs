//! Resampling of rarely firing features, similar to Bricken et al. 2023 (*Towards Monosemanticity*).
//!
//! A row is drawn with probability `‖e‖² / Σ‖e‖²`. The feature's new direction is `−e / ‖e‖`, what the dictionary
//! failed to reconstruct. Its bias lets it fire on about 2 % of the rows.

use crate::base::Stream;
use crate::dictionary::tensors::squared_norm;
use crate::linalg::dot;

use super::forward::Workspace;
use super::weights::Weights;

/// Share of rows on which a new feature fires. Without a bias it would be half of them, and the L1 weight would jump.
const NEW_FEATURE_SHARE: f64 = 0.02;

/// Replaces the features in `idle`; returns how many.
pub fn resample(weights: &mut Weights, work: &Workspace, idle: &[usize], stream: &mut Stream) -> usize {
    let d = weights.d;
    let squares: Vec<f64> = work.errors.chunks_exact(d).map(squared_norm).collect();
    let total: f64 = squares.iter().sum();
    if idle.is_empty() || total == 0.0 {
        return 0;
    }
    let alive: Vec<f32> =
        (0..weights.features).filter(|f| !idle.contains(f)).map(|f| weights.norms[f]).collect();
    let norm = if alive.is_empty() { 1.0 } else { alive.iter().sum::<f32>() / alive.len() as f32 };
    for &feature in idle {
        let mut left = stream.unit() * total;
        let row = squares.iter().position(|square| {
            left -= square;
            left < 0.0
        });
        let row = row.unwrap_or(squares.len() - 1);
        let length = squares[row].sqrt() as f32;
        if length > 0.0 {
            let unit: Vec<f32> = work.errors[row * d..(row + 1) * d].iter().map(|e| -e / length).collect();
            let bias = -upper_projection(&unit, &work.inputs);
            weights.replace(feature, &unit, norm, bias);
        }
    }
    idle.len()
}

/// The projection of inputs on `unit` that a share of `NEW_FEATURE_SHARE` of the rows exceeds.
fn upper_projection(unit: &[f32], inputs: &[f32]) -> f32 {
    let mut along: Vec<f32> = inputs.chunks_exact(unit.len()).map(|row| dot(row, unit)).collect();
    let rank = (NEW_FEATURE_SHARE * along.len() as f64) as usize;
    match along.get(rank) {
        Some(_) => *along.select_nth_unstable_by(rank, |a, b| b.total_cmp(a)).1,
        None => 0.0,
    }
}
