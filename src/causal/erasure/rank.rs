//! The order in which features are erased.
//!
//! ```text
//! score = |m₂ − m₁| / s      m mean code of a class at the last position, s² = Σ_classes (n − 1) variance / Σ (n − 1)
//! ```

use crate::linalg::SparseCodes;

/// Means that differ by a smaller share are equal: the rest is rounding.
const SAME: f64 = 1e-9;

/// Features whose mean codes differ, by falling score; equal ones by the difference, then by number. With s = 0 the score
/// is infinite. Codes `[prompts, features]` have one label each.
pub(super) fn ranked(codes: &SparseCodes, labels: &[bool]) -> Vec<usize> {
    let n: [f64; 2] =
        [false, true].map(|class| labels.iter().filter(|label| **label == class).count() as f64);
    // Per feature and class.
    let mut means = vec![[0.0f64; 2]; codes.cols()];
    each(codes, labels, |feature, class, code| means[feature][class] += code / n[class]);
    // Deviations of the codes that are not 0, and how many those are.
    let mut squares = vec![[0.0f64; 2]; codes.cols()];
    let mut counts = vec![[0.0f64; 2]; codes.cols()];
    each(codes, labels, |feature, class, code| {
        squares[feature][class] += (code - means[feature][class]).powi(2);
        counts[feature][class] += 1.0;
    });
    let mut found: Vec<(f64, f64, usize)> = Vec::new();
    for (feature, mean) in means.iter().enumerate() {
        let difference = (mean[1] - mean[0]).abs();
        if difference > SAME * (mean[0].abs() + mean[1].abs()) {
            let of_class = |class: usize| {
                squares[feature][class] + (n[class] - counts[feature][class]) * mean[class].powi(2)
            };
            let pooled = (of_class(0) + of_class(1)) / (n[0] + n[1] - 2.0).max(1.0);
            found.push((difference / pooled.sqrt(), difference, feature));
        }
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.total_cmp(&a.1)).then(a.2.cmp(&b.2)));
    found.into_iter().map(|(_, _, feature)| feature).collect()
}

fn each(codes: &SparseCodes, labels: &[bool], mut add: impl FnMut(usize, usize, f64)) {
    for (row, label) in labels.iter().enumerate() {
        for (feature, code) in codes.iter_row(row) {
            add(feature, usize::from(*label), f64::from(code));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Matrix;

    #[test]
    fn the_clearest_difference_comes_first() {
        // Feature 0 is noisy, 1 is the concept exactly, 2 is constant, 3 never fires, 4 differs a little.
        let rows = [
            [5.0, 0.0, 1.0, 0.0, 0.5],
            [1.0, 0.0, 1.0, 0.0, 0.0],
            [6.0, 2.0, 1.0, 0.0, 0.25],
            [3.0, 2.0, 1.0, 0.0, 0.0],
        ];
        let codes = SparseCodes::from_dense(&Matrix::from_fn(4, 5, |row, col| rows[row][col]));
        assert_eq!(ranked(&codes, &[false, false, true, true]), [1, 0, 4]);
    }
}
