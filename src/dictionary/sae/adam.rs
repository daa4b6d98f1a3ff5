//! Adam (Kingma and Ba 2015, arXiv 1412.6980) and the gradient of rows that are normalised in the forward pass.
//!
//! ```text
//! m ← β₁ m + (1 − β₁) g        v ← β₂ v + (1 − β₂) g²
//! θ ← θ − lr / (1 − β₁ⁿ) · m / (√(v / (1 − β₂ⁿ)) + ε)     n: steps so far, this one included
//! u = r / ‖r‖   ⇒   dL/dr = (dL/du − (dL/du · u) u) / ‖r‖
//! ```

use std::ops::Range;

use crate::linalg::{Room, dot, sum_of_squares};

pub const BETA1: f32 = 0.9;
pub const BETA2: f32 = 0.999;
pub const EPSILON: f32 = 1e-8;

/// How a gradient moves parameters.
#[derive(Debug, Clone, Copy)]
pub enum Optimiser {
    /// `rate` and `second_correction` contain the bias corrections of both moments.
    Adam { rate: f32, second_correction: f32 },
    /// Values minus gradient: a test reads gradients from the difference.
    #[cfg(test)]
    Plain,
}

impl Optimiser {
    /// For step `step`, counted from 0, at learning rate `lr`.
    pub fn adam(lr: f64, step: usize) -> Self {
        let n = step as f64 + 1.0;
        Self::Adam {
            rate: (lr / (1.0 - f64::from(BETA1).powf(n))) as f32,
            second_correction: (1.0 / (1.0 - f64::from(BETA2).powf(n)).sqrt()) as f32,
        }
    }

    #[inline(always)]
    pub fn apply(&self, values: &mut [f32], first: &mut [f32], second: &mut [f32], gradient: &[f32]) {
        let (rate, second_correction) = match *self {
            Self::Adam { rate, second_correction } => (rate, second_correction),
            #[cfg(test)]
            Self::Plain => {
                values.iter_mut().zip(gradient).for_each(|(value, g)| *value -= g);
                return;
            }
        };
        let moments = first.iter_mut().zip(second.iter_mut());
        for ((value, &g), (m, v)) in values.iter_mut().zip(gradient).zip(moments) {
            *m = adam_first(*m, g);
            *v = adam_second(*v, g);
            *value = adam_descend(*value, *m, *v, rate, second_correction);
        }
    }
}

/// First moment after gradient `g`.
#[inline(always)]
pub fn adam_first(m: f32, g: f32) -> f32 {
    BETA1 * m + (1.0 - BETA1) * g
}

/// Second moment after gradient `g`.
#[inline(always)]
pub fn adam_second(v: f32, g: f32) -> f32 {
    BETA2 * v + (1.0 - BETA2) * g * g
}

/// A value after its step.
#[inline(always)]
pub fn adam_descend(value: f32, m: f32, v: f32, rate: f32, second_correction: f32) -> f32 {
    value - rate * m / (v.sqrt() * second_correction + EPSILON)
}

/// A parameter `[n, width]` with Adam's moments. Each feature has one row.
#[derive(Debug, Clone)]
pub struct Param {
    pub width: usize,
    pub values: Room,
    first: Room,
    second: Room,
}

/// Some rows of a [`Param`].
pub struct ParamRows<'a> {
    pub values: &'a mut [f32],
    pub first: &'a mut [f32],
    pub second: &'a mut [f32],
}

impl ParamRows<'_> {
    /// The entries in `range`.
    #[inline(always)]
    pub fn part(&mut self, range: Range<usize>) -> ParamRows<'_> {
        ParamRows {
            values: &mut self.values[range.clone()],
            first: &mut self.first[range.clone()],
            second: &mut self.second[range],
        }
    }
}

impl Param {
    pub fn new(width: usize, values: Vec<f32>) -> Self {
        let n = values.len();
        Self { width, values: values.into(), first: Room::zeros(n), second: Room::zeros(n) }
    }

    /// Blocks of `rows` rows, in order.
    pub fn chunks(&mut self, rows: usize) -> impl Iterator<Item = ParamRows<'_>> {
        let n = (rows * self.width).max(1);
        let moments = self.first.chunks_mut(n).zip(self.second.chunks_mut(n));
        let parts = self.values.chunks_mut(n).zip(moments);
        parts.map(|(values, (first, second))| ParamRows { values, first, second })
    }

    /// Values, first and second moments.
    pub fn parts(&self) -> [&[f32]; 3] {
        [&self.values, &self.first, &self.second]
    }

    pub fn parts_mut(&mut self) -> [&mut [f32]; 3] {
        [&mut self.values, &mut self.first, &mut self.second]
    }

    /// One step of all values.
    pub fn step(&mut self, optimiser: &Optimiser, gradient: &[f32]) {
        optimiser.apply(&mut self.values, &mut self.first, &mut self.second, gradient);
    }

    /// Sets one row and clears its moments.
    pub fn replace(&mut self, row: usize, values: &[f32]) {
        let range = row * self.width..(row + 1) * self.width;
        self.values[range.clone()].copy_from_slice(values);
        self.first[range.clone()].fill(0.0);
        self.second[range].fill(0.0);
    }
}

/// Turns `dL/du` into `dL/dr` in place, where `u = r / ‖r‖` and `norm = ‖r‖`.
#[inline(always)]
pub fn through_norm(gradient: &mut [f32], unit: &[f32], norm: f32) {
    let along = dot(gradient, unit);
    let inverse = norm.max(1e-8).recip();
    for (g, &u) in gradient.iter_mut().zip(unit) {
        *g = (*g - along * u) * inverse;
    }
}

/// `row / ‖row‖`, in place.
#[inline(always)]
pub fn normalise(row: &mut [f32]) {
    let inverse = sum_of_squares(row).sqrt().max(1e-8).recip();
    row.iter_mut().for_each(|value| *value *= inverse);
}

/// Writes `row / ‖row‖` to `unit` and returns `‖row‖`.
#[inline(always)]
pub fn normalise_into(unit: &mut [f32], row: &[f32]) -> f32 {
    let norm = sum_of_squares(row).sqrt();
    let inverse = norm.max(1e-8).recip();
    for (slot, &value) in unit.iter_mut().zip(row) {
        *slot = value * inverse;
    }
    norm
}
