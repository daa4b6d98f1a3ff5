use crate::linalg::{Room, dot, sum_of_squares};

/// How a gradient moves what is learned.
#[derive(Debug, Clone, Copy)]
pub enum Stepper {
    /// Adam, bias corrections folded into its constants.
    Adam { rate: f32, second_correction: f32 },
    /// Values minus gradient: lets a test read gradients off.
    #[cfg(test)]
    Plain,
}

pub const BETA1: f32 = 0.9;
pub const BETA2: f32 = 0.999;
pub const EPSILON: f32 = 1e-8;

impl Stepper {
    /// For step `step`, counted from 0, at learning rate `lr`.
    pub fn adam(lr: f64, step: usize) -> Self {
        let n = step as f64 + 1.0;
        Self::Adam {
            rate: (lr / (1.0 - f64::from(BETA1).powf(n))) as f32,
            second_correction: (1.0 / (1.0 - f64::from(BETA2).powf(n)).sqrt()) as f32,
        }
    }

    /// Moves `values` against `gradient`.
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

/// Adam's first moment after gradient `g`.
#[inline(always)]
pub fn adam_first(m: f32, g: f32) -> f32 {
    BETA1 * m + (1.0 - BETA1) * g
}

/// Adam's second moment after gradient `g`.
#[inline(always)]
pub fn adam_second(v: f32, g: f32) -> f32 {
    BETA2 * v + (1.0 - BETA2) * g * g
}

/// A value after its step.
#[inline(always)]
pub fn adam_descend(value: f32, m: f32, v: f32, rate: f32, second_correction: f32) -> f32 {
    value - rate * m / (v.sqrt() * second_correction + EPSILON)
}

/// Numbers with Adam's moments beside them: one row of `width` numbers per feature.
#[derive(Debug, Clone)]
pub struct Learned {
    pub width: usize,
    pub values: Room,
    first: Room,
    second: Room,
}

/// One row of a [`Learned`], to change.
pub struct LearnedRow<'a> {
    pub values: &'a mut [f32],
    pub first: &'a mut [f32],
    pub second: &'a mut [f32],
}

impl LearnedRow<'_> {
    #[inline(always)]
    pub fn step(&mut self, stepper: &Stepper, gradient: &[f32]) {
        stepper.apply(self.values, self.first, self.second, gradient);
    }
}

impl Learned {
    pub fn new(width: usize, values: Vec<f32>) -> Self {
        let n = values.len();
        Self { width, values: values.into(), first: Room::zeros(n), second: Room::zeros(n) }
    }

    /// Runs of `rows` rows, in order.
    pub fn chunks(&mut self, rows: usize) -> Vec<LearnedRow<'_>> {
        let n = (rows * self.width).max(1);
        self.values
            .chunks_mut(n)
            .zip(self.first.chunks_mut(n))
            .zip(self.second.chunks_mut(n))
            .map(|((values, first), second)| LearnedRow { values, first, second })
            .collect()
    }

    /// Values, first and second moments.
    pub fn parts(&self) -> [&[f32]; 3] {
        [&self.values, &self.first, &self.second]
    }

    /// The same, to be changed.
    pub fn parts_mut(&mut self) -> [&mut [f32]; 3] {
        [&mut self.values, &mut self.first, &mut self.second]
    }

    /// Moves all numbers at once.
    pub fn step(&mut self, stepper: &Stepper, gradient: &[f32]) {
        stepper.apply(&mut self.values, &mut self.first, &mut self.second, gradient);
    }

    /// Sets a row anew and forgets its moments.
    pub fn replace(&mut self, row: usize, values: &[f32]) {
        let range = row * self.width..(row + 1) * self.width;
        self.values[range.clone()].copy_from_slice(values);
        self.first[range.clone()].fill(0.0);
        self.second[range].fill(0.0);
    }
}

/// The gradient of a raw row whose unit vector is what the loss sees, in place.
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

/// Writes `row / ‖row‖` to `unit` and gives the norm.
#[inline(always)]
pub fn normalise_into(unit: &mut [f32], row: &[f32]) -> f32 {
    let norm = sum_of_squares(row).sqrt();
    let inverse = norm.max(1e-8).recip();
    for (slot, &value) in unit.iter_mut().zip(row) {
        *slot = value * inverse;
    }
    norm
}
