//! One dictionary's features put to language models, many at a time.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::base::{Attempt, Missing};
use crate::explain::language_model::explain_with;
use crate::features::{Evidence, Explanation, HeldFragment};
use crate::llm::{ChatError, Heard, LastReply};
use crate::run::context::RunContext;
use crate::run::evaluate::models::{Models, Simulating};
use crate::run::parallel::Tell;
use crate::run::plan::role::Role;
use crate::run::{Event, RunError};
use crate::simulate::Simulation;
use crate::simulate::language_model::simulate_with;
use crate::suite::ModelExplainer;

/// Work begun ahead of what may be in flight, so that no place stands empty.
const AHEAD: usize = 2;

/// What it takes to ask.
pub struct Asked<'a> {
    /// The models.
    pub models: &'a Models,
    /// Which dictionary, for progress: `HOOK/ROW`.
    pub place: String,
    /// The run.
    pub run: &'a RunContext<'a>,
    /// Who hears of progress.
    pub tell: &'a Tell<'a>,
}

/// What came of a piece of work, and what was last heard of the model on the way; nothing where it was not asked.
pub struct Answered<T> {
    /// The answer, or why there is none.
    pub attempt: Attempt<T>,
    /// What was heard.
    pub heard: Option<Heard>,
}

/// Fragments to be simulated under one explanation.
pub struct Wanted<'a> {
    /// The explanation; where there is none, nothing is asked.
    pub explanation: &'a Attempt<Explanation>,
    /// The fragments.
    pub fragments: &'a [HeldFragment],
}

impl Asked<'_> {
    /// `per_feature` explanations of each feature, those of a feature one after the other.
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
            // No two candidates share a reply, however often one is asked again.
            let first = (nth * spec.attempts) as u64;
            let last_reply = LastReply::new(client);
            let attempt =
                explain_with(&last_reply, explainer, evidence, texts, first, spec.attempts - 1).await?;
            Ok(Answered { heard: last_reply.heard(&attempt), attempt })
        });
        self.all(&asked.role, work.collect())
    }

    /// Every fragment under its explanation; where a fragment got no reading, all that belong together
    /// have its reason.
    pub fn simulate(
        &self,
        asked: &Simulating,
        role: &Role,
        wanted: &[Wanted<'_>],
    ) -> Result<Vec<Attempt<Vec<Simulation>>>, RunError> {
        let mut fragments: Vec<(&str, Vec<String>)> = Vec::new();
        for Wanted { explanation, fragments: of_one } in wanted {
            if let Attempt::Done(Explanation::Sentence(sentence)) = explanation {
                let texts = |tokens: &[u32]| tokens.iter().map(|&id| self.run.text(id)).collect();
                let listed = of_one.iter().map(|fragment| (sentence.as_str(), texts(&fragment.tokens)));
                fragments.extend(listed);
            }
        }
        let (client, simulator) = (role.client(), asked.simulator.as_ref());
        let work = fragments.iter().map(|(sentence, texts)| async move {
            let last_reply = LastReply::new(client);
            let attempt =
                simulate_with(&last_reply, simulator, sentence, texts, asked.spec.attempts - 1).await?;
            Ok(Answered { heard: last_reply.heard(&attempt), attempt })
        });
        let mut simulated = self.all(role, work.collect())?.into_iter();
        let of_one = |Wanted { explanation, fragments }: &Wanted<'_>| match explanation {
            Attempt::Done(Explanation::Sentence(_)) => {
                // Every fragment's answer is taken off, whatever becomes of the others.
                let answers: Vec<_> = simulated.by_ref().take(fragments.len()).collect();
                Attempt::all(answers)
            }
            Attempt::Done(_) => Attempt::Missing(Missing::Failed("explanation_is_no_sentence".into())),
            Attempt::Missing(missing) => Attempt::Missing(missing.clone()),
        };
        Ok(wanted.iter().map(of_one).collect())
    }

    /// Waits for all answers of one purpose, in order. The purpose is given up where its first answers all fail
    /// alike, see [`Role::note`].
    pub fn all<T: Send>(
        &self,
        role: &Role,
        work: Vec<impl Future<Output = Result<Answered<T>, ChatError>> + Send>,
    ) -> Result<Vec<Attempt<T>>, RunError> {
        self.run.stop.check()?;
        let _busy = role.busy();
        let (total, done) = (work.len(), AtomicUsize::new(0));
        let stage = format!("{} {}", role.who().step.name(), self.place);
        let work = work.into_iter().map(|one| {
            let (done, stage) = (&done, &stage);
            async move {
                self.run.stop.check()?;
                role.check()?;
                let Answered { attempt, heard } = one.await?;
                role.note(&attempt, heard)?;
                let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                (self.tell)(Event::work(stage.as_str(), done, total, "answers"));
                Ok(attempt)
            }
        });
        self.models.all(work, AHEAD * role.max_in_flight())
    }
}
