//! Sends the questions about one dictionary's features to language models, many at a time.

use std::convert::Infallible;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::base::{Attempt, Missing};
use crate::explain::language_model::explain_with;
use crate::features::{Evidence, Explanation, HeldFragment};
use crate::llm::{ChatError, Heard, LastReply};
use crate::run::evaluate::models::{ConnectedSimulator, Models};
use crate::run::plan::pieces::asking;
use crate::run::plan::role::Role;
use crate::run::{Event, RunContext, RunError, Tell};
use crate::simulate::Simulation;
use crate::simulate::language_model::simulate_with;
use crate::suite::ModelExplainer;

/// Futures polled per allowed request in flight, so that the connection never idles.
const FUTURES_PER_REQUEST: usize = 2;

/// Pause between two looks at a stop request while questions are in flight.
const LOOK: Duration = Duration::from_millis(100);

/// Language models with the context of one dictionary.
pub struct Questions<'a> {
    pub models: &'a Models,
    /// The dictionary in progress messages: `HOOK/ROW`.
    pub place: String,
    pub run: &'a RunContext<'a>,
    /// Progress callback.
    pub tell: &'a Tell<'a>,
}

/// Result of a question, with the last reply or error of the model. `heard` is none if no request was made.
pub struct Reply<T> {
    /// The answer, or the reason why there is none.
    pub attempt: Attempt<T>,
    /// Last reply or error.
    pub heard: Option<Heard>,
}

/// Fragments to simulate under one explanation.
pub struct ToSimulate<'a> {
    /// The explanation. If it is missing, nothing is asked.
    pub explanation: &'a Attempt<Explanation>,
    pub fragments: &'a [HeldFragment],
}

impl Questions<'_> {
    /// Asks for `per_feature` explanations of each feature. Explanations of one feature are adjacent in the result.
    pub fn explain(
        &self,
        spec: &ModelExplainer,
        evidence: &[Evidence],
        per_feature: usize,
    ) -> Result<Vec<Attempt<Explanation>>, RunError> {
        let asked = self.models.explaining(spec)?;
        let (client, explainer) = (asked.role.client(), asked.explainer.as_ref());
        let texts = |id| self.run.text(id);
        let texts = &texts;
        let asks = evidence.iter().flat_map(|evidence| (0..per_feature).map(move |nth| (evidence, nth)));
        let work = asks.map(|(evidence, nth)| async move {
            // Sample numbers of candidates do not overlap, so that no two share a cached reply.
            let first = (nth * spec.attempts) as u64;
            let last_reply = LastReply::new(client);
            let attempt =
                explain_with(&last_reply, explainer, evidence, texts, first, spec.attempts - 1).await?;
            Ok(Reply { heard: last_reply.heard(&attempt), attempt })
        });
        self.all(&asked.role, evidence.len() * per_feature, work)
    }

    /// Simulates every fragment. If one fragment fails, the whole feature has its reason.
    pub fn simulate(
        &self,
        asked: &ConnectedSimulator,
        role: &Role,
        wanted: &[ToSimulate<'_>],
    ) -> Result<Vec<Attempt<Vec<Simulation>>>, RunError> {
        let asked_of = |one: &ToSimulate<'_>| match one.explanation {
            Attempt::Done(Explanation::Sentence(_)) => one.fragments.len(),
            _ => 0,
        };
        let total = wanted.iter().map(asked_of).sum();
        let fragments = wanted.iter().flat_map(|one| {
            let sentence = match one.explanation {
                Attempt::Done(Explanation::Sentence(sentence)) => Some(sentence.as_str()),
                _ => None,
            };
            sentence.into_iter().flat_map(|sentence| one.fragments.iter().map(move |of| (sentence, of)))
        });
        let (client, simulator) = (role.client(), asked.simulator.as_ref());
        let work = fragments.map(|(sentence, fragment)| async move {
            let texts: Vec<String> = fragment.tokens.iter().map(|&id| self.run.text(id)).collect();
            let last_reply = LastReply::new(client);
            let attempt =
                simulate_with(&last_reply, simulator, sentence, &texts, asked.spec.attempts - 1).await?;
            Ok(Reply { heard: last_reply.heard(&attempt), attempt })
        });
        let mut simulated = self.all(role, total, work)?.into_iter();
        let of_one = |ToSimulate { explanation, fragments }: &ToSimulate<'_>| match explanation {
            Attempt::Done(Explanation::Sentence(_)) => {
                // Consumes the answers of all fragments, even after a failure.
                let answers: Vec<_> = simulated.by_ref().take(fragments.len()).collect();
                Attempt::all(answers)
            }
            Attempt::Done(_) => Attempt::Missing(Missing::Failed("explanation_is_no_sentence".into())),
            Attempt::Missing(missing) => Attempt::Missing(missing.clone()),
        };
        Ok(wanted.iter().map(of_one).collect())
    }

    /// Waits for the answers to `total` questions of a role, in order. A question is made when it can be asked soon, so
    /// the number of questions in memory does not grow with `total`. The role is given up if its first answers all fail
    /// for one reason, see [`Role::note`].
    pub fn all<T: Send>(
        &self,
        role: &Role,
        total: usize,
        work: impl Iterator<Item = impl Future<Output = Result<Reply<T>, ChatError>> + Send> + Send,
    ) -> Result<Vec<Attempt<T>>, RunError> {
        self.run.stop.check()?;
        let _busy = role.busy();
        let done = AtomicUsize::new(0);
        let stage = asking(role.who().step, &self.place);
        let work = work.map(|one| {
            let (done, stage) = (&done, &stage);
            async move {
                self.run.stop.check()?;
                role.check()?;
                let Reply { attempt, heard } = one.await?;
                role.note(&attempt, heard)?;
                let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                (self.tell)(Event::work(stage.as_str(), done, total, "answers"));
                Ok(attempt)
            }
        });
        self.models.all(work, FUTURES_PER_REQUEST * role.max_in_flight(), self.watch(role))
    }

    /// Ends when the user asks to stop, also while every question waits.
    async fn watch(&self, role: &Role) -> Result<Infallible, RunError> {
        loop {
            tokio::time::sleep(LOOK).await;
            self.run.stop.check()?;
            if let Some(note) = self.models.wait_note(role) {
                (self.tell)(Event::Note(note.into()));
            }
        }
    }
}
