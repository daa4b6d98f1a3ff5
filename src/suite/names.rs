//! Names that a suite gives to itself, its methods, explainers and simulators. They become names of files and folders
//! and stand in tables, so only characters are allowed that every system stores as they are.

use std::collections::HashMap;

use schemars::{Schema, SchemaGenerator, json_schema};

use super::node::shortened;

/// Longest name, in characters.
const MOST: usize = 100;

/// Names that Windows reserves for devices, also with an ending behind a point.
const RESERVED: [&str; 4] = ["con", "prn", "aux", "nul"];

/// The schema of an optional name, for editors. [`problem`] checks it.
pub fn schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": ["string", "null"], "maxLength": MOST, "pattern": r"^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_-])?$",
    })
}

/// Why a text is no name, with what is allowed.
pub fn problem(name: &str) -> Option<String> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let shown = shortened(name).escape_debug().to_string();
    if name.is_empty()
        || !name.chars().all(is_allowed)
        || name.starts_with(['.', '-'])
        || name.ends_with('.')
        || name.len() > MOST
    {
        return Some(format!(
            "`{shown}` cannot be a name, because files are named after it: use letters, digits, `-`, `_` and `.` \
             (a-z, A-Z, 0-9; at most {MOST}), with no `.` or `-` at the beginning and no `.` at the end"
        ));
    }
    is_reserved(name)
        .then(|| format!("`{shown}` is a device on Windows and cannot name a file: choose another name"))
}

fn is_reserved(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name).to_ascii_lowercase();
    let is_port = |kind: &str| {
        stem.strip_prefix(kind).is_some_and(|n| n.len() == 1 && n.chars().all(|c| c.is_ascii_digit()))
    };
    RESERVED.contains(&stem.as_str()) || is_port("com") || is_port("lpt")
}

/// Names in use, to find those that are equal or differ only by case: some systems would keep their files as one.
#[derive(Debug, Default)]
pub struct Names(HashMap<String, String>);

impl Names {
    /// Adds a name. Returns the earlier one that is the same but for case.
    pub fn add(&mut self, name: &str) -> Option<String> {
        let lower = name.to_ascii_lowercase();
        let earlier = self.0.get(&lower).cloned();
        if earlier.is_none() {
            self.0.insert(lower, name.to_string());
        }
        earlier
    }
}

/// The message for two names that differ only by case.
pub fn only_case(one: &str, other: &str) -> String {
    format!(
        "`{other}` and `{one}` differ only by case, and some systems keep their files as one: rename one of them"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_paths_devices_or_invisible_are_refused() {
        let long = "x".repeat(MOST + 1);
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "a\\b",
            "../x",
            "/tmp/x",
            "c:x",
            ".hidden",
            "-rf",
            "end.",
            "a b",
            "ä",
            "a\0",
            "a\n",
            "\u{1b}[31m",
            "\u{202e}x",
            "con",
            "NUL",
            "Com1",
            "lpt9.txt",
            "aux.seed2",
            &long,
        ] {
            assert!(problem(bad).is_some(), "{bad:?}");
        }
        for good in ["topk", "topk_0.5", "e-3", "SAE-2.seed2", "_", "0", "console", "com", "com10", "nul_"] {
            assert_eq!(problem(good), None);
        }
        let shown = problem("a\u{1b}b").expect("refused");
        assert!(shown.contains("a\\u{1b}b"), "{shown}");
    }

    #[test]
    fn names_that_differ_only_by_case_meet() {
        let mut names = Names::default();
        assert_eq!(names.add("topk"), None);
        assert_eq!(names.add("TopK").as_deref(), Some("topk"));
        assert_eq!(names.add("topk_"), None);
    }
}
