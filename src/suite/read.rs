//! Validates a [`Node`] by a JSON Schema: returns the value as JSON and every problem with its position.
//!
//! Supported is the subset of JSON Schema that [`super::schema`] writes: types, words (`const`, `enum`, `oneOf` of
//! them), ranges, `properties`, `required`, `additionalProperties`, `items`, `minItems`, `maxItems` and `anyOf`. Three
//! shorthands are accepted: a single value for a list of one, nothing for an empty section, and `500_000`.

use serde_json::{Map, Value as Json};

use super::node::{Node, Position, Value, grouped_digits, shortened, shown_number};
use super::range;

/// Most problems that are kept and listed, so that a long file of mistakes is refused in little time.
pub const MOST_PROBLEMS: usize = 100;

/// Longest text of a field, in characters.
const MOST_TEXT: usize = 10_000;

/// A problem in a suite file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Position; line 0 for a `--set` override or a missing value.
    pub at: Position,
    /// Dotted path of the value, `methods.2.k`.
    pub path: String,
    /// What is wrong, what was expected, what to do.
    pub message: String,
}

/// Collects the problems of a suite.
#[derive(Debug, Default)]
pub struct Reader {
    /// In the order found. One more than [`MOST_PROBLEMS`] means that there may be others.
    pub problems: Vec<Problem>,
}

impl Reader {
    /// Adds a problem, unless there are many.
    pub fn wrong(&mut self, path: &str, at: Position, message: impl Into<String>) {
        if !self.is_full() {
            self.problems.push(Problem { at, path: path.to_string(), message: message.into() });
        }
    }

    /// Whether further problems are left out.
    pub fn is_full(&self) -> bool {
        self.problems.len() > MOST_PROBLEMS
    }

    /// Whether there is a problem at `path` or inside it.
    pub fn is_wrong(&self, path: &str) -> bool {
        let inside = |found: &Problem| {
            found.path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.problems.iter().any(inside)
    }

    /// The value as JSON; none if it is invalid. Invalid fields are left out of their mapping and invalid items out
    /// of their list. In lists marked `x-sparse`, invalid items become null, so that the others keep their indices.
    pub fn value(&mut self, schema: &Json, node: &Node, path: &str) -> Option<Json> {
        if let Some(known) = words_of(schema) {
            return self.word(&known, schema, node, path);
        }
        // Words beside a mapping, as schemars writes an enum, are alternatives too.
        if let Some(alternatives) = schema["anyOf"].as_array().or_else(|| schema["oneOf"].as_array()) {
            return self.alternative(alternatives, node, path);
        }
        let types = types_of(schema);
        let is = |name: &str| types.contains(&name);
        match &node.value {
            Value::Null if is("null") => Some(Json::Null),
            Value::Null if is("object") => self.mapping(schema, &[], node, path),
            Value::Null if is("array") => Some(Json::Array(Vec::new())),
            Value::Map(entries) if is("object") => self.mapping(schema, entries, node, path),
            Value::List(items) if is("array") => {
                let numbered = items.iter().enumerate().map(|(nth, item)| (format!("{path}.{nth}"), item));
                self.list(schema, numbered.collect(), node, path)
            }
            _ if is("array") => self.list(schema, vec![(path.to_string(), node)], node, path),
            Value::Text(text) if is("string") => self.text(text, node, path),
            Value::Text(text) if is("integer") || is("number") => match grouped_digits(text) {
                Some(number) => self.whole(schema, number, node, path),
                None => self.expected(schema, node, path),
            },
            Value::Integer(number) if is("integer") || is("number") => {
                self.whole(schema, *number, node, path)
            }
            Value::Number(number) if is("number") || is("integer") => {
                self.fraction(schema, *number, is("number"), node, path)
            }
            Value::Bool(truth) if is("boolean") => Some((*truth).into()),
            _ if types.is_empty() => self.free(node, path),
            _ => self.expected(schema, node, path),
        }
    }

    fn expected(&mut self, schema: &Json, node: &Node, path: &str) -> Option<Json> {
        let mut message = format!("expected {}, found {}", expectation(schema), node.kind());
        // `features: 40` most likely means `features: {per_cell: 40}`.
        let scalar = !matches!(node.value, Value::Map(_) | Value::List(_) | Value::Null);
        if let Some(main) = schema["x-main"].as_str().filter(|_| scalar) {
            let name = path.rsplit('.').next().unwrap_or(path);
            message.push_str(&format!(": write `{name}: {{{main}: {}}}`", node.shown()));
        }
        self.wrong(path, node.at, message);
        None
    }

    fn word(&mut self, known: &[&str], schema: &Json, node: &Node, path: &str) -> Option<Json> {
        match &node.value {
            Value::Text(text) if known.contains(&text.as_str()) => Some(text.as_str().into()),
            Value::Text(text) => {
                self.wrong(path, node.at, unknown(text, &noun(path), known));
                None
            }
            Value::Bool(truth) if known.contains(&if *truth { "true" } else { "false" }) => {
                Some(truth.to_string().into())
            }
            Value::Null if types_of(schema).contains(&"null") => Some(Json::Null),
            _ => {
                let message = format!("expected one of {}, found {}", known.join(", "), node.kind());
                self.wrong(path, node.at, message);
                None
            }
        }
    }

    fn text(&mut self, text: &str, node: &Node, path: &str) -> Option<Json> {
        if text.chars().nth(MOST_TEXT).is_some() {
            let n = text.chars().count();
            self.wrong(path, node.at, format!("is {n} characters long, expected at most {MOST_TEXT}"));
            return None;
        }
        Some(text.into())
    }

    /// A value whose form nobody checks.
    fn free(&mut self, node: &Node, path: &str) -> Option<Json> {
        if let Some(found) = node.not_finite() {
            self.wrong(path, found.at, format!("is {}, expected a finite number", found.shown()));
            return None;
        }
        Some(node.to_json())
    }

    fn whole(&mut self, schema: &Json, number: i64, node: &Node, path: &str) -> Option<Json> {
        if range::is_inside(schema, number as f64) {
            return Some(number.into());
        }
        let is_whole = types_of(schema).contains(&"integer");
        let expected = range::expectation(schema, is_whole);
        self.wrong(path, node.at, format!("is {number}, expected {expected}"));
        None
    }

    fn fraction(&mut self, schema: &Json, number: f64, fits: bool, node: &Node, path: &str) -> Option<Json> {
        if fits && range::is_inside(schema, number) {
            return Some(number.into());
        }
        let mut expected = range::expectation(schema, !fits);
        if !fits && range::is_inside(schema, number) {
            expected.push_str(" without a point or an exponent");
        }
        self.wrong(path, node.at, format!("is {}, expected {expected}", shown_number(number)));
        None
    }

    fn mapping(&mut self, schema: &Json, entries: &Entries, node: &Node, path: &str) -> Option<Json> {
        let none = Map::new();
        let properties = schema["properties"].as_object().unwrap_or(&none);
        let others = &schema["additionalProperties"];
        let n = entries.len() as u64;
        if schema["minProperties"].as_u64().is_some_and(|least| n < least)
            || schema["maxProperties"].as_u64().is_some_and(|most| n > most)
        {
            return self.expected(schema, node, path);
        }
        let mut fields = Map::new();
        for (key, at, value) in entries {
            let inner = join(path, &shortened(key));
            match properties.get(key).or_else(|| others.is_object().then_some(others)) {
                Some(schema) => {
                    if let Some(read) = self.value(schema, value, &inner) {
                        fields.insert(key.clone(), read);
                    }
                }
                None if schema.get("properties").is_none() && *others != Json::Bool(false) => {
                    if let Some(read) = self.free(value, &inner) {
                        fields.insert(key.clone(), read);
                    }
                }
                None => {
                    let known: Vec<&str> = properties.keys().map(String::as_str).collect();
                    let message =
                        misplaced(properties, key, value).unwrap_or_else(|| unknown(key, "field", &known));
                    self.wrong(&inner, *at, message);
                }
            }
        }
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str) {
            if !entries.iter().any(|(key, _, _)| key == name) {
                self.wrong(&join(path, name), node.at, "is missing and has no default");
            }
        }
        Some(Json::Object(fields))
    }

    fn list(&mut self, schema: &Json, items: Vec<(String, &Node)>, node: &Node, path: &str) -> Option<Json> {
        let n = items.len() as u64;
        if let Some(least) = schema["minItems"].as_u64().filter(|&least| n < least) {
            let message = match schema["x-expected"].as_str() {
                Some(expected) => format!("expected {expected}"),
                None => format!("is empty, expected at least {least} item"),
            };
            self.wrong(path, node.at, message);
            return None;
        }
        if let Some(most) = schema["maxItems"].as_u64().filter(|&most| n > most) {
            self.wrong(path, node.at, format!("has {n} items, expected at most {most}"));
            return None;
        }
        let read: Vec<Option<Json>> =
            items.into_iter().map(|(path, item)| self.value(&schema["items"], item, &path)).collect();
        if schema["x-sparse"] == true {
            return Some(read.into_iter().map(|item| item.unwrap_or(Json::Null)).collect());
        }
        read.into_iter().collect()
    }

    /// Reads `node` by the matching alternative, chosen by type, then by `kind` or required fields.
    fn alternative(&mut self, alternatives: &[Json], node: &Node, path: &str) -> Option<Json> {
        let null = alternatives.iter().any(|one| types_of(one).contains(&"null"));
        match &node.value {
            Value::Null if null => Some(Json::Null),
            Value::Map(entries) => self.object_alternative(alternatives, entries, node, path),
            _ => {
                let fits = |one: &&Json| types_of(one).iter().any(|name| admits(name, &node.value));
                if let Some(schema) = alternatives.iter().find(fits) {
                    return self.value(schema, node, path);
                }
                let objects: Vec<&Json> = alternatives.iter().filter(|one| is_object(one)).collect();
                match objects.as_slice() {
                    [only] => self.expected(only, node, path),
                    _ => {
                        let heads = heads(&objects);
                        let message = format!("expected a mapping with {heads}, found {}", node.kind());
                        self.wrong(path, node.at, message);
                        None
                    }
                }
            }
        }
    }

    fn object_alternative(
        &mut self,
        alternatives: &[Json],
        entries: &Entries,
        node: &Node,
        path: &str,
    ) -> Option<Json> {
        let objects: Vec<&Json> = alternatives.iter().filter(|one| is_object(one)).collect();
        let find = |wanted: &str| entries.iter().find(|(key, _, _)| key == wanted);
        let has_required = |one: &&&Json| {
            let mut required = one["required"].as_array().into_iter().flatten().filter_map(Json::as_str);
            required.all(|name| name != "kind" && find(name).is_some())
        };
        if let [only] = objects.as_slice() {
            return self.value(only, node, path);
        }
        if let Some((_, _, kind)) = find("kind") {
            let kinds = |one: &Json| words_of(&one["properties"]["kind"]).unwrap_or_default().join(" ");
            let named = |one: &&&Json| matches!(&kind.value, Value::Text(text) if kinds(one).split(' ').any(|word| word == text));
            if let Some(schema) = objects.iter().find(named) {
                return self.value(schema, node, path);
            }
            let mut known: Vec<&str> = Vec::new();
            for one in objects.iter().filter_map(|one| words_of(&one["properties"]["kind"])).flatten() {
                if !known.contains(&one) {
                    known.push(one);
                }
            }
            self.word(&known, &Json::Null, kind, &join(path, "kind"));
            return None;
        }
        match objects.iter().find(has_required) {
            Some(schema) => self.value(schema, node, path),
            None if objects.is_empty() => {
                let words: Vec<&str> = alternatives.iter().filter_map(words_of).flatten().collect();
                let message = format!("expected one of {}, found a mapping", words.join(", "));
                self.wrong(path, node.at, message);
                None
            }
            None => {
                self.wrong(path, node.at, format!("needs {}", heads(&objects)));
                None
            }
        }
    }
}

type Entries = [(String, Position, Node)];

/// The fields that distinguish alternatives, for messages.
fn heads(objects: &[&Json]) -> String {
    let mut heads: Vec<String> = Vec::new();
    for name in objects.iter().filter_map(|one| one["required"][0].as_str()) {
        let shown = format!("`{name}:`");
        if !heads.contains(&shown) {
            heads.push(shown);
        }
    }
    heads.join(" or ")
}

fn join(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_string() } else { format!("{path}.{field}") }
}

fn is_object(schema: &Json) -> bool {
    types_of(schema).contains(&"object")
}

fn admits(name: &str, value: &Value) -> bool {
    match value {
        Value::Text(_) => name == "string",
        Value::Integer(_) => name == "integer" || name == "number",
        Value::Number(_) => name == "number",
        Value::Bool(_) => name == "boolean",
        Value::List(_) => name == "array",
        Value::Null | Value::Map(_) => false,
    }
}

/// The types that a schema allows. Words are strings.
fn types_of(schema: &Json) -> Vec<&str> {
    match &schema["type"] {
        Json::String(name) => vec![name],
        Json::Array(names) => names.iter().filter_map(Json::as_str).collect(),
        _ if words_of(schema).is_some() => vec!["string"],
        _ => Vec::new(),
    }
}

/// A constant as a word: text, or YAML's `false` and `true`.
pub fn word_of(constant: &Json) -> Option<&str> {
    match constant {
        Json::Bool(truth) => Some(if *truth { "true" } else { "false" }),
        other => other.as_str(),
    }
}

/// The allowed words, if a schema allows nothing else.
pub fn words_of(schema: &Json) -> Option<Vec<&str>> {
    if let Some(word) = word_of(&schema["const"]) {
        return Some(vec![word]);
    }
    if let Some(words) = schema["enum"].as_array() {
        return Some(words.iter().filter_map(Json::as_str).collect());
    }
    let choices = schema["oneOf"].as_array()?;
    let words: Option<Vec<Vec<&str>>> = choices.iter().map(words_of).collect();
    words.map(|words| words.concat())
}

/// What a schema expects, in words.
fn expectation(schema: &Json) -> String {
    if let Some(words) = schema["x-expected"].as_str() {
        return words.to_string();
    }
    let known = schema["properties"].as_object();
    let one = |name: &str| match (name, known) {
        ("object", Some(known)) => {
            let names: Vec<&str> = known.keys().map(String::as_str).collect();
            format!("a mapping of fields ({})", names.join(", "))
        }
        ("object", None) => "a mapping".to_string(),
        ("array", _) => "a list".to_string(),
        ("string", _) => "text".to_string(),
        ("integer", _) => range::expectation(schema, true),
        ("number", _) => range::expectation(schema, false),
        ("boolean", _) => "true or false".to_string(),
        (other, _) => other.to_string(),
    };
    let types = types_of(schema);
    let names: Vec<String> = types.iter().filter(|name| **name != "null").map(|name| one(name)).collect();
    names.join(" or ")
}

/// Noun for a value at a path: `scorer` for `scorers.2`.
fn noun(path: &str) -> String {
    let is_name = |part: &&str| part.parse::<usize>().is_err();
    let last = path.rsplit('.').find(is_name).unwrap_or("word");
    last.strip_suffix('s').filter(|rest| !rest.ends_with('o')).unwrap_or(last).to_string()
}

/// Message for a field in the wrong section, such as `model` at the top level.
fn misplaced(properties: &Map<String, Json>, key: &str, value: &Node) -> Option<String> {
    let takes = |schema: &Json| !schema["properties"][key].is_null();
    let (section, _) = properties.iter().find(|(_, schema)| takes(schema))?;
    let shown = value.shown();
    Some(format!("unknown field `{key}`; it belongs to `{section}`: write `{section}: {{{key}: {shown}}}`"))
}

/// Message for an unknown word, with the nearest known word if it is similar.
pub fn unknown(word: &str, what: &str, known: &[&str]) -> String {
    let hint = nearest(word, known).map(|name| format!(", did you mean `{name}`?")).unwrap_or_default();
    format!("unknown {what} `{}`{hint} (known: {})", shortened(word), known.join(", "))
}

/// The most similar known word: equal except for case, or with similarity of at least 0.7.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    const LEAST_SIMILARITY: f64 = 0.7;
    // The time grows with the product of the lengths.
    const LONGEST: usize = 100;
    if word.len() > LONGEST {
        return None;
    }
    if let Some(same) = known.iter().find(|name| name.eq_ignore_ascii_case(word)) {
        return Some(same);
    }
    let similarity = |name: &&&str| strsim::normalized_damerau_levenshtein(word, name);
    let best = known.iter().max_by(|a, b| similarity(a).total_cmp(&similarity(b)))?;
    (similarity(&best) >= LEAST_SIMILARITY).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_named_with_its_place_and_its_remedy() {
        let text = "fit_tokns: 3\nctx_tokens: many\nsource: 3\neval_fragments: 1_0\n";
        let node = Node::parse(text).expect("valid");
        let mut reader = Reader::default();
        let schema = super::super::schema::of::<super::super::spec::CorpusSpec>();
        let read = reader.value(&schema, &node, "corpus");
        let messages: Vec<(u64, &str, &str)> = reader
            .problems
            .iter()
            .map(|found| (found.at.line, found.path.as_str(), found.message.as_str()))
            .collect();
        assert_eq!(messages.len(), 4, "{messages:?}");
        assert!(messages[0].2.contains("did you mean `fit_tokens`"), "{messages:?}");
        assert_eq!(
            messages[1],
            (2, "corpus.ctx_tokens", "expected a whole number from 2 to 1048576, found text")
        );
        assert_eq!(messages[2], (3, "corpus.source", "expected text, found a whole number"));
        assert_eq!(
            messages[3],
            (4, "corpus.eval_fragments", "is 10, expected a whole number from 40 to 100000000")
        );
        assert_eq!(read, Some(serde_json::json!({})));
    }

    #[test]
    fn near_words_are_suggested_and_far_ones_are_not() {
        let scorers = ["top_and_random", "top_only", "population", "detection"];
        assert_eq!(nearest("correlation", &scorers), None);
        assert_eq!(nearest("top_and_randm", &scorers), Some("top_and_random"));
        assert_eq!(nearest("K", &["k", "kind"]), Some("k"));
        assert_eq!(nearest("top_k", &["topk", "batch_topk"]), Some("topk"));
    }
}
