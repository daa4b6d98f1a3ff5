//! What a feature's label leaves out.

use crate::report::label::Label;
use crate::report::scores::FeatureLine;

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
