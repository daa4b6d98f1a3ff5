use serde::{Deserialize, Serialize};

use super::judged::JudgeTask;
use super::surprisal::surprisal_digest;
use crate::base::Digest;

/// A way to score an explanation without a simulation: a language model that is told the explanation
/// says, fragment by fragment, whether it applies. Needs an explanation in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Judging {
    /// Whether the feature fires on a text.
    Detection,
    /// Whether the marked tokens are those on which it fires.
    Fuzzing,
    /// How much likelier the explanation makes a text.
    Surprisal,
}

impl Judging {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Detection, Self::Fuzzing, Self::Surprisal];

    /// The kind, as suites spell it: the name of its first score.
    pub fn name(self) -> &'static str {
        self.scores()[0]
    }

    /// The scores it gives.
    pub fn scores(self) -> &'static [&'static str] {
        match self {
            Self::Detection => &["detection", "detection_auroc"],
            Self::Fuzzing => &["fuzzing", "fuzzing_auroc"],
            Self::Surprisal => &["surprisal"],
        }
    }

    /// The question that it asks; surprisal asks none, it reads probabilities of texts.
    pub fn task(self) -> Option<JudgeTask> {
        match self {
            Self::Detection => Some(JudgeTask::Detection),
            Self::Fuzzing => Some(JudgeTask::Fuzzing),
            Self::Surprisal => None,
        }
    }

    /// Version of what the model is shown.
    pub fn digest(self) -> Digest {
        self.task().map_or_else(surprisal_digest, JudgeTask::digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_score_has_one_name() {
        let mut names: Vec<&str> =
            Judging::ALL.iter().flat_map(|judging| judging.scores()).copied().collect();
        names.extend(crate::score::SCORER_NAMES);
        let n = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), n);
        let mut digests = Judging::ALL.map(|judging| judging.digest().hex());
        digests.sort();
        assert!(digests.windows(2).all(|pair| pair[0] != pair[1]));
        assert!(
            Judging::ALL
                .iter()
                .all(|judging| judging.task().is_none_or(|task| task.name() == judging.name()))
        );
    }
}
