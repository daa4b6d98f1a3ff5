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

use crate::base::read_regular;
use crate::llm::chat::joined;
use crate::llm::{Message, Role};
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
    /// `tokenizer_config.json`.
    pub fn of_folder(folder: &Path) -> Self {
        let text = |name: &str| String::from_utf8(read_regular(&folder.join(name)).ok()?).ok();
        let json = |name: &str| text(name).and_then(|text| serde_json::from_str::<Value>(&text).ok());
        let config = json("tokenizer_config.json").unwrap_or(Value::Null);
        let source = text("chat_template.jinja")
            .or_else(|| json("chat_template.json").as_ref().and_then(template_in))
            .or_else(|| template_in(&config));
        let named = |role: &str| Some((role.to_string(), token_named(&config, role)?));
        match source {
            Some(source) => Self::Given { source, tokens: ROLES.into_iter().filter_map(named).collect() },
            None => Self::Joined,
        }
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

    /// Tests the template in its own process: see [`apart`].
    pub fn check_apart(&self, program: &Path) -> Result<(), String> {
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

/// The field `chat_template`: a template or a list of named templates.
fn template_in(value: &Value) -> Option<String> {
    let field = value.get("chat_template")?;
    if let Some(text) = field.as_str() {
        return Some(text.to_string());
    }
    let list = field.as_array()?;
    let default = list.iter().find(|entry| entry["name"] == "default").or_else(|| list.first());
    default?.get("template")?.as_str().map(str::to_string)
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
