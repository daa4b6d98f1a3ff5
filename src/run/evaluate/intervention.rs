//! Asks a language model which of two texts was written with a feature raised, given the explanation.

use crate::base::{Attempt, Stream};
use crate::features::{Explanation, Held, WrittenPair};
use crate::llm::{LastReply, ask_until_read};
use crate::report::Chosen;
use crate::run::RunError;
use crate::run::evaluate::judged::Judged;
use crate::run::evaluate::models::ConnectedJudge;
use crate::run::evaluate::questions::{Questions, Reply};
use crate::score::{
    NoScore, ScoreOutcome, TEXTS_COMPARED, intervention, intervention_request, read_choice, shown_pair,
    steered_numbers,
};

/// The questions about one feature: each pair of texts with the place of the steered one.
struct Asked<'a> {
    sentence: &'a str,
    pairs: Vec<(&'a WrittenPair, u8)>,
}

impl Asked<'_> {
    /// The pairs whose texts differ.
    fn differing(&self) -> impl Iterator<Item = &(&WrittenPair, u8)> {
        self.pairs.iter().filter(|(pair, _)| !pair.is_alike())
    }

    /// The score, with one answer for each pair whose texts differ.
    fn scored(&self, name: &'static str, said: Vec<u8>) -> Judged {
        let mut said = said.into_iter();
        let chosen = |&(pair, steered): &(&WrittenPair, u8)| {
            let says = if pair.is_alike() { None } else { said.next() };
            Chosen { fragment: pair.fragment, steered, says }
        };
        let choices: Vec<Chosen> = self.pairs.iter().map(chosen).collect();
        let answers: Vec<_> = choices.iter().map(|one| (one.steered, one.says)).collect();
        Judged { scores: vec![(name, intervention(&answers).into())], choices, ..Judged::default() }
    }
}

impl Questions<'_> {
    /// Judges every feature that has an explanation in words, on the texts of its held-out side. `stream` returns the random
    /// stream of a feature, which gives the order of the texts.
    pub(super) fn interventions(
        &self,
        by: &ConnectedJudge,
        held: &[Held],
        explanations: &[Attempt<Explanation>],
        stream: impl Fn(usize) -> Stream,
    ) -> Result<Vec<Attempt<Judged>>, RunError> {
        let name = by.judging.name();
        let asked =
            held.iter().zip(explanations).map(|(held, explanation)| asked(held, explanation, &stream));
        let asked: Vec<Attempt<Result<Asked<'_>, NoScore>>> = asked.collect();
        let all = || asked.iter().filter_map(|asked| asked.done()?.as_ref().ok());
        let texts = |id| self.run.text(id);
        let questions = all().flat_map(|asked| {
            asked.differing().map(move |(pair, steered)| (asked.sentence, shown_pair(pair, *steered, &texts)))
        });
        let questions: Vec<(&str, [String; TEXTS_COMPARED])> = questions.collect();
        let client = by.role.client();
        let work = questions.iter().map(|(sentence, shown)| async move {
            let request = |sample| intervention_request(sentence, shown, sample);
            let last_reply = LastReply::new(client);
            let attempt = ask_until_read(&last_reply, request, read_choice, 0, by.spec.attempts - 1).await?;
            Ok(Reply { heard: last_reply.heard(&attempt), attempt })
        });
        let mut said = self.all(&by.role, questions.len(), work)?.into_iter();
        let judged = |asked: &Attempt<Result<Asked<'_>, NoScore>>| match asked {
            Attempt::Missing(missing) => Attempt::Missing(missing.clone()),
            Attempt::Done(Err(why)) => Attempt::Done(Judged {
                scores: vec![(name, ScoreOutcome::Undefined(*why))],
                ..Judged::default()
            }),
            Attempt::Done(Ok(asked)) => {
                // Consumes the answers of all questions, even after a failure.
                let answers: Vec<_> = said.by_ref().take(asked.differing().count()).collect();
                Attempt::all(answers).map(|said| asked.scored(name, said))
            }
        };
        Ok(asked.iter().map(judged).collect())
    }
}

/// The questions about a feature, or why it has no score.
fn asked<'a>(
    held: &'a Held,
    explanation: &'a Attempt<Explanation>,
    stream: impl Fn(usize) -> Stream,
) -> Attempt<Result<Asked<'a>, NoScore>> {
    let sentence = match explanation {
        Attempt::Missing(missing) => return Attempt::Missing(missing.clone()),
        Attempt::Done(Explanation::Sentence(sentence)) => sentence,
        Attempt::Done(_) => return Attempt::Done(Err(NoScore::NotASentence)),
    };
    Attempt::Done(match held.written() {
        Some(Ok(pairs)) => {
            let steered = steered_numbers(pairs.len(), &mut stream(held.feature()));
            Ok(Asked { sentence, pairs: pairs.iter().zip(steered).collect() })
        }
        Some(Err(why)) => Err(NoScore::parse(why).unwrap_or(NoScore::NothingWritten)),
        None => Err(NoScore::NothingWritten),
    })
}
