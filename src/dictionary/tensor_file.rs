//! Tensors of dictionaries in our own files, with SAELens's names and shapes.
//!
//! ```text
//! W_enc [d, F]   W_dec [F, d_out]   b_dec [d_out]   W_skip [d_out, d]   transcoders with a skip connection
//! b_enc [F]      all but gated      threshold [F]               jumprelu
//! rank [F]       ranked_topk        b_gate, b_mag, r_mag [F]    gated
//! ```

use std::path::Path;

use safetensors::Dtype;

use crate::base::{AtomicFile, Matrix, safetensors_header};

use super::DictionaryError;
use super::tensor_files::TensorFile;
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

/// Reads the tensors of a dictionary of our own. `k` is used by the architectures that keep a number of codes.
pub(super) fn read_tensors(
    path: &Path,
    [features, d, d_out]: [usize; 3],
    architecture: Architecture,
    k: usize,
) -> Result<Tensors, DictionaryError> {
    let file = TensorFile::open(path)?;
    let take = |name: &str, expected: &[usize]| {
        let values = file.values(name)?;
        let found = file.shape(name).unwrap_or_default();
        if found != expected {
            let problem = format!("tensor `{name}` has shape {found:?}; expected {expected:?}");
            return Err(DictionaryError::unusable(path, problem));
        }
        Ok(values)
    };
    let vector = |name: &str| take(name, &[features]);
    let matrix = |name: &str, rows: usize, cols: usize| {
        let values = take(name, &[rows, cols])?;
        Ok::<_, DictionaryError>(
            Matrix::from_vec(rows, cols, values).unwrap_or_else(|| Matrix::zeros(rows, cols)),
        )
    };
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
        Architecture::Gated => {
            let (gate, magnitude, log_gain) = (vector("b_gate")?, vector("b_mag")?, vector("r_mag")?);
            Activation::Gated { gate, magnitude, log_gain }
        }
    };
    Ok(Tensors {
        encoder: matrix("W_enc", d, features)?.transposed(),
        encoder_bias,
        decoder: matrix("W_dec", features, d_out)?,
        decoder_bias: take("b_dec", &[d_out])?,
        subtract_decoder_bias: true,
        activation,
        row_scale: RowScale::Plain,
        skip: file.shape("W_skip").is_some().then(|| matrix("W_skip", d_out, d)).transpose()?,
    })
}

/// Values of a tensor that is written.
enum Values<'a> {
    Plain(&'a [f32]),
    /// The transpose of a matrix.
    Transposed(&'a Matrix),
}

fn vector<'a>(name: &'static str, values: &'a [f32]) -> (&'static str, Vec<usize>, Values<'a>) {
    (name, vec![values.len()], Values::Plain(values))
}

/// Columns of a matrix that are gathered at once.
const COLUMNS: usize = 64;
/// Values turned into bytes at once.
const CHUNK: usize = 1 << 16;

/// Writes a dictionary's tensors as f32, piece by piece: a large dictionary is not copied.
pub(super) fn write_tensors(tensors: &Tensors, path: &Path) -> Result<(), DictionaryError> {
    let (features, d, d_out) = (tensors.encoder.rows(), tensors.encoder.cols(), tensors.decoder.cols());
    let mut named = vec![
        ("W_dec", vec![features, d_out], Values::Plain(tensors.decoder.data())),
        ("W_enc", vec![d, features], Values::Transposed(&tensors.encoder)),
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
        named.push(("W_skip", vec![d_out, d], Values::Plain(skip.data())));
    }
    named.sort_by_key(|(name, _, _)| *name);
    let infos: Vec<(String, Dtype, Vec<usize>)> =
        named.iter().map(|(name, shape, _)| (name.to_string(), Dtype::F32, shape.clone())).collect();
    let (header, _) = safetensors_header(&infos, None, path)?;
    let mut file = AtomicFile::create(path)?;
    file.write(&header)?;
    for (_, _, values) in &named {
        match values {
            Values::Plain(values) => {
                values.chunks(CHUNK).try_for_each(|chunk| file.write(&le_bytes(chunk)))?;
            }
            Values::Transposed(matrix) => {
                for first in (0..matrix.cols()).step_by(COLUMNS) {
                    let columns = first..(first + COLUMNS).min(matrix.cols());
                    let mut block = vec![0.0; columns.len() * matrix.rows()];
                    for (row, values) in matrix.iter_rows().enumerate() {
                        for (nth, col) in columns.clone().enumerate() {
                            block[nth * matrix.rows() + row] = values[col];
                        }
                    }
                    block.chunks(CHUNK).try_for_each(|chunk| file.write(&le_bytes(chunk)))?;
                }
            }
        }
    }
    Ok(file.commit()?)
}

/// Little-endian bytes of `values`.
pub(super) fn le_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}
