//! A panic is a bug of this program: it ends with exit code 1 and one line that says where it is.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::sync::OnceLock;

use super::errors::{Failure, print_failure};
use super::progress::say;
use crate::base::is_contained;

/// Exit code of a bug.
pub const BUG: u8 = 1;

/// The line about the first panic. Those of other threads are its consequences or its copies.
static FIRST: OnceLock<String> = OnceLock::new();

/// Replaces the standard library's report of a panic, in all threads.
pub fn report_panics() {
    set_hook(Box::new(|panic| {
        // The caller turns this one into an error about its input.
        if is_contained() {
            return;
        }
        let place = panic.location().map(|place| (place.file(), place.line()));
        let told = line(panic.payload(), place);
        if FIRST.set(told.clone()).is_ok() {
            say(&told);
            // Captured only where `RUST_BACKTRACE` asks for it.
            let trace = Backtrace::capture();
            if trace.status() == BacktraceStatus::Captured {
                say(&trace.to_string());
            }
        }
    }));
}

/// Runs the program and returns its exit code. `json` tells whether a failure is also printed as JSON.
pub fn exit_code_of(json: &Cell<bool>, program: impl FnOnce() -> u8) -> u8 {
    let ended = catch_unwind(AssertUnwindSafe(program));
    match (ended, FIRST.get()) {
        (Ok(code), None) => code,
        // A thread panicked and nobody noticed: no success.
        (Ok(code), Some(_)) => code.max(BUG),
        (Err(payload), told) => {
            let told = told.cloned().unwrap_or_else(|| line(payload.as_ref(), None));
            if json.get() {
                print_failure(&Failure::new(told, BUG), true);
            }
            BUG
        }
    }
}

/// The line about the first panic of this process.
pub fn told() -> Option<&'static str> {
    FIRST.get().map(String::as_str)
}

fn line(payload: &(dyn Any + Send), place: Option<(&str, u32)>) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    let words: Vec<&str> = text.split_whitespace().collect();
    let place = place.map_or(String::new(), |(file, line)| format!(" at {file}:{line}"));
    format!("bug: {}{place}; please report it with the command and this line", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_one_line_with_its_place() {
        let text: Box<dyn Any + Send> = Box::new("left:\n  1\nright: 2".to_string());
        assert_eq!(
            line(text.as_ref(), Some(("src/x.rs", 12))),
            "bug: left: 1 right: 2 at src/x.rs:12; please report it with the command and this line"
        );
        let other: Box<dyn Any + Send> = Box::new(7);
        assert!(line(other.as_ref(), None).starts_with("bug: no message; please report"));
    }

    #[test]
    fn a_panic_of_any_thread_is_exit_code_1() {
        let json = Cell::new(false);
        assert_eq!(exit_code_of(&json, || 0), 0);
        assert_eq!(exit_code_of(&json, || 6), 6);
        assert_eq!(exit_code_of(&json, || panic!("here")), BUG);
        assert_eq!(exit_code_of(&json, || rayon::join(|| 0, || panic!("in a worker")).0), BUG);
    }
}
