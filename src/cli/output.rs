//! Results on stdout. One that cannot be written is an error, except where the reader went away.

use std::io::{ErrorKind, Write};

use serde::Serialize;

use super::args::{Common, stdout_look};
use crate::base::{terminal_json, terminal_text};
use crate::run::RunError;

/// Prints text from outside or with parts from outside.
pub fn print(text: &str) -> Result<(), RunError> {
    print_own(&terminal_text(text))
}

/// Prints text with this program's own styles.
pub fn print_styled(text: &str) -> Result<(), RunError> {
    print_own(&stdout_look().printable(text))
}

/// Prints a value as JSON.
pub fn print_json<T: Serialize>(value: &T) -> Result<(), RunError> {
    let json = serde_json::to_string_pretty(value).map_err(|error| RunError::Output(error.into()))?;
    print_own(&terminal_json(&json))
}

/// Prints a result, as JSON with `--json` and as text otherwise.
pub fn print_result<T: Serialize>(
    common: &Common,
    result: &T,
    text: impl FnOnce(&T) -> String,
) -> Result<(), RunError> {
    if common.json { print_json(result) } else { print_styled(&text(result)) }
}

/// Prints text of this program alone, as it is.
pub fn print_own(text: &str) -> Result<(), RunError> {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    match write(&[text.as_bytes(), end.as_bytes()].concat()) {
        // The reader has seen enough, as with `| head`.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(RunError::Output),
    }
}

/// Writes to the descriptor itself: the standard library's handle takes a closed one for success.
#[cfg(unix)]
fn write(bytes: &[u8]) -> std::io::Result<()> {
    use std::os::fd::AsFd;
    std::fs::File::from(std::io::stdout().as_fd().try_clone_to_owned()?).write_all(bytes)
}

#[cfg(not(unix))]
fn write(bytes: &[u8]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}
