//! `run`: a suite on a thread of its own, while this one watches for Ctrl-C and hands on progress.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::error::failed;
use super::program;
use crate::cli::{Ended, Failure, RunRequest, SuiteSource, Told, run_suite, say_stopping};
use crate::run::{Event, Stop};

/// Stack of the thread, in bytes: as many as a program's first thread has.
const STACK: usize = 8 << 20;

/// Pause between two looks at signals.
const PAUSE: Duration = Duration::from_millis(100);

/// What Python asks for, by the names of its keyword arguments.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Asked {
    suite: Option<PathBuf>,
    text: Option<String>,
    set: Vec<String>,
    seed: Option<u64>,
    limit_features: Option<usize>,
    out: Option<PathBuf>,
    fresh: bool,
    device: String,
    budget_usd: Option<f64>,
    offline: bool,
    threads: Option<usize>,
    /// A form of `--progress`; not used with a callback.
    progress: String,
    /// Called with every event.
    callback: Option<Py<PyAny>>,
    /// How to start this program again.
    command: Vec<OsString>,
}

impl Asked {
    fn request(&self) -> RunRequest {
        RunRequest {
            suite: match &self.text {
                Some(text) => SuiteSource::Text(text.clone()),
                None => SuiteSource::File(self.suite.clone().unwrap_or_default()),
            },
            set: self.set.clone(),
            seed: self.seed,
            limit_features: self.limit_features,
            out: self.out.clone(),
            fresh: self.fresh,
            device: self.device.clone(),
            budget_usd: self.budget_usd,
            offline: self.offline,
            threads: self.threads,
        }
    }
}

/// Runs a suite: run folder, features walked, failed, and whether more failed than the suite allows.
#[pyfunction]
pub fn run(py: Python<'_>, asked: Asked) -> PyResult<(PathBuf, usize, usize, bool)> {
    // A stop request lives as long as the process: one byte for each run.
    let stop: &'static AtomicBool = Box::leak(Box::default());
    let (sender, events) = channel();
    let (request, command) = (asked.request(), program(asked.command.clone()));
    let (form, has_callback) = (asked.progress.clone(), asked.callback.is_some());
    let work = move || {
        let send = |event: &Event| {
            // The receiver lives until this thread ends.
            let _ = sender.send(event.clone());
        };
        let told = if has_callback { Told::Events(&send) } else { Told::Stderr(&form) };
        run_suite(request, command, told, Stop(stop))
    };
    let thread = std::thread::Builder::new().name("run".into()).stack_size(STACK).spawn(work)?;
    let interrupted = watch(py, &asked, events, stop);
    let ended = py.detach(|| thread.join());
    // What interrupted the run matters more than how the run ended.
    interrupted?;
    let ended = ended.unwrap_or_else(|_| Err(Failure::new("bug: a panic".into(), 1)));
    let Ended { folder, walked, failed: n_failed, too_many_failed } = ended.map_err(failed)?;
    Ok((folder, walked, n_failed, too_many_failed))
}

/// Waits until the run ends. Ctrl-C, or an exception of the callback, asks the run to stop and is returned.
fn watch(py: Python<'_>, asked: &Asked, mut events: Receiver<Event>, stop: &AtomicBool) -> PyResult<()> {
    let mut first = Ok(());
    loop {
        let received;
        (received, events) = py.detach(move || (events.recv_timeout(PAUSE), events));
        let mut seen = py.check_signals();
        match received {
            Ok(event) if stop.load(Ordering::Relaxed) => drop(event),
            Ok(event) => seen = seen.and_then(|()| hand_on(py, asked, &event)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return first.and(seen),
        }
        if seen.is_err() && !stop.swap(true, Ordering::SeqCst) {
            first = seen;
            if asked.callback.is_none() && asked.progress != "none" {
                say_stopping();
            }
        }
    }
}

/// Calls the callback with an event as a dictionary: `event` and `data`, as it is in `--progress json`.
fn hand_on(py: Python<'_>, asked: &Asked, event: &Event) -> PyResult<()> {
    let Some(callback) = &asked.callback else { return Ok(()) };
    let (kind, data) = match event {
        Event::Work { stage, done, total, unit } => ("work", counted(py, Some(stage), *done, *total, unit)?),
        Event::Begin { total, unit, .. } => ("overall", counted(py, None, 0, *total, unit)?),
        Event::Reused(_) => return Ok(()),
        Event::Overall { done, total, unit } => ("overall", counted(py, None, *done, *total, unit)?),
        Event::Note(text) => ("note", text.into_pyobject(py)?.into_any()),
        Event::Warning(text) => ("warning", text.into_pyobject(py)?.into_any()),
    };
    let told = PyDict::new(py);
    told.set_item("event", kind)?;
    told.set_item("data", data)?;
    callback.call1(py, (told,)).map(drop)
}

fn counted<'py>(
    py: Python<'py>,
    stage: Option<&str>,
    done: u64,
    total: u64,
    unit: &str,
) -> PyResult<Bound<'py, PyAny>> {
    let data = PyDict::new(py);
    if let Some(stage) = stage {
        data.set_item("stage", stage)?;
    }
    data.set_item("done", done)?;
    data.set_item("total", total)?;
    data.set_item("unit", unit)?;
    Ok(data.into_any())
}
