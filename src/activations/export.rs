//! Writes activations of given sequences to one safetensors file, batch by batch.

use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use super::harvest::{HarvestError, batches};
use crate::base::{AtomicFile, FileError, HookPoint, TokenBatch};
use crate::subject::SubjectModel;

/// Name of the logits tensor.
const LOGITS: &str = "logits";

/// Name and shape `[sequences, positions, width]` of a tensor in the file.
pub type Exported = (String, [usize; 3]);

/// Runs `subject` over `tokens` and writes to `path` one f32 tensor `[sequences, positions, width]` per hook
/// point, and `logits` if wanted. Memory holds one batch at a time.
pub fn export(
    subject: &dyn SubjectModel,
    tokens: &TokenBatch,
    hooks: &[HookPoint],
    logits: bool,
    path: &Path,
) -> Result<Vec<Exported>, HarvestError> {
    let mut tensors: Vec<Exported> = Vec::new();
    for hook in hooks {
        tensors.push((hook.to_string(), [tokens.rows(), tokens.cols(), subject.width(*hook)?]));
    }
    if logits {
        tensors.push((LOGITS.into(), [tokens.rows(), tokens.cols(), subject.info().vocab]));
    }
    let header = header(&tensors, path)?;
    // Checked as a whole, before the file is created: messages then give positions within all sequences.
    subject.check_tokens(tokens)?;
    let mut file = AtomicFile::create(path)?;
    file.write(&header)?;
    for (start, batch) in batches(tokens) {
        let mut parts = subject.activations(&batch, hooks)?;
        if logits {
            parts.push(subject.logits(&batch)?);
        }
        let mut tensor_start = header.len();
        for ((_, [sequences, positions, width]), part) in tensors.iter().zip(&parts) {
            file.seek((tensor_start + start * positions * width * size_of::<f32>()) as u64)?;
            let bytes: Vec<u8> = part.data().iter().flat_map(|value| value.to_le_bytes()).collect();
            file.write(&bytes)?;
            tensor_start += sequences * positions * width * size_of::<f32>();
        }
    }
    file.commit()?;
    Ok(tensors)
}

/// The safetensors header: its length, JSON, and padding to 8 bytes.
fn header(tensors: &[Exported], path: &Path) -> Result<Vec<u8>, FileError> {
    let failed = |reason: String| FileError {
        action: "write",
        path: path.to_path_buf(),
        source: std::io::Error::other(reason),
    };
    let mut end = 0;
    let infos = tensors.iter().map(|(name, shape)| {
        let start = end;
        end += shape.iter().product::<usize>() * size_of::<f32>();
        (name.clone(), TensorInfo { dtype: Dtype::F32, shape: shape.to_vec(), data_offsets: (start, end) })
    });
    let metadata = Metadata::new(None, infos.collect()).map_err(|error| failed(error.to_string()))?;
    let mut json = serde_json::to_vec(&metadata).map_err(|error| failed(error.to_string()))?;
    json.resize(json.len().next_multiple_of(8), b' ');
    let mut header = (json.len() as u64).to_le_bytes().to_vec();
    header.extend(json);
    Ok(header)
}
