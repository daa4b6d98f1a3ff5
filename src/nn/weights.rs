use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use super::NnError;
use crate::base::{Digest, Digester, FileError, Stream};

/// Longest header that is believed; the largest models known need a few megabytes.
const MAX_HEADER: u64 = 100 << 20;

/// Named f32 tensors of a model, whatever number form and however many files they were stored in.
#[derive(Debug, Clone)]
pub struct Weights {
    tensors: HashMap<String, Tensor>,
    /// File of each tensor, for messages.
    files: HashMap<String, String>,
    source: String,
    digest: Digest,
}

impl Weights {
    /// Reads `model.safetensors`, or the shards that `model.safetensors.index.json` lists.
    ///
    /// Every entry is checked to be finite. Fails where a file is missing, cut short or corrupt.
    pub fn from_folder(folder: &Path, device: &Device) -> Result<Self, NnError> {
        let single = folder.join("model.safetensors");
        let index = folder.join("model.safetensors.index.json");
        let files = if single.exists() {
            vec![single]
        } else if index.exists() {
            shards(&index)?.into_iter().map(|name| folder.join(name)).collect()
        } else {
            return Err(NnError::NoWeights { folder: folder.to_path_buf() });
        };
        let mut weights = Self::empty(&folder.display().to_string());
        let mut digester = Digester::new("weights");
        for file in &files {
            let failed = |source| FileError { action: "read", path: file.clone(), source };
            let reader = File::open(file).map_err(failed)?;
            let length = reader.metadata().map_err(failed)?.len();
            digester.digest(&weights.read(reader, length, &file.display().to_string(), device)?);
        }
        if let [file] = files.as_slice() {
            weights.source = file.display().to_string();
        }
        weights.digest = digester.finish();
        Ok(weights)
    }

    /// Reads one safetensors file that is already in memory; `name` stands for it in messages.
    pub fn from_bytes(bytes: &[u8], name: &str, device: &Device) -> Result<Self, NnError> {
        let mut weights = Self::empty(name);
        let digest = weights.read(Cursor::new(bytes), bytes.len() as u64, name, device)?;
        let mut digester = Digester::new("weights");
        digester.digest(&digest);
        weights.digest = digester.finish();
        Ok(weights)
    }

    /// Takes tensors as they are, for example candle variables in training; nothing is checked or copied,
    /// and the digest says only which names and shapes there are.
    pub fn from_tensors(tensors: HashMap<String, Tensor>, name: &str) -> Self {
        let sorted: BTreeMap<_, _> = tensors.iter().map(|(name, tensor)| (name, tensor.dims())).collect();
        let mut digester = Digester::new("weights in memory");
        digester.json(&sorted);
        let digest = digester.finish();
        Self { tensors, files: HashMap::new(), source: name.to_string(), digest }
    }

    fn empty(source: &str) -> Self {
        let digest = Digester::new("weights").finish();
        Self { tensors: HashMap::new(), files: HashMap::new(), source: source.to_string(), digest }
    }

    /// Digest of the files' bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// True where a tensor of that name exists.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The tensor `name`, which must have exactly `shape`.
    pub fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor, NnError> {
        let Some(tensor) = self.tensors.get(name) else {
            return Err(NnError::MissingTensor {
                name: name.to_string(),
                file: self.source.clone(),
                n_tensors: self.tensors.len(),
            });
        };
        if tensor.dims() == shape {
            return Ok(tensor.clone());
        }
        Err(NnError::WrongShape {
            name: name.to_string(),
            file: self.files.get(name).unwrap_or(&self.source).clone(),
            expected: shape.to_vec(),
            got: tensor.dims().to_vec(),
        })
    }

    /// The same tensors with the entries of each chosen one in a random order of its own.
    ///
    /// A tensor's order depends on `seed` and its name alone.
    pub fn permuted(&self, seed: u64, chosen: impl Fn(&str) -> bool) -> Result<Self, NnError> {
        let mut permuted = self.clone();
        for (name, tensor) in &mut permuted.tensors {
            if chosen(name) {
                let mut entries = tensor.flatten_all()?.to_vec1::<f32>()?;
                Stream::named(seed, &["random_weights", name]).shuffle(&mut entries);
                *tensor = Tensor::from_vec(entries, tensor.shape(), tensor.device())?;
            }
        }
        let mut digester = Digester::new("permuted weights");
        digester.digest(&self.digest).text(&seed.to_string());
        permuted.digest = digester.finish();
        Ok(permuted)
    }

    /// Reads the tensors of one file in the order they are stored, and digests its bytes on the way.
    fn read(
        &mut self,
        mut reader: impl Read,
        length: u64,
        file: &str,
        device: &Device,
    ) -> Result<Digest, NnError> {
        let (header, metadata) = read_header(&mut reader, length, file)?;
        let mut digester = Digester::new("safetensors");
        digester.bytes(&header);
        for name in metadata.offset_keys() {
            let Some(info) = metadata.info(&name) else { continue };
            let mut bytes = vec![0; info.data_offsets.1 - info.data_offsets.0];
            reader.read_exact(&mut bytes).map_err(|error| corrupt(file, &error.to_string()))?;
            digester.bytes(&bytes);
            if is_buffer(&name) {
                continue;
            }
            let entries = to_f32(&bytes, info, &name, file)?;
            check_finite(&entries, &name, file)?;
            let tensor = Tensor::from_vec(entries, info.shape.as_slice(), device)?;
            self.files.insert(name.clone(), file.to_string());
            self.tensors.insert(name, tensor.to_dtype(DType::F32)?);
        }
        Ok(digester.finish())
    }
}

/// Masks and frequency tables that older checkpoints carry; the runtime computes its own.
fn is_buffer(name: &str) -> bool {
    [".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq"]
        .iter()
        .any(|buffer| name.ends_with(buffer))
}

fn corrupt(file: &str, reason: &str) -> NnError {
    NnError::Corrupt { file: file.to_string(), reason: reason.to_string() }
}

/// The header's bytes, length prefix included, and what it says; checked against the file's length.
fn read_header(reader: &mut impl Read, length: u64, file: &str) -> Result<(Vec<u8>, Metadata), NnError> {
    let mut prefix = [0; 8];
    reader
        .read_exact(&mut prefix)
        .map_err(|_| corrupt(file, &format!("it has {length} bytes, fewer than the 8 a header needs")))?;
    let header = u64::from_le_bytes(prefix);
    if header > MAX_HEADER || header + 8 > length {
        let reason =
            format!("its header should be {header} bytes long, and the whole file has only {length}");
        return Err(corrupt(file, &reason));
    }
    let mut bytes = vec![0; 8 + header as usize];
    bytes[..8].copy_from_slice(&prefix);
    reader.read_exact(&mut bytes[8..]).map_err(|error| corrupt(file, &error.to_string()))?;
    let metadata: Metadata = serde_json::from_slice(&bytes[8..])
        .map_err(|error| corrupt(file, &format!("its header is not valid ({error})")))?;
    let expected = bytes.len() as u64 + metadata.data_len() as u64;
    if expected != length {
        let reason = format!("its header describes {expected} bytes, and the file has {length}");
        return Err(corrupt(file, &reason));
    }
    Ok((bytes, metadata))
}

fn to_f32(bytes: &[u8], info: &TensorInfo, name: &str, file: &str) -> Result<Vec<f32>, NnError> {
    let four = |chunk: &[u8]| [chunk[0], chunk[1], chunk[2], chunk[3]];
    let two = |chunk: &[u8]| [chunk[0], chunk[1]];
    match info.dtype {
        Dtype::F32 => Ok(bytes.chunks_exact(4).map(|chunk| f32::from_le_bytes(four(chunk))).collect()),
        Dtype::F16 => {
            Ok(bytes.chunks_exact(2).map(|chunk| f16::from_le_bytes(two(chunk)).to_f32()).collect())
        }
        Dtype::BF16 => {
            Ok(bytes.chunks_exact(2).map(|chunk| bf16::from_le_bytes(two(chunk)).to_f32()).collect())
        }
        Dtype::F64 => {
            let eight = |chunk: &[u8]| {
                let mut all = [0; 8];
                all.copy_from_slice(chunk);
                f64::from_le_bytes(all) as f32
            };
            Ok(bytes.chunks_exact(8).map(eight).collect())
        }
        other => Err(NnError::WrongNumbers {
            name: name.to_string(),
            file: file.to_string(),
            got: format!("{other:?}"),
        }),
    }
}

fn check_finite(entries: &[f32], name: &str, file: &str) -> Result<(), NnError> {
    match entries.iter().position(|entry| !entry.is_finite()) {
        None => Ok(()),
        Some(index) => Err(NnError::NotFinite {
            name: name.to_string(),
            file: file.to_string(),
            index,
            value: f64::from(entries[index]),
        }),
    }
}

/// Names of the shard files in a sharded model's index, sorted.
fn shards(index: &Path) -> Result<Vec<String>, NnError> {
    let json = |reason: &str| NnError::Json { file: index.display().to_string(), reason: reason.to_string() };
    let text = crate::base::read(index)?;
    let value: serde_json::Value = serde_json::from_slice(&text).map_err(|error| json(&error.to_string()))?;
    let map = value
        .get("weight_map")
        .and_then(serde_json::Value::as_object)
        .ok_or_else(|| json("expected an object `weight_map` from tensor names to files"))?;
    let mut names = Vec::with_capacity(map.len());
    for file in map.values() {
        match file.as_str() {
            Some(name) if !name.contains(['/', '\\']) => names.push(name.to_string()),
            _ => return Err(json("expected `weight_map` to name files of the same folder")),
        }
    }
    names.sort();
    names.dedup();
    Ok(names)
}

#[cfg(test)]
mod tests;
