//! A local model's files, and the tokens of its prompts.

use std::fmt::Display;
use std::path::Path;

use serde_json::Value;

use super::template::{ChatTemplate, json_in};
use super::vocabulary::Vocabulary;
use crate::base::{Digester, Program, has_entry, read_regular};
use crate::llm::{ChatError, Message, Slots};
use crate::nn::tokenizer::token_named;
use crate::nn::{Config, Gguf, NnError, Tokenizer, Transformer, Weights, is_gguf, read_architecture};

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
    /// The program that renders conversations in a process of its own; none renders them here.
    pub renderer: Option<Program>,
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
        let read = |error: NnError| failed(told(&error), error.is_missing());
        if is_gguf(path) {
            return Self::open_gguf(path).map_err(read);
        }
        if !path.is_dir() {
            return Err(failed(format!("is not a folder: {EXPECTED}"), true));
        }
        for file in ["config.json", "tokenizer.json"] {
            if !has_entry(&path.join(file)) {
                return Err(failed(format!("has no {file}: {EXPECTED}"), true));
            }
        }
        Self::open_folder(path, &name).map_err(read)
    }

    fn open_folder(path: &Path, name: &str) -> Result<Self, NnError> {
        let file = path.join("config.json");
        let config = Config::parse(&read_regular(&file)?, &file.display().to_string())?;
        let tokenizer = Tokenizer::from_file(&path.join("tokenizer.json"))?;
        let weights = Weights::packed_from_folder(path)?;
        let template = ChatTemplate::of_folder(path)?;
        let vocab = read_architecture(&config)?.vocab;
        let mut ends = ids_in(config.fields().get("eos_token_id"), config.file())?;
        // What `config.json` repeats of another vocabulary is left out; this file is about this model's answers.
        const GENERATION: &str = "generation_config.json";
        for id in end_ids(path, GENERATION)? {
            if id as usize >= vocab {
                let expected = format!("ids of the {vocab} tokens that the model has");
                return Err(wrong_ends(&path.join(GENERATION).display().to_string(), &expected, &id.into()));
            }
            ends.push(id);
        }
        ends.extend(end_ids(path, "tokenizer_config.json")?);
        for file in [GENERATION, "tokenizer_config.json"] {
            let json = json_in(path, file)?;
            ends.extend(token_named(&json, "eos_token").and_then(|token| tokenizer.id_of(&token)));
        }
        Self::build(name, &config, &weights, tokenizer, template, ends)
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
        let renderer = None;
        Ok(Self { transformer, tokenizer, vocabulary, specials, template, renderer, ends, name, identity })
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
        let rendered = match &self.renderer {
            Some(program) => self.template.render_apart(program, &shown),
            None => self.template.render(&shown),
        };
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

/// The ids of `eos_token_id` in a file of a folder.
fn end_ids(folder: &Path, name: &str) -> Result<Vec<u32>, NnError> {
    ids_in(json_in(folder, name)?.get("eos_token_id"), &folder.join(name).display().to_string())
}

/// The ids of `eos_token_id`: one, or a list; none if it is absent, null or −1.
fn ids_in(value: Option<&Value>, file: &str) -> Result<Vec<u32>, NnError> {
    let list = match value {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(value) if *value == -1 => return Ok(Vec::new()),
        Some(Value::Array(list)) => list.as_slice(),
        Some(one) => std::slice::from_ref(one),
    };
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    let id = |value| id(value).ok_or_else(|| wrong_ends(file, "a token id or a list of token ids", value));
    list.iter().map(id).collect()
}

fn wrong_ends(file: &str, expected: &str, got: &Value) -> NnError {
    let (field, expected) = ("eos_token_id".to_string(), expected.to_string());
    NnError::Field { file: file.to_string(), field, expected, got: format!("`{got}`") }
}

/// An error with its causes.
fn told(error: &NnError) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text.push_str(&format!(": {cause}"));
        next = cause.source();
    }
    text
}
