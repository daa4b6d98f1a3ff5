//! Work of libraries that panic on bad input, kept from ending the program.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    /// How many [`contained`] calls this thread is inside of.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Counts the call until it is dropped, also by a panic.
struct Inside;

impl Inside {
    fn enter() -> Self {
        DEPTH.set(DEPTH.get() + 1);
        Self
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get().saturating_sub(1));
    }
}

/// Runs `work`; its panic becomes an error with the panic's message. Only for libraries that are given untrusted files:
/// what `work` changes must not be used after a panic. Panics on other threads are not caught.
pub fn contained<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let _inside = Inside::enter();
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| message(payload.as_ref()))
}

/// Whether this thread is inside of [`contained`], so that a panic hook stays silent: the caller reports the error.
pub fn is_contained() -> bool {
    DEPTH.get() > 0
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("it gave no reason").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_and_what_is_inside_knows_it() {
        assert!(!is_contained());
        assert_eq!(contained(is_contained), Ok(true));
        let told = contained(|| contained(|| assert!(is_contained())).map(|()| panic!("id {}", 7)));
        assert_eq!(told, Err::<Result<(), String>, _>("id 7".into()));
        assert!(!is_contained());
    }
}
