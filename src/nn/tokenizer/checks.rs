//! Checks of a `tokenizer.json` before the tokenizer library reads it: on inconsistent files the library panics or
//! allocates gigabytes.

use std::collections::HashSet;

use base64::Engine;
use serde_json::Value;

use crate::nn::NnError;

/// The error that a tokenizer cannot be used.
pub(super) fn unusable(file: &str, reason: impl ToString) -> NnError {
    NnError::Tokenizer { file: file.to_string(), reason: reason.to_string() }
}

/// Unused ids that a vocabulary may have: this many, and three for each used one.
const MAX_GAP: u64 = 100_000;

/// The pieces of a model's own vocabulary, with their ids.
pub(super) fn model_pieces(json: &Value) -> Box<dyn Iterator<Item = (&str, Option<u64>)> + '_> {
    match json.pointer("/model/vocab") {
        Some(Value::Object(vocab)) => Box::new(vocab.iter().map(|(piece, id)| (piece.as_str(), id.as_u64()))),
        // Unigram: pairs of piece and score; the id is the place.
        Some(Value::Array(list)) => Box::new((0..).zip(list).map(|(id, pair)| {
            let piece = pair.get(0).and_then(Value::as_str).unwrap_or_default();
            (piece, Some(id))
        })),
        _ => Box::new(std::iter::empty()),
    }
}

/// The entries of `added_tokens`.
pub(super) fn added(json: &Value) -> impl Iterator<Item = &Value> {
    json.get("added_tokens").and_then(Value::as_array).into_iter().flatten()
}

/// Switches off BPE dropout, which makes ids random; returns a note for the user if it was on.
pub(super) fn without_dropout(json: &mut Value, file: &str) -> Option<String> {
    let dropout = json.pointer_mut("/model/dropout").filter(|dropout| !dropout.is_null())?;
    let rate = std::mem::take(dropout);
    (rate.as_f64() != Some(0.0)).then(|| {
        format!("{file}: BPE dropout (`model.dropout` {rate}), which is for training, is switched off")
    })
}

/// Fails where the library would panic.
pub(super) fn check(json: &Value, file: &str) -> Result<(), NnError> {
    let parts: [(&str, &str, Check); 4] = [
        ("post_processor", "processors", check_template),
        ("normalizer", "normalizers", check_charsmap),
        ("pre_tokenizer", "pretokenizers", check_fixed_length),
        ("decoder", "decoders", check_strip),
    ];
    let checked = check_ids(json).and_then(|()| check_merges(json)).and_then(|()| {
        parts.into_iter().try_for_each(|(section, list, mut check)| {
            each_part(json.get(section).unwrap_or(&Value::Null), list, &mut check)
        })
    });
    checked.map_err(|reason| unusable(file, reason))
}

type Check = fn(&Value) -> Result<(), String>;

/// Calls `check` on every part of a sequence, also a nested one, or on the only part.
pub(super) fn each_part(
    part: &Value,
    list: &str,
    check: &mut dyn FnMut(&Value) -> Result<(), String>,
) -> Result<(), String> {
    match part.get(list).and_then(Value::as_array) {
        Some(parts) => parts.iter().try_for_each(|part| each_part(part, list, check)),
        None => check(part),
    }
}

fn check_ids(json: &Value) -> Result<(), String> {
    let count = model_pieces(json).count() as u64 + added(json).count() as u64;
    let limit = MAX_GAP + 4 * count;
    let wrong = |list: &str, piece: &str, id: &Value| {
        Err(format!(
            "`{list}` gives `{piece}` the id {id}; with {count} tokens an id should be a number below {limit}"
        ))
    };
    for (piece, id) in model_pieces(json) {
        if id.is_none_or(|id| id >= limit) {
            let id = json.pointer("/model/vocab").and_then(|vocab| vocab.get(piece)).unwrap_or(&Value::Null);
            return wrong("model.vocab", piece, id);
        }
    }
    for token in added(json) {
        if token["id"].as_u64().is_none_or(|id| id >= limit) {
            return wrong("added_tokens", token["content"].as_str().unwrap_or_default(), &token["id"]);
        }
    }
    Ok(())
}

/// Every merge of byte pairs must make a piece of the vocabulary.
fn check_merges(json: &Value) -> Result<(), String> {
    let Some(vocab) = json.pointer("/model/vocab").and_then(Value::as_object) else { return Ok(()) };
    let Some(merges) = json.pointer("/model/merges").and_then(Value::as_array) else { return Ok(()) };
    let prefix = json.pointer("/model/continuing_subword_prefix").and_then(Value::as_str).unwrap_or_default();
    let mut joined = String::new();
    for (nth, merge) in merges.iter().enumerate() {
        let pair = match merge {
            Value::String(pair) => pair.split_once(' '),
            pair => pair.get(0).and_then(Value::as_str).zip(pair.get(1).and_then(Value::as_str)),
        };
        let Some((a, b)) = pair else {
            return Err(format!("`model.merges` entry {nth} is not two pieces: {merge}"));
        };
        joined.clear();
        joined.push_str(a);
        joined.push_str(b.strip_prefix(prefix).ok_or_else(|| {
            format!("`model.merges` entry {nth}: `{b}` does not begin with `continuing_subword_prefix`")
        })?);
        if let Some(absent) = [a, b, &joined].into_iter().find(|piece| !vocab.contains_key(*piece)) {
            return Err(format!("`model.merges` entry {nth} uses `{absent}`, which `model.vocab` lacks"));
        }
    }
    Ok(())
}

/// A template may only put special tokens of its own list beside a text.
fn check_template(part: &Value) -> Result<(), String> {
    if part["type"] != "TemplateProcessing" {
        return Ok(());
    }
    let listed: HashSet<&str> =
        part["special_tokens"].as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    for template in ["single", "pair"] {
        for piece in part[template].as_array().into_iter().flatten() {
            if let Some(name) = piece.pointer("/SpecialToken/id").and_then(Value::as_str)
                && !listed.contains(name)
            {
                return Err(format!(
                    "`post_processor.{template}` puts `{name}` beside a text, which `post_processor.special_tokens` lacks"
                ));
            }
            if template == "single" && piece.pointer("/Sequence/id").is_some_and(|id| id != "A") {
                return Err("`post_processor.single` names a second text (`B`), but there is only one".into());
            }
        }
    }
    for (name, token) in part["special_tokens"].as_object().into_iter().flatten() {
        let count = |field: &str| token[field].as_array().map(Vec::len);
        if count("ids") != count("tokens") {
            return Err(format!(
                "`post_processor.special_tokens.{name}` has different numbers of `ids` and `tokens`"
            ));
        }
    }
    Ok(())
}

fn check_fixed_length(part: &Value) -> Result<(), String> {
    match part["type"] == "FixedLength" && part.get("length").is_some_and(|length| length == 0) {
        true => Err("`pre_tokenizer` FixedLength has `length` 0".into()),
        false => Ok(()),
    }
}

fn check_strip(part: &Value) -> Result<(), String> {
    if part["type"] == "Strip" && part.get("stop").is_some_and(|stop| stop != 0) {
        return Err(format!("`decoder` Strip has `stop` {}, and only 0 is implemented", part["stop"]));
    }
    Ok(())
}

/// SentencePiece's character map: the size of a trie in bytes, the trie's 32-bit units, and replacement texts that end
/// in zero bytes. Every path through the trie must stay inside it.
fn check_charsmap(part: &Value) -> Result<(), String> {
    if part["type"] != "Precompiled" && part.get("precompiled_charsmap").is_none() {
        return Ok(());
    }
    const NAME: &str = "`normalizer.precompiled_charsmap`";
    let text = part["precompiled_charsmap"].as_str().ok_or_else(|| format!("{NAME} should be a text"))?;
    let bytes = base64::engine::general_purpose::STANDARD.decode(text);
    let bytes = bytes.map_err(|error| format!("{NAME} is not base64: {error}"))?;
    let (size, rest) = bytes.split_first_chunk::<4>().ok_or_else(|| format!("{NAME} is cut short"))?;
    let size = u32::from_le_bytes(*size) as usize;
    if size > rest.len() || size < 4 {
        return Err(format!("{NAME} states a trie of {size} bytes, but holds {}", rest.len()));
    }
    let (trie, texts) = rest.split_at(size / 4 * 4);
    let units: Vec<usize> =
        trie.as_chunks::<4>().0.iter().map(|unit| u32::from_le_bytes(*unit) as usize).collect();
    let texts = std::str::from_utf8(texts).map_err(|_| format!("{NAME} holds texts that are not UTF-8"))?;
    check_trie(&units, texts).map_err(|reason| format!("{NAME} {reason}"))
}

/// Units of a double-array trie (darts-clone): label in the low byte, bit 8 if a value follows, the offset of the
/// children above.
fn check_trie(units: &[usize], texts: &str) -> Result<(), String> {
    let offset = |unit: usize| (unit >> 10) << ((unit & (1 << 9)) >> 6);
    let mut seen = vec![false; units.len()];
    let mut open = vec![offset(units[0])];
    while let Some(base) = open.pop() {
        for label in 1..=0xff {
            let at = base ^ label;
            let unit = *units.get(at).ok_or("leads out of its trie")?;
            if unit & ((1 << 31) | 0xff) != label || std::mem::replace(&mut seen[at], true) {
                continue;
            }
            let children = at ^ offset(unit);
            if (unit >> 8) & 1 == 1 {
                let value = *units.get(children).ok_or("leads out of its trie")? & ((1 << 31) - 1);
                if !texts.is_char_boundary(value) || value > texts.len() {
                    return Err("names a text beyond its texts".into());
                }
            }
            open.push(children);
        }
    }
    Ok(())
}
