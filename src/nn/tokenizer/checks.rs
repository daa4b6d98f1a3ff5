//! Checks of a `tokenizer.json` before the tokenizer library reads it: on inconsistent files the library panics or
//! allocates gigabytes.

use std::collections::{HashMap, HashSet};

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

/// Parts of a sequence of normalizers, of pre-tokenizers and so on. Published files have up to 5.
const MAX_PARTS: usize = 100;
/// Pre-tokenizers that rewrite a text, and may double it each time.
const MAX_REWRITERS: usize = 2;
/// Bytes of a piece, and of a piece of Unigram, whose library takes time and memory that grow with the square of it.
const MAX_PIECE: usize = 10_000;
const MAX_UNIGRAM_PIECE: usize = 512;
/// Bytes of all pieces of Unigram together. One piece takes about 300 bytes of memory.
const MAX_UNIGRAM_BYTES: usize = 16 << 20;
/// Bytes of affixes, which the library adds to every part of a word.
const MAX_AFFIX: usize = 100;
/// Characters of a word that WordPiece cuts, in a time that grows with the cube of it.
const MAX_WORD: u64 = 500;
/// Tokens that a post-processor may put beside a text.
const MAX_BESIDE: usize = 1000;

/// Fails where the library would panic, or take memory or time without limit.
pub(super) fn check(json: &Value, file: &str) -> Result<(), NnError> {
    check_sections(json).map_err(|reason| unusable(file, reason))
}

fn check_sections(json: &Value) -> Result<(), String> {
    let limit = id_limit(json);
    let post_processor = |part: &Value| check_template(part).and_then(|()| check_beside(part, limit));
    let mut rewriters = 0;
    let pre_tokenizer = |part: &Value| {
        rewriters += usize::from(part["type"] == "ByteLevel" || part["type"] == "Metaspace");
        if rewriters > MAX_REWRITERS {
            return Err(format!("`pre_tokenizer` rewrites texts more than {MAX_REWRITERS} times"));
        }
        check_fixed_length(part)
    };
    let of_section = |section: &str, list: &str, check: &mut dyn FnMut(&Value) -> Result<(), String>| {
        let mut n_parts = 0;
        each_part(json.get(section).unwrap_or(&Value::Null), list, &mut |part| {
            n_parts += 1;
            match n_parts > MAX_PARTS {
                true => Err(format!("`{section}` has more than {MAX_PARTS} parts")),
                false => check(part),
            }
        })
    };
    check_ids(json, limit)?;
    check_model(json)?;
    check_merges(json)?;
    of_section("post_processor", "processors", &mut { post_processor })?;
    of_section("normalizer", "normalizers", &mut |part| check_charsmap(part))?;
    of_section("pre_tokenizer", "pretokenizers", &mut { pre_tokenizer })?;
    of_section("decoder", "decoders", &mut |part| check_strip(part))
}

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

/// One more than the largest id that the number of tokens justifies.
fn id_limit(json: &Value) -> u64 {
    MAX_GAP + 4 * (model_pieces(json).count() as u64 + added(json).count() as u64)
}

fn check_ids(json: &Value, limit: u64) -> Result<(), String> {
    let wrong = |list: &str, piece: &str, id: &Value| {
        Err(format!(
            "`{list}` gives `{piece:.60}` the id {id}; with so few tokens an id should be a number below {limit}"
        ))
    };
    for (piece, id) in model_pieces(json) {
        if id.is_none_or(|id| id >= limit) {
            let id = json.pointer("/model/vocab").and_then(|vocab| vocab.get(piece)).unwrap_or(&Value::Null);
            return wrong("model.vocab", piece, id);
        }
    }
    let mut contents = HashMap::new();
    for token in added(json) {
        let content = token["content"].as_str().unwrap_or_default();
        let Some(id) = token["id"].as_u64().filter(|&id| id < limit) else {
            return wrong("added_tokens", content, &token["id"]);
        };
        if content.len() > MAX_PIECE {
            let length = content.len();
            return Err(format!(
                "`added_tokens` holds a token of {length} bytes, at most {MAX_PIECE} are read"
            ));
        }
        if let Some(other) = contents.insert(id, content).filter(|other| *other != content) {
            return Err(format!("`added_tokens` gives `{other:.60}` and `{content:.60}` the same id {id}"));
        }
    }
    Ok(())
}

/// Limits on what the library's time and memory grow with faster than with the file.
fn check_model(json: &Value) -> Result<(), String> {
    let model = &json["model"];
    let is_unigram = model["vocab"].is_array();
    let longest = if is_unigram { MAX_UNIGRAM_PIECE } else { MAX_PIECE };
    if let Some((piece, _)) = model_pieces(json).find(|(piece, _)| piece.len() > longest) {
        let length = piece.len();
        return Err(format!(
            "`model.vocab` holds a piece of {length} bytes, `{piece:.60}…`; at most {longest} are read"
        ));
    }
    let bytes: usize = model_pieces(json).map(|(piece, _)| piece.len()).sum();
    if is_unigram && bytes > MAX_UNIGRAM_BYTES {
        return Err(format!(
            "`model.vocab` holds pieces of {bytes} bytes, at most {MAX_UNIGRAM_BYTES} are read"
        ));
    }
    if let Some(pair) = model["vocab"].as_array().into_iter().flatten().find(|pair| !pair[1].is_number()) {
        return Err(format!("`model.vocab` should be pairs of a piece and its score, got {pair:.60}"));
    }
    if let Some(id) = Some(&model["unk_id"]).filter(|id| is_unigram && !id.is_null())
        && id.as_u64().is_none_or(|id| id >= model_pieces(json).count() as u64)
    {
        return Err(format!("`model.unk_id` should be the place of a piece of `model.vocab`, got {id}"));
    }
    for field in ["continuing_subword_prefix", "end_of_word_suffix"] {
        let length = model[field].as_str().map_or(0, str::len);
        if length > MAX_AFFIX {
            return Err(format!("`model.{field}` has {length} bytes, at most {MAX_AFFIX} are read"));
        }
    }
    let word = &model["max_input_chars_per_word"];
    if !word.is_null() && word.as_u64().is_none_or(|word| word > MAX_WORD) {
        return Err(format!("`model.max_input_chars_per_word` should be from 0 to {MAX_WORD}, got {word}"));
    }
    Ok(())
}

/// The ids of tokens beside a text, and their number.
fn check_beside(part: &Value, limit: u64) -> Result<(), String> {
    let beyond = |field: &str, ids: &[Value]| match ids
        .iter()
        .find(|id| id.as_u64().is_none_or(|id| id >= limit))
    {
        Some(id) => Err(format!("`post_processor.{field}` has the id {id}, expected a number below {limit}")),
        None => Ok(()),
    };
    let list = |token: &'_ Value| token["ids"].as_array().cloned().unwrap_or_default();
    match part["type"].as_str() {
        Some("RobertaProcessing" | "BertProcessing") => {
            ["sep", "cls"].iter().try_for_each(|field| match &part[*field] {
                Value::Null => Ok(()),
                token => beyond(field, &[token[1].clone()]),
            })
        }
        Some("TemplateProcessing") => {
            let tokens = part["special_tokens"].as_object();
            for (name, token) in tokens.into_iter().flatten() {
                beyond(&format!("special_tokens.{name}"), &list(token))?;
            }
            let pieces = part["single"].as_array().map_or(&[][..], Vec::as_slice);
            let special = |piece: &Value| {
                let name = piece.pointer("/SpecialToken/id")?.as_str()?;
                Some(tokens?.get(name)?["ids"].as_array()?.len())
            };
            let n_beside = pieces.iter().filter_map(special).fold(0, usize::saturating_add);
            if n_beside > MAX_BESIDE {
                return Err(format!(
                    "`post_processor.single` puts {n_beside} tokens beside a text, at most {MAX_BESIDE} are read"
                ));
            }
            match pieces.iter().filter(|piece| piece.get("Sequence").is_some()).count() {
                1 => Ok(()),
                n => {
                    Err(format!("`post_processor.single` should hold the text once, and holds it {n} times"))
                }
            }
        }
        _ => Ok(()),
    }
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

/// Bytes of a character map's trie, and of one of its replacements. Real ones have 250,000 and 33.
const MAX_TRIE: usize = 16 << 20;
pub(super) const MAX_REPLACEMENT: usize = 64;

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
    if size > MAX_TRIE {
        return Err(format!("{NAME} has a trie of {size} bytes, at most {MAX_TRIE} are read"));
    }
    let (trie, texts) = rest.split_at(size / 4 * 4);
    let units: Vec<usize> =
        trie.as_chunks::<4>().0.iter().map(|unit| u32::from_le_bytes(*unit) as usize).collect();
    let texts = std::str::from_utf8(texts).map_err(|_| format!("{NAME} holds texts that are not UTF-8"))?;
    if let Some(long) = texts.split('\0').map(str::len).find(|&length| length > MAX_REPLACEMENT) {
        return Err(format!(
            "{NAME} holds a replacement of {long} bytes, at most {MAX_REPLACEMENT} are read"
        ));
    }
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
