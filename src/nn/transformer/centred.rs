//! Centring of what is written to the residual stream, as TransformerLens does it (`center_writing_weights`).

use candle_core::Tensor;

use super::{FeedForward, Linear, Parts, Transformer};
use crate::nn::architecture::{NormKind, Residual};
use crate::nn::error::NnError;
use crate::nn::rows::Rows;

impl Transformer {
    /// The same model with the mean over the dimensions of the residual stream taken off everything that is written
    /// to it: embeddings, what attention adds and what the MLP adds.
    ///
    /// Whatever reads the stream is a layer norm, which takes that mean off anyway, so neurons, heads and logits stay
    /// what they are; rows of the residual stream have mean zero. Fails where something reads the stream otherwise.
    pub fn centred(mut self) -> Result<Self, NnError> {
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

    fn check_centring(&self) -> Result<(), NnError> {
        let refuse = |reason: &str| {
            let (family, reason) = (self.architecture.family.to_string(), reason.to_string());
            Err(NnError::NoCentring { family, reason })
        };
        let Parts { blocks, final_norm, embedding_norm, .. } = &self.parts;
        let read =
            blocks.iter().flat_map(|block| [&block.attention_norm, &block.mlp_norm]).chain([final_norm]);
        if self.architecture.norm == NormKind::Rms {
            return refuse("RMS norms, which do not take off means");
        }
        if read.into_iter().any(Option::is_none) {
            return refuse("parts that read the stream without a norm");
        }
        let writes_normed =
            |block: &super::Block| block.attention_post_norm.is_some() || block.mlp_post_norm.is_some();
        if embedding_norm.is_some() || blocks.iter().any(writes_normed) {
            return refuse("norms between its weights and the residual stream");
        }
        if self.architecture.residual == Residual::Normed {
            return refuse("a residual stream that is normed itself");
        }
        if blocks.iter().any(|block| matches!(block.mlp, FeedForward::Mixture(_))) {
            return refuse("mixtures of experts, for which it is not implemented");
        }
        Ok(())
    }
}

/// Rows without their means.
fn centred_rows(rows: &Rows) -> Result<Rows, NnError> {
    let (mut entries, width) = rows.to_f32()?;
    for row in entries.chunks_exact_mut(width) {
        let mean = row.iter().copied().map(f64::from).sum::<f64>() / width as f64;
        row.iter_mut().for_each(|entry| *entry = (f64::from(*entry) - mean) as f32);
    }
    let shape = (entries.len() / width, width);
    Ok(Rows::Plain(Tensor::from_vec(entries, shape, rows.device())?))
}

/// Makes the outputs of a map have mean zero: takes the mean over its rows off each row, and that of its bias off it.
fn centre_outputs(map: &mut Linear) -> Result<(), NnError> {
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
    let bias = match &map.bias {
        Some(bias) => Some(bias.broadcast_sub(&bias.mean_keepdim(0)?)?),
        None => None,
    };
    *map = Linear::new(Rows::Plain(weight), bias);
    Ok(())
}
