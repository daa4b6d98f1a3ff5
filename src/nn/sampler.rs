use candle_core::{Device, Tensor};
use candle_transformers::generation::LogitsProcessor;

use super::error::NnError;

/// Chooses among logits: the largest, or one drawn with probabilities softmax(logits / temperature).
pub struct Sampler(LogitsProcessor);

impl Sampler {
    /// At a temperature of 0, or below 1e-7, it takes the largest, of several alike the first; `seed` says what is drawn
    /// otherwise.
    pub fn new(seed: u64, temperature: f64) -> Self {
        Self(LogitsProcessor::new(seed, Some(temperature), None))
    }

    /// The place of the one chosen.
    ///
    /// # Errors
    /// [`NnError::Arithmetic`] where there is none to choose, or a logit is not a number.
    pub fn choose(&mut self, logits: &[f32]) -> Result<usize, NnError> {
        let logits = Tensor::from_slice(logits, logits.len(), &Device::Cpu)?;
        Ok(self.0.sample(&logits)? as usize)
    }
}
