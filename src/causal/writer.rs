//! The direction in which a feature changes activations.

use super::CausalError;
use crate::base::{HookPoint, Matrix};
use crate::dictionary::{Dictionary, Kind};

/// Changes activations along the features of a dictionary.
///
/// A change of a code by δ adds δ · d to the activation, with d the decoder row in the units of the activation. A
/// random direction w has no decoder; it gets w / ‖w‖², the smallest change that moves w·x by 1.
pub struct Writer<'a> {
    dictionary: &'a dyn Dictionary,
}

impl<'a> Writer<'a> {
    /// Fails for a dictionary without a decoder.
    pub fn new(dictionary: &'a dyn Dictionary) -> Result<Self, CausalError> {
        let info = dictionary.info();
        match info.is_reconstruction || matches!(info.kind, Kind::Neuron | Kind::Random) {
            true => Ok(Self { dictionary }),
            false => Err(CausalError::OnlyEncodes { method: info.method.clone() }),
        }
    }

    /// The dictionary.
    pub fn dictionary(&self) -> &'a dyn Dictionary {
        self.dictionary
    }

    /// The hook point whose activations are encoded.
    pub fn reads(&self) -> HookPoint {
        self.dictionary.info().hook
    }

    /// The hook point whose activations are changed: that of the input, or the output of a transcoder.
    pub fn writes(&self) -> HookPoint {
        self.dictionary.info().output.unwrap_or(self.reads())
    }

    /// Fails if the dictionary lacks the feature.
    pub fn check(&self, feature: usize) -> Result<(), CausalError> {
        let info = self.dictionary.info();
        if feature < info.n_features {
            return Ok(());
        }
        Err(CausalError::NoFeature { feature, method: info.method.clone(), n_features: info.n_features })
    }

    /// What is added to activations `[n, d_out]` when a feature's codes change by `changes` `[n]`. `inputs` `[n, d_in]`
    /// are the activations that were encoded: they matter for dictionaries that scale each row by its norm.
    pub fn delta(&self, inputs: &Matrix, feature: usize, changes: &[f32]) -> Result<Matrix, CausalError> {
        self.check(feature)?;
        if let Some(delta) = self.dictionary.contributions(inputs, feature, changes)? {
            return Ok(delta);
        }
        let (direction, squared) = self.undecoded(feature);
        let mut delta = Matrix::zeros(inputs.rows(), direction.len());
        for (row, change) in (0..inputs.rows()).zip(changes) {
            let factor = if squared > 0.0 { (f64::from(*change) / squared) as f32 } else { 0.0 };
            delta.row_mut(row).iter_mut().zip(direction).for_each(|(value, w)| *value = factor * w);
        }
        Ok(delta)
    }

    /// Adds [`Writer::delta`] to the rows of `rows.0` `[·, d_out]` from `rows.1` on. Rows with a change of 0 keep their
    /// bits.
    pub fn add(
        &self,
        inputs: &Matrix,
        feature: usize,
        changes: &[f32],
        (rows, first): (&mut Matrix, usize),
    ) -> Result<(), CausalError> {
        let delta = self.delta(inputs, feature, changes)?;
        for (row, _) in changes.iter().enumerate().filter(|(_, change)| **change != 0.0) {
            rows.row_mut(first + row).iter_mut().zip(delta.row(row)).for_each(|(value, by)| *value += by);
        }
        Ok(())
    }

    /// A feature's direction `[d_out]` and its factor: [`Writer::delta`] of a row is
    /// change · factor · [row factor](Writer::row_factors) · direction, but for rounding.
    pub fn direction(&self, feature: usize) -> Result<(&'a [f32], f32), CausalError> {
        self.check(feature)?;
        let (info, affine) = (self.dictionary.info(), self.dictionary.as_affine());
        if info.is_reconstruction || info.kind == Kind::Neuron {
            return Ok((affine.decoder_row(feature)?, 1.0));
        }
        let (direction, squared) = self.undecoded(feature);
        Ok((direction, if squared > 0.0 { (1.0 / squared) as f32 } else { 0.0 }))
    }

    /// The encoder row w of a feature without a decoder, and ‖w‖².
    fn undecoded(&self, feature: usize) -> (&'a [f32], f64) {
        let direction = self.dictionary.as_affine().tensors().encoder.row(feature);
        (direction, direction.iter().map(|&w| f64::from(w) * f64::from(w)).sum())
    }

    /// Factor of each row of `inputs` `[n, d_in]`: other than 1 for dictionaries that scale each row by its norm.
    pub fn row_factors(&self, inputs: &Matrix) -> Vec<f32> {
        self.dictionary.as_affine().row_factors(inputs)
    }
}

#[cfg(test)]
mod tests;
