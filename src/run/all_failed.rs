//! Counts failed answers per role, and stops asking when all answers fail same.

use std::collections::BTreeMap;

use crate::base::{Attempt, Missing};
use crate::llm::{ENDPOINT_REASONS, Heard, ReadProblem};
use crate::run::Who;

/// A role is given up after this many answers if all of them failed for one reason.
const GIVE_UP_AFTER: usize = 20;

/// All answers of a role so far failed for one reason.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{who}: the first {n} answers all failed as `{reason}`{ending}")]
pub struct AllFailed {
    /// The role.
    pub who: Who,
    /// Number of failed answers.
    pub n: usize,
    /// Reason code, as in results.
    pub reason: String,
    /// One of the failures.
    #[source]
    pub heard: Heard,
    /// Advice, and fallbacks of the endpoint.
    pub hints: Vec<String>,
    ending: &'static str,
}

/// Failures with the same reason.
#[derive(Debug, Clone)]
pub struct SameFailures {
    n: usize,
    reason: String,
    heard: Heard,
}

impl SameFailures {
    /// Builds the error. `stopped`: the role asks no further question.
    pub fn of(self, who: &Who, remarks: &[String], stopped: bool) -> AllFailed {
        let Self { n, reason, heard } = self;
        let ending = match stopped {
            true => {
                "; no further request is sent, answers so far are kept, and the same command continues from there"
            }
            false => "; the same command asks again",
        };
        let hints = advice(&reason, &heard).into_iter().chain(remarks.iter().cloned()).collect();
        AllFailed { who: who.clone(), n, reason, heard, hints, ending }
    }
}

/// Advice from the endpoint's message, or else from the reason code.
fn advice(reason: &str, heard: &Heard) -> Option<String> {
    heard.advice().or_else(|| Some(ReadProblem::of_reason(reason)?.advice().to_string()))
}

/// Counts of one role's answers.
#[derive(Debug, Default)]
pub struct Answers {
    good: usize,
    failed: BTreeMap<String, SameFailures>,
    /// Set, and never reset, when the first [`GIVE_UP_AFTER`] answers all failed for one reason.
    given_up: Option<SameFailures>,
}

impl Answers {
    /// Counts one answer.
    pub fn add<T>(&mut self, attempt: &Attempt<T>, heard: Heard) {
        match attempt {
            Attempt::Missing(Missing::Failed(reason)) => {
                let first = || SameFailures { n: 0, reason: reason.clone(), heard };
                self.failed.entry(reason.clone()).or_insert_with(first).n += 1;
            }
            _ => self.good += 1,
        }
        if self.given_up.is_none() {
            self.given_up = self.only_reason().filter(|same| same.n == GIVE_UP_AFTER).cloned();
        }
    }

    fn only_reason(&self) -> Option<&SameFailures> {
        self.failed.values().next().filter(|_| self.good == 0 && self.failed.len() == 1)
    }

    /// The failure that ended this role, if the first answers all failed for one reason.
    pub fn first_failed(&self) -> Option<SameFailures> {
        self.given_up.clone()
    }

    /// The common failure, if every answer failed for one reason on the side of the endpoint.
    pub fn unanswered(&self) -> Option<SameFailures> {
        self.only_reason().filter(|same| ENDPOINT_REASONS.contains(&same.reason.as_str())).cloned()
    }

    /// Describes failures, one sentence per reason.
    pub fn failures(&self, who: &Who) -> Vec<String> {
        let total = self.good + self.failed.values().map(|same| same.n).sum::<usize>();
        let sentence = |SameFailures { n, reason, heard }: &SameFailures| {
            let advice = advice(reason, heard).map_or(String::new(), |advice| format!("; {advice}"));
            format!("{who}: {n} of {total} answers failed as `{reason}`; {heard}{advice}")
        };
        self.failed.values().map(sentence).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::{ChatError, ChatReply, Finish};
    use crate::run::Step;

    fn failed(reason: &str) -> Attempt<u8> {
        Attempt::Missing(Missing::Failed(reason.into()))
    }

    fn refused() -> Heard {
        let detail = "status 400: property 'seed' is unsupported".to_string();
        Heard::Error(ChatError::BadRequest { endpoint: "http://e/v1".into(), detail })
    }

    fn reply(text: &str) -> Heard {
        let text = text.to_string();
        Heard::Reply(ChatReply { text, finish: Finish::Stop, tokens_in: 1, tokens_out: 1, logprobs: None })
    }

    fn who() -> Who {
        Who { step: Step::Explain, name: "highlighted".into(), model: "m".into() }
    }

    #[test]
    fn twenty_failures_for_one_reason_and_nothing_else_give_up() {
        let mut answers = Answers::default();
        for _ in 1..GIVE_UP_AFTER {
            answers.add(&failed("bad_request"), refused());
            assert!(answers.first_failed().is_none());
        }
        answers.add(&failed("bad_request"), refused());
        // A later answer changes nothing.
        answers.add(&Attempt::Done(1), reply("x"));
        let error = answers.first_failed().expect("given up").of(&who(), &[], true);
        assert!(error.to_string().contains("first 20 answers all failed as `bad_request`"), "{error}");
        assert!(error.heard.to_string().contains("property 'seed' is unsupported"));
        assert!(error.hints[0].contains("omit: [seed]"), "{:?}", error.hints);
    }

    #[test]
    fn one_good_answer_or_another_reason_goes_on() {
        for other in [Attempt::Done(1), failed("truncated")] {
            let mut answers = Answers::default();
            answers.add(&other, reply("x"));
            for _ in 0..3 * GIVE_UP_AFTER {
                answers.add(&failed("bad_request"), refused());
            }
            assert!(answers.first_failed().is_none() && answers.unanswered().is_none());
            let told = answers.failures(&who());
            assert!(
                told[0].starts_with("explain highlighted by m: 60 of 61 answers failed as `bad_request`"),
                "{told:?}"
            );
        }
    }

    #[test]
    fn a_few_unanswered_questions_are_told_apart_from_unreadable_answers() {
        let mut answers = Answers::default();
        assert!(answers.unanswered().is_none());
        answers.add(&failed("bad_request"), refused());
        assert!(answers.unanswered().is_some_and(|same| same.n == 1));
        let mut answers = Answers::default();
        answers.add(&failed("malformed_reply"), reply("I am\u{1b}[31m a poem\nof two lines"));
        assert!(answers.unanswered().is_none());
        let told = answers.failures(&who()).remove(0);
        assert!(told.contains("one reply: I am [31m a poem of two lines; take a model"), "{told}");
    }
}
