//! Writes activations of given sequences to one safetensors file, batch by batch.

use std::collections::HashMap;
use std::path::Path;

use safetensors::Dtype;

use super::harvest::{HarvestError, among_all, batches};
use crate::base::{AtomicFile, HookPoint, TokenBatch, safetensors_header};
use crate::subject::SubjectModel;
use crate::subject::stored::{RECORDED, Recorded, TOKEN_IDS};

/// Name of the logits tensor.
const LOGITS: &str = "logits";

/// Token ids written at a time.
const IDS_AT_ONCE: usize = 1 << 16;

/// Name and shape `[sequences, positions, width]` of a tensor in the file.
pub type Exported = (String, [usize; 3]);

/// Runs `subject` over `tokens` and writes to `path` one f32 tensor `[sequences, positions, width]` per hook
/// point, and `logits` if wanted. Memory holds one batch at a time.
///
/// The file's metadata holds `recorded` with the token ids, so that a suite can run on the file. Token ids that are too
/// many for a header are an i64 tensor `token_ids` `[sequences, positions]` behind the others.
pub fn export(
    subject: &dyn SubjectModel,
    tokens: &TokenBatch,
    hooks: &[HookPoint],
    logits: bool,
    recorded: Recorded,
    path: &Path,
) -> Result<Vec<Exported>, HarvestError> {
    let mut tensors: Vec<Exported> = Vec::new();
    for hook in hooks {
        tensors.push((hook.to_string(), [tokens.rows(), tokens.cols(), subject.width(*hook)?]));
    }
    if logits {
        tensors.push((LOGITS.into(), [tokens.rows(), tokens.cols(), subject.info().vocab]));
    }
    let recorded = recorded.with_tokens(tokens);
    let floats = tensors.iter().map(|(name, shape)| (name.clone(), Dtype::F32, shape.to_vec()));
    let ids =
        recorded.needs_token_tensor().then(|| (TOKEN_IDS.to_string(), Dtype::I64, recorded.shape.to_vec()));
    let all: Vec<(String, Dtype, Vec<usize>)> = floats.chain(ids).collect();
    let record = HashMap::from([(RECORDED.to_string(), recorded.to_json())]);
    let (header, starts) = safetensors_header(&all, Some(record), path)?;
    // Checked as a whole, before the file is created: messages then give positions within all sequences.
    subject.check_tokens(tokens)?;
    let mut file = AtomicFile::create(path)?;
    file.write(&header)?;
    for (start, batch) in batches(tokens) {
        let mut parts = subject.activations(&batch, hooks).map_err(among_all(subject, start))?;
        if logits {
            parts.push(subject.logits(&batch).map_err(among_all(subject, start))?);
        }
        for (((_, [_, positions, width]), part), begin) in tensors.iter().zip(&parts).zip(&starts) {
            file.seek(begin + (start * positions * width * size_of::<f32>()) as u64)?;
            let bytes: Vec<u8> = part.data().iter().flat_map(|value| value.to_le_bytes()).collect();
            file.write(&bytes)?;
        }
    }
    if let Some(&begin) = starts.get(tensors.len()) {
        file.seek(begin)?;
        for ids in tokens.ids().chunks(IDS_AT_ONCE) {
            let bytes: Vec<u8> = ids.iter().flat_map(|&id| i64::from(id).to_le_bytes()).collect();
            file.write(&bytes)?;
        }
    }
    file.commit()?;
    Ok(tensors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::embedded;
    use crate::subject::stored::ActivationFiles;

    #[test]
    fn token_ids_are_read_back_from_the_record_or_from_a_tensor() {
        let subject = embedded::load().expect("the embedded model");
        let folder = tempfile::tempdir().expect("a folder");
        let hook: HookPoint = "hook_embed".parse().expect("a hook point");
        // More than 1,000 ids are a tensor in tests.
        for (sequences, tensors) in [(4, 1), (40, 2)] {
            let ids: Vec<u32> = (0..sequences * 32).map(|nth| nth * 7 % 2000).collect();
            let tokens = TokenBatch::new(ids, 32).expect("tokens");
            let path = folder.path().join("x.safetensors");
            let recorded = Recorded { model: "m".into(), prefix: Some(Vec::new()), ..Recorded::default() };
            let written = export(subject.model(), &tokens, &[hook], false, recorded, &path).expect("written");
            assert_eq!(written, [("hook_embed".to_string(), [sequences as usize, 32, 128])]);
            let bytes = std::fs::read(&path).expect("a file");
            assert_eq!(safetensors::SafeTensors::deserialize(&bytes).expect("safetensors").len(), tensors);
            let files = ActivationFiles::open(&path).expect("opens");
            for row in 0..tokens.rows() {
                assert_eq!(files.ids(row).expect("ids"), tokens.row(row));
            }
            assert_eq!((files.recorded().model.as_str(), files.width(hook).expect("a width")), ("m", 128));
        }
    }
}
