use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What became of one piece of work on one feature. Only `Done` can reach the next stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attempt<T> {
    /// It worked.
    Done(T),
    /// It did not, for a reason that is counted.
    Missing(Missing),
}

impl<T> Attempt<T> {
    /// The value, if there is one.
    pub fn done(&self) -> Option<&T> {
        match self {
            Self::Done(value) => Some(value),
            Self::Missing(_) => None,
        }
    }
}

/// Why there is no value; the text is a stable snake_case reason that tallies count by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "reason")]
pub enum Missing {
    /// The feature was not eligible, so nothing was asked of it.
    Skipped(String),
    /// The number does not exist for this feature (constant truth, say).
    Undefined(String),
    /// The work was tried and did not come out.
    Failed(String),
}

/// How many features were walked and what became of each. Invariant: `requested()` is the sum of
/// all parts, so nothing is lost silently.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Features with a score.
    pub scored: usize,
    /// Features whose score does not exist, whatever the reason.
    pub undefined: usize,
    /// Features on which explaining, simulating or scoring failed.
    pub failed: usize,
    /// Features left out, by reason.
    pub skipped: BTreeMap<String, usize>,
}

impl Tally {
    /// Features walked.
    pub fn requested(&self) -> usize {
        self.scored + self.undefined + self.failed + self.skipped.values().sum::<usize>()
    }

    /// Counts one feature without a value.
    pub fn miss(&mut self, missing: &Missing) {
        match missing {
            Missing::Skipped(reason) => *self.skipped.entry(reason.clone()).or_default() += 1,
            Missing::Undefined(_) => self.undefined += 1,
            Missing::Failed(_) => self.failed += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_adds_up() {
        let mut tally = Tally { scored: 3, ..Tally::default() };
        tally.miss(&Missing::Skipped("dead".into()));
        tally.miss(&Missing::Skipped("dead".into()));
        tally.miss(&Missing::Failed("timeout".into()));
        tally.miss(&Missing::Undefined("constant_truth".into()));
        assert_eq!(tally.requested(), 7);
        assert_eq!(tally.skipped["dead"], 2);
    }
}
