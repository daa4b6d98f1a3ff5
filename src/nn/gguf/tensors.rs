//! The tensors of a file under the names that Hugging Face folders have, in the numbers they are stored in.

use candle_core::{Device, Tensor};

use super::super::packed::{Encoding, Packed};
use super::super::{Config, Family, NnError, Weights};
use super::corrupt;
use super::header::{Header, TensorInfo, encoding};
use super::parts::Parts;
use super::settings::Factors;
use crate::base::Digester;

/// Tensors that are no weights: factors of frequencies are read with the settings, frequencies themselves follow
/// from them.
const NOT_WEIGHTS: [&str; 3] = ["rope_freqs.weight", "rope_factors_short.weight", "rope_factors_long.weight"];
/// Frequencies of a layer in files of 2023.
const FREQUENCIES: &str = ".attn_rot_embd.freqs";

/// The name that a tensor has in Hugging Face folders; none where the family has no such tensor.
fn name_of(name: &str, family: Family) -> Option<String> {
    match name {
        "token_embd.weight" => return Some("model.embed_tokens.weight".into()),
        "output.weight" => return Some("lm_head.weight".into()),
        "output_norm.weight" => return Some("model.norm.weight".into()),
        _ => {}
    }
    let (layer, rest) = name.strip_prefix("blk.")?.split_once('.')?;
    let (part, kind) = rest.rsplit_once('.')?;
    let both_sides = matches!(family, Family::Gemma2 | Family::Gemma3);
    let after = both_sides || family == Family::Olmo2;
    let normed = matches!(family, Family::Qwen3 | Family::Gemma3 | Family::Olmo2);
    let fused = family == Family::Phi3;
    let biased = match family {
        Family::Llama => !part.contains("norm"),
        Family::Qwen2 => matches!(part, "attn_q" | "attn_k" | "attn_v"),
        _ => false,
    };
    let part = match part {
        "attn_norm" => "input_layernorm",
        "attn_q" => "self_attn.q_proj",
        "attn_k" => "self_attn.k_proj",
        "attn_v" => "self_attn.v_proj",
        "attn_qkv" if fused => "self_attn.qkv_proj",
        "attn_output" => "self_attn.o_proj",
        "attn_q_norm" if normed => "self_attn.q_norm",
        "attn_k_norm" if normed => "self_attn.k_norm",
        "post_attention_norm" if after => "post_attention_layernorm",
        "ffn_norm" if both_sides => "pre_feedforward_layernorm",
        "ffn_norm" => "post_attention_layernorm",
        "post_ffw_norm" if after => "post_feedforward_layernorm",
        "ffn_gate" => "mlp.gate_proj",
        "ffn_up" if fused => "mlp.gate_up_proj",
        "ffn_up" => "mlp.up_proj",
        "ffn_down" => "mlp.down_proj",
        _ => return None,
    };
    (kind == "weight" || (kind == "bias" && biased)).then(|| format!("model.layers.{layer}.{part}.{kind}"))
}

/// Factors of frequencies, which some files carry as tensors.
pub(super) fn factors(parts: &mut Parts) -> Result<Factors, NnError> {
    let mut entries = |name: &str| -> Result<Option<Vec<f32>>, NnError> {
        let Some((part, info)) = parts.part_of(name) else { return Ok(None) };
        let (encoding, _, bytes) = stored(part, &info, name)?;
        unpacked(encoding, bytes, name, &part.file).map(Some)
    };
    let [always, short, long] = NOT_WEIGHTS;
    Ok(Factors { always: entries(always)?, short: entries(short)?, long: entries(long)? })
}

/// Every weight, with a digest of all files.
pub(super) fn read(parts: &mut Parts, family: Family, config: &Config) -> Result<Weights, NnError> {
    let source = parts.file().to_string();
    let mut weights = Weights::empty(&source);
    let mut digester = Digester::new("gguf");
    for part in parts.each() {
        digester.bytes(&part.bytes()?);
    }
    let names: Vec<String> = parts.names().cloned().collect();
    for name in names {
        let Some((part, info)) = parts.part_of(&name) else { continue };
        if NOT_WEIGHTS.contains(&name.as_str()) || name.ends_with(FREQUENCIES) {
            continue;
        }
        let Some(target) = name_of(&name, family) else {
            return Err(NnError::UnknownTensor { name, file: part.file.clone(), family: family.to_string() });
        };
        let (encoding, dims, mut bytes) = stored(part, &info, &name)?;
        digester.text(&name).bytes(&bytes);
        if matches!(family, Family::Llama | Family::SmolLm3 | Family::Granite) {
            let heads = match target.rsplit_once('.').map(|(part, _)| part) {
                Some(part) if part.ends_with("q_proj") => Some(config.count("num_attention_heads")?),
                Some(part) if part.ends_with("k_proj") => {
                    let heads = config.count("num_attention_heads")?;
                    Some(config.count_or("num_key_value_heads", Some(heads))?)
                }
                _ => None,
            };
            if let Some(heads) = heads {
                bytes = paired_again(&bytes, dims[0], heads);
            }
        }
        match *dims.as_slice() {
            [rows, cols] => weights.insert_packed(encoding, bytes, [rows, cols], target, &part.file)?,
            _ => {
                let mut entries = unpacked(encoding, bytes, &name, &part.file)?;
                if matches!(family, Family::Gemma | Family::Gemma2 | Family::Gemma3)
                    && target.ends_with("norm.weight")
                {
                    // Such files hold the factors themselves, the folders what they are above 1.
                    entries.iter_mut().for_each(|entry| *entry -= 1.0);
                }
                let count = entries.len();
                weights.insert_plain(Tensor::from_vec(entries, count, &Device::Cpu)?, target, &part.file)?;
            }
        }
    }
    Ok(weights.with_digest(digester.finish()))
}

/// A tensor's bytes with their encoding and its one or two dimensions.
fn stored(
    part: &mut Header,
    info: &TensorInfo,
    name: &str,
) -> Result<(Encoding, Vec<usize>, Vec<u8>), NnError> {
    let dims = &info.dims;
    let encoding = encoding(info.form).map_err(|got| NnError::WrongForm {
        name: name.to_string(),
        file: part.file.clone(),
        got,
    })?;
    let (rows, cols) = match *dims.as_slice() {
        [cols] => (1, cols),
        [rows, cols] => (rows, cols),
        _ => return Err(corrupt(&part.file, &format!("`{name}` has {} dimensions", dims.len()))),
    };
    let size = encoding.bytes(cols).and_then(|row| row.checked_mul(rows));
    let fits =
        size.and_then(|size| info.start.checked_add(size as u64)).is_some_and(|end| end <= part.length);
    let (Some(size), true) = (size, fits) else {
        let length = part.length;
        return Err(corrupt(
            &part.file,
            &format!("`{name}` {dims:?} in {encoding:?} does not fit its {length} bytes"),
        ));
    };
    Ok((encoding, dims.clone(), part.read_at(info.start, size)?))
}

fn unpacked(encoding: Encoding, bytes: Vec<u8>, name: &str, file: &str) -> Result<Vec<f32>, NnError> {
    let count = bytes.len() / encoding.block_bytes() * encoding.block();
    let packed = Packed::new(encoding, bytes, 1, count);
    let packed = packed.ok_or_else(|| corrupt(file, &format!("`{name}` is no whole number of blocks")))?;
    Ok(packed.to_f32())
}

/// Rows of queries or keys in the order in which the runtime rotates them. Files of Llama and its next of kin have the
/// two coordinates of a pair side by side, row h·d + 2i + half; the runtime has them half a head apart, row
/// h·d + half·d/2 + i.
fn paired_again(bytes: &[u8], rows: usize, heads: usize) -> Vec<u8> {
    let width = rows / heads.max(1);
    if rows == 0 || width < 2 || !bytes.len().is_multiple_of(rows) || !rows.is_multiple_of(heads) {
        return bytes.to_vec();
    }
    let size = bytes.len() / rows;
    let mut out = Vec::with_capacity(bytes.len());
    for row in 0..rows {
        let (head, at) = (row / width, row % width);
        let (half, pair) = (at / (width / 2), at % (width / 2));
        let from = head * width + 2 * pair + half;
        out.extend_from_slice(&bytes[from * size..][..size]);
    }
    out
}
