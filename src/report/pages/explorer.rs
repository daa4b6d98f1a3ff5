//! `features.html`: every line of `scores.jsonl` as a row that a script filters and sorts.

use std::collections::HashMap;

use minijinja::context;
use serde::Serialize;
use serde_json::{Value, json};

use super::Site;
use super::names::Names;
use super::shell;
use crate::report::ReportError;
use crate::report::escape::{inert_json, shortened, visible};
use crate::report::label::Label;
use crate::report::layout::Place;
use crate::report::list::Numbering;
use crate::report::scores::FeatureLine;

/// Bytes that all explanations may take together before they are shortened.
const TEXT_BYTES: usize = 6_000_000;

/// Longest explanation in characters; each limit is tried in turn.
const TEXT_CHARACTERS: [usize; 4] = [600, 300, 150, 60];

/// The JSON of the page. Texts that repeat are numbers into lists.
#[derive(Default, Serialize)]
struct Data<'a> {
    hooks: Numbering<&'a str>,
    methods: Numbering<&'a str>,
    controls: Numbering<&'a str>,
    explainers: Numbering<String>,
    scorers: Numbering<&'a str>,
    reasons: Numbering<&'a str>,
    texts: Vec<String>,
    /// Of each text its label; none where the text is its own.
    labels: Vec<Option<String>>,
    /// Hook point, method, name, file of the page.
    dictionaries: Vec<(usize, usize, String, Option<String>)>,
    /// Dictionary, explainer, control + 1, feature, status, reason + 1, explanation + 1, density, scores.
    rows: Vec<Vec<Value>>,
    #[serde(skip)]
    explanations: Numbering<&'a str>,
    #[serde(skip)]
    places: HashMap<Place, usize>,
}

/// The number of an optional text plus 1; 0 for none.
fn plus_one<'a>(numbers: &mut Numbering<&'a str>, text: &'a Option<String>) -> usize {
    text.as_deref().map_or(0, |text| numbers.number(text) + 1)
}

impl<'a> Data<'a> {
    fn add(&mut self, line: &'a FeatureLine, names: &Names) {
        let place = names.place_of(line);
        let next = self.places.len();
        let dictionary = *self.places.entry(place.clone()).or_insert(next);
        if dictionary == next {
            let file = names.file(&place).map(str::to_string);
            let (hook, method) = (self.hooks.number(&line.hook), self.methods.number(&line.method));
            self.dictionaries.push((hook, method, visible(&place.dictionary), file));
        }
        let numbers = [
            dictionary,
            self.explainers.number(line.pairing().label()),
            plus_one(&mut self.controls, &line.control),
            line.feature,
            line.status as usize,
            plus_one(&mut self.reasons, &line.reason),
            plus_one(&mut self.explanations, &line.explanation),
        ];
        let score = |scorer: &&str| json!(line.score(scorer).map(|score| (score * 1e3).round() / 1e3));
        let density = json!(line.density.and_then(significant));
        let scores = self.scorers.items.iter().map(score);
        let row = numbers.map(Value::from).into_iter().chain([density]).chain(scores);
        self.rows.push(row.collect());
    }
}

pub fn render(site: &Site<'_>) -> Result<String, ReportError> {
    let Site { sources, names, environment } = site;
    let mut data = Data::default();
    for scorer in &sources.view.scorers {
        data.scorers.number(scorer);
    }
    for line in sources.lines() {
        data.add(line, names);
    }
    let (texts, most, cut) = within(&data.explanations.items);
    data.texts = texts;
    data.labels = data.explanations.items.iter().map(|text| Label::folded(text, most)).collect();
    let mut notes = Vec::new();
    if sources.scores.is_none() {
        notes.push("scores.jsonl is not in this folder, so there is nothing to list.".to_string());
    }
    if cut > 0 {
        notes.push(format!(
            "{cut} explanations are shortened to {most} characters here, and the search covers only what is here. A \
             feature's page and scores.jsonl have more."
        ));
    }
    let json = serde_json::to_string(&data).map_err(ReportError::Unwritable)?;
    let suite = visible(&sources.view.summary.suite);
    let page = context! { title => format!("features · {suite}"), suite, notes };
    shell::page(environment, shell::EXPLORER, page, &inert_json(&json), false)
}

/// Three significant digits.
fn significant(value: f64) -> Option<f64> {
    if value.is_finite() { format!("{value:.2e}").parse().ok() } else { None }
}

/// Explanations cut to the first limit at which all fit on one page, that limit, and the number of those cut.
fn within(texts: &[&str]) -> (Vec<String>, usize, usize) {
    let mut found = (Vec::new(), 0, 0);
    for most in TEXT_CHARACTERS {
        let (shown, cut): (Vec<String>, Vec<bool>) = texts.iter().map(|text| shortened(text, most)).unzip();
        let bytes: usize = shown.iter().map(String::len).sum();
        found = (shown, most, cut.into_iter().filter(|cut| *cut).count());
        if bytes <= TEXT_BYTES {
            break;
        }
    }
    found
}
