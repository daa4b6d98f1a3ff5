//! One dictionary's features put to language models, many at a time.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::models::Models;
use super::parallel::Tell;
use super::{Event, RunError, Stop};
use crate::base::{Attempt, Missing};
use crate::explain::language_model::{
    Contrastive, Highlighted, LanguageExplainer, TokenActivation, explain_with,
};
use crate::features::{Evidence, Explanation, Held};
use crate::llm::{ChatError, LlmSpec};
use crate::simulate::Simulation;
use crate::simulate::language_model::{
    Generated, LanguageSimulator, PerToken, PromptLogprobs, simulate_with,
};
use crate::suite::{ModelExplainer, ModelExplainerKind, ModelSimulator, ModelSimulatorKind};

/// Work begun ahead of what may be in flight, so that no place stands empty.
const AHEAD: usize = 2;

/// The explainer of a kind.
pub fn explainer_of(kind: ModelExplainerKind) -> Box<dyn LanguageExplainer> {
    match kind {
        ModelExplainerKind::TokenActivation => Box::new(TokenActivation::default()),
        ModelExplainerKind::Highlighted => Box::new(Highlighted::default()),
        ModelExplainerKind::Contrastive => Box::new(Contrastive::default()),
    }
}

/// The simulator of a kind.
pub fn simulator_of(kind: ModelSimulatorKind) -> Box<dyn LanguageSimulator> {
    match kind {
        ModelSimulatorKind::Generated => Box::new(Generated { expected_value: false }),
        ModelSimulatorKind::GeneratedExpected => Box::new(Generated { expected_value: true }),
        ModelSimulatorKind::PromptLogprobs => Box::new(PromptLogprobs::default()),
        ModelSimulatorKind::PerToken => Box::new(PerToken),
    }
}

/// What it takes to ask.
pub struct Asked<'a> {
    /// The models.
    pub models: &'a Models,
    /// Which dictionary, for progress: `HOOK/ROW`.
    pub place: String,
    /// Text of every token id.
    pub token_texts: &'a [String],
    /// Whether to go on.
    pub stop: &'a Stop,
    /// Who hears of progress.
    pub tell: &'a Tell<'a>,
}

impl Asked<'_> {
    fn text(&self, id: u32) -> String {
        self.token_texts.get(id as usize).cloned().unwrap_or_else(|| format!("<id {id}>"))
    }

    /// One explanation for each feature.
    pub fn explain(
        &self,
        spec: &ModelExplainer,
        evidence: &[Evidence],
    ) -> Result<Vec<Attempt<Explanation>>, RunError> {
        let (client, explainer) = (self.models.client(&spec.llm)?, explainer_of(spec.kind));
        let texts = |id| self.text(id);
        let ask = |evidence| explain_with(client, explainer.as_ref(), evidence, &texts, 0, spec.attempts - 1);
        self.all("explain", evidence.iter().map(ask).collect(), &spec.llm)
    }

    /// Every held fragment of every explained feature; a feature with a fragment that got no reading
    /// has that fragment's reason.
    pub fn simulate(
        &self,
        spec: &ModelSimulator,
        held: &[Held],
        explanations: &[Attempt<Explanation>],
    ) -> Result<Vec<Attempt<Vec<Simulation>>>, RunError> {
        let (client, simulator) = (self.models.client(&spec.llm)?, simulator_of(spec.kind));
        let mut fragments: Vec<(&str, Vec<String>)> = Vec::new();
        for (held, explanation) in held.iter().zip(explanations) {
            if let Attempt::Done(Explanation::Sentence(sentence)) = explanation {
                let texts = |tokens: &[u32]| tokens.iter().map(|&id| self.text(id)).collect();
                let of_feature = held.fragments().iter();
                fragments.extend(of_feature.map(|fragment| (sentence.as_str(), texts(&fragment.tokens))));
            }
        }
        let work = fragments.iter().map(|(sentence, texts)| {
            simulate_with(client, simulator.as_ref(), sentence, texts, spec.attempts - 1)
        });
        let mut simulated = self.all("simulate", work.collect(), &spec.llm)?.into_iter();
        let mut all = Vec::with_capacity(held.len());
        for (held, explanation) in held.iter().zip(explanations) {
            all.push(match explanation {
                Attempt::Done(Explanation::Sentence(_)) => {
                    // Every fragment's answer is taken off, whatever becomes of the feature.
                    let answers: Vec<Attempt<Simulation>> =
                        simulated.by_ref().take(held.fragments().len()).collect();
                    whole(answers)
                }
                Attempt::Done(_) => Attempt::Missing(Missing::Failed("explanation_is_no_sentence".into())),
                Attempt::Missing(missing) => Attempt::Missing(missing.clone()),
            });
        }
        Ok(all)
    }

    fn all<T: Send>(
        &self,
        step: &str,
        work: Vec<impl Future<Output = Result<T, ChatError>> + Send>,
        llm: &LlmSpec,
    ) -> Result<Vec<T>, RunError> {
        self.stop.check()?;
        let (total, done) = (work.len(), AtomicUsize::new(0));
        let stage = format!("{step} {}", self.place);
        let work = work.into_iter().map(|one| {
            let (done, stage) = (&done, &stage);
            async move {
                if self.stop.asked() {
                    return Ok(None);
                }
                let answer = one.await?;
                let done = done.fetch_add(1, Ordering::Relaxed) as u64 + 1;
                (self.tell)(Event::Work { stage: stage.clone(), done, total: total as u64, unit: "answers" });
                Ok(Some(answer))
            }
        });
        let answers = self.models.all(work, AHEAD * llm.max_in_flight)?;
        answers.into_iter().map(|answer| answer.ok_or(RunError::Stopped)).collect()
    }
}

/// All simulations of a feature, or the first reason why one is missing.
fn whole(answers: Vec<Attempt<Simulation>>) -> Attempt<Vec<Simulation>> {
    let mut simulations = Vec::with_capacity(answers.len());
    for answer in answers {
        match answer {
            Attempt::Done(simulation) => simulations.push(simulation),
            Attempt::Missing(missing) => return Attempt::Missing(missing),
        }
    }
    Attempt::Done(simulations)
}
