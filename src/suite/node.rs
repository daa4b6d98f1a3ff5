//! A YAML document as a tree with the position of each value and key.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// A position in the suite file, counted from 1. Line 0 means a `--set` override.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// Line, from 1.
    pub line: u64,
    /// Column, from 1.
    pub column: u64,
}

/// A value with its position.
#[derive(Debug, Clone)]
pub struct Node {
    /// Start of the value.
    pub at: Position,
    /// The value.
    pub value: Value,
}

/// A YAML value. Integers and fractions are distinguished.
#[derive(Debug, Clone)]
pub enum Value {
    /// Empty, `null` or `~`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction or exponent.
    Number(f64),
    /// Text.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in file order, each key with its position.
    Map(Vec<(String, Position, Node)>),
}

impl Node {
    /// Parses one YAML document. `Err` is the parser's message with line and column.
    pub fn parse(text: &str) -> Result<Self, String> {
        serde_saphyr::from_str::<Self>(text).map_err(|error| match line_with_tab(text) {
            Some(line) => format!("line {line} is indented with a tab, and YAML is indented with spaces"),
            None => error.to_string(),
        })
    }

    /// Name of the value's type, for messages.
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Integer(_) => "a whole number",
            Value::Number(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// Sets the value at a dotted path and creates missing mappings. List items are numbered from 0. `Err` names
    /// the part of the path that does not fit.
    pub fn set(&mut self, path: &str, value: Self) -> Result<(), String> {
        let (head, rest) = match path.split_once('.') {
            Some((head, rest)) => (head, Some(rest)),
            None => (path, None),
        };
        if matches!(self.value, Value::Null) {
            self.value = Value::Map(Vec::new());
        }
        let child = match &mut self.value {
            Value::Map(entries) => {
                let index = match entries.iter().position(|(key, _, _)| key == head) {
                    Some(index) => index,
                    None => {
                        let empty = Self { at: Position::default(), value: Value::Null };
                        entries.push((head.to_string(), Position::default(), empty));
                        entries.len() - 1
                    }
                };
                &mut entries[index].2
            }
            Value::List(items) => {
                let n = items.len();
                head.parse::<usize>().ok().and_then(|index| items.get_mut(index)).ok_or_else(|| {
                    format!("`{head}` is not an item of a list of {n} (items are counted from 0)")
                })?
            }
            _ => return Err(format!("`{head}` cannot be set inside {}", self.kind())),
        };
        match rest {
            Some(rest) => child.set(rest, value),
            None => {
                *child = value;
                Ok(())
            }
        }
    }

    /// The value at a dotted path. A single value also counts as item 0 of a list.
    pub fn find(&self, path: &str) -> Option<&Self> {
        let Some((head, rest)) = path.split_once('.').or((!path.is_empty()).then_some((path, ""))) else {
            return Some(self);
        };
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(key, _, _)| key == head)?.2.find(rest),
            Value::List(items) => items.get(head.parse::<usize>().ok()?)?.find(rest),
            _ if head == "0" => self.find(rest),
            _ => None,
        }
    }

    /// Position of the value at a dotted path, or else of the nearest enclosing value.
    pub fn place(&self, path: &str) -> Position {
        match (self.find(path), path.rsplit_once('.')) {
            (Some(found), _) => found.at,
            (None, Some((outer, _))) => self.place(outer),
            (None, None) => self.at,
        }
    }

    /// The value as text for messages.
    pub fn shown(&self) -> String {
        match self.to_json() {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        }
    }

    /// The value as JSON, without positions.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Integer(value) => (*value).into(),
            Value::Number(value) => (*value).into(),
            Value::Text(text) => match grouped_digits(text) {
                Some(number) => number.into(),
                None => text.clone().into(),
            },
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(entries) => {
                let entries = entries.iter().map(|(key, _, node)| (key.clone(), node.to_json()));
                serde_json::Value::Object(entries.collect())
            }
        }
    }
}

/// First line that is indented with a tab, counted from 1.
fn line_with_tab(text: &str) -> Option<usize> {
    let indented = |line: &str| line.chars().take_while(|c| c.is_whitespace()).any(|c| c == '\t');
    text.lines().position(|line| indented(line) && !line.trim().is_empty()).map(|nth| nth + 1)
}

/// Parses digits grouped by underscores, `500_000`.
pub fn grouped_digits(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = !digits.is_empty()
        && digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.chars().all(|c| c.is_ascii_digit() || c == '_')
        && digits.contains('_');
    if plain { text.replace('_', "").parse().ok() } else { None }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        let at = Position { line: spanned.referenced.line(), column: spanned.referenced.column() };
        Ok(Self { at, value: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        i64::try_from(value).map(Value::Integer).map_err(|_| E::custom(format!("`{value}` is too large")))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_string()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Node>()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some((key, value)) = entries.next_entry::<Spanned<String>, Node>()? {
            let at = Position { line: key.referenced.line(), column: key.referenced.column() };
            map.push((key.value, at, value));
        }
        Ok(Value::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_and_numbers_survive() {
        let node = Node::parse("a: 500_000\nb:\n  - {c: 1.5, d: yes please}\n").expect("valid");
        let Value::Map(entries) = &node.value else { panic!("{node:?}") };
        assert_eq!(entries[0].2.to_json(), serde_json::json!(500_000));
        assert_eq!(entries[1].1, Position { line: 2, column: 1 });
        assert_eq!(node.to_json()["b"][0]["d"], "yes please");
    }

    #[test]
    fn overrides_reach_into_lists_and_make_mappings() {
        let mut node = Node::parse("methods: [{name: a}]\n").expect("valid");
        node.set("methods.0.k", Node::parse("7").expect("valid")).expect("set");
        node.set("features.per_cell", Node::parse("3").expect("valid")).expect("set");
        assert_eq!(
            node.to_json(),
            serde_json::json!({"methods": [{"name": "a", "k": 7}], "features": {"per_cell": 3}})
        );
        assert!(node.set("methods.4.k", Node::parse("7").expect("valid")).is_err());
    }
}
