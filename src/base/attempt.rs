//! Outcomes of work on one feature, and their tally.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Outcome of one piece of work on one feature. Only `Done` reaches the next stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attempt<T> {
    /// It succeeded.
    Done(T),
    /// There is no value, for a reason that is counted.
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

    /// All values, or the reason of the first missing one. Nothing after that one is evaluated.
    pub fn all(attempts: impl IntoIterator<Item = Self>) -> Attempt<Vec<T>> {
        let mut values = Vec::new();
        for attempt in attempts {
            match attempt {
                Self::Done(value) => values.push(value),
                Self::Missing(missing) => return Attempt::Missing(missing),
            }
        }
        Attempt::Done(values)
    }

    /// Applies `make` to the value.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Attempt<U> {
        match self {
            Self::Done(value) => Attempt::Done(make(value)),
            Self::Missing(missing) => Attempt::Missing(missing),
        }
    }
}

/// Why there is no value. The text is a stable snake_case reason under which tallies count it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "reason")]
pub enum Missing {
    /// The feature was not eligible, so the work was not attempted.
    Skipped(String),
    /// The number does not exist for this feature, for instance because the truth is constant.
    Undefined(String),
    /// The work was attempted and failed.
    Failed(String),
}

impl Missing {
    /// The reason, for any kind.
    pub fn reason(&self) -> &str {
        match self {
            Self::Skipped(reason) | Self::Undefined(reason) | Self::Failed(reason) => reason,
        }
    }
}

/// How many features were walked and what became of each. Invariant: `requested()` is the sum of
/// all parts, so nothing is lost silently.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
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
    /// Number of features walked.
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
    fn all_values_or_the_first_missing_reason() {
        let missing = |reason: &str| Attempt::<u8>::Missing(Missing::Failed(reason.into()));
        assert_eq!(Attempt::all([Attempt::Done(1), Attempt::Done(2)]), Attempt::Done(vec![1, 2]));
        let broken = Attempt::all([Attempt::Done(1), missing("first"), missing("second")]);
        assert_eq!(broken, Attempt::Missing(Missing::Failed("first".into())));
        assert_eq!(Attempt::<u8>::all([]), Attempt::Done(Vec::new()));
        assert_eq!(Attempt::Done(2).map(|value| value + 1), Attempt::Done(3));
    }

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
