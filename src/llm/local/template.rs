//! Chat templates: how a model wants a conversation written (Jinja, as in Hugging Face transformers).

pub(super) mod apart;
mod generation;
mod python;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, context};
use serde_json::{Value, json};

use crate::base::{Program, has_entry, read_regular, read_regular_text};
use crate::llm::chat::joined;
use crate::llm::{Message, Role};
use crate::nn::NnError;
use crate::nn::tokenizer::token_named;

/// Maximum number of the engine's steps, because a template is an untrusted program.
const FUEL: u64 = 10_000_000;

/// Maximum size of a rendered conversation in bytes.
const MOST_BYTES: usize = 16 << 20;

/// Variables of templates that hold special tokens.
const ROLES: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// A model's chat template.
#[derive(Debug, Clone)]
pub(super) enum ChatTemplate {
    /// The template that comes with the tokenizer, and the special tokens by variable name (`bos_token`, …).
    Given { source: String, tokens: BTreeMap<String, String> },
    /// For models without a template: the contents of the messages, joined by blank lines.
    Joined,
}

impl ChatTemplate {
    /// The template of a folder: `chat_template.jinja`, else the field in `chat_template.json` or
    /// `tokenizer_config.json`. Fails if one of these files is there and cannot be read.
    pub fn of_folder(folder: &Path) -> Result<Self, NnError> {
        let config = json_in(folder, "tokenizer_config.json")?;
        let file = folder.join("chat_template.jinja");
        let mut source = match has_entry(&file) {
            true => Some(read_regular_text(&file)?),
            false => None,
        };
        for name in ["chat_template.json", "tokenizer_config.json"] {
            if source.is_none() {
                source = template_in(&json_in(folder, name)?)
                    .map_err(|reason| json_error(folder, name, reason))?;
            }
        }
        let named = |role: &str| Some((role.to_string(), token_named(&config, role)?));
        Ok(match source {
            Some(source) => Self::Given { source, tokens: ROLES.into_iter().filter_map(named).collect() },
            None => Self::Joined,
        })
    }

    /// The conversation as the model reads it, up to the start of its answer. If the template refuses a system message,
    /// its text is put in front of the first message.
    pub fn render(&self, messages: &[Message]) -> Result<String, String> {
        let Self::Given { source, tokens } = self else {
            return Ok(format!("{}\n\n", joined(messages, "\n\n")));
        };
        let source = generation::without_tags(source);
        render(&source, tokens, messages).or_else(|error| match merged(messages) {
            Some(messages) => render(&source, tokens, &messages),
            None => Err(error),
        })
    }

    /// [`ChatTemplate::render`] in a process of its own: see [`apart`].
    pub fn render_apart(&self, program: &Program, messages: &[Message]) -> Result<String, String> {
        match self {
            Self::Given { source, tokens } => apart::render(program, source, tokens, messages),
            Self::Joined => self.render(messages),
        }
    }

    /// Tests the template in its own process: see [`apart`].
    pub fn check_apart(&self, program: &Program) -> Result<(), String> {
        match self {
            Self::Given { source, tokens } => apart::check(program, source, tokens),
            Self::Joined => Ok(()),
        }
    }

    /// The template's contents, for digests.
    pub fn describe(&self) -> String {
        match self {
            Self::Given { source, tokens } => format!("{tokens:?}\n{source}"),
            Self::Joined => String::new(),
        }
    }
}

/// The content of a JSON file of a model's folder; null if there is none.
pub(super) fn json_in(folder: &Path, name: &str) -> Result<Value, NnError> {
    let file = folder.join(name);
    if !has_entry(&file) {
        return Ok(Value::Null);
    }
    let bytes = read_regular(&file)?;
    serde_json::from_slice(&bytes).map_err(|error| json_error(folder, name, error))
}

fn json_error(folder: &Path, name: &str, reason: impl ToString) -> NnError {
    NnError::Json { file: folder.join(name).display().to_string(), reason: reason.to_string() }
}

/// The field `chat_template`: a template or a list of named templates.
fn template_in(value: &Value) -> Result<Option<String>, &'static str> {
    let Some(field) = value.get("chat_template").filter(|field| !field.is_null()) else { return Ok(None) };
    if let Some(text) = field.as_str() {
        return Ok(Some(text.to_string()));
    }
    let list = field.as_array().map_or(&[][..], Vec::as_slice);
    if field.is_array() && list.is_empty() {
        return Ok(None);
    }
    let default = list.iter().find(|entry| entry["name"] == "default").or_else(|| list.first());
    let template = default.and_then(|default| default.get("template")?.as_str());
    let expected = "`chat_template` should be a template, or a list of objects with `name` and `template`";
    template.map(|template| Some(template.to_string())).ok_or(expected)
}

/// The messages with the system message merged into the next one; `None` without a system message.
fn merged(messages: &[Message]) -> Option<Vec<Message>> {
    let (system, rest) = messages.split_first().filter(|(first, _)| first.role == Role::System)?;
    let (first, others) = rest.split_first()?;
    let content = format!("{}\n\n{}", system.content, first.content);
    let mut merged = vec![Message { role: first.role, content }];
    merged.extend_from_slice(others);
    Some(merged)
}

fn render(source: &str, tokens: &BTreeMap<String, String>, messages: &[Message]) -> Result<String, String> {
    let mut environment = Environment::new();
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_keep_trailing_newline(true);
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    environment.set_fuel(Some(FUEL));
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", |text: String| -> Result<String, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, text))
    });
    environment.add_function("strftime_now", |format: String| python::strftime_now(&format));
    environment.add_filter("tojson", python::tojson);
    let context = context! {
        messages => json!(messages),
        add_generation_prompt => true,
        // An answer of a few tokens has no room for reasoning.
        enable_thinking => false,
        // As transformers passes them by default.
        tools => None::<()>,
        documents => None::<()>,
        ..minijinja::Value::from_serialize(tokens)
    };
    let text = environment.render_named_str("chat_template", source, context).map_err(|error| {
        let line = error.line().map_or(String::new(), |line| format!(" (line {line})"));
        format!("{error}{line}")
    })?;
    if text.len() > MOST_BYTES {
        return Err(format!(
            "it wrote {} MB, more than the limit of {} MB",
            text.len() >> 20,
            MOST_BYTES >> 20
        ));
    }
    Ok(text)
}
