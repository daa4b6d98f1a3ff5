//! Translation of a file's tokenizer to a `tokenizer.json`.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::{Map, Value as Json, json};

use super::super::{NnError, Tokenizer};
use super::header::Value;
use super::pre_tokenizers::{DEFAULT, PreTokenizerKind, byte_level};
use super::settings::Settings;

/// Token types (`tokenizer.ggml.token_type`) of pieces that are found in a text before it is split.
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const DEFINED: i64 = 4;
/// A type of our own, for runs of spaces: see [`Pieces::with_metaspaces`].
const RUN: i64 = -1;

const PREFIX: &str = "tokenizer.ggml.";
const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";
const TOKENS: &str = "tokenizer.ggml.tokens";
const KINDS: &str = "tokenizer.ggml.token_type";
const SCORES: &str = "tokenizer.ggml.scores";
const MERGES: &str = "tokenizer.ggml.merges";
const BOS: &str = "tokenizer.ggml.bos_token_id";
const EOS: &str = "tokenizer.ggml.eos_token_id";
const ADD_BOS: &str = "tokenizer.ggml.add_bos_token";
const UNKNOWN_ID: &str = "tokenizer.ggml.unknown_token_id";
const ADD_SPACE: &str = "tokenizer.ggml.add_space_prefix";
const EXTRA_SPACES: &str = "tokenizer.ggml.remove_extra_whitespaces";

/// Keys that are read, here or with the chat template.
const READ: [&str; 12] =
    [MODEL, PRE, TOKENS, KINDS, SCORES, MERGES, BOS, EOS, ADD_BOS, UNKNOWN_ID, ADD_SPACE, EXTRA_SPACES];

/// Keys that change no id of a text: tokens after a text or between two texts, and numbers of segments. Texts here are
/// windows of documents, so nothing follows them. Keys of roles, `…_token_id`, are harmless too.
const HARMLESS: [&str; 3] =
    ["tokenizer.ggml.add_eos_token", "tokenizer.ggml.add_sep_token", "tokenizer.ggml.token_type_count"];

/// Bytes of a token. Merges are found in a time that grows with the square of it.
const MAX_TOKEN: usize = 1000;

/// What to do if a tokenizer is not read.
const ADVICE: &str = "put the model's `tokenizer.json` beside it";

/// The token id under `key`, checked against the vocabulary; -1 means none.
pub(super) fn token_id(settings: &Settings<'_>, key: &str) -> Result<Option<usize>, NnError> {
    let count = settings.texts(TOKENS)?.map_or(0, <[String]>::len) as u64;
    if settings.metadata.get(key) == Some(&Value::Integer(-1)) {
        return Ok(None);
    }
    Ok(settings.integer(key, 0, count.saturating_sub(1))?.map(|id| id as usize))
}

/// The tokenizer that the metadata describes.
pub(super) fn tokenizer(settings: &Settings<'_>) -> Result<Tokenizer, NnError> {
    let unusable = |reason: String| NnError::Tokenizer { file: settings.file.to_string(), reason };
    let mut notes = Vec::new();
    let model = settings.text(MODEL)?;
    if !matches!(model, Some("gpt2" | "llama")) {
        let model = model.unwrap_or("nothing");
        return Err(unusable(format!("`{MODEL}` is `{model}`; only `gpt2` and `llama` are read: {ADVICE}")));
    }
    for key in settings.metadata.keys().filter(|key| key.starts_with(PREFIX)) {
        let known =
            READ.contains(&key.as_str()) || HARMLESS.contains(&key.as_str()) || key.ends_with("_token_id");
        if !known {
            return Err(unusable(format!("`{key}` may change ids and is not implemented: {ADVICE}")));
        }
    }
    let pieces = Pieces::of(settings)?;
    let json = if model == Some("gpt2") {
        let name = settings.text(PRE)?.unwrap_or_else(|| {
            notes.push(format!(
                "{}: it names no pre-tokenizer (`{PRE}`); `{DEFAULT}` is used, which few models were trained with",
                settings.file
            ));
            DEFAULT
        });
        let unread =
            || unusable(format!("`{PRE}` is `{name}`, a pre-tokenizer that is not implemented: {ADVICE}"));
        pieces.byte_pairs(settings, PreTokenizerKind::named(name).ok_or_else(unread)?)?
    } else {
        pieces.with_metaspaces().sentence_pieces(settings)?
    };
    let read = Tokenizer::from_bytes(json.to_string().as_bytes(), settings.file)?.with_notes(notes);
    let (bos, eos) = (token_id(settings, BOS)?, token_id(settings, EOS)?);
    Ok(read.with_gguf_roles(bos, eos, settings.flag(ADD_BOS)?))
}

/// True for a user-defined piece of spaces alone.
fn is_run_of_spaces(token: &str, kind: i64) -> bool {
    kind == DEFINED && !token.is_empty() && token.chars().all(|character| character == ' ')
}

fn one_per_token(count: usize) -> String {
    format!("a number for each of the {count} tokens")
}

/// The vocabulary, with the type of each piece.
struct Pieces<'a> {
    tokens: Cow<'a, [String]>,
    kinds: Vec<i64>,
}

impl<'a> Pieces<'a> {
    fn of(settings: &Settings<'a>) -> Result<Self, NnError> {
        let tokens = settings.texts(TOKENS)?.unwrap_or_default();
        if tokens.is_empty() {
            return Err(settings.wrong(TOKENS, "a list of texts"));
        }
        if let Some(long) = tokens.iter().map(String::len).find(|&length| length > MAX_TOKEN) {
            let expected = format!("a list of texts of up to {MAX_TOKEN} bytes, not of {long}");
            return Err(settings.wrong(TOKENS, &expected));
        }
        match settings.metadata.get(KINDS) {
            Some(Value::Integers(kinds)) if kinds.len() == tokens.len() => {
                Ok(Self { tokens: tokens.into(), kinds: kinds.clone() })
            }
            _ => Err(settings.wrong(KINDS, &one_per_token(tokens.len()))),
        }
    }

    /// The same with runs of spaces written as `▁▁`, as SentencePiece does. Writers of these files write plain spaces and
    /// mark such pieces as user-defined; here they are merged from single spaces, before all other merges.
    fn with_metaspaces(mut self) -> Self {
        for (token, kind) in self.tokens.to_mut().iter_mut().zip(&mut self.kinds) {
            if is_run_of_spaces(token, *kind) {
                (*token, *kind) = (token.replace(' ', "▁"), RUN);
            }
        }
        self
    }

    /// Pieces that are found in a text before it is split.
    fn added(&self) -> Vec<Json> {
        (0..self.tokens.len())
            .filter(|&id| [UNKNOWN, CONTROL, DEFINED].contains(&self.kinds[id]))
            .map(|id| {
                json!({"id": id, "content": self.tokens[id], "single_word": false, "lstrip": false,
                       "rstrip": false, "normalized": false, "special": self.kinds[id] != DEFINED})
            })
            .collect()
    }

    fn vocabulary(&self) -> Map<String, Json> {
        self.tokens.iter().enumerate().map(|(id, token)| (token.clone(), id.into())).collect()
    }

    /// The post-processor that puts BOS before a text, if there is one.
    fn lead(&self, settings: &Settings<'_>, by_default: bool) -> Result<Option<Json>, NnError> {
        let leads = settings.flag(ADD_BOS)?.unwrap_or(by_default);
        let Some(id) = token_id(settings, BOS)? else { return Ok(None) };
        let bos = &self.tokens[id];
        Ok(leads.then(|| {
            json!({
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": bos, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
                "special_tokens": {bos: {"id": bos, "ids": [id], "tokens": [bos]}},
            })
        }))
    }

    /// A byte-level vocabulary with its merges. (candle's own reader puts a space before every text and does not know
    /// Llama 3's pre-tokenizer by its name.)
    fn byte_pairs(&self, settings: &Settings<'_>, kind: &PreTokenizerKind) -> Result<Json, NnError> {
        let merges = settings.texts(MERGES)?.ok_or_else(|| settings.wrong(MERGES, "a list of texts"))?;
        Ok(json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": self.added(),
            "normalizer": kind.normalizer(), "pre_tokenizer": kind.pre_tokenizer(),
            "post_processor": self.lead(settings, kind.begins)?, "decoder": byte_level(true),
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
                "ignore_merges": kind.ignore_merges, "vocab": self.vocabulary(), "merges": merges,
            },
        }))
    }

    /// A SentencePiece vocabulary as byte-pair encoding: the adjacent pair whose merged piece has the highest score is
    /// merged first. Source: the algorithm of SentencePiece's BPE models.
    fn sentence_pieces(&self, settings: &Settings<'_>) -> Result<Json, NnError> {
        let scores = match settings.metadata.get(SCORES) {
            Some(Value::Reals(scores)) if scores.len() == self.tokens.len() => scores,
            _ => return Err(settings.wrong(SCORES, &one_per_token(self.tokens.len()))),
        };
        if scores.iter().any(|score| score.is_nan()) {
            return Err(settings.wrong(SCORES, "a list without NaN"));
        }
        if settings.flag(EXTRA_SPACES)? == Some(true) {
            return Err(settings.wrong(EXTRA_SPACES, "false (nothing else is implemented)"));
        }
        let ids: HashMap<&str, usize> =
            self.tokens.iter().enumerate().map(|(id, token)| (token.as_str(), id)).collect();
        let mut merges: Vec<(usize, usize, [&str; 2])> = Vec::new();
        for (id, token) in self.tokens.iter().enumerate() {
            for (at, _) in token.char_indices().skip(1) {
                let (a, b) = token.split_at(at);
                if let (Some(&first), Some(&second)) = (ids.get(a), ids.get(b)) {
                    merges.push((id, first.max(second), [a, b]));
                }
            }
        }
        let score = |id: usize| if self.kinds[id] == RUN { f32::INFINITY } else { scores[id] };
        merges.sort_by(|a, b| score(b.0).total_cmp(&score(a.0)).then(a.0.cmp(&b.0)).then(a.1.cmp(&b.1)));
        let merges: Vec<[&str; 2]> = merges.into_iter().map(|(_, _, pair)| pair).collect();
        let mut normalizers = Vec::new();
        let mut decoders = vec![
            json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
            json!({"type": "ByteFallback"}),
            json!({"type": "Fuse"}),
        ];
        if settings.flag(ADD_SPACE)?.unwrap_or(true) {
            normalizers.push(json!({"type": "Prepend", "prepend": "▁"}));
            decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        }
        normalizers.push(json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"}));
        let unknown = token_id(settings, UNKNOWN_ID)?;
        let unknown = unknown.or_else(|| self.kinds.iter().position(|&kind| kind == UNKNOWN));
        Ok(json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": self.added(),
            "normalizer": {"type": "Sequence", "normalizers": normalizers},
            "pre_tokenizer": null, "post_processor": self.lead(settings, true)?,
            "decoder": {"type": "Sequence", "decoders": decoders},
            "model": {
                "type": "BPE", "dropout": null, "unk_token": unknown.map(|id| &self.tokens[id]),
                "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": true,
                "byte_fallback": true, "ignore_merges": false, "vocab": self.vocabulary(), "merges": merges,
            },
        }))
    }
}
