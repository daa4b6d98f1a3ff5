//! Failures as the exception `autointerp.Error`.

use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;

use crate::cli::Failure;
use crate::run::RunError;

create_exception!(
    autointerp,
    Error,
    PyException,
    "Why something could not be done, as the command line says it. `exit_code`, `causes` and `hints` are those of the command."
);

/// The exception for an error of the library.
pub fn raised(error: impl Into<RunError>) -> PyErr {
    failed(Failure::from(&error.into()))
}

/// The exception for a failure. Its text is what the command prints.
pub fn failed(failure: Failure) -> PyErr {
    let causes = failure.causes.iter().map(|cause| format!("\ncaused by: {cause}"));
    let hints = failure.hints.iter().map(|hint| format!("\nhint: {hint}"));
    let text: String = std::iter::once(failure.error.clone()).chain(causes).chain(hints).collect();
    let error = Error::new_err(text);
    Python::attach(|py| {
        let value = error.value(py);
        let set = value
            .setattr("exit_code", failure.exit_code)
            .and_then(|()| value.setattr("causes", failure.causes))
            .and_then(|()| value.setattr("hints", failure.hints));
        set.err()
    })
    .unwrap_or(error)
}
