//! One scorer under the first explainer, as the rules see it.

use super::words::code;
use crate::report::number::span;
use crate::report::ranking::{RankedMethod, Ranking};
use crate::report::schema::{Cell, Role};
use crate::report::view::{Pairing, RowKey, View};

/// The explainer whose explanations are the mean activation of each token.
pub const TOKEN_LOOKUP: &str = "token_lookup_fit";

/// A scorer with its ranking.
pub struct Ranked<'v, 'a> {
    pub view: &'v View<'a>,
    pub scorer: &'a str,
    pub pairing: Pairing<'a>,
    /// None in a folder of an older version.
    pub ranking: Option<&'a Ranking>,
    /// Methods with a place and a mean, best first.
    pub methods: Vec<&'a RankedMethod>,
}

/// The ranking of a scorer under one explainer.
pub fn ranking_of<'a>(view: &View<'a>, pairing: Pairing<'_>, scorer: &str) -> Option<&'a Ranking> {
    view.summary.rankings.iter().find(|ranking| {
        let Ranking { protocol, explainer, simulator, .. } = ranking;
        ranking.scorer == scorer && pairing == Pairing { protocol, explainer, simulator }
    })
}

/// The pairing whose explanations are token means, if the run has it beside another one.
pub fn lookup_pairing<'a>(view: &View<'a>, pairing: Pairing<'a>) -> Option<Pairing<'a>> {
    let is_lookup = |other: &&Pairing<'a>| {
        other.explainer == TOKEN_LOOKUP && other.protocol == pairing.protocol && **other != pairing
    };
    view.pairings.iter().find(is_lookup).copied()
}

/// The mean, if it is a number.
pub fn mean(row: &RankedMethod) -> Option<f64> {
    row.mean.filter(|mean| mean.is_finite())
}

/// The ends of the simultaneous interval.
pub fn interval(row: &RankedMethod) -> Option<(f64, f64)> {
    row.ci_low.zip(row.ci_high).filter(|(low, high)| low.is_finite() && high.is_finite())
}

/// Whether the mean of `a` is separated from the lower mean of `b`.
pub fn is_above(a: &RankedMethod, b: &RankedMethod) -> bool {
    a.above.iter().any(|(method, control)| *method == b.method && *control == b.control)
}

/// The largest or the smallest of the means.
pub fn extreme<'r>(
    rows: impl IntoIterator<Item = &'r RankedMethod>,
    pick: fn(f64, f64) -> f64,
) -> Option<f64> {
    rows.into_iter().filter_map(mean).reduce(pick)
}

impl<'v, 'a> Ranked<'v, 'a> {
    /// A scorer under the first explainer of the run.
    pub fn of(view: &'v View<'a>, scorer: &'a str) -> Option<Self> {
        let pairing = *view.pairings.first()?;
        let ranking = ranking_of(view, pairing, scorer);
        let rows = ranking.into_iter().flat_map(|ranking| &ranking.rows);
        let mut methods: Vec<&RankedMethod> =
            rows.filter(|row| row.control.is_none() && row.place.is_some() && mean(row).is_some()).collect();
        methods.sort_by_key(|row| row.place);
        Some(Self { view, scorer, pairing, ranking, methods })
    }

    /// The score's name in a sentence.
    pub fn name(&self) -> String {
        code(self.scorer)
    }

    /// Whether anything was tested: some mean has an interval, or some rows are separated.
    pub fn is_tested(&self) -> bool {
        self.methods.iter().any(|row| interval(row).is_some() || !row.above.is_empty())
    }

    /// Whether some two methods are separated.
    pub fn separates(&self) -> bool {
        self.methods.iter().any(|a| self.methods.iter().any(|b| is_above(a, b)))
    }

    /// The highest method and those that are not separated from it.
    pub fn leaders(&self) -> Vec<&'a RankedMethod> {
        let Some(top) = self.methods.first() else { return Vec::new() };
        self.methods.iter().copied().filter(|row| !is_above(top, row)).collect()
    }

    /// Each ranked method that has a control of this name and a mean there, with the control's row.
    pub fn controls(&self, control: &str) -> Vec<(&'a RankedMethod, &'a RankedMethod)> {
        let rows = self.ranking.map_or(&[][..], |ranking| &ranking.rows);
        let of = |method: &&'a RankedMethod| {
            let is_of = |row: &&RankedMethod| row.control.as_deref() == Some(control);
            let mut here = rows.iter().filter(is_of).filter(|row| mean(row).is_some());
            Some((*method, here.find(|row| row.method == method.method)?))
        };
        self.methods.iter().filter_map(of).collect()
    }

    /// What a method is to the comparison, as the run recorded it.
    pub fn role(&self, method: &str) -> Option<Role> {
        let mut rows = self.view.summary.quality.iter();
        rows.find(|row| row.method == method && row.control.is_none())?.role
    }

    /// What an explanation without information scores.
    pub fn chance(&self) -> f64 {
        self.view.chance(self.scorer)
    }

    /// `n = 40 features per hook point`.
    pub fn sample(&self) -> String {
        let counts: Vec<usize> =
            self.methods.iter().flat_map(|row| [row.n_per_hook.0, row.n_per_hook.1]).collect();
        let n = span(&counts, |n| n.to_string()).unwrap_or_default();
        let several = self.ranking.is_some_and(|ranking| ranking.hooks.len() > 1);
        format!("n = {n} features{}", if several { " per hook point" } else { "" })
    }

    /// The cells of the methods themselves.
    pub fn cells(&self) -> impl Iterator<Item = &'a Cell> {
        let rows = self
            .view
            .hooks
            .iter()
            .flat_map(|hook| self.view.methods.iter().map(move |method| RowKey::of(hook, method)));
        rows.filter_map(|row| self.view.cell(self.pairing, row, self.scorer))
    }
}
