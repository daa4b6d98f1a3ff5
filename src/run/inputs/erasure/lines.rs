//! Labelled texts from JSON lines.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// Most concepts of a file.
const MOST_CONCEPTS: usize = 16;

/// Longest name of a concept or label, in characters.
const LONGEST_NAME: usize = 60;

const EXPECTED: &str =
    "expected a JSON object with the text `text` and the label `label`, or with `clean_prefix` and `case`";

/// A line: a labelled text, or a pair of agreement prompts as in sparse feature circuits (Marks et al. 2024, arXiv
/// 2403.19647). Other fields are not read.
#[derive(Deserialize)]
struct Line {
    #[serde(alias = "clean_prefix")]
    text: String,
    label: Option<Value>,
    case: Option<String>,
    concept: Option<String>,
}

/// Texts of a concept with their labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelledTexts {
    pub name: String,
    pub labels: [String; 2],
    /// Text, and whether it has the second label.
    pub texts: Vec<(String, bool)>,
}

/// The concepts of a file, by name. `default` names that of lines without a concept. `Err` says what is wrong, and where.
pub fn concepts_of(text: &str, default: &str) -> Result<Vec<LabelledTexts>, String> {
    let mut found: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for (nth, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let at = |why: String| format!("line {}: {why}", nth + 1);
        let line: Line = serde_json::from_str(line).map_err(|error| at(format!("{error}; {EXPECTED}")))?;
        let label = label(&line).ok_or_else(|| at(format!("it has no label; {EXPECTED}")))?;
        let concept = line.concept.unwrap_or_else(|| default.to_string());
        if let Some(long) = [&concept, &label].into_iter().find(|name| name.chars().count() > LONGEST_NAME) {
            let n = long.chars().count();
            return Err(at(format!("a name has {n} characters: expected at most {LONGEST_NAME}")));
        }
        found.entry(concept).or_default().push((line.text, label));
    }
    match found.len() {
        0 => Err(format!("has no line: {EXPECTED} in each line")),
        n if n > MOST_CONCEPTS => Err(format!("has {n} concepts: expected at most {MOST_CONCEPTS}")),
        _ => found.into_iter().map(|(name, texts)| concept(name, texts)).collect(),
    }
}

/// The label as text; of an agreement pair, the number of the subject.
fn label(line: &Line) -> Option<String> {
    match &line.label {
        Some(Value::String(label)) => Some(label.clone()),
        Some(label @ (Value::Number(_) | Value::Bool(_))) => Some(label.to_string()),
        Some(_) => None,
        None => Some(line.case.as_ref()?.split('_').next()?.to_string()),
    }
}

fn concept(name: String, texts: Vec<(String, String)>) -> Result<LabelledTexts, String> {
    let mut labels: Vec<String> = texts.iter().map(|(_, label)| label.clone()).collect();
    labels.sort_unstable();
    labels.dedup();
    let labels = <[String; 2]>::try_from(labels).map_err(|labels| {
        let shown: Vec<String> = labels.iter().take(4).map(|label| format!("`{label}`")).collect();
        format!("has {} labels of the concept `{name}` ({}): expected two", labels.len(), shown.join(", "))
    })?;
    let texts = texts.into_iter().map(|(text, label)| (text, label == labels[1])).collect();
    Ok(LabelledTexts { name, labels, texts })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labelled_texts_and_agreement_pairs_are_read() {
        let text = r#"{"text": "It is red", "label": 1, "concept": "colour"}
{"text": "It is blue", "label": 0, "concept": "colour"}

{"clean_prefix": "The uncles near the car", "patch_prefix": "The uncle near the car", "clean_answer": " have", "patch_answer": " has", "case": "plural_singular"}
{"clean_prefix": "The uncle", "case": "singular"}"#;
        let found = concepts_of(text, "agreement").expect("two concepts");
        let names: Vec<&str> = found.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["agreement", "colour"]);
        assert_eq!(found[0].labels, ["plural", "singular"]);
        assert_eq!(found[0].texts[1], ("The uncle".to_string(), true));
        assert_eq!((found[1].labels[0].as_str(), found[1].texts[0].1), ("0", true));
    }

    #[test]
    fn bad_lines_are_named() {
        let why = |text: &str| concepts_of(text, "file").expect_err("refused");
        assert!(why("").contains("has no line"));
        assert!(why("\n{\"label\": 1}").starts_with("line 2: missing field `text`"));
        assert!(why("{\"text\": \"a\"}").starts_with("line 1: it has no label"));
        let one = "{\"text\": \"a\", \"label\": \"x\"}\n";
        assert!(why(&one.repeat(3)).contains("has 1 labels of the concept `file` (`x`): expected two"));
    }
}
