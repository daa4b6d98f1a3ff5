//! Erases the suite's concepts with each dictionary. It runs when all rows of a hook point are done, one dictionary after
//! the other on all threads, and each result is a stored stage.
//!
//! Controls on permuted weights are left out: random features, LEACE and the mean projection stand beside each dictionary.

use crate::base::HookPoint;
use crate::causal::{CausalError, ErasedConcept, ErasureParams, Writer, erase};
use crate::dictionary::load;
use crate::run::inputs::erasure::Concepts;
use crate::run::results::patched::first_of_method;
use crate::run::rows::row::RowResult;
use crate::run::{Event, RunError, StageKey, SubjectPass};

/// Version of the stage. Raise it when the same inputs give other numbers.
const VERSION: u32 = 1;

/// What erasing with one dictionary gave.
pub struct ErasedRow {
    pub hook: String,
    /// Name in tables.
    pub method: String,
    /// The measurements, one per concept, or why there are none.
    pub measured: Result<Vec<ErasedConcept>, String>,
}

/// Erases with the dictionaries of one hook point.
pub struct Eraser<'a> {
    pub pass: &'a SubjectPass<'a>,
    pub params: &'a ErasureParams,
    pub concepts: &'a Concepts,
    pub hook: HookPoint,
}

impl Eraser<'_> {
    /// One entry per method, in the order of `rows`. Of several trainings of a method, the first is measured.
    pub fn rows(&self, rows: &[RowResult], on: &dyn Fn(Event)) -> Result<Vec<ErasedRow>, RunError> {
        let mut erased = Vec::new();
        for row in rows {
            let Some(method) = first_of_method(self.pass, &row.name) else { continue };
            let measured = self.measured(row, on)?;
            if let Err(why) = &measured {
                on(Event::Note(format!("erase {}/{}: left out: {why}", self.hook, row.name)));
            }
            erased.push(ErasedRow { hook: self.hook.to_string(), method, measured });
        }
        Ok(erased)
    }

    /// The measurements of a dictionary; the inner error says why there are none.
    fn measured(
        &self,
        row: &RowResult,
        on: &dyn Fn(Event),
    ) -> Result<Result<Vec<ErasedConcept>, String>, RunError> {
        let run = self.pass.run;
        run.stop.check()?;
        let stage = format!("erase {} at {}", row.name, self.hook);
        let key = self.key(row);
        if let Some(stored) = run.store.load(&key, on) {
            on(Event::Reused(stage));
            return Ok(Ok(stored));
        }
        let dictionary = load(&self.pass.dictionary_folder(self.hook, &row.name))?;
        if dictionary.as_affine().kept().is_some() {
            return Ok(Err("only its chosen features were read; erasure needs all of them".into()));
        }
        let writer = match Writer::new(dictionary.as_ref()) {
            Ok(writer) => writer,
            Err(why) => return Ok(Err(why.to_string())),
        };
        let place = format!("{}/{}", self.hook, row.name);
        let stop = || run.stop.asked();
        let mut found = Vec::new();
        let n = self.concepts.prompts.len();
        for (nth, prompts) in self.concepts.prompts.iter().enumerate() {
            // Concepts differ in their passes: each counts as 1000 units.
            let told = |done: usize, total: usize| {
                let done = 1000 * nth + 1000 * done / total.max(1);
                on(Event::work(stage.as_str(), done, 1000 * n, "thousandths of a concept"));
            };
            let seed = (run.suite.seed, place.as_str());
            match erase((self.pass.subject, &writer), prompts, self.params, seed, &told, &stop) {
                Ok(one) => found.push(one),
                Err(why @ CausalError::NoEffect { .. }) => return Ok(Err(why.to_string())),
                Err(CausalError::Stopped) => return Err(RunError::Stopped),
                Err(error) => return Err(error.into()),
            }
        }
        run.store.save(&key, Vec::new(), &found)?;
        on(Event::work(stage.as_str(), 1000 * n, 1000 * n, "thousandths of a concept"));
        Ok(Ok(found))
    }

    fn key(&self, row: &RowResult) -> StageKey {
        let (run, subject) = (self.pass.run, self.pass.subject);
        let params = ErasureParams { concepts: String::new(), ..self.params.clone() };
        StageKey::new("erase", VERSION)
            .word(&self.hook.to_string())
            .word(&row.name)
            .input(subject.info().weights_digest)
            .input(row.dictionary.digest)
            .input(self.concepts.digest)
            .params(&(params, subject.prefix(), run.suite.seed))
    }
}
