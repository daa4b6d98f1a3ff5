//! The kinds of judging: detection, fuzzing, surprisal, specificity and intervention.

use serde::{Deserialize, Serialize};

use super::NoScore;
use super::intervention::{TEXTS_COMPARED, USUAL_CHOICE, intervention_digest, intervention_request};
use super::judged::JudgeTask;
use super::surprisal::{surprisal_digest, surprisal_request};
use crate::base::Digest;
use crate::llm::{Example, Question};

/// Kinds of judging: scores without a simulation, from a language model's judgement of fragments or of written texts.
/// They need an explanation in words.
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
    /// Which of two texts was written with the feature raised.
    Intervention,
}

impl Judging {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::Detection, Self::Fuzzing, Self::Surprisal, Self::Specificity, Self::Intervention];

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
            Self::Intervention => &["intervention"],
        }
    }

    /// Its question about fragments. Surprisal has none, because it reads the probabilities of texts; intervention has
    /// none, because its texts are written.
    pub fn task(self) -> Option<JudgeTask> {
        match self {
            Self::Detection => Some(JudgeTask::Detection),
            Self::Fuzzing => Some(JudgeTask::Fuzzing),
            Self::Surprisal | Self::Intervention => None,
            Self::Specificity => Some(JudgeTask::Specificity),
        }
    }

    /// Whether it compares texts that the subject writes. Else it judges fragments of the corpus.
    pub fn compares_written(self) -> bool {
        self == Self::Intervention
    }

    /// Whether it needs the log-probabilities of a prompt.
    pub fn reads_prompts(self) -> bool {
        self == Self::Surprisal
    }

    /// Whether it grades firing fragments by interval of activation. Else it tells firing fragments from others.
    pub fn grades(self) -> bool {
        self == Self::Specificity
    }

    /// Why a feature without fragments to judge has no score.
    pub fn without_fragments(self) -> NoScore {
        if self.grades() { NoScore::NoFiringFragments } else { NoScore::OneClassOnly }
    }

    /// The requests about some fragments with answers of typical length, for estimating use. Where written texts are
    /// compared, every three texts are a question: an opening and its continuations.
    pub fn examples(self, explanation: &str, texts: &[String]) -> Vec<Example> {
        match self.task() {
            Some(task) => {
                let reply = task.usual_reply(texts.len());
                vec![Example { question: Question::Chat(task.request(explanation, texts, 0)), reply }]
            }
            None if self.compares_written() => texts
                .as_chunks::<TEXTS_COMPARED>()
                .0
                .iter()
                .map(|texts| choosing(explanation, texts))
                .collect(),
            None => texts.iter().map(|text| reading(Some(explanation), text)).collect(),
        }
    }

    /// Requests that do not depend on the explanation and are therefore sent once.
    pub fn shared_examples(self, texts: &[String]) -> Vec<Example> {
        if self.reads_prompts() { texts.iter().map(|text| reading(None, text)).collect() } else { Vec::new() }
    }

    /// Digest of the prompt.
    pub fn digest(self) -> Digest {
        match self.task() {
            Some(task) => task.digest(),
            None if self.compares_written() => intervention_digest(),
            None => surprisal_digest(),
        }
    }
}

fn choosing(explanation: &str, texts: &[String; TEXTS_COMPARED]) -> Example {
    let request = intervention_request(explanation, texts, 0);
    Example { question: Question::Chat(request), reply: USUAL_CHOICE.into() }
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
