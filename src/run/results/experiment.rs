//! Experiments with finished dictionaries, such as patching and erasure. They run when all rows of a hook point are done, one
//! dictionary after the other on all threads, and each result is a stored stage.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::base::HookPoint;
use crate::causal::{CausalError, Writer};
use crate::dictionary::load;
use crate::run::rows::row::RowResult;
use crate::run::{Event, RunError, StageKey, SubjectPass};

/// An experiment with one dictionary at a time.
pub trait Experiment {
    /// What it measures.
    type Found: Serialize + DeserializeOwned;
    /// The name of its stages, a verb.
    const STAGE: &'static str;
    /// Its name in sentences.
    const NAME: &'static str;
    /// Version of the stage. Raise it when the same inputs give other numbers.
    const VERSION: u32;
    /// The unit of its progress.
    const UNIT: &'static str;

    /// Adds what the numbers depend on, beside subject, hook point and dictionary, to the key of the stage.
    fn keyed(&self, key: StageKey, pass: &SubjectPass<'_>) -> StageKey;

    /// Measures. `place` names the draws; `told` gets what is done and the total.
    fn measure(
        &self,
        pass: &SubjectPass<'_>,
        writer: &Writer<'_>,
        place: &str,
        told: &dyn Fn(usize, usize),
    ) -> Result<Self::Found, CausalError>;
}

/// What an experiment with one dictionary gave.
pub struct ExperimentRow<T> {
    pub hook: String,
    /// Name in tables.
    pub method: String,
    /// The measurements, or why there are none.
    pub measured: Result<T, String>,
}

/// One entry per method of a hook point, in the order of `rows`. Of several trainings of a method, the first is measured.
pub fn experiment_rows<E: Experiment>(
    experiment: &E,
    (pass, hook): (&SubjectPass<'_>, HookPoint),
    rows: &[RowResult],
    on: &dyn Fn(Event),
) -> Result<Vec<ExperimentRow<E::Found>>, RunError> {
    let mut found = Vec::new();
    for row in rows {
        let Some(method) = first_of_method(pass, &row.name) else { continue };
        let measured = measured(experiment, (pass, hook), row, on)?;
        if let Err(why) = &measured {
            on(Event::Note(format!("{} {hook}/{}: left out: {why}", E::STAGE, row.name)));
        }
        found.push(ExperimentRow { hook: hook.to_string(), method, measured });
    }
    Ok(found)
}

/// Name in tables of a dictionary; none if it is a later training.
fn first_of_method(pass: &SubjectPass<'_>, row: &str) -> Option<String> {
    pass.methods.iter().find_map(|spec| {
        let nth = spec.row_names().iter().position(|name| name == row)?;
        (spec.nth_training() == 0).then(|| spec.row_methods().swap_remove(nth))
    })
}

/// The measurements of a dictionary; the inner error says why there are none.
fn measured<E: Experiment>(
    experiment: &E,
    (pass, hook): (&SubjectPass<'_>, HookPoint),
    row: &RowResult,
    on: &dyn Fn(Event),
) -> Result<Result<E::Found, String>, RunError> {
    let run = pass.run;
    run.stop.check()?;
    // It does not end with the row's place: a reused row says nothing of this stage.
    let stage = format!("{} {} at {hook}", E::STAGE, row.name);
    let key = StageKey::new(E::STAGE, E::VERSION)
        .word(&hook.to_string())
        .word(&row.name)
        .input(pass.subject.info().weights_digest)
        .input(row.dictionary.digest);
    let key = experiment.keyed(key, pass);
    if let Some(stored) = run.store.load(&key, on) {
        on(Event::Reused(stage));
        return Ok(Ok(stored));
    }
    let dictionary = load(&pass.dictionary_folder(hook, &row.name))?;
    if dictionary.as_affine().kept().is_some() {
        return Ok(Err(format!("only its chosen features were read; {} needs all of them", E::NAME)));
    }
    let writer = match Writer::new(dictionary.as_ref()) {
        Ok(writer) => writer,
        Err(why) => return Ok(Err(why.to_string())),
    };
    let told = |done, total| on(Event::work(stage.as_str(), done, total, E::UNIT));
    match experiment.measure(pass, &writer, &format!("{hook}/{}", row.name), &told) {
        Ok(found) => {
            run.store.save(&key, Vec::new(), &found)?;
            Ok(Ok(found))
        }
        Err(why @ CausalError::NoEffect { .. }) => Ok(Err(why.to_string())),
        Err(CausalError::Stopped) => Err(RunError::Stopped),
        Err(error) => Err(error.into()),
    }
}
