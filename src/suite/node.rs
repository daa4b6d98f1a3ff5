//! A YAML document as a tree with the position of each value and key.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::{Error, NonFiniteFloatPolicy, Options, Spanned};

/// Most levels of lists and mappings inside each other.
const MOST_LEVELS: usize = 64;

/// Most values of a file, each use of an alias (`*name`) counted.
const MOST_VALUES: usize = 250_000;

/// Most bytes of text in a file, each use of an alias counted.
const MOST_BYTES: usize = 16 << 20;

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
        serde_saphyr::from_str_with_options::<Self>(text, options()).map_err(|error| {
            match line_with_tab(text) {
                Some(line) => format!("line {line} is indented with a tab, and YAML is indented with spaces"),
                None => in_words(&error).unwrap_or_else(|| error.to_string()),
            }
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
        let levels = path.split('.').count();
        if levels > MOST_LEVELS {
            return Err(format!("the path has {levels} parts, expected at most {MOST_LEVELS}"));
        }
        self.set_inside(path, value)
    }

    fn set_inside(&mut self, path: &str, value: Self) -> Result<(), String> {
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
            Some(rest) => child.set_inside(rest, value),
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

    /// The value as text for messages, at most its beginning.
    pub fn shown(&self) -> String {
        match &self.value {
            Value::Number(value) => shown_number(*value),
            Value::Text(text) => shortened(text).into_owned(),
            _ => shortened(&self.to_json().to_string()).into_owned(),
        }
    }

    /// The first NaN or infinity inside, which JSON cannot hold.
    pub fn not_finite(&self) -> Option<&Self> {
        match &self.value {
            Value::Number(value) => (!value.is_finite()).then_some(self),
            Value::List(items) => items.iter().find_map(Self::not_finite),
            Value::Map(entries) => entries.iter().find_map(|(_, _, node)| node.not_finite()),
            _ => None,
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

/// Limits of the parser. NaN and infinity pass, so that the reader can name the field that holds them.
fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MOST_LEVELS,
            max_nodes: MOST_VALUES,
            max_total_scalar_bytes: MOST_BYTES,
        },
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
    }
}

/// The parser's error where its own words are for programmers.
fn in_words(error: &Error) -> Option<String> {
    let mut plain = error.without_snippet();
    while let Error::AliasError { error, .. } = plain {
        plain = error;
    }
    let what = match plain {
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("the field `{}` is given twice: keep one of them", shortened(key))
        }
        Error::MultipleDocuments { .. } => {
            "the file holds several YAML documents (`---`), expected one suite".to_string()
        }
        Error::Budget { breach, .. } => match breach {
            BudgetBreach::Depth { .. } => {
                format!("lists and mappings are nested more than {MOST_LEVELS} levels deep")
            }
            BudgetBreach::Nodes { .. } | BudgetBreach::Events { .. } => format!(
                "the file has more than {MOST_VALUES} values, those behind each `*alias` counted; many ids of features \
                 belong into a file of their own, `ids_file`"
            ),
            BudgetBreach::ScalarBytes { .. } => {
                format!(
                    "the file has more than {} MB of text, that behind each `*alias` counted",
                    MOST_BYTES >> 20
                )
            }
            _ => "the file is beyond the limits of a suite: too many anchors, aliases, merges or comments"
                .to_string(),
        },
        _ => return None,
    };
    let place = plain.location().map(|at| format!("line {} column {}: ", at.line(), at.column()));
    Some(place.unwrap_or_default() + &what)
}

/// Longest text of a file that a message repeats, in characters.
const SHOWN: usize = 80;

/// The beginning of a text, for messages.
pub fn shortened(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

/// A number for messages: very large and very small ones with an exponent.
pub fn shown_number(value: f64) -> String {
    let plain = value == 0.0 || !value.is_finite() || (1e-5..1e16).contains(&value.abs());
    if plain { value.to_string() } else { format!("{value:e}") }
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

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        // Larger than any range: the nearest f64 is enough for the message.
        Ok(i64::try_from(value).map_or(Value::Number(value as f64), Value::Integer))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or(Value::Number(value as f64), Value::Integer))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or(Value::Number(value as f64), Value::Integer))
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
