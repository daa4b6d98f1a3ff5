//! A linear probe: logistic regression with a ridge penalty, by Newton's method in f64.
//!
//! ```text
//! L(w, b) = Σ_i ln(1 + exp(−y_i f_i)) + λ/2 ‖w‖²      f_i = w·x_i + b,  y_i = ±1; b has no penalty
//! ```
//!
//! L is strictly convex in w, so the result does not depend on the start. The minimum lies in the span of the rows: with
//! fewer rows than dimensions, it is found in an orthonormal basis of that span.

use nalgebra::{Cholesky, DMatrix, DVector, RowDVector};

/// Most Newton steps; ten are usual.
const MOST_STEPS: usize = 50;

/// Most times that a step is halved.
const MOST_HALVINGS: usize = 30;

/// Largest gradient entry per row at which the search ends.
const TOLERANCE: f64 = 1e-10;

/// Log odds up to which a prediction is the label of most training rows: rounding decides nothing.
const UNDECIDED: f64 = 1e-6;

/// A row of the basis keeps at least this share of its norm beside the earlier ones.
const INDEPENDENT: f64 = 1e-10;

/// A fitted probe.
pub struct Probe {
    weights: DVector<f64>,
    intercept: f64,
    /// The label of most training rows.
    majority: bool,
}

impl Probe {
    /// Fits it to rows `[n, d]` and their labels. Both labels must occur.
    pub fn fit(x: &DMatrix<f64>, labels: &[bool], penalty: f64) -> Self {
        let basis = (x.nrows() < x.ncols()).then(|| row_basis(x));
        let reduced = basis.as_ref().map(|basis| x * basis.transpose());
        let problem = Problem { x: reduced.as_ref().unwrap_or(x), labels, penalty };
        let (weights, intercept) = problem.solve();
        let weights = basis.map_or(weights.clone(), |basis| basis.tr_mul(&weights));
        Self { weights, intercept, majority: majority(labels) }
    }

    /// The predicted label of each row.
    pub fn predict(&self, x: &DMatrix<f64>) -> Vec<bool> {
        let odds = x * &self.weights;
        let label = |odds: &f64| {
            let odds = odds + self.intercept;
            if odds.abs() <= UNDECIDED { self.majority } else { odds > 0.0 }
        };
        odds.iter().map(label).collect()
    }
}

/// The label of most rows; the second one if they are equally many.
pub fn majority(labels: &[bool]) -> bool {
    2 * labels.iter().filter(|label| **label).count() >= labels.len()
}

/// An orthonormal basis of the span of the rows `[r, d]`, by Gram-Schmidt with a second pass.
pub fn row_basis(x: &DMatrix<f64>) -> DMatrix<f64> {
    let mut basis: Vec<RowDVector<f64>> = Vec::new();
    for row in x.row_iter() {
        let mut rest: RowDVector<f64> = row.into_owned();
        let before = rest.norm();
        for _ in 0..2 {
            for unit in &basis {
                let share = rest.dot(unit);
                rest -= unit * share;
            }
        }
        let norm = rest.norm();
        if norm > INDEPENDENT * before {
            basis.push(rest / norm);
        }
    }
    match basis.is_empty() {
        true => DMatrix::zeros(0, x.ncols()),
        false => DMatrix::from_rows(&basis),
    }
}

struct Problem<'a> {
    x: &'a DMatrix<f64>,
    labels: &'a [bool],
    penalty: f64,
}

impl Problem<'_> {
    /// w and b.
    fn solve(&self) -> (DVector<f64>, f64) {
        let (n, d) = (self.x.nrows(), self.x.ncols());
        let positive = self.labels.iter().filter(|label| **label).count() as f64;
        // The best intercept without weights.
        let mut at = (DVector::zeros(d), (positive / (n as f64 - positive)).ln());
        let mut loss = self.loss(&at);
        for _ in 0..MOST_STEPS {
            let Some(step) = self.step(&at) else { break };
            let halved = (0..MOST_HALVINGS).map(|times| 0.5f64.powi(times as i32));
            let moved = halved.map(|size| (&at.0 - &step.0 * size, at.1 - step.1 * size));
            let lower = moved.map(|to| (self.loss(&to), to)).find(|(to, _)| *to < loss);
            let Some((lower, to)) = lower else { break };
            (loss, at) = (lower, to);
        }
        at
    }

    fn odds(&self, (weights, intercept): &(DVector<f64>, f64)) -> DVector<f64> {
        (self.x * weights).add_scalar(*intercept)
    }

    fn loss(&self, at: &(DVector<f64>, f64)) -> f64 {
        let odds = self.odds(at);
        let losses = odds.iter().zip(self.labels).map(|(f, label)| {
            let against = if *label { -f } else { *f };
            against.max(0.0) + (-against.abs()).exp().ln_1p()
        });
        losses.sum::<f64>() + 0.5 * self.penalty * at.0.norm_squared()
    }

    /// The Newton step; none at the minimum.
    fn step(&self, at: &(DVector<f64>, f64)) -> Option<(DVector<f64>, f64)> {
        let (n, d) = (self.x.nrows(), self.x.ncols());
        let p = self.odds(at).map(|f| 1.0 / (1.0 + (-f).exp()));
        let off = DVector::from_fn(n, |i, _| p[i] - f64::from(u8::from(self.labels[i])));
        let mut gradient = DVector::zeros(d + 1);
        gradient.rows_mut(0, d).copy_from(&(self.x.tr_mul(&off) + &at.0 * self.penalty));
        gradient[d] = off.sum();
        if gradient.amax() <= TOLERANCE * n as f64 {
            return None;
        }
        // Rows times the root of p (1 − p), with a last column for the intercept.
        let mut weighted = DMatrix::zeros(n, d + 1);
        weighted.columns_mut(0, d).copy_from(self.x);
        weighted.column_mut(d).fill(1.0);
        for (mut row, p) in weighted.row_iter_mut().zip(p.iter()) {
            row *= (p * (1.0 - p)).sqrt();
        }
        let mut hessian = weighted.tr_mul(&weighted);
        for at in 0..d {
            hessian[(at, at)] += self.penalty;
        }
        let step = Cholesky::new(hessian)?.solve(&gradient);
        Some((step.rows(0, d).into_owned(), step[d]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows around ∓1 on the first axis, with a pattern on the others.
    fn rows(n: usize, d: usize) -> (DMatrix<f64>, Vec<bool>) {
        let labels: Vec<bool> = (0..n).map(|i| i % 2 == 1).collect();
        let noise = |i: usize, j: usize| ((i * 7 + j * 13) % 11) as f64 / 11.0 - 0.5;
        let sign = |i: usize| if labels[i] { 1.0 } else { -1.0 };
        let x = DMatrix::from_fn(n, d, |i, j| noise(i, j) + if j == 0 { sign(i) } else { 0.0 });
        (x, labels)
    }

    #[test]
    fn a_separable_concept_is_read_in_few_and_in_many_dimensions() {
        for d in [3, 60] {
            let (x, labels) = rows(40, d);
            let probe = Probe::fit(&x, &labels, 1.0);
            assert_eq!(probe.predict(&x), labels, "{d} dimensions");
        }
    }

    #[test]
    fn the_gradient_is_zero_at_the_solution() {
        let (x, mut labels) = rows(40, 3);
        labels[3] = false;
        let problem = Problem { x: &x, labels: &labels, penalty: 0.7 };
        let at = problem.solve();
        let off: Vec<f64> = problem
            .odds(&at)
            .iter()
            .zip(&labels)
            .map(|(f, label)| 1.0 / (1.0 + (-f).exp()) - f64::from(u8::from(*label)))
            .collect();
        assert!(off.iter().sum::<f64>().abs() < 1e-6);
        for axis in 0..3 {
            let slope: f64 = (0..40).map(|i| off[i] * x[(i, axis)]).sum::<f64>() + 0.7 * at.0[axis];
            assert!(slope.abs() < 1e-6, "{slope}");
        }
    }

    #[test]
    fn without_a_difference_it_predicts_the_label_of_most_rows() {
        let x = DMatrix::from_fn(10, 2, |i, j| ((i / 2) * 3 + j) as f64);
        let labels: Vec<bool> = (0..10).map(|i| i % 2 == 0).collect();
        assert_eq!(Probe::fit(&x, &labels, 1.0).predict(&x), [true; 10]);
    }
}
