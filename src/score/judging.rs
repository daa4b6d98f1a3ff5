//! The kinds of judging: detection, fuzzing, surprisal and specificity.

use serde::{Deserialize, Serialize};

use super::NoScore;
use super::judged::JudgeTask;
use super::surprisal::{surprisal_digest, surprisal_request};
use crate::base::Digest;
use crate::llm::{Example, Question};

/// Kinds of judging: scores without a simulation, from a language model's judgement of fragments. They need an
/// explanation in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Judging {
    /// Whether the feature fires on a text.
    Detection,
    /// Whether the feature fires on the marked tokens.
    Fuzzing,
    /// How much the explanation increases a text's likelihood.
    Surprisal,
    /// How well the explanation accounts for the strongest token, by interval of activation.
    Specificity,
}

impl Judging {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Detection, Self::Fuzzing, Self::Surprisal, Self::Specificity];

    /// Kind, as in suites; also the name of its first score.
    pub fn name(self) -> &'static str {
        self.scores()[0]
    }

    /// Its scores.
    pub fn scores(self) -> &'static [&'static str] {
        match self {
            Self::Detection => &["detection", "detection_auroc"],
            Self::Fuzzing => &["fuzzing", "fuzzing_auroc"],
            Self::Surprisal => &["surprisal"],
            Self::Specificity => &["specificity"],
        }
    }

    /// Its question. Surprisal has none, because it reads the probabilities of texts.
    pub fn task(self) -> Option<JudgeTask> {
        match self {
            Self::Detection => Some(JudgeTask::Detection),
            Self::Fuzzing => Some(JudgeTask::Fuzzing),
            Self::Surprisal => None,
            Self::Specificity => Some(JudgeTask::Specificity),
        }
    }

    /// Whether it grades firing fragments by interval of activation. Else it tells firing fragments from others.
    pub fn grades(self) -> bool {
        self == Self::Specificity
    }

    /// Why a feature without fragments to judge has no score.
    pub fn without_fragments(self) -> NoScore {
        if self.grades() { NoScore::NoFiringFragments } else { NoScore::OneClassOnly }
    }

    /// The requests about some fragments with answers of typical length, for estimating use.
    pub fn examples(self, explanation: &str, texts: &[String]) -> Vec<Example> {
        match self.task() {
            Some(task) => {
                let reply = task.usual_reply(texts.len());
                vec![Example { question: Question::Chat(task.request(explanation, texts, 0)), reply }]
            }
            None => texts.iter().map(|text| reading(Some(explanation), text)).collect(),
        }
    }

    /// Requests that do not depend on the explanation and are therefore sent once.
    pub fn shared_examples(self, texts: &[String]) -> Vec<Example> {
        match self.task() {
            Some(_) => Vec::new(),
            None => texts.iter().map(|text| reading(None, text)).collect(),
        }
    }

    /// Digest of the prompt.
    pub fn digest(self) -> Digest {
        self.task().map_or_else(surprisal_digest, JudgeTask::digest)
    }
}

fn reading(explanation: Option<&str>, text: &str) -> Example {
    Example { question: Question::Prompt(surprisal_request(explanation, text)), reply: String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_score_has_one_name() {
        let mut names: Vec<&str> =
            Judging::ALL.iter().flat_map(|judging| judging.scores()).copied().collect();
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
