use crate::base::Stream;
use crate::linalg::dot;

use super::step::Workspace;
use super::update::Weights;

/// Share of rows on which a feature fires that has just got a direction; with no bias it would be
/// half of them, and the L1 weight would jump.
const NEW_FEATURE_SHARE: f64 = 0.02;

/// Gives each of `idle` the direction of an error of the batch, drawn by squared error: what the
/// dictionary lacks most, and a bias that keeps it rare.
/// Gives the number replaced.
pub fn resample(weights: &mut Weights, work: &Workspace, idle: &[usize], stream: &mut Stream) -> usize {
    let d = weights.d;
    let squares: Vec<f64> = work
        .errors
        .chunks_exact(d)
        .map(|row| row.iter().map(|&value| f64::from(value).powi(2)).sum())
        .collect();
    let total: f64 = squares.iter().sum();
    if idle.is_empty() || total == 0.0 {
        return 0;
    }
    let alive: Vec<f32> =
        (0..weights.features).filter(|f| !idle.contains(f)).map(|f| weights.norms[f]).collect();
    let norm = if alive.is_empty() { 1.0 } else { alive.iter().sum::<f32>() / alive.len() as f32 };
    for &feature in idle {
        let mut bar = stream.unit() * total;
        let row = squares.iter().position(|square| {
            bar -= square;
            bar < 0.0
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

/// What the projection of an input on `unit` exceeds on `NEW_FEATURE_SHARE` of the rows.
fn upper_projection(unit: &[f32], inputs: &[f32]) -> f32 {
    let mut along: Vec<f32> = inputs.chunks_exact(unit.len()).map(|row| dot(row, unit)).collect();
    let rank = (NEW_FEATURE_SHARE * along.len() as f64) as usize;
    match along.get(rank) {
        Some(_) => *along.select_nth_unstable_by(rank, |a, b| b.total_cmp(a)).1,
        None => 0.0,
    }
}
