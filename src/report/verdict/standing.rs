//! The small table of a scorer: methods in their order, with their controls beside them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::controls::{PERMUTED, SHUFFLED};
use super::ranked::{lookup_pairing, mean, ranking_of};
use crate::report::number::{score, span};
use crate::report::ranking::{RankedMethod, Ranking};
use crate::report::view::{ELSEWHERE, Pairing, RANDOM_DIRECTION, View};

/// One scorer under the first explainer.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Standing {
    /// The score.
    pub scorer: String,
    /// Who explained.
    pub explainer: String,
    /// Who simulated.
    pub simulator: String,
    /// Whether this is one of the scores that must be read together.
    pub main: bool,
    /// Hook points that each mean is over.
    pub hooks: Vec<String>,
    /// Probability that all intervals hold together.
    pub confidence: f64,
    /// What an explanation without information scores.
    pub chance: f64,
    /// The controls shown beside a method, if some method has them: shuffled explanations, random directions,
    /// permuted weights.
    pub controls: Vec<String>,
    /// The explainer whose explanations are token means, if the run has it beside this one.
    pub token_lookup: Option<String>,
    /// Methods, best first; those without a place at the end.
    pub rows: Vec<StandingRow>,
    /// The remark of the ranking.
    pub note: Option<String>,
}

/// One method.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct StandingRow {
    /// Place, from 1; none if it is not ranked.
    pub place: Option<usize>,
    /// The method.
    pub method: String,
    /// Whether its dictionary is applied where it was not trained.
    pub elsewhere: bool,
    /// Mean over hook points.
    pub mean: Option<f64>,
    /// Lower end of the simultaneous interval.
    pub ci_low: Option<f64>,
    /// Upper end.
    pub ci_high: Option<f64>,
    /// Methods that share a letter are not separated.
    pub letters: String,
    /// Least and largest number of scored features at one hook point.
    pub n_per_hook: (usize, usize),
    /// Means of the method's controls.
    pub controls: BTreeMap<String, f64>,
    /// Its mean under the token lookup.
    pub token_lookup: Option<f64>,
    /// Why there is no place.
    pub reason: Option<String>,
}

/// The tables of all scorers of the first explainer, main scorers first.
pub fn all(view: &View<'_>) -> Vec<Standing> {
    let Some(pairing) = view.pairings.first() else { return Vec::new() };
    let main = view.main_scorers();
    let others = view.scorers.iter().filter(|scorer| !main.contains(scorer));
    let scorers = main.iter().chain(others);
    let one = |scorer: &&str| Standing::of(view, *pairing, scorer, main.contains(scorer));
    scorers.filter_map(one).collect()
}

impl Standing {
    fn of(view: &View<'_>, pairing: Pairing<'_>, scorer: &str, main: bool) -> Option<Self> {
        let ranking = ranking_of(view, pairing, scorer)?;
        let pairing = *view.pairings.iter().find(|other| **other == pairing)?;
        let beside = lookup_pairing(view, pairing)
            .and_then(|lookup| Some((lookup.explainer, ranking_of(view, lookup, scorer)?)));
        let is_method = |row: &&RankedMethod| row.control.is_none();
        let lookup = |method: &str| {
            let mut rows = beside?.1.rows.iter().filter(is_method);
            rows.find(|row| row.method == method).and_then(mean)
        };
        let mut methods: Vec<&RankedMethod> = ranking.rows.iter().filter(is_method).collect();
        methods.sort_by_key(|row| row.place.unwrap_or(usize::MAX));
        let rows = methods.into_iter().map(|row| StandingRow {
            elsewhere: view.hooks.iter().any(|hook| view.mark(hook, &row.method) == ELSEWHERE),
            controls: controls(ranking, &row.method),
            token_lookup: lookup(&row.method),
            ..StandingRow::of(row)
        });
        let rows: Vec<StandingRow> = rows.collect();
        let permuted = PERMUTED.iter().map(|(name, _)| *name);
        let has = |control: &&str| rows.iter().any(|row| row.controls.contains_key(*control));
        let controls = [SHUFFLED, RANDOM_DIRECTION].into_iter().chain(permuted).filter(has);
        Some(Self {
            scorer: scorer.into(),
            explainer: pairing.explainer.into(),
            simulator: pairing.simulator.into(),
            main,
            hooks: ranking.hooks.clone(),
            confidence: ranking.confidence,
            chance: view.chance(scorer),
            controls: controls.map(String::from).collect(),
            token_lookup: beside.map(|(name, _)| name.to_string()),
            note: ranking.note.clone(),
            rows,
        })
    }

    /// Heads of the columns behind the letters: the controls, then the token lookup.
    pub fn beside(&self) -> impl Iterator<Item = &str> {
        self.controls.iter().chain(&self.token_lookup).map(String::as_str)
    }

    /// How many features the means rest on: `n = 40 features per hook point`; none without a ranked method.
    pub fn sample(&self) -> Option<String> {
        let ranked = self.rows.iter().filter(|row| row.place.is_some());
        let counts: Vec<usize> = ranked.flat_map(|row| [row.n_per_hook.0, row.n_per_hook.1]).collect();
        let per_hook = if self.hooks.len() > 1 { " per hook point" } else { "" };
        span(&counts, |n| n.to_string()).map(|n| format!("n = {n} features{per_hook}"))
    }

    /// Whether methods rest on different numbers of features.
    pub fn has_several_n(&self) -> bool {
        let mut ranked = self.rows.iter().filter(|row| row.place.is_some()).map(|row| row.n_per_hook);
        let first = ranked.next();
        ranked.any(|n| Some(n) != first)
    }

    /// What the table shows, below or above it.
    pub fn caption(&self) -> String {
        let explained = Pairing::without_protocol(&self.explainer, &self.simulator).label();
        let over = match self.hooks.len() {
            1 => "one hook point".to_string(),
            n => format!("{n} hook points"),
        };
        let mut text = format!("{explained}, mean over {over}");
        if self.rows.iter().any(|row| row.ci_low.is_some()) {
            let together = (self.confidence * 1000.0).round() / 10.0;
            text.push_str(&format!(", intervals that hold together ({together} %)"));
        }
        if let Some(sample) = self.sample() {
            text.push_str(&format!(", {sample}"));
        }
        text.push('.');
        if self.rows.iter().any(|row| !row.letters.is_empty()) {
            text.push_str(" Methods that share a letter are not separated.");
        }
        if let Some(note) = &self.note {
            text.push_str(&format!(" {}.", note.trim_end_matches('.')));
        }
        text
    }
}

/// Means of a method's controls.
fn controls(ranking: &Ranking, method: &str) -> BTreeMap<String, f64> {
    let rows = ranking.rows.iter().filter(|row| row.method == method);
    rows.filter_map(|row| Some((row.control.clone()?, mean(row)?))).collect()
}

impl StandingRow {
    fn of(row: &RankedMethod) -> Self {
        Self {
            place: row.place,
            method: row.method.clone(),
            elsewhere: false,
            mean: mean(row),
            ci_low: row.ci_low,
            ci_high: row.ci_high,
            letters: row.letters.clone(),
            n_per_hook: row.n_per_hook,
            controls: BTreeMap::new(),
            token_lookup: None,
            reason: row.reason.clone(),
        }
    }

    /// The method's name with its mark.
    pub fn label(&self) -> String {
        format!("{}{}", self.method, if self.elsewhere { ELSEWHERE } else { "" })
    }

    /// `40`, or `12 to 40`.
    pub fn n(&self) -> String {
        span(&[self.n_per_hook.0, self.n_per_hook.1], |n| n.to_string()).unwrap_or_default()
    }

    /// The means beside its own, in the order of [`Standing::beside`].
    pub fn beside<'s>(&'s self, standing: &'s Standing) -> impl Iterator<Item = Option<f64>> + 's {
        let controls = standing.controls.iter().map(|control| self.controls.get(control).copied());
        controls.chain(standing.token_lookup.as_ref().map(|_| self.token_lookup))
    }

    /// Whether a mean beside its own is as high or higher, as printed.
    pub fn is_reached_by(&self, other: Option<f64>) -> bool {
        other
            .zip(self.mean)
            .is_some_and(|(other, own)| other >= own || score(Some(other)) == score(Some(own)))
    }
}
