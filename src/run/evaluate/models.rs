//! The language models of a suite: connected once, shared by all rows, with usage counted per role.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::stream::{StreamExt, TryStreamExt, iter};
use tokio::runtime::Runtime;

use crate::base::{Digest, FileError};
use crate::explain::language_model::LanguageExplainer;
use crate::llm::{ClientKind, Endpoint, Llm, LlmSpec, Usage, connect};
use crate::run::plan::role::Role;
use crate::run::{AllFailed, Places, RoleUsage, RunError, Step};
use crate::score::Judging;
use crate::simulate::language_model::LanguageSimulator;
use crate::suite::{JudgeSpec, ModelExplainer, ModelSimulator, Suite, resolve};

/// Digests of the suite's prompts by name in tables.
pub fn prompt_digests(suite: &Suite) -> BTreeMap<String, Digest> {
    let mut digests = BTreeMap::new();
    for pair in &suite.pairs {
        if let Some((spec, question)) = pair.explainer.model().and_then(|spec| Some((spec, spec.question()?)))
        {
            digests.insert(spec.name.clone(), question.digest());
        }
        if let Some(spec) = pair.simulator.model() {
            digests.insert(spec.name.clone(), spec.kind.question(spec.shots).digest());
        }
        if pair.judge.is_some() {
            let judgings = suite.judgings().into_iter();
            digests.extend(judgings.map(|judging| (judging.name().to_string(), judging.digest())));
        }
    }
    digests
}

/// An explainer with its connection.
pub struct ConnectedExplainer {
    /// Its entry in the suite.
    pub spec: ModelExplainer,
    /// Prompt and reader of answers.
    pub explainer: Box<dyn LanguageExplainer>,
    pub role: Role,
}

/// A simulator with its connections.
pub struct ConnectedSimulator {
    /// Its entry in the suite.
    pub spec: ModelSimulator,
    /// Prompt and reader of answers.
    pub simulator: Box<dyn LanguageSimulator>,
    /// Connection for scored fragments.
    pub role: Role,
    /// Connection for calibration fragments, on which explanations are compared.
    pub choosing: Role,
}

/// A judge with its connection, for one kind of judging.
pub struct ConnectedJudge {
    /// Its entry in the suite.
    pub spec: JudgeSpec,
    pub judging: Judging,
    pub role: Role,
}

/// All language models of a suite, with the async runtime for their requests.
pub struct Models {
    runtime: Runtime,
    explaining: Vec<ConnectedExplainer>,
    simulating: Vec<ConnectedSimulator>,
    judging: Vec<ConnectedJudge>,
    is_wait_told: AtomicBool,
}

/// Connections so far: each model is connected once.
struct Connections<'a> {
    places: &'a Places,
    made: Vec<(LlmSpec, Llm)>,
}

impl Connections<'_> {
    fn role(&mut self, step: Step, name: &str, spec: &LlmSpec) -> Result<Role, RunError> {
        if let Some((_, llm)) = self.made.iter().find(|(known, _)| known == spec) {
            return Ok(Role::new(step, name, spec, llm.with_own_meter()));
        }
        let places = self.places;
        let mut found = spec.clone();
        if spec.client == ClientKind::Local {
            found.model = resolve(&spec.model, &places.suite_folder).display().to_string();
        }
        let endpoint = Endpoint {
            spec: found,
            key: places.keys.get(spec.key_variable()).cloned(),
            hidden: places.all_keys(),
            base_url: (spec.client != ClientKind::Anthropic)
                .then(|| places.openai_base_url.clone())
                .flatten(),
            offline: places.offline,
            cache_folder: places.answers(),
            budget: places.budget.clone(),
            program: places.program.clone(),
        };
        let llm = connect(&endpoint)?;
        self.made.push((spec.clone(), llm.clone()));
        Ok(Role::new(step, name, spec, llm))
    }
}

impl Models {
    /// Connects the models of the suite's pairs; none if all pairs are offline. No request is sent.
    pub fn connect(suite: &Suite, places: &Places) -> Result<Option<Self>, RunError> {
        let mut connections = Connections { places, made: Vec::new() };
        let (mut explaining, mut simulating) =
            (Vec::<ConnectedExplainer>::new(), Vec::<ConnectedSimulator>::new());
        let mut judging = Vec::<ConnectedJudge>::new();
        for pair in &suite.pairs {
            if let Some(spec) = pair.explainer.model()
                && !explaining.iter().any(|known| known.spec == *spec)
                && let Some(explainer) = spec.question()
            {
                let role = connections.role(Step::Explain, &spec.name, &spec.llm)?;
                explaining.push(ConnectedExplainer { spec: spec.clone(), explainer, role });
            }
            if let Some(spec) = pair.simulator.model()
                && !simulating.iter().any(|known| known.spec == *spec)
            {
                let role = connections.role(Step::Simulate, &spec.name, &spec.llm)?;
                let choosing = connections.role(Step::Choose, &spec.name, &spec.llm)?;
                let simulator = spec.kind.question(spec.shots);
                simulating.push(ConnectedSimulator { spec: spec.clone(), simulator, role, choosing });
            }
            for (spec, kind) in pair
                .judge
                .iter()
                .flat_map(|spec| suite.judgings().into_iter().map(move |kind| (&**spec, kind)))
            {
                if !judging.iter().any(|known| known.spec == *spec && known.judging == kind) {
                    let role = connections.role(Step::Judge, kind.name(), &spec.llm)?;
                    judging.push(ConnectedJudge { spec: spec.clone(), judging: kind, role });
                }
            }
        }
        if connections.made.is_empty() {
            return Ok(None);
        }
        let threads =
            |source| FileError { action: "start threads for", path: "language models".into(), source };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(threads)?;
        let is_wait_told = AtomicBool::new(false);
        Ok(Some(Self { runtime, explaining, simulating, judging, is_wait_told }))
    }

    /// The connection of an explainer.
    pub fn explaining(&self, spec: &ModelExplainer) -> Result<&ConnectedExplainer, RunError> {
        let known = self.explaining.iter().find(|known| known.spec == *spec);
        known.ok_or_else(|| never_connected(&spec.llm))
    }

    /// The connection of a simulator.
    pub fn simulating(&self, spec: &ModelSimulator) -> Result<&ConnectedSimulator, RunError> {
        let known = self.simulating.iter().find(|known| known.spec == *spec);
        known.ok_or_else(|| never_connected(&spec.llm))
    }

    /// The connection of a judge.
    pub fn judged_by(&self, spec: &JudgeSpec, judging: Judging) -> Result<&ConnectedJudge, RunError> {
        let known = self.judging.iter().find(|known| known.spec == *spec && known.judging == judging);
        known.ok_or_else(|| never_connected(&spec.llm))
    }

    /// Waits for all futures, at most `at_once` of them active. Results keep the order of `work`. The first failure
    /// ends the wait, also one of `watch`, which runs beside.
    pub fn all<T: Send, E: Send>(
        &self,
        work: impl Iterator<Item = impl Future<Output = Result<T, E>> + Send> + Send,
        at_once: usize,
        watch: impl Future<Output = Result<Infallible, E>>,
    ) -> Result<Vec<T>, E> {
        self.runtime.block_on(async {
            tokio::select! {
                all = in_order(work, at_once) => all,
                Err(error) = watch => Err(error),
            }
        })
    }

    /// What to tell, once in a run, when a question of this role is also asked by another run.
    pub fn wait_note(&self, role: &Role) -> Option<&'static str> {
        let is_first = role.waits_for_another() && !self.is_wait_told.swap(true, Ordering::Relaxed);
        is_first.then_some(
            "another run asks the same questions of this cache; its answers are taken as they come",
        )
    }

    fn roles(&self) -> impl Iterator<Item = &Role> {
        let simulating =
            self.simulating.iter().flat_map(|simulating| [&simulating.choosing, &simulating.role]);
        let roles = self.explaining.iter().map(|explaining| &explaining.role).chain(simulating);
        roles.chain(self.judging.iter().map(|judged| &judged.role))
    }

    /// Warnings for readers of the results: fallbacks of endpoints, then failures.
    pub fn warnings(&self) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        let damaged: u64 = self.roles().map(|role| role.usage().taken.damaged).sum();
        let unsound = (damaged > 0).then(|| {
            format!(
                "{damaged} stored answers could not be believed, because they were damaged, exchanged, or written by an \
                 older version that did not store the question; they were asked again"
            )
        });
        let remarks = unsound.into_iter().chain(self.roles().flat_map(Role::remarks));
        for warning in remarks.chain(self.roles().flat_map(Role::failures)) {
            if !all.contains(&warning) {
                all.push(warning);
            }
        }
        all
    }

    /// The first role whose endpoint answered no request.
    pub fn unanswered(&self) -> Option<AllFailed> {
        self.roles().find_map(Role::unanswered)
    }

    /// Usage by role in the suite's order. Roles without requests are left out.
    pub fn usage(&self) -> Vec<RoleUsage> {
        let mut all: Vec<RoleUsage> = Vec::new();
        for usage in
            self.roles().map(Role::usage).filter(|usage| usage.taken.requests + usage.taken.cached > 0)
        {
            match all.iter_mut().find(|other| other.who == usage.who) {
                Some(other) => other.add(&usage),
                None => all.push(usage),
            }
        }
        all
    }
}

/// The results of all futures in the order of `work`, or the first failure. A future is taken from `work` when one of
/// the at most `at_once` active ones has ended.
async fn in_order<T, E>(
    work: impl Iterator<Item = impl Future<Output = Result<T, E>>>,
    at_once: usize,
) -> Result<Vec<T>, E> {
    let numbered = work.enumerate().map(|(nth, one)| async move { one.await.map(|one| (nth, one)) });
    let mut all: Vec<(usize, T)> = iter(numbered).buffer_unordered(at_once.max(1)).try_collect().await?;
    all.sort_unstable_by_key(|(nth, _)| *nth);
    Ok(all.into_iter().map(|(_, one)| one).collect())
}

/// Usage by name of the model.
pub fn by_model(usage: &[RoleUsage]) -> BTreeMap<String, Usage> {
    let mut all: BTreeMap<String, Usage> = BTreeMap::new();
    for RoleUsage { who, taken, .. } in usage {
        all.entry(who.model.clone()).and_modify(|sum| *sum = sum.plus(taken)).or_insert(*taken);
    }
    all
}

fn never_connected(spec: &LlmSpec) -> RunError {
    RunError::Setting { field: "llm.model".into(), problem: format!("`{}` was never connected", spec.model) }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use super::*;

    /// Counts the questions in memory.
    struct Question<'a>(&'a AtomicUsize);

    impl<'a> Question<'a> {
        fn new(now: &'a AtomicUsize, most: &'a AtomicUsize) -> Self {
            most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            Self(now)
        }
    }

    impl Drop for Question<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_questions_in_memory_do_not_grow_with_their_number() {
        const AT_ONCE: usize = 500;
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work = (0..45_000_usize).map(|nth| {
            let question = Question::new(&now, &most);
            async move {
                // Answers come out of order, and the first one last.
                if nth == 0 {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                } else if nth % 3 > 0 {
                    tokio::task::yield_now().await;
                }
                drop(question);
                Ok::<usize, ()>(nth)
            }
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let answers = runtime.block_on(in_order(work, AT_ONCE)).expect("no failure");
        assert!(answers.iter().copied().eq(0..45_000));
        assert!((AT_ONCE..=AT_ONCE + 1).contains(&most.into_inner()));
        assert_eq!(now.into_inner(), 0);
    }
}
