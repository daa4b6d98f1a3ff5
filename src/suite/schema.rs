//! JSON Schema of a suite file, derived from the types of [`super::spec`] and the catalogues.
//!
//! It is published as `suites/suite.schema.json`. [`super::read`] validates suites by it.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::controls::ControlEntry;
use super::spec::{ExplainerFields, MethodFields, PairFields, ProtocolFields, SimulatorFields, SuiteFile};
use super::task::TaskSpec;
use crate::causal::PatchParams;
use crate::dictionary::kind_fields;
use crate::explain::catalog::explainers;
use crate::features::Protocol;
use crate::score::catalog::{SCORERS, default_scorers};
use crate::simulate::catalog::SimulatorKind;

/// The schema of a suite file, without definitions and references.
pub static SUITE: LazyLock<Value> = LazyLock::new(of::<SuiteFile>);

/// The schema of a type. Objects accept only the listed fields.
pub fn of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = Value::from(settings.into_generator().into_root_schema_for::<T>());
    close(&mut schema);
    schema
}

/// Most rows at each hook point: methods, with their sweeps, trainings and variants expanded.
pub const MOST_ROWS: usize = 1_000;

/// Most items of a list that states no other number.
const MOST_ITEMS: u64 = 1_000;

/// Closes objects, limits lists, and removes defaults that mean "left out".
fn close(schema: &mut Value) {
    let is_list = |schema: &Value| match &schema["type"] {
        Value::Array(types) => types.iter().any(|name| name == "array"),
        one => one == "array",
    };
    if is_list(schema) && schema["maxItems"].is_null() {
        schema["maxItems"] = MOST_ITEMS.into();
    }
    if let Some(object) = schema.as_object_mut() {
        if object.contains_key("properties") && !object.contains_key("additionalProperties") {
            object.insert("additionalProperties".into(), false.into());
        }
        if object.contains_key("x-default") || object.get("default") == Some(&Value::Null) {
            object.remove("default");
        }
        // YAML numbers have no width. A field named `format` is an object and stays.
        if object.get("format").is_some_and(Value::is_string) {
            object.remove("format");
        }
        object.values_mut().for_each(close);
    } else if let Some(items) = schema.as_array_mut() {
        items.iter_mut().for_each(close);
    }
}

/// A choice of words with their descriptions.
fn words<'a>(words: impl IntoIterator<Item = (&'a str, &'a str)>) -> Value {
    let choices = words.into_iter().map(|(word, meaning)| json!({"const": word, "description": meaning}));
    json!({"oneOf": choices.collect::<Vec<_>>()})
}

fn schema(value: Value) -> Schema {
    Schema::try_from(value).unwrap_or_default()
}

pub fn hooks(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "minItems": 1, "x-sparse": true,
        "items": {"type": "string", "pattern": r"^(hook_embed|blocks\.(\*|\d+|\{[\d, ]+\})\.(attn\.|mlp\.)?hook_\w+)$"},
    })
}

/// The fields common to all methods.
pub static METHOD: LazyLock<Value> = LazyLock::new(of::<MethodFields>);

pub fn method_kinds(_: &mut SchemaGenerator) -> Schema {
    let fields = kind_fields();
    let kinds = fields.iter().flat_map(|fields| fields.kinds.iter().map(|kind| (kind.name(), kind.words())));
    schema(words(kinds))
}

/// One alternative per kind: the common fields and those of the kind. With `use`, the kind may come from the file.
pub fn methods(_: &mut SchemaGenerator) -> Schema {
    let common = &*METHOD;
    let mut all = common["properties"].as_object().cloned().unwrap_or_default();
    let mut alternatives = Vec::new();
    for fields in kind_fields() {
        let own = fields.schema["properties"].as_object().cloned().unwrap_or_default();
        extend(&mut all, &own);
        for kind in fields.kinds {
            let mut properties = common["properties"].as_object().cloned().unwrap_or_default();
            extend(&mut properties, &own);
            properties.insert("kind".into(), json!({"const": kind.name(), "description": kind.words()}));
            let mut required = vec![json!("kind")];
            required.extend(fields.schema["required"].as_array().into_iter().flatten().cloned());
            alternatives.push(object(properties, required));
        }
    }
    all.insert("kind".into(), common["properties"]["kind"].clone());
    alternatives.push(object(all, vec![json!("use")]));
    json_schema!({
        "type": "array", "minItems": 1, "maxItems": MOST_ROWS, "x-sparse": true, "items": {"anyOf": alternatives},
    })
}

/// Adds the fields of a kind. `features` is a number for some kinds, and a choice of features for all: it then takes
/// either.
fn extend(properties: &mut Map<String, Value>, own: &Map<String, Value>) {
    let either = json!(["integer", "object", "null"]);
    for (name, field) in own {
        match properties.get_mut(name).filter(|_| name == "features") {
            Some(both) if both["type"] == either => {}
            Some(choice) => {
                choice["type"] = either.clone();
                choice["minimum"] = field["minimum"].clone();
                choice["maximum"] = field["maximum"].clone();
            }
            None => {
                properties.insert(name.clone(), field.clone());
            }
        }
    }
}

fn object(properties: Map<String, Value>, required: Vec<Value>) -> Value {
    json!({
        "type": "object", "properties": properties, "required": required, "additionalProperties": false,
    })
}

pub fn sweep(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": ["object", "null"], "minProperties": 1, "maxProperties": 1,
        "additionalProperties": {
            "type": "array", "minItems": 1, "maxItems": MOST_ROWS, "items": {"type": "number"},
            "x-expected": "a list of numbers, `{k: [4, 8, 16]}`",
        },
        "x-expected": "one field of the kind with a list of numbers, `{k: [4, 8, 16]}`",
    })
}

/// A protocol's name, or a mapping of the constants that differ.
pub fn protocol(_: &mut SchemaGenerator) -> Schema {
    let fields = of::<ProtocolFields>();
    let mut properties = of::<Protocol>()["properties"].as_object().cloned().unwrap_or_default();
    properties.extend(fields["properties"].as_object().cloned().unwrap_or_default());
    let names = fields["properties"]["base"].clone();
    schema(json!({"anyOf": [names, object(properties, Vec::new())]}))
}

/// A kind's name, the fields of an offline kind, or the fields of a kind that asks a language model.
fn kind_or_fields(fields: Value, offline: NamesAndWords, model: NamesAndWords) -> Value {
    let mut properties = fields["properties"].as_object().cloned().unwrap_or_default();
    let mut kind = words(model.iter().copied());
    kind["description"] = properties["kind"]["description"].clone();
    properties.insert("kind".into(), kind);
    let alone = Map::from_iter([("kind".to_string(), words(offline.iter().copied()))]);
    let required = || vec![json!("kind")];
    let all = offline.iter().chain(&model).copied();
    json!({"anyOf": [words(all), object(alone, required()), object(properties, required())]})
}

type NamesAndWords = Vec<(&'static str, &'static str)>;

/// Explainers without a language model. Each has a simulator of the same name.
fn offline() -> NamesAndWords {
    explaining(false)
}

fn explaining(asks_model: bool) -> NamesAndWords {
    explainers().filter(|row| row.asks_model() == asks_model).map(|row| (row.name, row.words)).collect()
}

fn simulating() -> NamesAndWords {
    SimulatorKind::all().map(|row| (row.name, row.words)).collect()
}

pub fn explainer(_: &mut SchemaGenerator) -> Schema {
    schema(kind_or_fields(of::<ExplainerFields>(), offline(), explaining(true)))
}

pub fn simulator(_: &mut SchemaGenerator) -> Schema {
    schema(kind_or_fields(of::<SimulatorFields>(), offline(), simulating()))
}

pub fn explainer_kinds(_: &mut SchemaGenerator) -> Schema {
    schema(words(offline().into_iter().chain(explaining(true))))
}

pub fn simulator_kinds(_: &mut SchemaGenerator) -> Schema {
    schema(words(offline().into_iter().chain(simulating())))
}

pub fn pairs(generator: &mut SchemaGenerator) -> Schema {
    let mut alternatives = explainer(generator).as_value()["anyOf"].as_array().cloned().unwrap_or_default();
    alternatives.push(of::<PairFields>());
    json_schema!({"type": "array", "maxItems": 100, "x-sparse": true, "items": {"anyOf": alternatives}})
}

pub fn scorers(_: &mut SchemaGenerator) -> Schema {
    let choices = SCORERS.iter().filter(|row| row.is_offered()).map(|row| (row.name, row.words));
    let default: Vec<String> = default_scorers().map(|name| format!("`{name}`")).collect();
    json_schema!({
        "type": "array", "maxItems": 100, "x-sparse": true, "items": words(choices), "x-default": default.join(", "),
    })
}

/// Every score of the scorers that suites can request.
pub fn scores(_: &mut SchemaGenerator) -> Schema {
    let choices = SCORERS.iter().filter(|row| row.is_offered());
    let names: Vec<&str> = choices.flat_map(|row| row.scores.iter().map(|score| score.name)).collect();
    json_schema!({"type": "string", "enum": names})
}

pub fn controls(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": ["array", "null"], "maxItems": 100, "x-sparse": true, "items": of::<ControlEntry>()})
}

/// A task's own fields with those of patching.
pub fn task(_: &mut SchemaGenerator) -> Schema {
    let mut fields = of::<TaskSpec>();
    fields["type"] = json!(["object", "null"]);
    fields.as_object_mut().map(|fields| fields.remove("description"));
    let patching = of::<PatchParams>();
    if let (Some(own), Some(more)) =
        (fields["properties"].as_object_mut(), patching["properties"].as_object())
    {
        own.extend(more.clone());
    }
    schema(fields)
}

pub fn intervals(_: &mut SchemaGenerator) -> Schema {
    schema(words([
        ("bca", "Bias-corrected and accelerated bootstrap."),
        ("percentile", "Quantiles of the bootstrap distribution."),
        ("normal", "Mean ± 1.96 standard errors."),
    ]))
}
