//! `features.html`: every feature that was walked, as rows that a script filters and orders.

use std::collections::HashMap;

use minijinja::{Environment, context};
use serde::Serialize;

use super::Sources;
use super::names::{Names, Place};
use super::shell::{self, Kind};
use crate::report::ReportError;
use crate::report::escape::{inert_json, shortened, visible};
use crate::report::schema::{ScoreStatus, dictionary_name};
use crate::report::scores::FeatureLine;
use crate::report::view::Pairing;

/// Bytes that explanations may take together before they are shortened.
const TEXT_BYTES: usize = 6_000_000;

/// Longest explanations, in characters, from what is tried first.
const TEXT_CHARACTERS: [usize; 4] = [600, 300, 150, 60];

#[derive(Serialize)]
struct Data {
    hooks: Vec<String>,
    methods: Vec<String>,
    controls: Vec<String>,
    explainers: Vec<String>,
    scorers: Vec<String>,
    reasons: Vec<String>,
    texts: Vec<String>,
    /// Hook point, method, name, file of the page.
    dictionaries: Vec<(usize, usize, String, Option<String>)>,
    rows: Vec<serde_json::Value>,
}

/// Numbers of texts that repeat, in the order they are met.
#[derive(Default)]
struct Numbers<'a> {
    numbers: HashMap<&'a str, usize>,
    texts: Vec<&'a str>,
}

impl<'a> Numbers<'a> {
    fn of(&mut self, text: &'a str) -> usize {
        *self.numbers.entry(text).or_insert_with(|| {
            self.texts.push(text);
            self.texts.len() - 1
        })
    }

    fn shown(&self) -> Vec<String> {
        self.texts.iter().map(|text| visible(text)).collect()
    }
}

/// The page.
pub fn render(
    sources: &Sources<'_>,
    names: &Names,
    environment: &Environment<'_>,
) -> Result<String, ReportError> {
    let lines = sources.scores.map_or(&[][..], |scores| &scores.lines);
    let scorers = &sources.view.scorers;
    let mut hooks = Numbers::default();
    let mut methods = Numbers::default();
    let mut controls = Numbers::default();
    let mut reasons = Numbers::default();
    let mut texts = Numbers::default();
    let mut explainers: Vec<Pairing<'_>> = Vec::new();
    let mut dictionaries: Vec<(usize, usize, String, Option<String>)> = Vec::new();
    let mut places: HashMap<Place, usize> = HashMap::new();
    let mut rows = Vec::with_capacity(lines.len());
    for line in lines {
        let place = names.place_of(line);
        let dictionary = *places.entry(place.clone()).or_insert_with(|| {
            let name = visible(&dictionary_name(&line.method, line.training));
            let file = names.file(&place).map(str::to_string);
            dictionaries.push((hooks.of(&line.hook), methods.of(&line.method), name, file));
            dictionaries.len() - 1
        });
        let pairing = Pairing { protocol: "", explainer: &line.explainer, simulator: &line.simulator };
        let explainer = explainers.iter().position(|other| *other == pairing).unwrap_or_else(|| {
            explainers.push(pairing);
            explainers.len() - 1
        });
        let plus = |number: Option<usize>| number.map_or(0, |number| number + 1);
        let control = plus(line.control.as_deref().map(|control| controls.of(control)));
        let reason = plus(line.reason.as_deref().map(|reason| reasons.of(reason)));
        let text = plus(line.explanation.as_deref().map(|text| texts.of(text)));
        let density = serde_json::json!(line.density.and_then(significant));
        let mut row: Vec<serde_json::Value> =
            [dictionary, explainer, control, line.feature, status(line), reason, text]
                .map(serde_json::Value::from)
                .to_vec();
        row.push(density);
        row.extend(scorers.iter().map(|scorer| serde_json::json!(score(line, scorer))));
        rows.push(serde_json::Value::from(row));
    }
    let (shown, most, cut) = within(&texts.texts);
    let data = Data {
        hooks: hooks.shown(),
        methods: methods.shown(),
        controls: controls.shown(),
        explainers: explainers.iter().map(|pairing| visible(&pairing.label())).collect(),
        scorers: scorers.iter().map(|scorer| visible(scorer)).collect(),
        reasons: reasons.shown(),
        texts: shown,
        dictionaries,
        rows,
    };
    let mut notes = Vec::new();
    if sources.scores.is_none() {
        notes.push("scores.jsonl is not in this folder, so there is nothing to list.".to_string());
    }
    if cut > 0 {
        notes.push(format!(
            "{cut} explanations are shortened to {most} characters here, and the search looks at what is here; a \
             feature's page and scores.jsonl have more."
        ));
    }
    let json = serde_json::to_string(&data).map_err(ReportError::Unwritable)?;
    let suite = visible(&sources.view.summary.suite);
    let page = context! { title => format!("features · {suite}"), suite, notes };
    shell::page(environment, Kind::Explorer, page, &inert_json(&json), false)
}

fn status(line: &FeatureLine) -> usize {
    match line.status {
        ScoreStatus::Scored => 0,
        ScoreStatus::Undefined => 1,
        ScoreStatus::Failed => 2,
        ScoreStatus::Skipped => 3,
    }
}

fn score(line: &FeatureLine, scorer: &str) -> Option<f64> {
    let score = line.scores.get(scorer).copied().flatten().filter(|score| score.is_finite())?;
    Some((score * 1e3).round() / 1e3)
}

fn significant(value: f64) -> Option<f64> {
    if value.is_finite() { format!("{value:.2e}").parse().ok() } else { None }
}

/// Explanations short enough to stand in one page together; at how many characters they were cut, and how many were.
fn within(texts: &[&str]) -> (Vec<String>, usize, usize) {
    let mut found = (Vec::new(), 0, 0);
    for most in TEXT_CHARACTERS {
        let shown: Vec<(String, bool)> = texts.iter().map(|text| shortened(text, most)).collect();
        let cut = shown.iter().filter(|(_, cut)| *cut).count();
        let bytes: usize = shown.iter().map(|(text, _)| text.len()).sum();
        found = (shown.into_iter().map(|(text, _)| text).collect(), most, cut);
        if bytes <= TEXT_BYTES {
            break;
        }
    }
    found
}
