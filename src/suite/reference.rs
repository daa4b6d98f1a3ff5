//! The field reference in `suites/README.md` and the published schema, both from the derived schema.

use serde::de::{DeserializeOwned, Deserializer, Visitor};
use serde_json::{Map, Value};

use super::features::Features;
use super::limits::Limits;
use super::range::bound;
use super::read::word_of;
use super::schema::{SUITE, of};
use super::spec::{
    CorpusSpec, ExplainerFields, JudgeFields, MethodFields, ProtocolFields, SimulatorFields, Statistics,
    SubjectSpec, SuiteFile,
};
use super::task::TaskSpec;
use crate::causal::effects::EffectSettings;
use crate::causal::{ErasureParams, PatchParams};
use crate::dictionary::{file_formats, kind_fields};
use crate::llm::LlmSpec;

/// The JSON Schema of a suite file.
pub fn schema() -> Value {
    SUITE.clone()
}

/// The field reference, in Markdown.
pub fn reference() -> String {
    let mut out = String::new();
    out.push_str(&section::<SuiteFile>("Top level"));
    out.push_str(&section::<SubjectSpec>("`subject`"));
    out.push_str(&section::<CorpusSpec>("`corpus`"));
    out.push_str(&section::<MethodFields>("`methods`"));
    for fields in kind_fields() {
        let kinds: Vec<String> = fields.kinds.iter().map(|kind| format!("`{}`", kind.name())).collect();
        out.push_str(&format!("\n#### {}\n\n{}\n", kinds.join(", "), text_of(&fields.schema)));
        let names: Vec<&str> = fields.schema["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| name.as_str())
            .collect();
        out.push_str(&table(&fields.schema, &names));
    }
    out.push_str(&formats());
    out.push_str(&section::<Features>("`features`"));
    out.push_str(&section::<ProtocolFields>("`protocol`"));
    out.push_str(&section::<ExplainerFields>("`explainer`"));
    out.push_str(&section::<SimulatorFields>("`simulator`"));
    out.push_str(&section::<JudgeFields>("`judge`"));
    out.push_str(&section::<LlmSpec>("`llm`"));
    let task = [&TaskSpec::OWN[..], declared::<PatchParams>()].concat();
    out.push_str(&format!("\n### `task`\n{}", table(&SUITE["properties"]["task"], &task)));
    out.push_str(&section::<ErasureParams>("`erasure`"));
    out.push_str(&section::<EffectSettings>("`effects`"));
    out.push_str(&section::<Statistics>("`statistics`"));
    out.push_str(&section::<Limits>("`limits`"));
    out
}

/// What recognises each format of dictionaries trained elsewhere.
fn formats() -> String {
    let mut out = String::from(
        "\n### Formats of `kind: file`\n\n| `format` | program | recognised by | |\n|---|---|---|---|\n",
    );
    for row in file_formats() {
        let read = if row.supported { "read" } else { "refused with the reason" };
        out.push_str(&format!("| `{}` | {} | {} | {read} |\n", row.name, row.words, row.recognised_by));
    }
    out
}

/// The fields of a type as a section of the reference.
pub fn section<T: DeserializeOwned + schemars::JsonSchema>(title: &str) -> String {
    format!("\n### {title}\n{}", table(&of::<T>(), declared::<T>()))
}

/// A table with one row per field; empty without fields.
fn table(schema: &Value, names: &[&str]) -> String {
    let none = Map::new();
    let fields = schema["properties"].as_object().unwrap_or(&none);
    if fields.is_empty() {
        return String::new();
    }
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut out = String::from("\n| field | type | default | meaning |\n|---|---|---|---|\n");
    for name in names {
        let Some(node) = fields.get(*name) else { continue };
        let default = match (node["x-default"].as_str(), &node["default"]) {
            (Some(words), _) => words.to_string(),
            (None, _) if required.contains(name) => "required".to_string(),
            (None, Value::Null) => "none".to_string(),
            (None, Value::Object(_)) => "see below".to_string(),
            (None, value) => format!("`{value}`").replace('"', ""),
        };
        let meaning = text_of(node) + &range_of(node) + &choices_of(node);
        out.push_str(&format!(
            "| `{name}` | {} | {} | {} |\n",
            type_of(node),
            default.replace('|', "\\|"),
            meaning.replace('|', "\\|")
        ));
    }
    out
}

/// The description on one line.
fn text_of(node: &Value) -> String {
    node["description"].as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn range_of(node: &Value) -> String {
    match (bound(&node["minimum"]), bound(&node["maximum"])) {
        (Some(low), Some(high)) => format!(" From {low} to {high}."),
        (Some(low), None) => format!(" At least {low}."),
        _ => String::new(),
    }
}

/// The allowed words with their descriptions.
fn choices(node: &Value) -> Vec<(&str, String)> {
    let alternatives = node["oneOf"].as_array().into_iter().flatten();
    alternatives.filter_map(|choice| Some((word_of(&choice["const"])?, text_of(choice)))).collect()
}

fn choices_of(node: &Value) -> String {
    let mut all = choices(node);
    let inner =
        [&node["items"], node].into_iter().flat_map(|node| node["anyOf"].as_array().into_iter().flatten());
    for part in std::iter::once(&node["items"]).chain(inner) {
        all.extend(choices(part));
    }
    all.iter().map(|(word, doc)| format!(" `{word}`: {doc}")).collect()
}

/// The type as the reference shows it. The default column says whether the field is optional.
fn type_of(node: &Value) -> String {
    let names: Vec<&str> = match &node["type"] {
        Value::String(name) => vec![name],
        Value::Array(names) => {
            names.iter().filter_map(Value::as_str).filter(|name| *name != "null").collect()
        }
        _ => {
            let alternatives = node["anyOf"].as_array().into_iter().flatten();
            let mut names: Vec<&str> =
                alternatives.map(|one| one["type"].as_str().unwrap_or("string")).collect();
            names.dedup();
            names
        }
    };
    if names.is_empty() { "string".to_string() } else { names.join(" or ") }
}

/// Field names of a struct in declaration order, obtained from serde.
fn declared<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut names: &'static [&'static str] = &[];
    // The deserializer below records the names and always returns an error.
    let _ = T::deserialize(FieldNames(&mut names));
    names
}

struct FieldNames<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for FieldNames<'_> {
    type Error = serde::de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(serde::de::Error::custom("no struct"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = fields;
        Err(serde::de::Error::custom("names noted"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
