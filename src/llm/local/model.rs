//! A local model's files, and the tokens of its prompts.

use std::fmt::Display;
use std::path::Path;

use serde_json::Value;

use super::template::ChatTemplate;
use super::vocabulary::Vocabulary;
use crate::base::{Digester, read_regular};
use crate::llm::{ChatError, Message, Slots};
use crate::nn::tokenizer::token_named;
use crate::nn::{Config, Gguf, NnError, Tokenizer, Transformer, Weights, is_gguf};

/// Tokens that end a turn. Some models' files name only the token that ends a text.
const ENDS_OF_TURNS: [&str; 6] =
    ["<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<end_of_turn>", "<|end|>", "<|endoftext|>"];

/// Version of how answers are generated, part of every identity. Raise it when the same model would answer differently.
const VERSION: u32 = 3;

const EXPECTED: &str =
    "expected a folder with config.json, model.safetensors and tokenizer.json, or a file that ends in .gguf";

/// A local model: all that determines an answer besides the request.
pub(super) struct LocalModel {
    pub transformer: Transformer,
    pub tokenizer: Tokenizer,
    pub vocabulary: Vocabulary,
    /// Texts of the special tokens, longest first.
    specials: Vec<String>,
    pub template: ChatTemplate,
    /// Ids of the tokens that end an answer, ascending.
    pub ends: Vec<u32>,
    /// Its path, for messages.
    pub name: String,
    /// Digest of its files' contents.
    pub identity: String,
}

/// The error of the local model at path `model`.
pub(super) fn local_error(model: &str, detail: String) -> ChatError {
    ChatError::LocalModel { model: model.to_string(), detail, missing: false }
}

impl LocalModel {
    /// Reads a Hugging Face folder or a GGUF file.
    pub fn open(path: &Path) -> Result<Self, ChatError> {
        let name = path.display().to_string();
        let failed =
            |detail: String, missing: bool| ChatError::LocalModel { model: name.clone(), detail, missing };
        if is_gguf(path) {
            return Self::open_gguf(path).map_err(|error| failed(error.to_string(), error.is_missing()));
        }
        if !path.is_dir() {
            return Err(failed(format!("is not a folder: {EXPECTED}"), true));
        }
        for file in ["config.json", "tokenizer.json"] {
            if !path.join(file).is_file() {
                return Err(failed(format!("has no {file}: {EXPECTED}"), true));
            }
        }
        let read = |error: NnError| failed(error.to_string(), error.is_missing());
        let file = path.join("config.json");
        let bytes = read_regular(&file).map_err(|error| failed(error.to_string(), true))?;
        let config = Config::parse(&bytes, &file.display().to_string()).map_err(read)?;
        let tokenizer = Tokenizer::from_file(&path.join("tokenizer.json")).map_err(read)?;
        let weights = Weights::packed_from_folder(path).map_err(read)?;
        let template = ChatTemplate::of_folder(path);
        let mut ends = config.fields().get("eos_token_id").map(ids_in).unwrap_or_default();
        for file in ["generation_config.json", "tokenizer_config.json"] {
            let text = read_regular(&path.join(file)).unwrap_or_default();
            let json: Value = serde_json::from_slice(&text).unwrap_or_default();
            ends.extend(ids_in(&json["eos_token_id"]));
            ends.extend(token_named(&json, "eos_token").and_then(|token| tokenizer.id_of(&token)));
        }
        Self::build(&name, &config, &weights, tokenizer, template, ends).map_err(read)
    }

    fn open_gguf(path: &Path) -> Result<Self, NnError> {
        let Gguf { config, weights, tokenizer, chat_template, tokens } = Gguf::open(path)?;
        let ends = tokens.get("eos_token").and_then(|eos| tokenizer.id_of(eos)).into_iter().collect();
        let template =
            chat_template.map_or(ChatTemplate::Joined, |source| ChatTemplate::Given { source, tokens });
        Self::build(&path.display().to_string(), &config, &weights, tokenizer, template, ends)
    }

    fn build(
        name: &str,
        config: &Config,
        weights: &Weights,
        tokenizer: Tokenizer,
        template: ChatTemplate,
        mut ends: Vec<u32>,
    ) -> Result<Self, NnError> {
        let transformer = Transformer::new(config, weights)?;
        let vocab = transformer.architecture().vocab;
        let tokenizer = tokenizer.embedded_in(vocab)?;
        let of_turns = ENDS_OF_TURNS.iter().filter_map(|token| tokenizer.id_of(token));
        ends.extend(of_turns.filter(|&id| tokenizer.is_special(id)));
        ends.retain(|&id| (id as usize) < vocab);
        ends.sort_unstable();
        ends.dedup();
        let mut digester = Digester::new("local model");
        digester.text(&VERSION.to_string()).digest(&weights.digest()).json(config.fields());
        digester.digest(&tokenizer.digest()).text(&template.describe()).json(&ends);
        let identity = format!("local {}", digester.finish().hex());
        let vocabulary = Vocabulary::new(&tokenizer, vocab);
        let (name, specials) = (name.to_string(), tokenizer.special_texts());
        Ok(Self { transformer, tokenizer, vocabulary, specials, template, ends, name, identity })
    }

    /// An error of this model.
    pub fn failed(&self, detail: impl Display) -> ChatError {
        local_error(&self.name, detail.to_string())
    }

    /// The tokens of a conversation, up to the start of the answer.
    pub fn ids_of_chat(&self, messages: &[Message]) -> Result<Vec<u32>, ChatError> {
        let mut literals = Vec::new();
        // Special tokens inside a message must stay text.
        let mut hidden = |content: &str| hide(content, &self.specials, &mut literals);
        let shown: Vec<Message> = messages
            .iter()
            .map(|message| Message { role: message.role, content: hidden(&message.content) })
            .collect();
        let rendered = self.template.render(&shown);
        let rendered = rendered.map_err(|error| self.failed(format!("its chat template failed: {error}")))?;
        let ids = self.ids_of_parts(&rendered, &literals)?;
        let lead = self.tokenizer.lead_tokens();
        if matches!(self.template, ChatTemplate::Given { .. }) && ids.starts_with(lead) {
            return Ok(ids);
        }
        Ok([lead, &ids].concat())
    }

    /// The tokens of a plain text, after the tokenizer's leading tokens.
    pub fn ids_of_text(&self, text: &str) -> Result<Vec<u32>, ChatError> {
        let mut literals = Vec::new();
        let shown = hide(text, &self.specials, &mut literals);
        Ok([self.tokenizer.lead_tokens(), &self.ids_of_parts(&shown, &literals)?].concat())
    }

    /// Tokens that spell a part of an answer: the tokenizer's own if they do, else the longest match each time.
    pub fn spelled(&self, text: &[u8]) -> Result<Vec<u32>, ChatError> {
        let natural = std::str::from_utf8(text).ok().and_then(|text| self.tokenizer.encode(text).ok());
        let spells = |ids: &Vec<u32>| {
            ids.iter().flat_map(|&id| self.tokenizer.bytes_of(id)).eq(text)
                && !ids.iter().any(|&id| self.tokenizer.is_special(id))
        };
        if let Some(ids) = natural.filter(spells) {
            return Ok(ids);
        }
        let (mut ids, mut rest) = (Vec::new(), text);
        while let Some(byte) = rest.first() {
            let Some((token, length)) = self.vocabulary.longest(rest) else {
                return Err(self.failed(format!("has no token for the byte {byte:#04x}, which JSON needs")));
            };
            ids.push(token);
            rest = &rest[length..];
        }
        Ok(ids)
    }

    /// The positions of a prompt's slots among its tokens, and the tokens of the candidates.
    pub fn slots(&self, prompt: &str, slots: &Slots) -> Result<SlotTokens, ChatError> {
        let ids = self.ids_of_text(prompt)?;
        let lead = self.tokenizer.lead_tokens().len();
        let boundaries = self.boundaries(&ids[lead..], prompt);
        let mut begins = Vec::with_capacity(slots.at.len());
        for &at in &slots.at {
            let before = prompt.get(..at).ok_or_else(|| self.failed("got a slot inside a character"))?;
            let n = match &boundaries {
                Some(boundaries) => boundaries.binary_search(&at).ok().map(|n| n + lead),
                None => {
                    let before = self.ids_of_text(before)?;
                    ids.starts_with(&before).then_some(before.len())
                }
            };
            begins.push(n.filter(|&n| n > 0));
        }
        let Some(&first) = slots.at.first() else {
            return Ok(SlotTokens { ids, begins, texts: vec![None; slots.texts.len()] });
        };
        // A candidate's token can depend on the text before it, so it is encoded after the first slot's line.
        let line = prompt[..first].rfind('\n').map_or(0, |end| end + 1);
        let before = &prompt[line..first];
        let before_ids = self.ids_of_text(before)?;
        let one_token = |text: &String| {
            let together = self.ids_of_text(&format!("{before}{text}"))?;
            let after = together.strip_prefix(before_ids.as_slice());
            Ok(after.and_then(|after| (after.len() == 1).then(|| after[0])))
        };
        let texts = slots.texts.iter().map(one_token).collect::<Result<_, ChatError>>()?;
        Ok(SlotTokens { ids, begins, texts })
    }

    /// The byte offset of each token's start in the text, and the end of the last one. `None` if the tokens do not
    /// spell the text. A space that the tokenizer adds in front does not count.
    fn boundaries(&self, ids: &[u32], text: &str) -> Option<Vec<usize>> {
        let lengths = || ids.iter().map(|&id| self.tokenizer.bytes_of(id).len());
        let extra = lengths().sum::<usize>().checked_sub(text.len()).filter(|&extra| extra <= 1)?;
        let ends = lengths().scan(0, |end, length| {
            *end += length;
            Some(end.saturating_sub(extra))
        });
        Some([0].into_iter().chain(ends).collect())
    }

    /// The tokens of a text in which each [`STAND_IN`] stands for the next of the literals, spelt as plain text.
    fn ids_of_parts(&self, text: &str, literals: &[String]) -> Result<Vec<u32>, ChatError> {
        let encode = |text: &str| self.tokenizer.encode(text).map_err(|error| self.failed(error));
        let mut parts = text.split(STAND_IN);
        let mut ids = encode(parts.next().unwrap_or_default())?;
        for (part, literal) in parts.zip(literals) {
            // Two encoded parts never join to a special token.
            let mut characters = literal.chars();
            let first: String = characters.by_ref().take(1).collect();
            for text in [first.as_str(), characters.as_str(), part] {
                if !text.is_empty() {
                    ids.extend(encode(text)?);
                }
            }
        }
        Ok(ids)
    }
}

/// The slots of a prompt in tokens.
pub(super) struct SlotTokens {
    /// The prompt.
    pub ids: Vec<u32>,
    /// Number of tokens before each slot; `None` for a slot inside a token.
    pub begins: Vec<Option<usize>>,
    /// The token of each candidate; `None` for a candidate that is not a single token.
    pub texts: Vec<Option<u32>>,
}

/// Replaces a special token inside a message: a private-use character that no text needs.
const STAND_IN: char = '\u{F8FE}';

/// Replaces each of `specials`, and each character that is a stand-in already, by a stand-in. Appends the replaced
/// texts to `literals`.
fn hide(text: &str, specials: &[String], literals: &mut Vec<String>) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let special = specials.iter().find(|special| rest.starts_with(special.as_str()));
        let literal = match special {
            Some(special) => special.clone(),
            None if first == STAND_IN => first.to_string(),
            None => {
                shown.push(first);
                rest = &rest[first.len_utf8()..];
                continue;
            }
        };
        rest = &rest[literal.len()..];
        shown.push(STAND_IN);
        literals.push(literal);
    }
    shown
}

/// One id or a list of ids.
fn ids_in(value: &Value) -> Vec<u32> {
    let one = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value.as_array() {
        Some(list) => list.iter().filter_map(one).collect(),
        None => one(value).into_iter().collect(),
    }
}
