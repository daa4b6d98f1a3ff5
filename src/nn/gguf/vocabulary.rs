//! The tokenizer of a file as a `tokenizer.json`.

use std::collections::HashMap;

use serde_json::{Map, Value as Json, json};

use super::super::{NnError, Tokenizer};
use super::cuts::{Cut, DEFAULT, byte_level};
use super::header::Value;
use super::settings::Settings;

/// Kinds of pieces that are no text of the vocabulary's own.
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const DEFINED: i64 = 4;
/// Our own, for runs of spaces: see [`Pieces::with_spaces_spelt`].
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

/// Keys that change no id of a text: what a tokenizer puts behind a text and between two, and numbers of segments.
/// Texts here are windows of documents, so nothing follows them. Roles of tokens, `…_token_id`, are such keys too.
const HARMLESS: [&str; 3] =
    ["tokenizer.ggml.add_eos_token", "tokenizer.ggml.add_sep_token", "tokenizer.ggml.token_type_count"];

/// What to do where a tokenizer is not read.
const ADVICE: &str = "put the model's `tokenizer.json` beside it";

/// The id that stands under `key`, which must be one of a token.
pub(super) fn token_id(settings: &Settings<'_>, key: &str) -> Result<Option<usize>, NnError> {
    let count = settings.texts(TOKENS)?.map_or(0, <[String]>::len) as u64;
    let id = settings.integer(key, 0, count.saturating_sub(1));
    // -1 stands for none.
    match settings.metadata.get(key) {
        Some(Value::Integer(-1)) => Ok(None),
        _ => id.map(|id| id.map(|id| id as usize)),
    }
}

/// The tokenizer that the metadata describes.
pub(super) fn tokenizer(settings: &Settings<'_>) -> Result<Tokenizer, NnError> {
    let unusable = |reason: String| NnError::Tokenizer { file: settings.file.to_string(), reason };
    let mut notes = Vec::new();
    let model = settings.text(MODEL)?;
    if !matches!(model, Some("gpt2" | "llama")) {
        let model = model.unwrap_or("nothing");
        return Err(unusable(format!("`{MODEL}` is `{model}`, and `gpt2` and `llama` are read; {ADVICE}")));
    }
    for key in settings.metadata.keys().filter(|key| key.starts_with(PREFIX)) {
        let known =
            READ.contains(&key.as_str()) || HARMLESS.contains(&key.as_str()) || key.ends_with("_token_id");
        if !known {
            return Err(unusable(format!("`{key}` may change ids, and it is not implemented; {ADVICE}")));
        }
    }
    let pieces = Pieces::of(settings)?;
    let json = if model == Some("gpt2") {
        let kind = settings.text(PRE)?.unwrap_or_else(|| {
            notes.push(format!(
                "{}: it does not say how texts are cut (`{PRE}`); the way `{DEFAULT}` is taken, which few models were trained with",
                settings.file
            ));
            DEFAULT
        });
        let cut = Cut::named(kind).ok_or_else(|| {
            unusable(format!("`{PRE}` is `{kind}`, a way of cutting texts that is not read; {ADVICE}"))
        })?;
        pieces.byte_pairs(settings, cut)?
    } else {
        let spelling = |(token, &kind): (&String, &i64)| match is_run_of_spaces(token, kind) {
            true => token.replace(' ', "▁"),
            false => token.clone(),
        };
        let spelt: Vec<String> = pieces.tokens.iter().zip(&pieces.kinds).map(spelling).collect();
        pieces.with_spaces_spelt(&spelt).sentence_pieces(settings)?
    };
    let read = Tokenizer::from_bytes(json.to_string().as_bytes(), settings.file)?.with_notes(notes);
    let (bos, eos) = (token_id(settings, BOS)?, token_id(settings, EOS)?);
    Ok(read.with_gguf_roles(bos, eos, settings.flag(ADD_BOS)?))
}

/// A text of spaces alone that is to be found before a text is cut.
fn is_run_of_spaces(token: &str, kind: i64) -> bool {
    kind == DEFINED && !token.is_empty() && token.chars().all(|character| character == ' ')
}

/// The vocabulary with what each piece is.
struct Pieces<'a> {
    tokens: &'a [String],
    kinds: Vec<i64>,
}

impl<'a> Pieces<'a> {
    fn of(settings: &Settings<'a>) -> Result<Self, NnError> {
        let tokens = settings.texts(TOKENS)?.unwrap_or_default();
        if tokens.is_empty() {
            return Err(settings.wrong(TOKENS, "a list of texts"));
        }
        let kinds = match settings.metadata.get(KINDS) {
            Some(Value::Integers(kinds)) if kinds.len() == tokens.len() => kinds.clone(),
            _ => {
                return Err(
                    settings.wrong(KINDS, &format!("a number for each of the {} tokens", tokens.len()))
                );
            }
        };
        Ok(Self { tokens, kinds })
    }

    /// The same with runs of spaces spelt as SentencePiece spells them. Writers of these files spell them in plain
    /// spaces, as texts to be found before all others; here they are joined from single spaces before anything else is.
    fn with_spaces_spelt<'b>(&self, spelt: &'b [String]) -> Pieces<'b> {
        let kind = |(token, &kind): (&String, &i64)| if is_run_of_spaces(token, kind) { RUN } else { kind };
        Pieces { tokens: spelt, kinds: self.tokens.iter().zip(&self.kinds).map(kind).collect() }
    }

    /// Pieces that are found in a text before it is cut.
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

    /// The token that is put before a text.
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

    /// A byte-level vocabulary with its merges. candle's own reading of these files puts a space before every text
    /// and does not know Llama 3's way of cutting by the name it has there.
    fn byte_pairs(&self, settings: &Settings<'_>, cut: &Cut) -> Result<Json, NnError> {
        let merges = settings.texts(MERGES)?.ok_or_else(|| settings.wrong(MERGES, "a list of texts"))?;
        Ok(json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": self.added(),
            "normalizer": cut.normalizer(), "pre_tokenizer": cut.pre_tokenizer(),
            "post_processor": self.lead(settings, cut.begins)?, "decoder": byte_level(true),
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
                "ignore_merges": cut.ignore_merges, "vocab": self.vocabulary(), "merges": merges,
            },
        }))
    }

    /// A vocabulary of SentencePiece's as byte-pair encoding: of two neighbours those are joined first whose
    /// join has the highest score. Source: the algorithm of SentencePiece's BPE models.
    fn sentence_pieces(&self, settings: &Settings<'_>) -> Result<Json, NnError> {
        let scores = match settings.metadata.get(SCORES) {
            Some(Value::Reals(scores)) if scores.len() == self.tokens.len() => scores,
            _ => {
                return Err(
                    settings.wrong(SCORES, &format!("a number for each of the {} tokens", self.tokens.len()))
                );
            }
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
