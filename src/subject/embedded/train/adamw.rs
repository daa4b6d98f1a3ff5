//! AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101) with weight decay on matrices and clipping of the gradient norm.
//!
//!   g = gradient · min(1, clip / ||gradient||)
//!   m = β1 m + (1 − β1) g,   v = β2 v + (1 − β2) g²
//!   w = w (1 − lr · decay) − lr · √(1 − β2^t) / (1 − β1^t) · m / (√v + 1e-8)

use candle_core::Tensor;

use super::{Network, TrainConfig};

pub(super) struct AdamW {
    weight_decay: f64,
    clip_norm: f64,
    steps: i32,
    moments: Vec<(Vec<f32>, Vec<f32>)>,
}

const BETAS: (f32, f32) = (0.9, 0.98);

impl AdamW {
    /// Zero moments for the weights of `network`.
    pub fn new(config: &TrainConfig, network: &Network) -> Self {
        let zeros = |n: usize| (vec![0.0; n], vec![0.0; n]);
        let moments = network.weights().values().map(|weight| zeros(weight.elem_count())).collect();
        Self { weight_decay: config.weight_decay, clip_norm: config.clip_norm, steps: 0, moments }
    }

    /// One step; the gradients are in the order of the weights' names.
    pub fn step(
        &mut self,
        network: &Network,
        gradients: &[Vec<f32>],
        learning_rate: f64,
    ) -> candle_core::Result<()> {
        let squares = gradients.iter().flatten().map(|g| f64::from(*g) * f64::from(*g)).sum::<f64>();
        let shrink = (self.clip_norm / squares.sqrt().max(1e-12)).min(1.0) as f32;
        self.steps += 1;
        let correction = (1.0 - BETAS.1.powi(self.steps)).sqrt() / (1.0 - BETAS.0.powi(self.steps));
        let rate = learning_rate as f32 * correction;
        for ((weight, gradient), (mean, square)) in
            network.weights().values().zip(gradients).zip(&mut self.moments)
        {
            let decay =
                if weight.rank() > 1 { (1.0 - learning_rate * self.weight_decay) as f32 } else { 1.0 };
            let mut values = weight.as_tensor().flatten_all()?.to_vec1::<f32>()?;
            for i in 0..values.len() {
                let g = gradient[i] * shrink;
                mean[i] = BETAS.0 * mean[i] + (1.0 - BETAS.0) * g;
                square[i] = BETAS.1 * square[i] + (1.0 - BETAS.1) * g * g;
                values[i] = values[i] * decay - rate * mean[i] / (square[i].sqrt() + 1e-8);
            }
            weight.set(&Tensor::from_vec(values, weight.shape().clone(), weight.device())?)?;
        }
        Ok(())
    }
}
