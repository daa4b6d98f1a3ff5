//! Scores features by a language model's judgements of whole fragments, given the explanation (Paulo et al. 2024,
//! arXiv 2410.13928; Templeton et al. 2024), or of written texts.

use serde::Serialize;

use crate::base::{Attempt, Missing, Stream};
use crate::features::{Explanation, Held, JudgedFragment, Stratum};
use crate::llm::{
    ChatClient, ChatError, ChatReply, ChatRequest, LastReply, PromptReply, ReadProblem, ask_until_read,
    failed_call,
};
use crate::report::Chosen;
use crate::run::RunError;
use crate::run::evaluate::models::ConnectedJudge;
use crate::run::evaluate::questions::{Questions, Reply};
use crate::score::{
    GradeCounts, JudgeTask, Judgement, NoScore, ScoreOutcome, ShownText, auroc, count_grades, judge_batches,
    judged_score, read_grades, read_judgements, specificity, surprisal, surprisal_request,
};

/// Verdict on one fragment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    pub fragment: usize,
    /// Stratum of the fragment.
    pub stratum: Stratum,
    /// Ground truth: whether the feature fires on the fragment.
    pub fires: bool,
    /// Interval of activation, from 0; specificity only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<usize>,
    /// Positions of the marked tokens; fuzzing and specificity only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub marked: Vec<usize>,
    /// Answer of the model.
    #[serde(flatten)]
    pub said: Answer,
}

/// Answer of the model about one fragment.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// Yes or no.
    Judgement(Judgement),
    /// How well the explanation fits.
    Grade {
        /// From 0 to 3.
        grade: u8,
    },
    /// Gain in log-likelihood from the explanation.
    Gain {
        /// In nats.
        gain_nats: f64,
    },
}

/// Scores of one feature for one kind of judging, with their verdicts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Judged {
    /// Score by name.
    pub scores: Vec<(&'static str, ScoreOutcome)>,
    /// Verdicts in the order asked.
    pub verdicts: Vec<Verdict>,
    /// Counts of grades by interval of activation, if fragments were graded.
    pub grades: Option<Vec<GradeCounts>>,
    /// Choices between written texts, if these were compared.
    pub choices: Vec<Chosen>,
}

/// A feature's fragments in random order, as they are shown.
struct ShownFeature<'a> {
    sentence: &'a str,
    fragments: Vec<(&'a JudgedFragment, ShownText)>,
}

impl Questions<'_> {
    /// Judges every feature that has an explanation in words. `stream` returns the random stream of a feature. It
    /// must not depend on the explanation, so that controls are asked about the same texts.
    pub fn judge(
        &self,
        by: &ConnectedJudge,
        held: &[Held],
        explanations: &[Attempt<Explanation>],
        stream: impl Fn(usize) -> Stream,
    ) -> Result<Vec<Attempt<Judged>>, RunError> {
        if by.judging.compares_written() {
            return self.interventions(by, held, explanations, stream);
        }
        let pairs = || held.iter().zip(explanations);
        let shown: Vec<Option<ShownFeature<'_>>> = pairs()
            .map(|(held, explanation)| match explanation {
                Attempt::Done(Explanation::Sentence(sentence)) => {
                    let fragments = self.shown(by, held, &mut stream(held.feature()));
                    Some(ShownFeature { sentence, fragments })
                }
                _ => None,
            })
            .collect();
        let mut said = match by.judging.task() {
            Some(task) => self.verdicts(by, task, &shown)?,
            None => self.gains(by, &shown)?,
        }
        .into_iter();
        let judged =
            |((_, explanation), shown): ((&Held, &Attempt<Explanation>), &Option<ShownFeature<'_>>)| {
                let undefined = |why| {
                    let scores = by.judging.scores().iter().map(|&name| (name, ScoreOutcome::Undefined(why)));
                    Attempt::Done(Judged { scores: scores.collect(), ..Judged::default() })
                };
                match (explanation, shown) {
                    (Attempt::Missing(missing), _) => Attempt::Missing(missing.clone()),
                    (Attempt::Done(_), None) => undefined(NoScore::NotASentence),
                    (Attempt::Done(_), Some(shown)) => {
                        let said = said.next().unwrap_or(Attempt::Done(Vec::new()));
                        if shown.fragments.is_empty() {
                            return undefined(by.judging.without_fragments());
                        }
                        said.map(|said| scored(by, shown, said))
                    }
                }
            };
        Ok(pairs().zip(&shown).map(judged).collect())
    }

    fn shown<'a>(
        &self,
        by: &ConnectedJudge,
        held: &'a Held,
        stream: &mut Stream,
    ) -> Vec<(&'a JudgedFragment, ShownText)> {
        let fragments = if by.judging.grades() { held.graded() } else { held.judged() };
        let texts = |id| self.run.text(id);
        let shown = match by.judging.task() {
            Some(task) => task.shown(fragments, held.first_scored(), &texts, stream),
            None => JudgeTask::Detection.shown(fragments, held.first_scored(), &texts, stream),
        };
        let order = stream.permutation(fragments.len());
        order.into_iter().map(|place| (&fragments[place], shown[place].clone())).collect()
    }

    /// Asks for a verdict or a grade of every shown fragment. If a question of a feature got no readable answer, the
    /// feature has that reason.
    fn verdicts(
        &self,
        by: &ConnectedJudge,
        task: JudgeTask,
        shown: &[Option<ShownFeature<'_>>],
    ) -> Result<Vec<Attempt<Vec<Answer>>>, RunError> {
        let batches = |shown: &ShownFeature<'_>| judge_batches(shown.fragments.len(), by.spec.per_question);
        let total = shown.iter().flatten().map(|shown| batches(shown).len()).sum();
        let questions = shown
            .iter()
            .flatten()
            .flat_map(|shown| batches(shown).into_iter().map(move |batch| (shown, batch)));
        let client = by.role.client();
        let work = questions.map(|(shown, batch)| async move {
            let texts: Vec<String> =
                shown.fragments[batch].iter().map(|(_, text)| text.text.clone()).collect();
            let request = |sample| {
                let request = task.request(shown.sentence, &texts, sample);
                let top_logprobs = request.top_logprobs.filter(|_| by.spec.probabilities);
                ChatRequest { top_logprobs, ..request }
            };
            let read = |reply: &_| read_answers(by, reply, texts.len());
            let last_reply = LastReply::new(client);
            let attempt = ask_until_read(&last_reply, request, read, 0, by.spec.attempts - 1).await?;
            Ok(Reply { heard: last_reply.heard(&attempt), attempt })
        });
        let mut answers = self.all(&by.role, total, work)?.into_iter();
        let of_feature = |shown: &ShownFeature<'_>| {
            let answers: Vec<_> = answers.by_ref().take(batches(shown).len()).collect();
            Attempt::all(answers).map(|batches| batches.concat())
        };
        Ok(shown.iter().flatten().map(of_feature).collect())
    }

    /// Gain in log-likelihood of each fragment from the explanation.
    fn gains(
        &self,
        by: &ConnectedJudge,
        shown: &[Option<ShownFeature<'_>>],
    ) -> Result<Vec<Attempt<Vec<Answer>>>, RunError> {
        let client = by.role.client();
        let all = || shown.iter().flatten();
        let texts = all()
            .flat_map(|shown| shown.fragments.iter().map(|(_, text)| (shown.sentence, text.text.as_str())));
        let work = texts.map(|(sentence, text)| async move {
            let last_reply = LastReply::new(client);
            let attempt = gain(&last_reply, sentence, text).await?;
            Ok(Reply { heard: last_reply.heard(&attempt), attempt })
        });
        let total = all().map(|shown| shown.fragments.len()).sum();
        let mut gains = self.all(&by.role, total, work)?.into_iter();
        let of_feature = |shown: &ShownFeature<'_>| {
            let gains: Vec<_> = gains.by_ref().take(shown.fragments.len()).collect();
            let said = |gain_nats| Answer::Gain { gain_nats };
            Attempt::all(gains).map(|gains| gains.into_iter().map(said).collect())
        };
        Ok(all().map(of_feature).collect())
    }
}

async fn gain(client: &dyn ChatClient, sentence: &str, text: &str) -> Result<Attempt<f64>, ChatError> {
    let explained = match scored_prompt(client, Some(sentence), text).await? {
        Attempt::Done(reply) => reply,
        Attempt::Missing(missing) => return Ok(Attempt::Missing(missing)),
    };
    // This prompt does not depend on the explanation, so its answer is cached for all controls and explainers.
    let plain = match scored_prompt(client, None, text).await? {
        Attempt::Done(reply) => reply,
        Attempt::Missing(missing) => return Ok(Attempt::Missing(missing)),
    };
    let failed = |problem: ReadProblem| {
        client.forget_prompt(&surprisal_request(Some(sentence), text));
        Attempt::Missing(Missing::Failed(problem.reason().into()))
    };
    Ok(surprisal(&explained, &plain).map_or_else(failed, Attempt::Done))
}

async fn scored_prompt(
    client: &dyn ChatClient,
    explanation: Option<&str>,
    text: &str,
) -> Result<Attempt<PromptReply>, ChatError> {
    match client.score_prompt(&surprisal_request(explanation, text)).await {
        Ok(reply) => Ok(Attempt::Done(reply)),
        Err(error) => failed_call(error).map(Attempt::Missing),
    }
}

fn read_answers(by: &ConnectedJudge, reply: &ChatReply, n: usize) -> Result<Vec<Answer>, ReadProblem> {
    if by.judging.grades() {
        let grades = read_grades(reply, n)?;
        return Ok(grades.into_iter().map(|grade| Answer::Grade { grade }).collect());
    }
    Ok(read_judgements(reply, n)?.into_iter().map(Answer::Judgement).collect())
}

fn scored(by: &ConnectedJudge, shown: &ShownFeature<'_>, said: Vec<Answer>) -> Judged {
    let pairs = || shown.fragments.iter().map(|(judged, _)| *judged).zip(&said);
    let judgements = pairs().filter_map(|(judged, said)| match said {
        Answer::Judgement(judgement) => Some((judged.fires, *judgement)),
        _ => None,
    });
    let gains = pairs().filter_map(|(judged, said)| match said {
        Answer::Gain { gain_nats } => Some((judged.fires, *gain_nats)),
        _ => None,
    });
    let graded = pairs().filter_map(|(judged, said)| match said {
        Answer::Grade { grade } => Some((judged.interval?, *grade)),
        _ => None,
    });
    let grading = by.spec.grading.filter(|_| by.judging.grades());
    let grades = grading.map(|grading| count_grades(grading.intervals, graded));
    let outcomes: Vec<ScoreOutcome> = match (&grades, by.judging.task()) {
        (Some(grades), _) => vec![specificity(grades).into()],
        (None, Some(_)) => {
            let score = judged_score(&judgements.collect::<Vec<_>>());
            vec![score.balanced_accuracy.into(), score.auroc.into()]
        }
        (None, None) => vec![auroc(&gains.collect::<Vec<_>>()).into()],
    };
    let verdicts = shown.fragments.iter().zip(&said).map(|((judged, text), said)| Verdict {
        fragment: judged.held.fragment,
        stratum: judged.stratum,
        fires: judged.fires,
        interval: judged.interval,
        marked: text.marked.clone(),
        said: *said,
    });
    Judged {
        verdicts: verdicts.collect(),
        scores: by.judging.scores().iter().copied().zip(outcomes).collect(),
        grades,
        choices: Vec::new(),
    }
}
