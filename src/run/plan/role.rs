//! Roles: connections to language models with usage and failure counts.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::base::{Attempt, Stopwatch};
use crate::llm::{ChatClient, Heard, Llm, LlmSpec, Usage};
use crate::run::all_failed::Answers;
use crate::run::{AllFailed, RunError, Step, Who};

/// A connection to a model for one step of one explainer, simulator or judge.
pub struct Role {
    who: Who,
    llm: Llm,
    max_in_flight: usize,
    busy_time: Mutex<BusyTime>,
    answers: Mutex<Answers>,
}

/// Time during which at least one request was in flight.
#[derive(Default)]
struct BusyTime {
    in_flight: usize,
    since: Option<Stopwatch>,
    seconds: f64,
}

/// Usage of one role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RoleUsage {
    /// The role.
    #[serde(flatten)]
    pub who: Who,
    /// Requests, tokens and dollars.
    #[serde(flatten)]
    pub taken: Usage,
    /// Minutes with at least one question in flight, cached answers included.
    pub minutes: f64,
}

impl RoleUsage {
    /// Adds the usage of another connection with the same name.
    pub fn add(&mut self, other: &Self) {
        self.taken = self.taken.plus(&other.taken);
        self.minutes += other.minutes;
    }
}

impl Role {
    /// A role without requests.
    pub fn new(step: Step, name: &str, spec: &LlmSpec, llm: Llm) -> Self {
        let who = Who { step, name: name.to_string(), model: spec.model.clone() };
        Self {
            who,
            llm,
            max_in_flight: spec.max_in_flight,
            busy_time: Mutex::default(),
            answers: Mutex::default(),
        }
    }

    /// Step, name and model.
    pub fn who(&self) -> &Who {
        &self.who
    }

    /// The client.
    pub fn client(&self) -> &dyn ChatClient {
        self.llm.client.as_ref()
    }

    /// Maximum number of requests in flight.
    pub fn max_in_flight(&self) -> usize {
        self.max_in_flight
    }

    /// Counts an answer. `heard` is none if no request was made; then nothing is counted.
    ///
    /// # Errors
    /// [`RunError::AllFailed`] once the first answers have all failed for one reason, in any order.
    pub fn note<T>(&self, attempt: &Attempt<T>, heard: Option<Heard>) -> Result<(), RunError> {
        let Some(heard) = heard else { return Ok(()) };
        self.answers().add(attempt, heard);
        self.check()
    }

    /// Fails once the role is given up.
    pub fn check(&self) -> Result<(), RunError> {
        let failed = self.answers().first_failed().map(|one| one.of(&self.who, &self.remarks(), true));
        failed.map_or(Ok(()), |failed| Err(RunError::AllFailed(Box::new(failed))))
    }

    /// Describes failures, one sentence per reason.
    pub fn failures(&self) -> Vec<String> {
        self.answers().failures(&self.who)
    }

    /// The failure, if the endpoint answered no request of this role.
    pub fn unanswered(&self) -> Option<AllFailed> {
        self.answers().unanswered().map(|one| one.of(&self.who, &self.remarks(), false))
    }

    /// Fallbacks of the endpoint.
    pub fn remarks(&self) -> Vec<String> {
        self.llm.remarks.all()
    }

    /// Whether it has waited for an answer that another process asks for.
    pub fn waits_for_another(&self) -> bool {
        self.llm.meter.has_waited()
    }

    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Usage so far.
    pub fn usage(&self) -> RoleUsage {
        let time = self.busy_time();
        let running = time.since.as_ref().map_or(0.0, Stopwatch::seconds);
        let minutes = (time.seconds + running) / 60.0;
        RoleUsage { who: self.who.clone(), taken: self.llm.meter.usage(), minutes }
    }

    /// Marks work as in flight until the guard is dropped. Overlapping work counts once.
    pub fn busy(&self) -> Busy<'_> {
        let mut time = self.busy_time();
        if time.in_flight == 0 {
            time.since = Some(Stopwatch::start());
        }
        time.in_flight += 1;
        Busy(self)
    }

    fn busy_time(&self) -> MutexGuard<'_, BusyTime> {
        self.busy_time.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Guard of work in flight.
#[must_use = "work counts while this is held"]
pub struct Busy<'a>(&'a Role);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let mut time = self.0.busy_time();
        time.in_flight -= 1;
        if time.in_flight == 0 {
            time.seconds += time.since.take().as_ref().map_or(0.0, Stopwatch::seconds);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::llm::{ClientKind, Endpoint, connect};

    #[test]
    fn what_runs_at_the_same_time_counts_once() {
        let cache = tempfile::tempdir().expect("a folder");
        let mut spec = LlmSpec::new(ClientKind::Openai, "m");
        spec.base_url = Some("http://127.0.0.1:9/v1".into());
        let cache_folder = cache.path().to_path_buf();
        let endpoint = Endpoint {
            spec: spec.clone(),
            key: None,
            hidden: Vec::new(),
            base_url: None,
            offline: true,
            cache_folder,
            budget: None,
            program: None,
        };
        let role = Role::new(Step::Judge, "detection", &spec, connect(&endpoint).expect("nothing is sent"));
        let minutes = || role.usage().minutes;
        assert_eq!(minutes(), 0.0);
        let (first, second) = (role.busy(), role.busy());
        std::thread::sleep(Duration::from_millis(30));
        drop(first);
        assert!(minutes() * 60.0 >= 0.03, "it is still under way");
        drop(second);
        let taken = minutes();
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(minutes(), taken, "nothing is under way");
        assert_eq!(role.who().to_string(), "judge detection by m");
    }
}
