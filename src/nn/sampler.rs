//! Sampling of a token: index `i` with probability softmax(logits / temperature)ᵢ.

use candle_core::{D, Device, Error, Tensor};
use candle_nn::ops::softmax_last_dim;
use rand::SeedableRng;
use rand::distr::{Distribution, weighted::WeightedIndex};
use rand::rngs::StdRng;

use super::error::NnError;

/// Temperatures below this take the largest logit.
const GREEDY_BELOW: f64 = 1e-7;

/// Samples from softmax(logits / temperature), or takes the largest logit.
pub struct Sampler {
    rng: StdRng,
    temperature: f64,
}

impl Sampler {
    /// Below a temperature of 1e-7 the first of the largest logits is taken; `seed` then has no effect.
    pub fn new(seed: u64, temperature: f64) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), temperature }
    }

    /// Index of the chosen logit.
    ///
    /// # Errors
    /// [`NnError::Arithmetic`] if there are no logits or one is NaN.
    pub fn choose(&mut self, logits: &[f32]) -> Result<usize, NnError> {
        let logits = Tensor::from_slice(logits, logits.len(), &Device::Cpu)?;
        if self.temperature < GREEDY_BELOW {
            return Ok(logits.argmax(D::Minus1)?.to_scalar::<u32>()? as usize);
        }
        let probabilities = softmax_last_dim(&(logits / self.temperature)?)?.to_vec1::<f32>()?;
        let distribution = WeightedIndex::new(&probabilities).map_err(Error::wrap)?;
        Ok(distribution.sample(&mut self.rng))
    }
}

#[cfg(test)]
mod tests {
    use candle_transformers::generation::LogitsProcessor;

    use super::*;
    use crate::base::Stream;

    #[test]
    fn draws_are_those_of_candle_transformers() {
        let mut stream = Stream::new(3, "logits");
        for (seed, temperature) in [(1, 0.0), (2, 0.7), (3, 1.0), (4, 1e-8), (5, 2.0)] {
            let mut ours = Sampler::new(seed, temperature);
            let mut theirs = LogitsProcessor::new(seed, Some(temperature), None);
            for _ in 0..50 {
                let logits: Vec<f32> = (0..300).map(|_| 2.0 * stream.normal() as f32).collect();
                let tensor = Tensor::from_slice(&logits, logits.len(), &Device::Cpu).expect("a tensor");
                let expected = theirs.sample(&tensor).expect("a draw") as usize;
                assert_eq!(ours.choose(&logits).expect("a draw"), expected);
            }
        }
        let error = Sampler::new(1, 1.0).choose(&[f32::NAN, 1.0]);
        assert!(error.is_err());
    }
}
