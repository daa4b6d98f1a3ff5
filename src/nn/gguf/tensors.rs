//! The tensors of a file under their names in Hugging Face folders, in their stored number format.

use candle_core::{Device, Tensor};

use super::super::error::corrupt;
use super::super::packed::{Encoding, Packed};
use super::super::{Config, Family, NnError, Weights};
use super::header::{Header, TensorInfo, encoding};
use super::keys::Factors;
use super::parts::Parts;
use crate::base::Digester;

/// Factors of rotary frequencies, which are read with the settings.
const NOT_WEIGHTS: [&str; 3] = ["rope_freqs.weight", "rope_factors_short.weight", "rope_factors_long.weight"];
/// Rotary frequencies of a layer, which files of 2023 have; the settings imply them.
const FREQUENCIES: &str = ".attn_rot_embd.freqs";

/// A tensor's name in Hugging Face folders, or none if the family has no such tensor.
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

/// The factors of rotary frequencies that a file has as tensors.
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
    let mut weights = Weights::empty(parts.settings().file);
    let mut digester = Digester::new("gguf");
    for part in parts.each() {
        check_apart(part)?;
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
        if matches!(family, Family::Llama | Family::SmolLm3 | Family::Granite)
            && let Some(heads) = heads_of(&target, config)?
        {
            bytes = rotated_in_halves(&bytes, dims[0], heads);
        }
        match *dims.as_slice() {
            [rows, cols] => weights.insert_packed(encoding, bytes, [rows, cols], target, &part.file)?,
            _ => {
                let mut entries = unpacked(encoding, bytes, &name, &part.file)?;
                if matches!(family, Family::Gemma | Family::Gemma2 | Family::Gemma3)
                    && target.ends_with("norm.weight")
                {
                    // Such files hold the gain, and folders the gain minus 1.
                    entries.iter_mut().for_each(|entry| *entry -= 1.0);
                }
                let count = entries.len();
                weights.insert_plain(Tensor::from_vec(entries, count, &Device::Cpu)?, target, &part.file)?;
            }
        }
    }
    Ok(weights.with_digest(digester.finish()))
}

/// The number of heads in the map of queries or of keys; none for other tensors.
fn heads_of(target: &str, config: &Config) -> Result<Option<usize>, NnError> {
    let part = target.rsplit_once('.').map_or("", |(part, _)| part);
    if !part.ends_with("q_proj") && !part.ends_with("k_proj") {
        return Ok(None);
    }
    let heads = config.count("num_attention_heads")?;
    match part.ends_with("q_proj") {
        true => Ok(Some(heads)),
        false => config.count_or("num_key_value_heads", Some(heads)).map(Some),
    }
}

/// Fails if two tensors share bytes of the file: many tensors of the same bytes would need more memory than the file has.
fn check_apart(part: &Header) -> Result<(), NnError> {
    let mut spans: Vec<(u64, u64, &str)> = Vec::new();
    for (name, info) in &part.tensors {
        // Tensors of other encodings are refused when they are read.
        let Ok(encoding) = encoding(info.ggml_type) else { continue };
        let rows = info.dims.split_last().map_or(1, |(_, above)| above.iter().product::<usize>());
        let bytes = info.dims.last().and_then(|&cols| encoding.bytes(cols)?.checked_mul(rows));
        // Those that do not fit the file are refused there too.
        spans.push((info.start, info.start.saturating_add(bytes.unwrap_or(0) as u64), name));
    }
    spans.sort_unstable();
    match spans.windows(2).find(|pair| pair[0].1 > pair[1].0) {
        Some(pair) => {
            let (one, other) = (pair[0].2, pair[1].2);
            Err(corrupt(&part.file, &format!("tensors `{one}` and `{other}` share bytes of the file")))
        }
        None => Ok(()),
    }
}

/// Encoding, dimensions (one or two) and bytes of a tensor.
fn stored(
    part: &mut Header,
    info: &TensorInfo,
    name: &str,
) -> Result<(Encoding, Vec<usize>, Vec<u8>), NnError> {
    let dims = &info.dims;
    let unread = |got| NnError::WrongForm { name: name.to_string(), file: part.file.clone(), got };
    let encoding = encoding(info.ggml_type).map_err(unread)?;
    let (rows, cols) = match *dims.as_slice() {
        [cols] => (1, cols),
        [rows, cols] => (rows, cols),
        _ => return Err(corrupt(&part.file, &format!("`{name}` has {} dimensions", dims.len()))),
    };
    let size = encoding
        .bytes(cols)
        .and_then(|row| row.checked_mul(rows))
        .filter(|&size| info.start.checked_add(size as u64).is_some_and(|end| end <= part.length));
    let Some(size) = size else {
        let reason = format!("`{name}` {dims:?} in {encoding:?} does not fit its {} bytes", part.length);
        return Err(corrupt(&part.file, &reason));
    };
    Ok((encoding, dims.clone(), part.read_at(info.start, size)?))
}

fn unpacked(encoding: Encoding, bytes: Vec<u8>, name: &str, file: &str) -> Result<Vec<f32>, NnError> {
    let count = bytes.len() / encoding.block_bytes() * encoding.block();
    let packed = Packed::new(encoding, bytes, 1, count);
    let packed = packed.ok_or_else(|| corrupt(file, &format!("`{name}` is not a whole number of blocks")))?;
    Ok(packed.to_f32())
}

/// Reorders rows of queries or keys from adjacent rotary pairs to the two halves of a head, which the runtime rotates.
/// Row h·d + 2i + half of a file of Llama, SmolLM3 or Granite becomes row h·d + half·d/2 + i.
fn rotated_in_halves(bytes: &[u8], rows: usize, heads: usize) -> Vec<u8> {
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
