//! `inspect`: lists the features of a run folder, or shows the evidence of one.

mod evidence;
mod filter;
mod glance;
mod shading;

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::args::{Common, Env, InspectArgs};
use super::progress::say;
use super::remote::RunHere;
use super::{invalid_input, print, print_json, print_result, print_styled, setting};
use crate::base::{distinct, read_to_string};
use crate::report::{
    Column, DictionaryCard, Grid, Label, Layout, Look, Part, ScoreLine, ScoreStatus, Summary, check_listed,
    count, dictionary_cards, fixed, labelled_list, visible, visible_token,
};
use crate::run::RunError;

pub use evidence::FeatureEvidence;
use filter::Filter;

/// Smallest width of the explanation column, in characters. With less, the explanation goes below the scores.
const EXPLANATION_WIDTH: usize = 24;

/// Width of the names of a card's facts, in characters.
const CARD_LABEL: usize = 24;

/// Value of `--explainer` for the lines of every explainer.
const ALL: &str = "all";

/// The score that every other one must be read with.
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
    // A list needs no evidence.
    let part = if args.feature.is_some() { Part::Evidence } else { Part::Results };
    let here = RunHere::open(&args.run, part, common, env)?;
    let local = &InspectArgs { run: here.folder().to_path_buf(), ..args.clone() };
    check_listed(&local.run, &["summary.json", "scores.jsonl", "manifest.json"])?;
    let lines = score_lines(&local.run)?;
    let wanted = args.feature.as_deref().unwrap_or_default();
    let exact: Vec<&ScoreLine> = lines.iter().filter(|line| place(line) == wanted).collect();
    if !exact.is_empty() {
        let shown = FeatureEvidence::read(&local.run, &lines, exact)?;
        print_result(common, &shown, |shown| shown.text(env.look))?;
        return Ok(0);
    }
    let known = scorers(lines.iter());
    let found = matching(args, wanted, &lines)?;
    let cards = cards(&local.run, &found);
    let listing = Listing { cards, ..listing(local, &known, found)? };
    if common.json {
        print_json(&listing)?;
        return Ok(0);
    }
    let drawn = table(&listing, primary(&local.run).as_deref()).draw(env.lists);
    print_styled(&drawn.text)?;
    for card in &listing.cards {
        print(&card_text(card, env.look.width))?;
    }
    if !common.quiet {
        if listing.features.len() < listing.matching {
            say(&format!("{} of {} lines", listing.features.len(), listing.matching));
        }
        if let (Some(first), None) = (listing.features.first(), &args.explainer) {
            let real = lines.iter().filter(|line| line.control.is_none());
            let others = distinct(real.map(|line| line.explainer.as_str())).len() - 1;
            if others > 0 {
                let explainer = visible(&first.explainer);
                say(&format!("explained by {explainer}; `--explainer {ALL}` lists the other {others} too"));
            }
        }
        if !drawn.dropped.is_empty() {
            let Look { width, .. } = env.lists;
            say(&format!("not shown in {width} columns: {}", drawn.dropped.join(", ")));
        }
    }
    Ok(0)
}

/// The lines that the filter matches, without controls, of the asked explainer.
fn matching<'a>(
    args: &InspectArgs,
    wanted: &str,
    lines: &'a [ScoreLine],
) -> Result<Vec<&'a ScoreLine>, RunError> {
    let real: Vec<&ScoreLine> = lines.iter().filter(|line| line.control.is_none()).collect();
    let explainers = distinct(real.iter().map(|line| line.explainer.as_str()));
    let explainer = match &args.explainer {
        Some(asked) if asked == ALL => None,
        Some(asked) if !explainers.contains(&asked.as_str()) => {
            let known = explainers.join(", ");
            let problem = format!("is `{asked}`, expected `{ALL}` or an explainer of this run: {known}");
            return Err(setting("--explainer", problem));
        }
        Some(asked) => Some(asked.as_str()),
        None => explainers.first().copied(),
    };
    let filter = Filter::new(wanted);
    let of_explainer = |line: &&&ScoreLine| explainer.is_none_or(|name| line.explainer == name);
    let found: Vec<&ScoreLine> =
        real.iter().filter(of_explainer).filter(|line| filter.matches(line)).copied().collect();
    if !found.is_empty() || (wanted.is_empty() && real.is_empty()) {
        return Ok(found);
    }
    let methods = distinct(real.iter().map(|line| line.method.as_str())).join(", ");
    let problem = format!(
        "`{wanted}` matches no feature of `{}`: give HOOK/METHOD/FEATURE, whole parts of it, or a pattern such as \
         `topk*`; its methods: {methods}",
        args.run.display()
    );
    Err(setting("FEATURE", problem))
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
        (None, true) => {
            let primary = primary(&args.run);
            Some(primary.ok_or_else(|| setting("--worst", "finds no score in this run"))?)
        }
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

/// The suite's primary score, else the first one; none where the summary has no score or cannot be read.
fn primary(folder: &Path) -> Option<String> {
    let summary = Summary::read(&Layout::new(folder).summary()).ok()?;
    summary.primary.clone().or_else(|| summary.cells.first().map(|cell| cell.scorer.clone()))
}

/// Names of all scores in the lines, in order of first occurrence.
fn scorers<'a>(lines: impl Iterator<Item = &'a ScoreLine>) -> Vec<&'a str> {
    distinct(lines.flat_map(|line| line.scores.keys().map(String::as_str)))
}

/// The table of a list. The score sorted by comes first, then those it must be read with: the primary one and
/// `beyond_token`. A narrow terminal drops the density first, then the other scores; beside several explainers, then
/// the primary score.
fn table(listing: &Listing<'_>, primary: Option<&str>) -> Grid {
    let sorted_by = listing.sorted_by.as_deref();
    let stay = [sorted_by, primary, Some(BEYOND_TOKEN)];
    let listed = scorers(listing.features.iter().copied());
    let mut names: Vec<&str> = distinct(sorted_by.into_iter().chain(listed));
    let rank = |name: &str| stay.iter().position(|stays| *stays == Some(name)).unwrap_or(stay.len());
    names.sort_by_key(|name| rank(name));
    let several = listing.features.iter().any(|line| line.explainer != listing.features[0].explainer);
    let mut columns = vec![Column::text("feature")];
    if several {
        columns.push(Column::text("explainer"));
    }
    for name in &names {
        let column = Column::number(name);
        columns.push(match rank(name) {
            _ if sorted_by == Some(name) || *name == BEYOND_TOKEN => column,
            rank if rank >= stay.len() => column.drops(1),
            // A column of explainers leaves no room for three scores on a narrow terminal.
            _ if several => column.drops(2),
            _ => column,
        });
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
            ScoreStatus::Scored => {
                line.explanation.as_deref().map_or("—".into(), |text| Label::of(text).line)
            }
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

    pub fn line(feature: usize, score: Option<f64>, explainer: &str) -> ScoreLine {
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
            grades: None,
        }
    }

    fn args(sort: Option<&str>, worst: bool, limit: Option<usize>) -> InspectArgs {
        InspectArgs {
            run: "run".into(),
            feature: None,
            sort: sort.map(Into::into),
            worst,
            limit,
            explainer: None,
        }
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
            let text =
                table(&sorted, Some("top_and_random")).draw(Look { width: width_of, ink: Ink::None }).text;
            assert!(text.lines().all(|line| width(line) <= width_of), "{text}");
            for shown in ["blocks.2.hook_resid_post/topk/1", "neuron_to_graph_backoff", "0.200", "skipped"] {
                assert!(text.contains(shown), "`{shown}` is not in\n{text}");
            }
        }
    }
}
