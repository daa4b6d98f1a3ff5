//! Patches features of each dictionary on the suite's task. It runs when all rows of a hook point are done, one
//! dictionary after the other on all threads, and each result is a stored stage.
//!
//! Controls on permuted weights are not patched: such a subject does not solve the task, so there is no answer to
//! restore. Random features and random directions are the controls of patching.

use crate::base::HookPoint;
use crate::causal::{CausalError, PatchedPairs, Writer, patch};
use crate::dictionary::load;
use crate::run::inputs::task::Task;
use crate::run::rows::row::RowResult;
use crate::run::{Event, RunError, StageKey, SubjectPass};
use crate::suite::TaskSpec;

/// Version of the stage. Raise it when the same inputs give other numbers.
const VERSION: u32 = 1;

/// What patching with one dictionary gave.
pub struct PatchedRow {
    pub hook: String,
    /// Name in tables.
    pub method: String,
    /// The measurements, or why there are none.
    pub measured: Result<PatchedPairs, String>,
}

/// Patches the dictionaries of one hook point.
pub struct Patcher<'a> {
    pub pass: &'a SubjectPass<'a>,
    pub spec: &'a TaskSpec,
    pub task: &'a Task,
    pub hook: HookPoint,
}

impl Patcher<'_> {
    /// One entry per method, in the order of `rows`. Of several trainings of a method, the first is patched.
    pub fn rows(&self, rows: &[RowResult], on: &dyn Fn(Event)) -> Result<Vec<PatchedRow>, RunError> {
        let mut patched = Vec::new();
        for row in rows {
            let Some(method) = first_of_method(self.pass, &row.name) else { continue };
            let measured = self.measured(row, on)?;
            if let Err(why) = &measured {
                on(Event::Note(format!("patch {}/{}: left out: {why}", self.hook, row.name)));
            }
            patched.push(PatchedRow { hook: self.hook.to_string(), method, measured });
        }
        Ok(patched)
    }

    /// The measurements of a dictionary; the inner error says why it cannot be patched.
    fn measured(
        &self,
        row: &RowResult,
        on: &dyn Fn(Event),
    ) -> Result<Result<PatchedPairs, String>, RunError> {
        let run = self.pass.run;
        run.stop.check()?;
        // It does not end with the row's place: a reused row says nothing of this stage.
        let stage = format!("patch {} at {}", row.name, self.hook);
        let key = self.key(row);
        if let Some(stored) = run.store.load(&key, on) {
            on(Event::Reused(stage));
            return Ok(Ok(stored));
        }
        let dictionary = load(&self.pass.dictionary_folder(self.hook, &row.name))?;
        if dictionary.as_affine().kept().is_some() {
            return Ok(Err("only its chosen features were read; patching needs all of them".into()));
        }
        let writer = match Writer::new(dictionary.as_ref()) {
            Ok(writer) => writer,
            Err(why) => return Ok(Err(why.to_string())),
        };
        let place = format!("{}/{}", self.hook, row.name);
        let told = |done, total| on(Event::work(stage.as_str(), done, total, "passes of each pair"));
        let (params, seed) = (&self.spec.patching, (run.suite.seed, place.as_str()));
        let stop = || run.stop.asked();
        match patch(self.pass.subject, &writer, &self.task.pairs, params, seed, &told, &stop) {
            Ok(found) => {
                run.store.save(&key, Vec::new(), &found)?;
                Ok(Ok(found))
            }
            Err(why @ CausalError::NoEffect { .. }) => Ok(Err(why.to_string())),
            Err(CausalError::Stopped) => Err(RunError::Stopped),
            Err(error) => Err(error.into()),
        }
    }

    fn key(&self, row: &RowResult) -> StageKey {
        let (run, subject) = (self.pass.run, self.pass.subject);
        StageKey::new("patch", VERSION)
            .word(&self.hook.to_string())
            .word(&row.name)
            .input(subject.info().weights_digest)
            .input(row.dictionary.digest)
            .input(self.task.digest)
            .params(&(&self.spec.patching, subject.prefix(), run.suite.seed))
    }
}

/// Name in tables of a dictionary; none if it is a later training.
pub fn first_of_method(pass: &SubjectPass<'_>, row: &str) -> Option<String> {
    pass.methods.iter().find_map(|spec| {
        let nth = spec.row_names().iter().position(|name| name == row)?;
        (spec.nth_training() == 0).then(|| spec.row_methods().swap_remove(nth))
    })
}
