//! What a blueprint does, in words for the card. Words that the format wrote stay.

use super::super::tensors::RowScale;
use super::blueprint::{Blueprint, Nonlinearity, Norms, Part, Scale, Threshold};

impl Blueprint {
    /// Fills the lines of the card that the format left empty.
    pub(super) fn describe(&mut self) {
        let lines = [self.orientation(), self.centring(), self.scaling(), self.activation_words()];
        let card = &mut self.card;
        let slots = [&mut card.orientation, &mut card.centring, &mut card.scaling, &mut card.activation];
        for (slot, line) in slots.into_iter().zip(lines) {
            if slot.is_empty() {
                *slot = line;
            }
        }
    }

    fn orientation(&self) -> String {
        let layout = |part: &Part, width: &str| match part.by_row {
            true => format!("{} [F, {width}]", part.name),
            false => format!("{} [{width}, F]", part.name),
        };
        let skip = self.skip.as_ref().map(|skip| match skip.by_row {
            true => format!(", {} [d_out, d_in]", skip.name),
            false => format!(", {} [d_in, d_out]", skip.name),
        });
        let (encoder, decoder) = (layout(&self.encoder, "d_in"), layout(&self.decoder, "d_out"));
        format!("{encoder}, {decoder}{}", skip.unwrap_or_default())
    }

    fn centring(&self) -> String {
        match (self.subtracts_bias, &self.decoder_bias) {
            (true, Some(bias)) => format!("{bias} is subtracted from inputs"),
            _ => "none".into(),
        }
    }

    fn scaling(&self) -> String {
        let mut parts = Vec::new();
        match self.row_scale {
            RowScale::Plain => {}
            RowScale::ConstantNorm => {
                parts.push("each row scaled to norm √d, undone on the output".to_string())
            }
            RowScale::LayerNorm => {
                parts.push("each row to mean 0 and standard deviation 1, undone on the output".to_string());
            }
        }
        if self.whitening.is_some() {
            parts.push("inputs whitened, undone on the output".into());
        }
        if self.lacks_scale {
            parts.push("inputs scaled to a mean norm of √d by a factor that is estimated here".into());
        } else if self.scale != Scale::NONE {
            let Scale { input, output, threshold } = self.scale;
            parts.push(format!("inputs × {input:.5}, outputs ÷ {output:.5}, thresholds × {threshold:.5}"));
        }
        if self.unit_decoder {
            parts.push("decoder rows divided by their norms".into());
        }
        if let Some(name) = &self.decoder_factors {
            parts.push(format!("decoder rows multiplied by {name}"));
        }
        match self.norms {
            Norms::Unused => {}
            Norms::IntoCodes => parts.push("codes multiplied by norms of decoder rows".into()),
            Norms::IntoGate => {
                parts.push("thresholds and ranks compare codes times norms of decoder rows".into())
            }
        }
        if parts.is_empty() { "none".into() } else { parts.join("; ") }
    }

    fn activation_words(&self) -> String {
        match &self.nonlinearity {
            Nonlinearity::Identity => "none: codes are signed".into(),
            Nonlinearity::Relu => "ReLU".into(),
            Nonlinearity::TanhRelu => "tanh of ReLU".into(),
            Nonlinearity::TopK(k) => format!("the {k} largest positive values of a row"),
            Nonlinearity::AbsTopK(k) => format!("the {k} largest absolute values of a row, with their signs"),
            Nonlinearity::GroupMax(k) => format!("the largest positive value of each of {k} groups"),
            Nonlinearity::JumpRelu(threshold) => match threshold {
                Threshold::Tensor(name) => format!("JumpReLU, thresholds in tensor {name}"),
                Threshold::LogTensor(name) => format!("JumpReLU, thresholds exp({name})"),
                Threshold::Constant(value) => format!("JumpReLU, threshold {value}"),
            },
            Nonlinearity::Gated { .. } => "gated".into(),
        }
    }
}
