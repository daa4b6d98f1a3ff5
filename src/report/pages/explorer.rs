//! `features.html`: every line of `scores.jsonl` as a row that a script filters and sorts, and two features side by
//! side.

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
use crate::report::view::{Pairing, View};

/// Bytes that all labels may take together before they are shortened.
const LABEL_BYTES: usize = 6_000_000;

/// Longest label in characters; each limit is tried in turn.
const LABEL_CHARACTERS: [usize; 4] = [600, 300, 150, 60];

/// The explainer that knows each token's mean and nothing else.
const TOKEN_ALONE: &str = "token_lookup_fit";

/// Scores are stored in ten-thousandths.
const SCORE_STEPS: f64 = 1e4;

/// The JSON of the page. Texts that repeat are numbers into lists.
#[derive(Default, Serialize)]
struct Data<'a> {
    hooks: Numbering<&'a str>,
    methods: Numbering<&'a str>,
    controls: Numbering<&'a str>,
    /// The primary one first.
    explainers: Numbering<String>,
    /// The primary one first.
    scorers: Numbering<&'a str>,
    /// The scorers that must be read together.
    main: Vec<usize>,
    /// The scorers whose smaller values are better.
    lower_is_better: Vec<usize>,
    /// The number of [`TOKEN_ALONE`], if the run has it.
    alone: Option<usize>,
    reasons: Numbering<&'a str>,
    labels: Vec<String>,
    dictionaries: Vec<DictionaryData>,
    /// Dictionary, explainer, control + 1, feature, status, reason + 1, explanation + 1, density, scores. A score is
    /// a number of ten-thousandths, or the number of the reason for its absence as a text.
    rows: Vec<Vec<Value>>,
    #[serde(skip)]
    explanations: Numbering<&'a str>,
    #[serde(skip)]
    places: HashMap<Place, usize>,
}

/// Hook point, method, name, file of the page, and the control + 1 whose dictionary this is.
type DictionaryData = (usize, usize, String, Option<String>, usize);

/// The number of an optional text plus 1; 0 for none.
fn plus_one<'a>(numbers: &mut Numbering<&'a str>, text: Option<&'a str>) -> usize {
    text.map_or(0, |text| numbers.number(text) + 1)
}

impl<'a> Data<'a> {
    /// Without rows: the explainers and scorers, in the order of the tables.
    fn of(view: &View<'a>) -> Self {
        let mut data = Self::default();
        for pairing in &view.pairings {
            data.explainers.number(Pairing::without_protocol(pairing.explainer, pairing.simulator).label());
        }
        data.main = view.main_scorers().into_iter().map(|scorer| data.scorers.number(scorer)).collect();
        for scorer in &view.scorers {
            data.scorers.number(scorer);
        }
        data.lower_is_better =
            view.lower_is_better().into_iter().map(|scorer| data.scorers.number(scorer)).collect();
        data
    }

    fn add(&mut self, line: &'a FeatureLine, names: &Names) {
        let numbers = [
            self.dictionary(line, names),
            self.explainers.number(line.pairing().label()),
            plus_one(&mut self.controls, line.control.as_deref()),
            line.feature,
            line.status as usize,
            plus_one(&mut self.reasons, line.reason.as_deref()),
            plus_one(&mut self.explanations, line.explanation.as_deref()),
        ];
        let reasons = &mut self.reasons;
        let score = |scorer: &&str| match (line.score(scorer), line.score_reasons.get(*scorer)) {
            (Some(score), _) => json!((score * SCORE_STEPS).round() as i64),
            (None, Some(reason)) => json!(reasons.number(reason).to_string()),
            (None, None) => Value::Null,
        };
        let scores: Vec<Value> = self.scorers.items.iter().map(score).collect();
        let density = json!(line.density.and_then(significant));
        self.rows.push(numbers.map(Value::from).into_iter().chain([density]).chain(scores).collect());
    }

    /// The number of a line's dictionary.
    fn dictionary(&mut self, line: &'a FeatureLine, names: &Names) -> usize {
        let place = names.place_of(line);
        if let Some(&known) = self.places.get(&place) {
            return known;
        }
        let own_control = line.control.as_deref().filter(|_| place.control.is_some());
        let file = names.file(&place).map(str::to_string);
        self.dictionaries.push((
            self.hooks.number(&line.hook),
            self.methods.number(&line.method),
            visible(&place.dictionary),
            file,
            plus_one(&mut self.controls, own_control),
        ));
        let number = self.dictionaries.len() - 1;
        self.places.insert(place, number);
        number
    }
}

pub fn render(site: &Site<'_>) -> Result<String, ReportError> {
    let Site { sources, names, environment } = site;
    let mut data = Data::of(sources.view);
    for line in sources.lines() {
        data.add(line, names);
    }
    data.alone = data.explainers.items.iter().position(|explainer| explainer == TOKEN_ALONE);
    let (labels, most, cut) = within(&data.explanations.items);
    data.labels = labels;
    let mut notes = Vec::new();
    if sources.scores.is_none() {
        notes.push("scores.jsonl is not in this folder, so there is nothing to list.".to_string());
    }
    if cut > 0 {
        notes.push(format!(
            "{cut} labels are shortened to {most} characters here, and the search covers only what is here. A feature's \
             page and scores.jsonl have more."
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

/// The label of an explanation of at most `most` characters, and whether it was cut.
fn label(explanation: &str, most: usize) -> (String, bool) {
    Label::folded(explanation, most).map_or_else(|| shortened(explanation, most), |label| (label, false))
}

/// Labels cut to the first limit at which all fit on one page, that limit, and the number of those cut.
fn within(explanations: &[&str]) -> (Vec<String>, usize, usize) {
    let mut found = (Vec::new(), 0, 0);
    for most in LABEL_CHARACTERS {
        let (shown, cut): (Vec<String>, Vec<bool>) =
            explanations.iter().map(|explanation| label(explanation, most)).unzip();
        let bytes: usize = shown.iter().map(String::len).sum();
        found = (shown, most, cut.into_iter().filter(|cut| *cut).count());
        if bytes <= LABEL_BYTES {
            break;
        }
    }
    found
}
