//! What stands at the top of a feature's view: the rules that its label leaves out, and the places of its scores.

use super::describe::Page;
use crate::report::escape::visible;
use crate::report::label::Label;
use crate::report::scores::FeatureLine;
use crate::report::standing::CellScores;
use crate::report::view::{Pairing, RowKey};

/// What a label leaves out.
#[derive(Default)]
pub struct Rest {
    /// Such as `8 more rules`; none if nothing.
    pub more: Option<String>,
    /// The rules, of at most `most` characters together, and what holds elsewhere.
    pub rules: Vec<String>,
}

impl Rest {
    pub fn of(line: &FeatureLine, most: usize) -> Self {
        let label = line.explanation.as_deref().map(Label::of).unwrap_or_default();
        let Some(more) = label.more() else { return Self::default() };
        let mut room = most;
        let listed = label.others.iter().take_while(|rule| {
            let n = rule.chars().count();
            let fits = n <= room;
            room = room.saturating_sub(n);
            fits
        });
        let mut rules: Vec<String> = listed.cloned().collect();
        let n_unlisted = label.others.len() - rules.len() + label.unlisted;
        if n_unlisted > 0 {
            rules.push(format!("… and {n_unlisted} in the folder explanations"));
        }
        rules.extend(label.otherwise);
        Self { more: Some(more), rules }
    }
}

impl<'a> Page<'a> {
    /// The scores at a glance, by index, each with its place in its cell or the reason why it has none.
    pub fn standings(&mut self, line: &'a FeatureLine) -> Vec<(usize, String)> {
        let Some(scores) = self.context.scores else { return Vec::new() };
        let pairing = Pairing { protocol: &line.protocol, ..line.pairing() };
        let row = RowKey { control: line.control.as_deref(), ..RowKey::of(&line.hook, &line.method) };
        let standing = |&(nth, scorer, higher): &(usize, &str, bool)| {
            let cell = self.cells.entry((pairing, row, nth)).or_insert_with(|| {
                CellScores::new(scores.of(pairing, row).filter_map(|other| other.entering(scorer)), higher)
            });
            (nth, visible(&line.all_scores().standing(scorer, cell)))
        };
        self.context.glance_scorers.iter().map(standing).collect()
    }
}
