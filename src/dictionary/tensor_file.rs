//! Tensors of dictionaries in our own files, with SAELens's names and shapes.
//!
//! ```text
//! W_enc [d, F]   W_dec [F, d_out]   b_dec [d_out]   W_skip [d_out, d]   transcoders with a skip connection
//! b_enc [F]      all but gated      threshold [F]               jumprelu
//! rank [F]       ranked_topk        b_gate, b_mag, r_mag [F]    gated
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::base::{Matrix, read, write_atomic};

use super::DictionaryError;
use super::tensors::{Activation, RowScale, Tensors};

/// Architectures by SAELens's names; `linear` is our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::EnumString, strum::VariantNames)]
#[strum(serialize_all = "lowercase")]
pub(super) enum Architecture {
    Linear,
    Standard,
    #[strum(serialize = "tanh-relu")]
    TanhRelu,
    Topk,
    #[strum(serialize = "ranked_topk")]
    RankedTopk,
    Abstopk,
    Groupmax,
    Jumprelu,
    Gated,
}

impl Architecture {
    pub fn of(activation: &Activation) -> Self {
        match activation {
            Activation::Signed => Self::Linear,
            Activation::Relu => Self::Standard,
            Activation::TanhRelu => Self::TanhRelu,
            Activation::TopK(_) => Self::Topk,
            Activation::RankedTopK { .. } => Self::RankedTopk,
            Activation::AbsTopK(_) => Self::Abstopk,
            Activation::GroupMax(_) => Self::Groupmax,
            Activation::JumpRelu(_) => Self::Jumprelu,
            Activation::Gated { .. } => Self::Gated,
        }
    }

    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Whether a fixed number of codes is kept.
    pub fn has_k(self) -> bool {
        matches!(self, Self::Topk | Self::RankedTopk | Self::Abstopk | Self::Groupmax)
    }
}

/// Tensors of a safetensors file as f32, whatever their stored type.
#[derive(Debug, Default)]
pub(super) struct NamedTensors(BTreeMap<String, (Vec<usize>, Vec<f32>)>);

impl NamedTensors {
    /// Reads a file. NaN and infinite values are an error.
    pub fn read(path: &Path) -> Result<Self, DictionaryError> {
        let problem = |text: String| DictionaryError::unusable(path, text);
        let bytes = read(path)?;
        let file = SafeTensors::deserialize(&bytes).map_err(|error| {
            problem(format!("not a whole safetensors file ({error}); copy or download it again"))
        })?;
        let mut tensors = BTreeMap::new();
        for (name, view) in file.tensors() {
            let values = to_f32(&view).ok_or_else(|| {
                let dtype = view.dtype();
                problem(format!("tensor `{name}` is stored as {dtype:?}; expected F32, F16, BF16 or F64"))
            })?;
            if let Some(at) = values.iter().position(|value| !value.is_finite()) {
                return Err(problem(format!(
                    "tensor `{name}` holds a NaN or infinite value at entry {at}: the file is broken"
                )));
            }
            tensors.insert(name, (view.shape().to_vec(), values));
        }
        Ok(Self(tensors))
    }

    /// The first of the names left.
    pub fn first_name(&self) -> Option<&str> {
        self.0.keys().next().map(String::as_str)
    }

    /// Removes a tensor, which must have this shape.
    fn take(&mut self, path: &Path, name: &str, shape: &[usize]) -> Result<Vec<f32>, DictionaryError> {
        let names = self.0.keys().cloned().collect::<Vec<_>>().join(", ");
        let Some((found, values)) = self.0.remove(name) else {
            let problem = format!("tensor `{name}` is missing; the file holds: {names}");
            return Err(DictionaryError::unusable(path, problem));
        };
        if found != shape {
            let problem = format!("tensor `{name}` has shape {found:?}; expected {shape:?}");
            return Err(DictionaryError::unusable(path, problem));
        }
        Ok(values)
    }

    /// Removes a tensor of any shape, if it is present.
    pub fn take_any(&mut self, name: &str) -> Option<(Vec<usize>, Vec<f32>)> {
        self.0.remove(name)
    }

    /// Removes the tensors of a dictionary with `features` features of width `d`. `k` is used by `topk` only.
    pub fn take_dictionary(
        &mut self,
        path: &Path,
        [features, d, d_out]: [usize; 3],
        architecture: Architecture,
        k: usize,
    ) -> Result<Tensors, DictionaryError> {
        let encoder = self.take(path, "W_enc", &[d, features])?;
        let decoder = self.take(path, "W_dec", &[features, d_out])?;
        let decoder_bias = self.take(path, "b_dec", &[d_out])?;
        let skip = match self.0.contains_key("W_skip") {
            true => Some(self.take(path, "W_skip", &[d_out, d])?),
            false => None,
        };
        let mut vector = |name: &str| self.take(path, name, &[features]);
        let encoder_bias = match architecture {
            Architecture::Gated => vec![0.0; features],
            _ => vector("b_enc")?,
        };
        let activation = match architecture {
            Architecture::Linear => Activation::Signed,
            Architecture::Standard => Activation::Relu,
            Architecture::TanhRelu => Activation::TanhRelu,
            Architecture::Topk => Activation::TopK(k),
            Architecture::RankedTopk => Activation::RankedTopK { k, rank: vector("rank")? },
            Architecture::Abstopk => Activation::AbsTopK(k),
            Architecture::Groupmax => Activation::GroupMax(k),
            Architecture::Jumprelu => Activation::JumpRelu(vector("threshold")?),
            Architecture::Gated => Activation::Gated {
                gate: vector("b_gate")?,
                magnitude: vector("b_mag")?,
                log_gain: vector("r_mag")?,
            },
        };
        Ok(Tensors {
            encoder: Matrix::from_fn(features, d, |row, col| encoder[col * features + row]),
            encoder_bias,
            decoder: Matrix::from_fn(features, d_out, |row, col| decoder[row * d_out + col]),
            decoder_bias,
            subtract_decoder_bias: true,
            activation,
            row_scale: RowScale::Plain,
            skip: skip.map(|skip| Matrix::from_fn(d_out, d, |row, col| skip[row * d + col])),
        })
    }
}

fn to_f32(view: &TensorView<'_>) -> Option<Vec<f32>> {
    let data = view.data();
    Some(match view.dtype() {
        Dtype::F32 => data.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
        Dtype::F16 => data.as_chunks().0.iter().map(|&b| half::f16::from_le_bytes(b).to_f32()).collect(),
        Dtype::BF16 => data.as_chunks().0.iter().map(|&b| half::bf16::from_le_bytes(b).to_f32()).collect(),
        Dtype::F64 => data.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b) as f32).collect(),
        _ => return None,
    })
}

/// Writes a dictionary's tensors as f32.
pub(super) fn write_tensors(tensors: &Tensors, path: &Path) -> Result<(), DictionaryError> {
    let (features, d, d_out) = (tensors.encoder.rows(), tensors.encoder.cols(), tensors.decoder.cols());
    let vector = |name, values: &[f32]| (name, vec![values.len()], le_bytes(values));
    let mut named = vec![
        ("W_dec", vec![features, d_out], le_bytes(tensors.decoder.data())),
        ("W_enc", vec![d, features], le_bytes(tensors.encoder.transposed().data())),
        vector("b_dec", &tensors.decoder_bias),
    ];
    match &tensors.activation {
        Activation::Gated { gate, magnitude, log_gain } => {
            named.extend([vector("b_gate", gate), vector("b_mag", magnitude), vector("r_mag", log_gain)]);
        }
        _ => named.push(vector("b_enc", &tensors.encoder_bias)),
    }
    match &tensors.activation {
        Activation::JumpRelu(thresholds) => named.push(vector("threshold", thresholds)),
        Activation::RankedTopK { rank, .. } => named.push(vector("rank", rank)),
        _ => {}
    }
    if let Some(skip) = &tensors.skip {
        named.push(("W_skip", vec![d_out, d], le_bytes(skip.data())));
    }
    let problem = |error| DictionaryError::unusable(path, format!("cannot be written ({error})"));
    let views = named.iter().map(|(name, shape, bytes)| {
        Ok((*name, TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(problem)?))
    });
    let views = views.collect::<Result<Vec<_>, DictionaryError>>()?;
    Ok(write_atomic(path, &safetensors::serialize(views, None).map_err(problem)?)?)
}

/// Little-endian bytes of `values`.
pub(super) fn le_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}
