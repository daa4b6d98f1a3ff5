//! Pairs of prompts from JSON lines.

use serde::Deserialize;

use super::pair::PairText;

/// A line. The names of sparse feature circuits (Marks et al. 2024, arXiv 2403.19647) are read too: the clean prompt is the
/// base. Other fields are not read.
#[derive(Deserialize)]
struct Line {
    #[serde(alias = "clean_prefix")]
    base: String,
    #[serde(alias = "patch_prefix")]
    target: String,
    #[serde(alias = "clean_answer")]
    base_answer: String,
    #[serde(alias = "patch_answer")]
    target_answer: String,
    /// Characters of both prompts that are kept.
    #[serde(default)]
    position: Option<usize>,
}

/// The pairs of a file. `Err` says what is wrong with which line.
pub fn lines_of(text: &str) -> Result<Vec<PairText>, String> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let read = |(nth, line): (usize, &str)| {
        let line: Line = serde_json::from_str(line).map_err(|error| {
            format!(
                "line {}: {error}; expected a JSON object with the texts `base`, `target`, `base_answer` and \
                 `target_answer`",
                nth + 1
            )
        })?;
        let cut = |text: &str| match line.position {
            Some(position) => text.chars().take(position).collect(),
            None => text.to_string(),
        };
        let (base, target) = (cut(&line.base), cut(&line.target));
        let (base_answer, target_answer) = (line.base_answer, line.target_answer);
        Ok(PairText { base, target, base_answer, target_answer, rival: None })
    };
    lines.map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_read_and_a_position_cuts_both_prompts() {
        let text = r#"{"base": "The cats are", "target": "The cat is", "base_answer": " are", "target_answer": " is", "position": 7}

{"clean_prefix": "The uncle", "patch_prefix": "The uncles", "clean_answer": " has", "patch_answer": " have", "case": "singular"}"#;
        let lines = lines_of(text).expect("two lines");
        assert_eq!((lines[0].base.as_str(), lines[0].target.as_str()), ("The cat", "The cat"));
        let expected = PairText {
            base: "The uncle".into(),
            target: "The uncles".into(),
            base_answer: " has".into(),
            target_answer: " have".into(),
            rival: None,
        };
        assert_eq!(lines[1..], [expected]);
    }

    #[test]
    fn a_line_without_a_field_is_named() {
        let why = lines_of("\n{\"base\": \"a\", \"target\": \"b\"}\n").expect_err("no answers");
        assert!(why.starts_with("line 2: missing field `base_answer`"), "{why}");
    }
}
