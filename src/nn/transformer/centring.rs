//! Centring of everything that is written to the residual stream, as `center_writing_weights` of TransformerLens does:
//!
//!   w ← w − mean(w) over d_model                 for embeddings and the outputs of attention and MLP
//!
//! A layer norm subtracts the mean anyway, so a model whose stream is read only by layer norms computes the same.

use candle_core::Tensor;

use super::{Block, FeedForward, Linear, Parts, Transformer};
use crate::nn::architecture::{NormKind, Residual};
use crate::nn::error::{NnError, Result};
use crate::nn::rows::Rows;

impl Transformer {
    /// The same model with a residual stream of mean zero: embeddings and the outputs of attention and MLP are centred.
    /// Neurons, heads and logits do not change.
    ///
    /// Fails if anything but a layer norm reads the residual stream.
    pub fn centred(mut self) -> Result<Self> {
        self.check_centring()?;
        let parts = &mut self.parts;
        parts.embedding = centred_rows(&parts.embedding)?;
        if let Some(table) = &mut parts.position_embedding {
            *table = table.broadcast_sub(&table.mean_keepdim(1)?)?;
        }
        for block in &mut parts.blocks {
            centre_outputs(&mut block.attention_out)?;
            if let FeedForward::Dense(mlp) = &mut block.mlp {
                centre_outputs(&mut mlp.down)?;
            }
        }
        Ok(self)
    }

    fn check_centring(&self) -> Result<()> {
        let Parts { blocks, final_norm, embedding_norm, .. } = &self.parts;
        let mut readers =
            blocks.iter().flat_map(|block| [&block.attention_norm, &block.mlp_norm]).chain([final_norm]);
        let norms_output =
            |block: &Block| block.attention_post_norm.is_some() || block.mlp_post_norm.is_some();
        let reason = if self.architecture.norm == NormKind::Rms {
            "RMS norms, which do not subtract means"
        } else if readers.any(Option::is_none) {
            "parts that read the stream without a norm"
        } else if embedding_norm.is_some() || blocks.iter().any(norms_output) {
            "norms between its weights and the residual stream"
        } else if self.architecture.residual == Residual::Normed {
            "a residual stream that is normed itself"
        } else if blocks.iter().any(|block| matches!(block.mlp, FeedForward::Mixture(_))) {
            "mixtures of experts, for which it is not implemented"
        } else {
            return Ok(());
        };
        let family = self.architecture.family.to_string();
        Err(NnError::NoCentring { family, reason: reason.to_string() })
    }
}

/// Subtracts the mean of each row.
fn centred_rows(rows: &Rows) -> Result<Rows> {
    let (mut entries, width) = rows.to_f32()?;
    for row in entries.chunks_exact_mut(width) {
        let mean = row.iter().copied().map(f64::from).sum::<f64>() / width as f64;
        row.iter_mut().for_each(|entry| *entry = (f64::from(*entry) - mean) as f32);
    }
    let shape = (entries.len() / width, width);
    Ok(Rows::Plain(Tensor::from_vec(entries, shape, rows.device())?))
}

/// Gives the outputs of a map mean zero: subtracts the mean row from each row, and the mean of the bias from the bias.
fn centre_outputs(map: &mut Linear) -> Result<()> {
    let device = map.weight.device().clone();
    let (mut entries, width) = map.weight.to_f32()?;
    let rows = entries.len() / width;
    let mut means = vec![0.0_f64; width];
    for row in entries.chunks_exact(width) {
        means.iter_mut().zip(row).for_each(|(mean, &entry)| *mean += f64::from(entry) / rows as f64);
    }
    for row in entries.chunks_exact_mut(width) {
        row.iter_mut().zip(&means).for_each(|(entry, mean)| *entry = (f64::from(*entry) - mean) as f32);
    }
    let weight = Tensor::from_vec(entries, (rows, width), &device)?;
    let centred = |bias: &Tensor| bias.broadcast_sub(&bias.mean_keepdim(0)?);
    let bias = map.bias.as_ref().map(centred).transpose()?;
    *map = Linear::new(Rows::Plain(weight), bias);
    Ok(())
}
