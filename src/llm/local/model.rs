use std::path::Path;

use serde_json::Value;

use super::template::ChatTemplate;
use super::vocabulary::Vocabulary;
use crate::base::Digester;
use crate::llm::{ChatError, Message, Slots};
use crate::nn::tokenizer::token_named;
use crate::nn::{Config, Gguf, NnError, Tokenizer, Transformer, Weights, is_gguf};

/// Tokens that end a turn in chats, where a model's files name only the token that ends a text.
const ENDS_OF_TURNS: [&str; 6] =
    ["<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<end_of_turn>", "<|end|>", "<|endoftext|>"];

/// Everything that an answer of a local model depends on beside the question.
pub(super) struct LocalModel {
    pub transformer: Transformer,
    pub tokenizer: Tokenizer,
    pub vocabulary: Vocabulary,
    /// Texts of the special tokens, longest first.
    specials: Vec<String>,
    pub template: ChatTemplate,
    /// Tokens that end an answer.
    pub ends: Vec<u32>,
    /// Where it was read, for messages.
    pub name: String,
    /// What it is, by its files' contents.
    pub identity: String,
}

/// Part of every identity: raised when the same model would answer otherwise.
const VERSION: u32 = 3;

impl LocalModel {
    /// Reads a Hugging Face folder or a GGUF file.
    pub fn open(path: &Path) -> Result<Self, ChatError> {
        let name = path.display().to_string();
        let failed =
            |detail: String, missing: bool| ChatError::LocalModel { model: name.clone(), detail, missing };
        if is_gguf(path) {
            return Self::open_gguf(path).map_err(|error| failed(error.to_string(), error.is_missing()));
        }
        let expected = "expected a folder with config.json, model.safetensors and tokenizer.json, or a file that ends in .gguf";
        if !path.is_dir() {
            return Err(failed(format!("is not a folder: {expected}"), true));
        }
        for file in ["config.json", "tokenizer.json"] {
            if !path.join(file).is_file() {
                return Err(failed(format!("has no {file}: {expected}"), true));
            }
        }
        let read = |error: NnError| failed(error.to_string(), error.is_missing());
        let file = path.join("config.json");
        let bytes = crate::base::read_regular(&file).map_err(|error| failed(error.to_string(), true))?;
        let config = Config::parse(&bytes, &file.display().to_string()).map_err(read)?;
        let tokenizer = Tokenizer::from_file(&path.join("tokenizer.json")).map_err(read)?;
        let weights = Weights::packed_from_folder(path).map_err(read)?;
        let template = ChatTemplate::of_folder(path);
        let mut ends = named_ends(&config);
        for file in ["generation_config.json", "tokenizer_config.json"] {
            let text = crate::base::read_regular(&path.join(file)).unwrap_or_default();
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
        ends.retain(|&id| (id as usize) < vocab);
        ends.extend(
            ENDS_OF_TURNS
                .iter()
                .filter_map(|token| tokenizer.id_of(token))
                .filter(|&id| tokenizer.is_special(id) && (id as usize) < vocab),
        );
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
    pub fn failed(&self, detail: &str) -> ChatError {
        ChatError::LocalModel { model: self.name.clone(), detail: detail.to_string(), missing: false }
    }

    /// The tokens of a conversation, up to where the answer begins.
    pub fn ids_of_chat(&self, messages: &[Message]) -> Result<Vec<u32>, ChatError> {
        let mut literals = Vec::new();
        // Special tokens that a message spells must stay text.
        let shown: Vec<Message> = messages
            .iter()
            .map(|message| Message {
                role: message.role,
                content: hide(&message.content, &self.specials, &mut literals),
            })
            .collect();
        let rendered = self
            .template
            .render(&shown)
            .map_err(|error| self.failed(&format!("its chat template failed: {error}")))?;
        let ids = self.ids_of_parts(&rendered, &literals)?;
        if matches!(self.template, ChatTemplate::Given { .. })
            && ids.starts_with(self.tokenizer.lead_tokens())
        {
            return Ok(ids);
        }
        Ok([self.tokenizer.lead_tokens(), &ids].concat())
    }

    /// The tokens of a plain text, with those that a text begins with.
    pub fn ids_of_text(&self, text: &str) -> Result<Vec<u32>, ChatError> {
        let mut literals = Vec::new();
        let shown = hide(text, &self.specials, &mut literals);
        Ok([self.tokenizer.lead_tokens(), &self.ids_of_parts(&shown, &literals)?].concat())
    }

    /// Tokens that spell a part of an answer: the tokenizer's own, or else each time the longest.
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
                return Err(self.failed(&format!("has no token for the byte {byte:#04x} that JSON needs")));
            };
            ids.push(token);
            rest = &rest[length..];
        }
        Ok(ids)
    }

    /// Where a prompt's slots are among its tokens, and the tokens of what may stand in them.
    pub fn slots(&self, prompt: &str, slots: &Slots) -> Result<SlotTokens, ChatError> {
        let ids = self.ids_of_text(prompt)?;
        let lead = self.tokenizer.lead_tokens().len();
        let boundaries = self.boundaries(&ids[lead..], prompt);
        let mut begins = Vec::with_capacity(slots.at.len());
        for &at in &slots.at {
            let before =
                prompt.get(..at).ok_or_else(|| self.failed("was asked about a place inside a character"))?;
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

    /// Where each token begins in the text, in bytes, and where the last one ends; none where the tokens do not spell
    /// the text. A space that the tokenizer puts in front is no part of it.
    fn boundaries(&self, ids: &[u32], text: &str) -> Option<Vec<usize>> {
        let lengths = || ids.iter().map(|&id| self.tokenizer.bytes_of(id).len());
        let extra = lengths().sum::<usize>().checked_sub(text.len()).filter(|&extra| extra <= 1)?;
        let mut end = 0;
        let mut boundaries = vec![0];
        for length in lengths() {
            end += length;
            boundaries.push(end.saturating_sub(extra));
        }
        Some(boundaries)
    }

    /// The tokens of a text whose stand-ins are the literals in order, each spelt as plain text.
    fn ids_of_parts(&self, text: &str, literals: &[String]) -> Result<Vec<u32>, ChatError> {
        let encode =
            |text: &str| self.tokenizer.encode(text).map_err(|error| self.failed(&error.to_string()));
        let mut parts = text.split(STAND_IN);
        let mut ids = encode(parts.next().unwrap_or_default())?;
        for (part, literal) in parts.zip(literals) {
            // Cut in two it is no special token any more.
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

/// Slots of a prompt in tokens.
pub(super) struct SlotTokens {
    /// The prompt.
    pub ids: Vec<u32>,
    /// For each slot, the number of tokens before it; none where it begins inside a token.
    pub begins: Vec<Option<usize>>,
    /// For each text that may stand in a slot, its token; none where it is not one.
    pub texts: Vec<Option<u32>>,
}

/// Stands for a special token's text inside a message: a character that no text has a use for.
const STAND_IN: char = '\u{F8FE}';

/// The text with a stand-in for each of `specials` in it, and for each stand-in that is there already; what
/// they stand for is added to `literals`.
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

fn named_ends(config: &Config) -> Vec<u32> {
    config.fields().get("eos_token_id").map(ids_in).unwrap_or_default()
}

/// One id or a list of them.
fn ids_in(value: &Value) -> Vec<u32> {
    let one = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value.as_array() {
        Some(list) => list.iter().filter_map(one).collect(),
        None => one(value).into_iter().collect(),
    }
}
