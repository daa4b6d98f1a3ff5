//! `inspect`: a feature's evidence in the terminal, from the run folder alone.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::args::{Common, Environment};
use super::{print, print_json};
use crate::base::{read, read_to_string};
use crate::report::{ScoreLine, ScoreStatus};
use crate::run::RunError;

/// Fragments shown of each list.
const SHOWN_FRAGMENTS: usize = 4;

/// Longest explanation in a list, in characters.
const SHOWN_EXPLANATION: usize = 70;

/// Steps of the shading; the scale is the feature's largest activation.
const SHADES: [&str; 5] = [
    "",
    "\x1b[48;5;230m\x1b[30m",
    "\x1b[48;5;222m\x1b[30m",
    "\x1b[48;5;215m\x1b[30m",
    "\x1b[48;5;202m\x1b[30m",
];

/// What is read of a line of `records/HOOK/METHOD.jsonl`.
#[derive(Deserialize)]
struct Record {
    feature: usize,
    density: f64,
    firing_fragments: usize,
    max_activation: f64,
    top: Vec<Fragment>,
    random: Vec<Fragment>,
}

#[derive(Deserialize)]
struct Fragment {
    fragment: usize,
    tokens: Vec<u32>,
    activations: Vec<f64>,
}

/// What is read of a line of `simulations/HOOK/METHOD.jsonl`.
#[derive(Deserialize)]
struct Simulated {
    feature: usize,
    explainer: String,
    fragment: usize,
    predicted: Vec<f64>,
}

/// Lists features, or shows one whose `HOOK/METHOD/FEATURE` is given in full.
pub fn inspect(
    folder: &Path,
    feature: Option<&str>,
    common: &Common,
    environment: &Environment,
) -> Result<u8, RunError> {
    let lines = score_lines(folder)?;
    let wanted = feature.unwrap_or_default();
    let place = |line: &ScoreLine| format!("{}/{}/{}", line.hook, line.dictionary(), line.feature);
    let exact: Vec<&ScoreLine> = lines.iter().filter(|line| place(line) == wanted).collect();
    if !exact.is_empty() {
        return one(folder, &exact, common, environment);
    }
    let found: Vec<&ScoreLine> =
        lines.iter().filter(|line| line.control.is_none() && place(line).contains(wanted)).collect();
    if found.is_empty() {
        let problem = format!(
            "`{wanted}` matches no feature of `{}`: give HOOK/METHOD/FEATURE or a part of it",
            folder.display()
        );
        return Err(RunError::Setting { field: "FEATURE".into(), problem });
    }
    if common.json {
        print_json(&found);
        return Ok(0);
    }
    let mut text = String::new();
    for line in found {
        let scores: Vec<String> =
            line.scores.iter().map(|(name, score)| format!("{name} {}", number(*score))).collect();
        let state = match line.status {
            ScoreStatus::Scored => scores.join(" · "),
            _ => line.reason.clone().unwrap_or_default(),
        };
        let explanation = line.explanation.as_deref().unwrap_or("—");
        text.push_str(&format!(
            "{}  [{}]  {state}\n    {}\n",
            place(line),
            line.explainer,
            shorten(explanation)
        ));
    }
    print(&text);
    Ok(0)
}

fn score_lines(folder: &Path) -> Result<Vec<ScoreLine>, RunError> {
    parse_lines(&folder.join("scores.jsonl"), |_: &ScoreLine| true)
}

/// Lines of a JSONL file that `keep` wants.
fn parse_lines<T: for<'de> Deserialize<'de>>(
    path: &Path,
    keep: impl Fn(&T) -> bool,
) -> Result<Vec<T>, RunError> {
    let mut found = Vec::new();
    for (number, line) in read_to_string(path)?.lines().enumerate() {
        let value: T = serde_json::from_str(line).map_err(|error| RunError::Input {
            path: path.to_path_buf(),
            why: format!("line {}: {error}", number + 1),
        })?;
        if keep(&value) {
            found.push(value);
        }
    }
    Ok(found)
}

fn one(
    folder: &Path,
    lines: &[&ScoreLine],
    common: &Common,
    environment: &Environment,
) -> Result<u8, RunError> {
    let first = lines[0];
    if common.json {
        print_json(&lines);
        return Ok(0);
    }
    let file = |kind: &str| folder.join(kind).join(&first.hook).join(format!("{}.jsonl", first.dictionary()));
    let mut text = format!("{} · {} · feature {}\n", first.hook, first.dictionary(), first.feature);
    for line in lines {
        let control = line.control.as_deref().map_or(String::new(), |name| format!(" (control: {name})"));
        text.push_str(&format!("\n{}{control}\n", line.explainer));
        text.push_str(&format!("  {}\n", clean(line.explanation.as_deref().unwrap_or("no explanation"))));
        for (name, score) in &line.scores {
            let reason = line.score_reasons.get(name).map_or(String::new(), |reason| format!("  ({reason})"));
            text.push_str(&format!("  {name:<16}{:>8}{reason}\n", number(*score)));
        }
        if let Some(reason) = &line.reason {
            text.push_str(&format!("  {reason}\n"));
        }
    }
    let records: Vec<Record> =
        parse_lines(&file("records"), |record: &Record| record.feature == first.feature)?;
    let Some(record) = records.first() else {
        print(&text);
        return Ok(0);
    };
    let simulated: Vec<Simulated> =
        parse_lines(&file("simulations"), |line: &Simulated| line.feature == first.feature)?;
    let explainer = &first.explainer;
    let predictions: BTreeMap<usize, &[f64]> = simulated
        .iter()
        .filter(|line| line.explainer == *explainer)
        .map(|line| (line.fragment, line.predicted.as_slice()))
        .collect();
    let tokens = token_texts(folder)?;
    let shading = Shading {
        color: environment.color && std::io::stdout().is_terminal(),
        max: record.max_activation,
        tokens,
    };
    text.push_str(&format!(
        "\nfires on {:.3} % of tokens, in {} fragments; largest activation {:.3}\n",
        100.0 * record.density,
        record.firing_fragments,
        record.max_activation
    ));
    for (name, list) in [("top", &record.top), ("random", &record.random)] {
        // Fragments with a prediction are the ones scored on: they come first.
        let mut list: Vec<&Fragment> = list.iter().collect();
        list.sort_by_key(|fragment| !predictions.contains_key(&fragment.fragment));
        for fragment in list.into_iter().take(SHOWN_FRAGMENTS) {
            text.push_str(&format!(
                "\n{name}, fragment {}\n  true  {}\n",
                fragment.fragment,
                shading.show(&fragment.tokens, &fragment.activations)
            ));
            if let Some(predicted) = predictions.get(&fragment.fragment) {
                text.push_str(&format!("  {:<5} {}\n", "simul", shading.show(&fragment.tokens, predicted)));
            }
        }
    }
    print(&text);
    Ok(0)
}

fn token_texts(folder: &Path) -> Result<Vec<String>, RunError> {
    let path = folder.join("records/tokens.json");
    let value: Value = serde_json::from_slice(&read(&path)?)
        .map_err(|error| RunError::Input { path: path.clone(), why: error.to_string() })?;
    let list = value.as_array().cloned().unwrap_or_default();
    Ok(list.iter().map(|text| text.as_str().unwrap_or_default().to_string()).collect())
}

struct Shading {
    color: bool,
    max: f64,
    tokens: Vec<String>,
}

impl Shading {
    /// Tokens shaded by activation; without colour, a digit from 1 to 9 follows a token that fires.
    fn show(&self, ids: &[u32], activations: &[f64]) -> String {
        let mut out = String::new();
        for (id, activation) in ids.iter().zip(activations) {
            let text = self.tokens.get(*id as usize).map_or("?", String::as_str);
            let share = if self.max > 0.0 { (activation / self.max).clamp(0.0, 1.0) } else { 0.0 };
            let shown = clean(text);
            if self.color {
                let shade = SHADES[(share * (SHADES.len() - 1) as f64).ceil() as usize];
                let end = if shade.is_empty() { "" } else { "\x1b[0m" };
                out.push_str(&format!("{shade}{shown}{end}"));
            } else if share >= 0.1 {
                out.push_str(&format!("{shown}[{:.0}]", (share * 9.0).max(1.0)));
            } else {
                out.push_str(&shown);
            }
        }
        out
    }
}

/// Text that a model or a corpus wrote, safe for a terminal: control and direction characters are
/// shown, not sent.
fn clean(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' => "↵".into(),
            '\t' => "→".into(),
            c if c.is_control()
                || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
            {
                c.escape_unicode().to_string()
            }
            c => c.to_string(),
        })
        .collect()
}

fn shorten(text: &str) -> String {
    let text = clean(text);
    if text.chars().count() <= SHOWN_EXPLANATION {
        return text;
    }
    text.chars().take(SHOWN_EXPLANATION - 1).chain(['…']).collect()
}

fn number(score: Option<f64>) -> String {
    score.map_or("—".into(), |score| format!("{score:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_reaches_no_terminal() {
        assert_eq!(clean("a\x1b[31mb\u{202e}c\n"), "a\\u{1b}[31mb\\u{202e}c↵");
    }

    #[test]
    fn shading_without_colour_marks_what_fires() {
        let shading = Shading { color: false, max: 2.0, tokens: vec![" a".into(), " b".into()] };
        assert_eq!(shading.show(&[0, 1, 0], &[0.0, 2.0, 1.0]), " a b[9] a[4]");
    }
}
