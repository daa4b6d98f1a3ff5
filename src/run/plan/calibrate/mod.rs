//! Measures this machine before a run: every stage at its real sizes, on a little text.
//!
//! Nothing is computed here but by the functions that a run calls. Each piece of work is timed, and compared with the time
//! that [`usual`](super::usual) gives for the same counts; a plan then has the usual times of the whole run, each corrected
//! by that ratio. Fits are timed twice with different numbers of steps, so that what a fit takes besides its steps is known
//! too. No result of a run depends on it.

mod budget;
mod dictionaries;
mod evaluation;
mod patching;
mod sample;
mod subject;
mod tests_of_differences;

use crate::base::{Stopwatch, WorkClock};
use crate::run::plan::pieces::{Speed, Work};
use crate::run::plan::shape::Shape;
use crate::run::plan::usual;
use crate::run::{Places, RunError};
use crate::subject::{LoadedSubject, Prefix, SubjectModel, WithPrefix};
use budget::Budget;
use sample::{Sample, Scratch};

/// Time for the measurements, in seconds, …
const SECONDS: f64 = 8.0;
/// … and with a model of at least so many weights.
const SECONDS_OF_LARGE: f64 = 25.0;
const LARGE: f64 = 5e7;

/// What was measured.
pub struct Calibration {
    pub speed: Speed,
    /// Share of the processor time asked for that this process got; none where the system does not tell.
    pub share: Option<f64>,
    /// Whether the text is another one, because a plan fetches no data set.
    pub stands_in: bool,
    /// Bytes of text per token.
    pub bytes_per_token: f64,
    /// Methods that could not be timed, each with the reason.
    pub failed: Vec<String>,
}

/// Measures the work of a run. `opened` is the time that it took to open the subject.
pub fn calibrate(
    shape: &Shape<'_>,
    subject: &LoadedSubject,
    prefix: &Prefix,
    places: &Places,
    opened: f64,
) -> Result<Calibration, RunError> {
    let seconds = if shape.model.weights() >= LARGE { SECONDS_OF_LARGE } else { SECONDS };
    let budget = Budget { started: Stopwatch::start(), seconds };
    let clock = WorkClock::start(shape.threads);
    let mut speed = Speed::default();
    let threads = shape.threads as f64;
    speed.add(Work::Open, None, usual::open(&shape.model).max(1e-6), opened * threads);
    let scratch = Scratch::new()?;
    let sample = Sample::read(shape, subject, places, &scratch, &budget, &mut speed)?;
    let harvested = subject::harvested(shape, &sample, (subject, prefix), &scratch, &budget, &mut speed)?;
    tests_of_differences::time(shape, &mut speed);
    let model = &WithPrefix::new(subject.model(), &prefix.ids);
    let run = (model as &dyn SubjectModel, subject.tokenizer()?);
    let unpatched = patching::time(shape, places, run, harvested.first(), &budget, &mut speed);
    let mut failed = dictionaries::time(shape, &sample, (subject, prefix), harvested, &budget, &mut speed)?;
    failed.extend(unpatched);
    let Sample { stands_in, bytes_per_token, .. } = sample;
    Ok(Calibration { speed, share: clock.read().share, stands_in, bytes_per_token, failed })
}
