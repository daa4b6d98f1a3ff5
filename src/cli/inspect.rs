//! `inspect`: lists the features of a run folder, or shows the evidence of one.

mod evidence;
mod glance;
mod shading;

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::args::{Common, Env, InspectArgs};
use super::progress::say;
use super::{invalid_input, print, print_json, print_result, print_styled, setting};
use crate::base::{distinct, read_to_string};
use crate::report::{
    Column, DictionaryCard, Grid, Layout, Look, ScoreLine, ScoreStatus, Summary, check_listed, count,
    dictionary_cards, fixed, labelled_list, visible, visible_token,
};
use crate::run::RunError;

pub use evidence::FeatureEvidence;

/// Smallest width of the explanation column, in characters. With less, the explanation goes below the scores.
const EXPLANATION_WIDTH: usize = 24;

/// Width of the names of a card's facts, in characters.
const CARD_LABEL: usize = 24;

/// The score listed beside the one sorted by.
const BEYOND_TOKEN: &str = "beyond_token";

/// Output of `inspect RUN --json`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Listing<'a> {
    /// The score that the list is sorted by; null for the order of `scores.jsonl`.
    pub sorted_by: Option<String>,
    /// Number of matching lines, before `--limit`.
    pub matching: usize,
    /// The lines of `scores.jsonl`.
    pub features: Vec<&'a ScoreLine>,
    /// Cards of the matching dictionaries that were trained elsewhere.
    pub cards: Vec<DictionaryCard>,
}

/// Lists features, or shows the one whose full `HOOK/METHOD/FEATURE` is given.
pub fn inspect(args: &InspectArgs, common: &Common, env: &Env) -> Result<u8, RunError> {
    check_listed(&args.run, &["summary.json", "scores.jsonl", "manifest.json"])?;
    let lines = score_lines(&args.run)?;
    let wanted = args.feature.as_deref().unwrap_or_default();
    let exact: Vec<&ScoreLine> = lines.iter().filter(|line| place(line) == wanted).collect();
    if !exact.is_empty() {
        let shown = FeatureEvidence::read(&args.run, &lines, exact)?;
        print_result(common, &shown, |shown| shown.text(env.look))?;
        return Ok(0);
    }
    let found: Vec<&ScoreLine> =
        lines.iter().filter(|line| line.control.is_none() && place(line).contains(wanted)).collect();
    if found.is_empty() {
        let problem = format!(
            "`{wanted}` matches no feature of `{}`: give HOOK/METHOD/FEATURE or a part of it",
            args.run.display()
        );
        return Err(setting("FEATURE", problem));
    }
    let cards = cards(&args.run, &found);
    let listing = Listing { cards, ..listing(args, &scorers(lines.iter()), found)? };
    if common.json {
        print_json(&listing)?;
        return Ok(0);
    }
    let drawn = table(&listing).draw(env.look);
    print_styled(&drawn.text)?;
    for card in &listing.cards {
        print(&card_text(card, env.look.width))?;
    }
    if !common.quiet {
        if listing.features.len() < listing.matching {
            say(&format!("{} of {} lines", listing.features.len(), listing.matching));
        }
        if !drawn.dropped.is_empty() {
            let Look { width, .. } = env.look;
            say(&format!("not shown in {width} columns: {}", drawn.dropped.join(", ")));
        }
    }
    Ok(0)
}

/// Cards of the dictionaries of these lines. Older folders have none.
fn cards(run: &Path, lines: &[&ScoreLine]) -> Vec<DictionaryCard> {
    let manifest = read_to_string(&Layout::new(run).manifest()).ok();
    let manifest = manifest.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let is_listed = |card: &DictionaryCard| {
        lines.iter().any(|line| format!("{}/{}", line.hook, line.dictionary()) == card.dictionary)
    };
    dictionary_cards(&manifest).into_iter().filter(is_listed).collect()
}

/// A card for the terminal.
fn card_text(card: &DictionaryCard, columns: usize) -> String {
    let mut lines: Vec<(&str, String)> = vec![("", String::new()), ("dictionary", visible(&card.dictionary))];
    lines.extend(card.doubts.iter().map(|doubt| ("doubt", visible(doubt))));
    lines.extend(card.facts.iter().map(|(name, value)| (name.as_str(), visible(value))));
    if let Some(n_tokens) = card.n_tokens {
        lines.push((
            "load proof",
            format!("on {} tokens; the first line is the dictionary as it was read", count(n_tokens)),
        ));
    }
    for [hook, scaling, l0, fvu] in &card.trials {
        lines.push(("", visible(&format!("{hook}, {scaling}: L0 {l0}, FVU {fvu}"))));
    }
    labelled_list(&lines, CARD_LABEL, columns)
}

fn place(line: &ScoreLine) -> String {
    format!("{}/{}/{}", line.hook, line.dictionary(), line.feature)
}

pub fn score_lines(folder: &Path) -> Result<Vec<ScoreLine>, RunError> {
    parse_lines(&Layout::new(folder).scores(), |_: &ScoreLine| true)
}

/// The lines of a JSONL file for which `keep` is true.
fn parse_lines<T: for<'de> Deserialize<'de>>(
    path: &Path,
    keep: impl Fn(&T) -> bool,
) -> Result<Vec<T>, RunError> {
    let parse = |(place, line): (usize, &str)| {
        serde_json::from_str(line)
            .map_err(|error| invalid_input(path, format!("line {}: {error}", place + 1)))
    };
    let text = read_to_string(path)?;
    text.lines().enumerate().map(parse).filter(|line| line.as_ref().map_or(true, &keep)).collect()
}

/// Sorts the lines as `--sort` and `--worst` say, then limits them. `known` are the scores of the run.
fn listing<'a>(
    args: &InspectArgs,
    known: &[&str],
    mut found: Vec<&'a ScoreLine>,
) -> Result<Listing<'a>, RunError> {
    let sorted_by = match (&args.sort, args.worst) {
        (Some(scorer), _) => Some(scorer.clone()),
        (None, true) => Some(primary(&args.run)?),
        (None, false) => None,
    };
    if let Some(scorer) = &sorted_by {
        if !known.contains(&scorer.as_str()) {
            let problem = format!("is `{scorer}`, expected a score of this run: {}", known.join(", "));
            return Err(setting("--sort", problem));
        }
        let score = |line: &ScoreLine| line.scores.get(scorer).copied().flatten();
        found.sort_by(|a, b| match (score(a), score(b)) {
            (Some(a), Some(b)) if args.worst => a.total_cmp(&b),
            (Some(a), Some(b)) => b.total_cmp(&a),
            (a, b) => b.is_some().cmp(&a.is_some()),
        });
    }
    let matching = found.len();
    found.truncate(args.limit.unwrap_or(usize::MAX));
    Ok(Listing { sorted_by, matching, features: found, cards: Vec::new() })
}

/// The suite's primary score, else the first one.
fn primary(folder: &Path) -> Result<String, RunError> {
    let summary = Summary::read(&Layout::new(folder).summary())?;
    let first = || summary.cells.first().map(|cell| cell.scorer.clone());
    let primary = summary.primary.clone().or_else(first);
    primary.ok_or_else(|| setting("--worst", "finds no score in this run"))
}

/// Names of all scores in the lines, in order of first occurrence.
fn scorers<'a>(lines: impl Iterator<Item = &'a ScoreLine>) -> Vec<&'a str> {
    distinct(lines.flat_map(|line| line.scores.keys().map(String::as_str)))
}

/// The table of a list. A narrow terminal drops the density first, then the less important scores.
fn table(listing: &Listing<'_>) -> Grid {
    let mut names = scorers(listing.features.iter().copied());
    let first = |name: &str| (listing.sorted_by.as_deref() != Some(name), name != BEYOND_TOKEN);
    names.sort_by_key(|name| first(name));
    let several = listing.features.iter().any(|line| line.explainer != listing.features[0].explainer);
    let mut columns = vec![Column::text("feature")];
    if several {
        columns.push(Column::text("explainer"));
    }
    for (nth, name) in names.iter().enumerate() {
        let column = Column::number(name);
        let stays = nth == 0 || first(name) < (true, true);
        columns.push(if stays { column } else { column.drops(1) });
    }
    columns.push(Column::number("density").drops(0));
    columns.push(Column::text("explanation").folds(EXPLANATION_WIDTH));
    let mut grid = Grid::new(columns);
    for line in &listing.features {
        let mut cells = vec![place(line)];
        if several {
            cells.push(line.explainer.clone());
        }
        cells.extend(names.iter().map(|name| fixed(line.scores.get(*name).copied().flatten(), 3)));
        cells.push(line.density.map_or("—".into(), |density| format!("{:.2} %", 100.0 * density)));
        let reason = line.reason.as_deref().unwrap_or("—");
        cells.push(match line.status {
            ScoreStatus::Scored => visible_token(line.explanation.as_deref().unwrap_or("—")),
            ScoreStatus::Undefined => format!("undefined: {}", visible_token(reason)),
            ScoreStatus::Failed => format!("failed: {}", visible_token(reason)),
            ScoreStatus::Skipped => format!("skipped: {}", visible_token(reason)),
        });
        grid.row(cells);
    }
    grid
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::report::{Ink, width};

    const NAMES: [&str; 3] = ["top_and_random", "beyond_token", "population"];

    fn line(feature: usize, score: Option<f64>, explainer: &str) -> ScoreLine {
        let scores = NAMES.map(|name| (name.to_string(), score));
        ScoreLine {
            hook: "blocks.2.hook_resid_post".into(),
            method: "topk".into(),
            training: None,
            feature,
            protocol: "standard".into(),
            explainer: explainer.into(),
            simulator: explainer.into(),
            control: None,
            status: if score.is_some() { ScoreStatus::Scored } else { ScoreStatus::Skipped },
            reason: score.is_none().then(|| "too_few_fragments".into()),
            explanation: score.map(|_| "one of 12 patterns:\n\" the old\" → 3.1".into()),
            scores: BTreeMap::from(scores),
            score_reasons: BTreeMap::new(),
            density: Some(0.0123),
            max_activation: Some(2.0),
            kurtosis: None,
            n_top: 10,
            n_random: 10,
            tokens_untold: None,
        }
    }

    fn args(sort: Option<&str>, worst: bool, limit: Option<usize>) -> InspectArgs {
        InspectArgs { run: "run".into(), feature: None, sort: sort.map(Into::into), worst, limit }
    }

    fn features(listing: &Listing<'_>) -> Vec<usize> {
        listing.features.iter().map(|line| line.feature).collect()
    }

    #[test]
    fn lists_sort_by_a_score_and_features_without_one_come_last() {
        let lines =
            [line(1, Some(0.2), "a"), line(2, None, "a"), line(3, Some(-0.1), "a"), line(4, Some(0.9), "a")];
        let all = || lines.iter().collect::<Vec<_>>();
        let sorted = |sort, worst, limit| {
            let listing = listing(&args(sort, worst, limit), &NAMES, all()).expect("a list");
            (features(&listing), listing.matching)
        };
        assert_eq!(sorted(None, false, None), (vec![1, 2, 3, 4], 4));
        assert_eq!(sorted(Some("beyond_token"), false, None), (vec![4, 1, 3, 2], 4));
        assert_eq!(sorted(Some("beyond_token"), true, Some(2)), (vec![3, 1], 4));
        let error =
            listing(&args(Some("nothing"), false, None), &NAMES, all()).expect_err("refused").to_string();
        assert!(error.contains("--sort") && error.contains("top_and_random"), "{error}");
    }

    #[test]
    fn a_list_fits_80_columns_and_keeps_what_is_copied() {
        let lines = [line(1, Some(0.2), "neuron_to_graph_backoff"), line(2, None, "token_lookup_fit")];
        for width_of in [80, 120, 200] {
            let sorted = listing(&args(Some("population"), false, None), &NAMES, lines.iter().collect())
                .expect("a list");
            let text = table(&sorted).draw(Look { width: width_of, ink: Ink::None }).text;
            assert!(text.lines().all(|line| width(line) <= width_of), "{text}");
            for shown in ["blocks.2.hook_resid_post/topk/1", "neuron_to_graph_backoff", "0.200", "skipped"] {
                assert!(text.contains(shown), "`{shown}` is not in\n{text}");
            }
        }
    }
}
