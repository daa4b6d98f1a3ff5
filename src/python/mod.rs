//! The Python module `autointerp`: runs, their tables and their pages. `autointerp/` holds its Python part.
//!
//! In: calls from Python.
//! Out: Arrow tables, HTML, Python exceptions.
//! Never: computes a number, prints, reads the environment.

mod error;
mod gate;
mod rows;
mod run;
mod table;

use std::ffi::OsString;
use std::path::PathBuf;

use pyo3::prelude::*;

use crate::base::{HookPoint, Program};
use crate::cli;
use crate::report::Citation;
use crate::run::{RunError, kept_activations};

/// The part of the module that is written in Rust.
#[pymodule]
mod _native {
    #[pymodule_export]
    use super::error::Error;
    #[pymodule_export]
    use super::gate::{compare, regress};
    #[pymodule_export]
    use super::rows::table;
    #[pymodule_export]
    use super::run::run;
    #[pymodule_export]
    use super::table::Table;
    #[pymodule_export]
    use super::{activations, citation, feature_view, main};

    use crate::cli;

    #[pymodule_init]
    fn init() {
        cli::report_panics();
    }
}

/// The program that `command` starts: an executable and its first arguments.
fn program(command: Vec<OsString>) -> Option<Program> {
    let mut words = command.into_iter();
    Some(Program::new(PathBuf::from(words.next()?), words))
}

/// The command line: arguments in, exit code out.
#[pyfunction]
fn main(py: Python<'_>, arguments: Vec<OsString>, command: Vec<OsString>) -> u8 {
    py.detach(|| cli::main_with(arguments, program(command)))
}

/// Citation of a run: in words, and as BibTeX.
#[pyfunction]
fn citation(py: Python<'_>, folder: PathBuf) -> PyResult<(String, String)> {
    let found = py.detach(|| Citation::read(&folder)).map_err(error::raised)?;
    Ok((found.text, found.bibtex))
}

/// File, number format, first byte and shape of the activations of a run at a hook point.
#[pyfunction]
fn activations(
    py: Python<'_>,
    folder: PathBuf,
    hook: String,
) -> PyResult<(PathBuf, &'static str, u64, Vec<usize>)> {
    let found = py.detach(|| {
        let hook: HookPoint = hook.parse().map_err(|why| setting("hook", format!("{why}")))?;
        kept_activations(&folder, hook, &cli::cache_folder())
    });
    let block = found.map_err(error::raised)?;
    Ok((block.path, block.dtype, block.offset, block.shape))
}

/// The evidence of a feature as HTML.
#[pyfunction]
fn feature_view(
    py: Python<'_>,
    folder: PathBuf,
    hook: String,
    method: String,
    feature: usize,
) -> PyResult<String> {
    py.detach(|| crate::report::feature_view(&folder, &hook, &method, feature)).map_err(error::raised)
}

fn setting(field: &str, problem: String) -> RunError {
    RunError::Setting { field: field.into(), problem }
}
