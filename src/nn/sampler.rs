use candle_core::{Device, Tensor};
use candle_transformers::generation::LogitsProcessor;

use super::error::NnError;

/// Samples from softmax(logits / temperature), or takes the largest logit.
pub struct Sampler(LogitsProcessor);

impl Sampler {
    /// Below a temperature of 1e-7 the first of the largest logits is taken; `seed` then has no effect.
    pub fn new(seed: u64, temperature: f64) -> Self {
        Self(LogitsProcessor::new(seed, Some(temperature), None))
    }

    /// Index of the chosen logit.
    ///
    /// # Errors
    /// [`NnError::Arithmetic`] if there are no logits or one is NaN.
    pub fn choose(&mut self, logits: &[f32]) -> Result<usize, NnError> {
        let logits = Tensor::from_slice(logits, logits.len(), &Device::Cpu)?;
        Ok(self.0.sample(&logits)? as usize)
    }
}
