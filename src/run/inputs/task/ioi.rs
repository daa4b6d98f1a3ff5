//! Prompts of indirect-object identification from lists of names, places, objects and templates (Wang et al. 2022, arXiv
//! 2211.00593; counterfactual of Cunningham et al. 2023, arXiv 2309.08600, §4).
//!
//! `[A]` is the indirect object, `[B]` the subject. In the target prompt a third name stands in every place of `[A]`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::pair::PairText;
use crate::base::Stream;
use crate::run::RunError;

/// Lists with names of their own; every other list holds templates or is not used.
const NAMED: [&str; 3] = ["names", "places", "objects"];

/// The lists that prompts are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lists {
    names: Vec<String>,
    places: Vec<String>,
    objects: Vec<String>,
    templates: Vec<String>,
}

impl Lists {
    /// Reads the lists of a JSON object, or of its field `lists`. `Err` says what is wrong.
    pub fn read(text: &str) -> Result<Self, String> {
        let json: Value = serde_json::from_str(text).map_err(|error| {
            format!("is not JSON ({error}): expected lists of names, places, objects and templates; JSON lines are read by `kind: pairs`")
        })?;
        let fields = json["lists"].as_object().or(json.as_object());
        let fields = fields
            .ok_or("is not a JSON object: expected the lists `NAMES`, `PLACES`, `OBJECTS` and templates")?;
        let words = |list: &Value| -> Option<Vec<String>> {
            list.as_array()?.iter().map(|word| word.as_str().map(String::from)).collect()
        };
        let lists: BTreeMap<String, Vec<String>> =
            fields.iter().filter_map(|(key, list)| Some((key.to_lowercase(), words(list)?))).collect();
        let list = |name: &str| lists.get(name).cloned().unwrap_or_default();
        let mut templates: Vec<String> = lists
            .iter()
            .filter(|(key, _)| !NAMED.contains(&key.as_str()))
            .flat_map(|(_, list)| list.iter().filter(|item| is_template(item)).cloned())
            .collect();
        templates.sort();
        templates.dedup();
        let [names, places, objects] = NAMED.map(list);
        if templates.is_empty() {
            return Err("has no template: expected texts with `[A]` and `[B]` that end with `[A]`".into());
        }
        for (slot, words) in [("[PLACE]", &places), ("[OBJECT]", &objects)] {
            if words.is_empty() && templates.iter().any(|template| template.contains(slot)) {
                let name = if slot == "[PLACE]" { "PLACES" } else { "OBJECTS" };
                return Err(format!("has templates with `{slot}` and no list `{name}`"));
            }
        }
        Ok(Self { names, places, objects, templates })
    }

    /// The lists with the names alone that are one token behind a space. The inner error says what is wrong.
    pub fn with_names(
        &self,
        one_token: &dyn Fn(&str) -> Result<bool, RunError>,
    ) -> Result<Result<Self, String>, RunError> {
        let mut names: Vec<String> = Vec::new();
        for name in &self.names {
            if !names.contains(name) && one_token(name)? {
                names.push(name.clone());
            }
        }
        if names.len() < 3 {
            return Ok(Err(format!(
                "has {} names that are one token of this model, of {} in `NAMES`: expected at least 3",
                names.len(),
                self.names.len()
            )));
        }
        Ok(Ok(Self { names, ..self.clone() }))
    }

    /// A pair of prompts. There must be three names.
    pub fn pair(&self, seed: u64, nth: usize) -> PairText {
        let mut stream = Stream::named(seed, &["task", "ioi", &nth.to_string()]);
        let template = stream.pick(&self.templates).clone();
        let drawn = stream.permutation(self.names.len());
        let [object, subject, other] = [0, 1, 2].map(|place| self.names[drawn[place]].as_str());
        let mut word = |list: &[String]| match list {
            [] => String::new(),
            list => stream.pick(list).clone(),
        };
        let (place, thing) = (word(&self.places), word(&self.objects));
        let prompt = template.strip_suffix("[A]").unwrap_or(&template).trim_end();
        let fill = |name: &str| {
            let filled = prompt.replace("[A]", name).replace("[B]", subject);
            filled.replace("[PLACE]", &place).replace("[OBJECT]", &thing)
        };
        PairText {
            base: fill(object),
            target: fill(other),
            base_answer: format!(" {object}"),
            target_answer: format!(" {other}"),
            rival: Some(format!(" {subject}")),
        }
    }
}

/// Whether a text names two people and ends with the first of them. Templates with a third person are of another task.
fn is_template(text: &str) -> bool {
    let before = text.strip_suffix("[A]");
    before.is_some_and(|before| before.contains("[A]") && before.contains("[B]") && !before.contains("[C]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{"source": "here", "lists": {
        "NAMES": ["Ann", "Bob", "Cy", "Deborah"], "PLACES": ["park"], "OBJECTS": ["ring"], "VERBS": [" gave"],
        "ABC_TEMPLATES": ["[A], [B] and [C] left. [B] and [C] saw [A]"],
        "BABA_TEMPLATES": ["Then [B] and [A] went to the [PLACE]. [B] gave a [OBJECT] to [A]"]}}"#;

    #[test]
    fn a_third_name_takes_the_place_of_the_indirect_object() {
        let lists = Lists::read(FILE).expect("lists");
        let short = lists.with_names(&|name| Ok(name.len() <= 3)).expect("no failure").expect("three names");
        assert_eq!(short.names, ["Ann", "Bob", "Cy"]);
        for nth in 0..20 {
            let pair = short.pair(3, nth);
            assert_eq!(pair, short.pair(3, nth));
            let (object, other) = (pair.base_answer.trim(), pair.target_answer.trim());
            let subject = pair.rival.as_deref().map(str::trim).expect("the subject");
            let text =
                |name: &str| format!("Then {subject} and {name} went to the park. {subject} gave a ring to");
            assert_eq!((pair.base.as_str(), pair.target.as_str()), (&*text(object), &*text(other)));
            assert!(object != other && object != subject && other != subject, "{pair:?}");
        }
        assert_ne!(
            (0..9).map(|nth| short.pair(3, nth)).collect::<Vec<_>>(),
            (0..9).map(|nth| short.pair(4, nth)).collect::<Vec<_>>()
        );
        let two = lists.with_names(&|name| Ok(name.len() < 3)).expect("no failure");
        assert!(two.expect_err("one name").contains("has 1 names that are one token of this model, of 4"));
    }

    #[test]
    fn a_file_without_lists_is_refused_in_words() {
        let why = |text: &str| Lists::read(text).expect_err("refused");
        assert!(why("{\"base\": \"a\"}\n{\"base\": \"b\"}").contains("JSON lines are read by `kind: pairs`"));
        assert!(why("[1]").contains("is not a JSON object"));
        assert!(why(r#"{"NAMES": ["Ann"]}"#).contains("has no template"));
        let without =
            r#"{"NAMES": ["Ann"], "TEMPLATES": ["[A] and [B] went to the [PLACE] and [B] saw [A]"]}"#;
        assert!(why(without).contains("no list `PLACES`"), "{}", why(without));
    }
}
