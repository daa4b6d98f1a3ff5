//! Reads typed values out of a [`Node`] tree and gathers every problem instead of stopping at the
//! first.

use std::collections::{BTreeMap, BTreeSet};

use super::node::{Node, Position, Value, grouped_digits};

/// Something wrong in a suite file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where; line 0 for a `--set` override or a value that is missing altogether.
    pub at: Position,
    /// Dotted path of the value, `methods.2.k`.
    pub path: String,
    /// What is wrong, what was expected, what to do.
    pub message: String,
}

/// One mapping being read. Keys that nobody asked for are problems when it is finished.
pub struct Section<'a> {
    path: String,
    at: Position,
    entries: &'a [(String, Position, Node)],
    asked: BTreeSet<&'static str>,
}

impl<'a> Section<'a> {
    /// The mapping at `path`; a problem (and an empty section) where `node` is no mapping.
    pub fn new(path: &str, node: &'a Node, problems: &mut Vec<Problem>) -> Self {
        let entries: &[_] = match &node.value {
            Value::Map(entries) => entries,
            Value::Null => &[],
            _ => {
                problems.push(problem(
                    path,
                    node.at,
                    format!("expected a mapping of fields, found {}", node.kind()),
                ));
                &[]
            }
        };
        Self { path: path.to_string(), at: node.at, entries, asked: BTreeSet::new() }
    }

    /// Where the mapping begins.
    pub fn at(&self) -> Position {
        self.at
    }

    /// The dotted path of a field.
    pub fn path_of(&self, field: &str) -> String {
        if self.path.is_empty() { field.to_string() } else { format!("{}.{field}", self.path) }
    }

    /// The value of a field, if it is there.
    pub fn get(&mut self, field: &'static str) -> Option<&'a Node> {
        self.asked.insert(field);
        self.entries.iter().find(|(key, _, _)| key == field).map(|(_, _, node)| node)
    }

    /// A field that must be there.
    pub fn required(&mut self, field: &'static str, problems: &mut Vec<Problem>) -> Option<&'a Node> {
        let found = self.get(field);
        if found.is_none() {
            problems.push(problem(&self.path_of(field), self.at, "is missing and has no default".into()));
        }
        found
    }

    /// Text.
    pub fn text(&mut self, field: &'static str, problems: &mut Vec<Problem>) -> Option<String> {
        let path = self.path_of(field);
        as_text(&path, self.get(field)?, problems)
    }

    /// A whole number of at least `least`.
    pub fn count(&mut self, field: &'static str, least: i64, problems: &mut Vec<Problem>) -> Option<usize> {
        let path = self.path_of(field);
        let node = self.get(field)?;
        let number = match &node.value {
            Value::Integer(number) => Some(*number),
            Value::Text(text) => grouped_digits(text),
            _ => None,
        };
        match number {
            Some(number) if number >= least => usize::try_from(number).ok(),
            Some(number) => {
                problems.push(problem(&path, node.at, format!("is {number}, expected at least {least}")));
                None
            }
            None => {
                problems.push(problem(
                    &path,
                    node.at,
                    format!("expected a whole number, found {}", node.kind()),
                ));
                None
            }
        }
    }

    /// A number in `low..=high`.
    pub fn number(
        &mut self,
        field: &'static str,
        low: f64,
        high: f64,
        problems: &mut Vec<Problem>,
    ) -> Option<f64> {
        let path = self.path_of(field);
        let node = self.get(field)?;
        let number = match &node.value {
            Value::Integer(number) => Some(*number as f64),
            Value::Number(number) => Some(*number),
            _ => None,
        };
        match number {
            Some(number) if (low..=high).contains(&number) => Some(number),
            Some(number) => {
                problems.push(problem(&path, node.at, format!("is {number}, expected {low} to {high}")));
                None
            }
            None => {
                problems.push(problem(&path, node.at, format!("expected a number, found {}", node.kind())));
                None
            }
        }
    }

    /// Yes or no.
    pub fn truth(&mut self, field: &'static str, problems: &mut Vec<Problem>) -> Option<bool> {
        let path = self.path_of(field);
        let node = self.get(field)?;
        match &node.value {
            Value::Bool(value) => Some(*value),
            _ => {
                problems.push(problem(
                    &path,
                    node.at,
                    format!("expected true or false, found {}", node.kind()),
                ));
                None
            }
        }
    }

    /// A mapping of the user's own keys to texts; empty where it is not there.
    pub fn texts(&mut self, field: &'static str, problems: &mut Vec<Problem>) -> BTreeMap<String, String> {
        let path = self.path_of(field);
        let Some(node) = self.get(field) else { return BTreeMap::new() };
        let Value::Map(entries) = &node.value else {
            problems.push(problem(
                &path,
                node.at,
                format!("expected a mapping of texts, found {}", node.kind()),
            ));
            return BTreeMap::new();
        };
        let text = |(key, _, node): &(String, Position, Node)| {
            as_text(&format!("{path}.{key}"), node, problems).map(|text| (key.clone(), text))
        };
        entries.iter().filter_map(text).collect()
    }

    /// A mapping of anything.
    pub fn json(
        &mut self,
        field: &'static str,
        problems: &mut Vec<Problem>,
    ) -> BTreeMap<String, serde_json::Value> {
        let path = self.path_of(field);
        let Some(node) = self.get(field) else { return BTreeMap::new() };
        let Value::Map(entries) = &node.value else {
            problems.push(problem(&path, node.at, format!("expected a mapping, found {}", node.kind())));
            return BTreeMap::new();
        };
        entries.iter().map(|(key, _, node)| (key.clone(), node.to_json())).collect()
    }

    /// A list; a single value counts as a list of one.
    pub fn list(&mut self, field: &'static str) -> Option<Vec<(String, &'a Node)>> {
        let path = self.path_of(field);
        let node = self.get(field)?;
        Some(match &node.value {
            Value::List(items) => {
                items.iter().enumerate().map(|(index, item)| (format!("{path}.{index}"), item)).collect()
            }
            Value::Null => Vec::new(),
            _ => vec![(path, node)],
        })
    }

    /// Every field nobody asked for becomes a problem that names the nearest known one.
    pub fn finish(self, problems: &mut Vec<Problem>) {
        for (key, at, _) in self.entries {
            if !self.asked.contains(key.as_str()) {
                let known: Vec<&str> = self.asked.iter().copied().collect();
                problems.push(problem(&self.path_of(key), *at, unknown(key, "field", &known)));
            }
        }
    }
}

/// Text, or a problem.
pub fn as_text(path: &str, node: &Node, problems: &mut Vec<Problem>) -> Option<String> {
    match &node.value {
        Value::Text(text) => Some(text.clone()),
        _ => {
            problems.push(problem(path, node.at, format!("expected text, found {}", node.kind())));
            None
        }
    }
}

/// One of a fixed set of words, or a problem that names the set.
pub fn one_of<T: Copy>(
    path: &str,
    node: &Node,
    what: &str,
    choices: &[(&str, T)],
    problems: &mut Vec<Problem>,
) -> Option<T> {
    let text = as_text(path, node, problems)?;
    match choices.iter().find(|(name, _)| *name == text) {
        Some((_, value)) => Some(*value),
        None => {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            problems.push(problem(path, node.at, unknown(&text, what, &names)));
            None
        }
    }
}

/// A problem at a place.
pub fn problem(path: &str, at: Position, message: String) -> Problem {
    Problem { at, path: path.to_string(), message }
}

/// The message for a word that is none of the known ones.
pub fn unknown(word: &str, what: &str, known: &[&str]) -> String {
    let near =
        known.iter().map(|name| (edits(word, name), *name)).min().filter(|(n, _)| *n <= 1 + word.len() / 3);
    let hint = near.map(|(_, name)| format!(", did you mean `{name}`?")).unwrap_or_default();
    format!("unknown {what} `{word}`{hint} (known: {})", known.join(", "))
}

/// Levenshtein distance in characters.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_field_is_named_with_its_neighbour() {
        let node = Node::parse("fit_tokns: 3\nctx_tokens: many\n").expect("valid");
        let mut problems = Vec::new();
        let mut section = Section::new("corpus", &node, &mut problems);
        section.count("fit_tokens", 1, &mut problems);
        section.count("ctx_tokens", 1, &mut problems);
        section.finish(&mut problems);
        assert_eq!(problems.len(), 2);
        assert!(problems[1].message.contains("did you mean `fit_tokens`"), "{problems:?}");
        assert_eq!((problems[0].at.line, problems[0].at.column), (2, 13));
    }
}
